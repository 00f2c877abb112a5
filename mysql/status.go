package mysql

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// ThreadState is what a replication thread is doing.
type ThreadState string

// States of replication threads, in MySQL's words: SERVICE_STATE.
const (
	On         ThreadState = "ON"
	Connecting ThreadState = "CONNECTING" // receiver only: not (or no longer) connected, keeps trying
	Off        ThreadState = "OFF"
)

// Status is what one mysqld said about itself in one round trip. It is a value.
type Status struct {
	At            time.Time // when the question was sent, local clock
	UUID          string    // server_uuid
	Version       string
	ReadOnly      bool
	SuperReadOnly bool
	OfflineMode   bool
	Executed      gtid.Set // gtid_executed; lacks commits that wait for their ACK
	Purged        gtid.Set // gtid_purged
	// Owned are transactions in the middle of their commit: those that wait for an ACK are here.
	Owned gtid.Set
	// Binlog is the end of the binary log, see EndOfBinlog.
	Binlog BinlogPos
	Source SourceStatus
	// DumpUsers are the accounts with a Binlog Dump thread, each once.
	DumpUsers []string
	// Replica is nil when no replication channel is configured.
	Replica *ReplicaStatus
}

// SourceStatus is the semi-synchronous source side.
type SourceStatus struct {
	Enabled      bool   // rpl_semi_sync_source_enabled
	Active       bool   // Rpl_semi_sync_source_status: false while enabled would mean MySQL fell back to asynchronous
	WaitCount    int    // rpl_semi_sync_source_wait_for_replica_count, K in the protocol
	Clients      int    // semi-synchronous replicas connected
	WaitSessions int    // sessions that wait for an ACK now
	YesTx, NoTx  uint64 // commits since the start with and without ACKs
}

// ReplicaStatus is the replication channel of a follower.
type ReplicaStatus struct {
	Host       string
	Port       int
	User       string
	SourceUUID string
	Receiver   ThreadState
	Applier    ThreadState
	IOErrno    int
	IOError    string
	SQLErrno   int
	SQLError   string
	// Received is what is known to have been received: only a suffix, never a position by itself (trap
	// 5). It is read after Pos, so Status.Position holds everything before Pos.
	Received gtid.Set
	// Pos is up to where the receiver has read the source's binary log: everything before it is in the
	// relay log or was there before. Zero File right after Follow, until the source has said where it is.
	Pos BinlogPos
	// ReceiverStart changes with every start of the receiver, also over restarts of mysqld. Empty
	// unless Receiver is On.
	ReceiverStart string
	// LastPacket is when the last event or heartbeat came; zero when none did since Follow.
	LastPacket time.Time
	// NoSpace is set while the receiver or the applier waits for room on a disk that was full. It tries again once a minute
	// (MY_WAIT_FOR_USER_TO_FIX_PANIC in the server's source), whatever is free meanwhile, and until then nothing is acknowledged.
	NoSpace bool
	// Armed tells that the receiver sends ACKs: it does so since its start, whatever ArmedWanted says.
	Armed bool
	// ArmedWanted is rpl_semi_sync_replica_enabled: what the next start of the receiver will do.
	ArmedWanted bool
	// LagSeconds is MySQL's Seconds_Behind_Source; negative when it does not know.
	LagSeconds      float64
	HeartbeatPeriod time.Duration
	// Half is the transaction that the applier has begun and cannot end, because the receiver has stopped in the middle of it
	// (trap 22). It was not acknowledged from here. It holds its locks until a source sends something, or DropHalf. Always
	// empty while the receiver runs, or the applier does not.
	Half         gtid.Set
	autoPosition bool
	willAck      bool // how the receiver was started, also while it is still connecting
}

// Position is everything this server holds: received or executed.
func (s Status) Position() gtid.Set {
	if s.Replica == nil {
		return s.Executed
	}
	return s.Replica.Received.Union(s.Executed)
}

// Undrained is what was received and is not executed yet.
func (s Status) Undrained() gtid.Set {
	if s.Replica == nil {
		return gtid.Set{}
	}
	return s.Replica.Received.Subtract(s.Executed)
}

// statusQuery takes no lock that a commit waiting for its ACK holds. SHOW BINARY LOG STATUS, SHOW
// BINARY LOGS and performance_schema.log_status do in some cases, and are therefore not used.
const statusQuery = `SELECT @@GLOBAL.server_uuid AS uuid, @@GLOBAL.version AS version, @@GLOBAL.read_only AS ro,
 @@GLOBAL.super_read_only AS sro, @@GLOBAL.offline_mode AS offline, @@GLOBAL.gtid_owned AS owned,
 @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged, @@GLOBAL.log_bin_index AS binlog_index,
 @@GLOBAL.datadir AS datadir, @@GLOBAL.rpl_semi_sync_source_enabled AS source_on,
 @@GLOBAL.rpl_semi_sync_source_wait_for_replica_count AS wait_count, @@GLOBAL.rpl_semi_sync_replica_enabled AS armed;
` + statusOf + `'Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients', 'Rpl_semi_sync_source_wait_sessions',
 'Rpl_semi_sync_source_yes_tx', 'Rpl_semi_sync_source_no_tx', 'Rpl_semi_sync_replica_status');
SELECT DISTINCT USER AS user FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%' ORDER BY user;
SHOW REPLICA STATUS;
SELECT s.THREAD_ID AS thread, s.SERVICE_STATE AS receiver, c.HEARTBEAT_INTERVAL AS heartbeat, a.SERVICE_STATE AS applier, s.RECEIVED_TRANSACTION_SET AS received,
 s.LAST_HEARTBEAT_TIMESTAMP AS beat, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP AS queued,
 EXISTS (SELECT 1 FROM performance_schema.threads WHERE NAME LIKE 'thread/sql/replica%' AND PROCESSLIST_STATE = 'Waiting for disk space') AS no_space
 FROM performance_schema.replication_connection_status s
 JOIN performance_schema.replication_connection_configuration c USING (CHANNEL_NAME)
 JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME) WHERE CHANNEL_NAME = '';
` + begunQuery

// statusOf begins a query for status variables by name, looked up by their key. SHOW GLOBAL STATUS makes a table of all of
// them for every question, which takes mysqld two to four times as long. Both work with performance_schema=OFF.
const statusOf = "SELECT VARIABLE_NAME AS Variable_name, VARIABLE_VALUE AS Value FROM performance_schema.global_status WHERE VARIABLE_NAME IN ("

// waitersQuery is how many sessions wait for the ACK of their commit.
const waitersQuery = statusOf + "'Rpl_semi_sync_source_wait_sessions')"

// Status asks for everything in one round trip. It never waits behind a commit that waits for its
// ACK, nor behind anything else this Server does.
func (s *Server) Status(ctx context.Context) (Status, error) {
	st := Status{At: time.Now()}
	sets, err := s.status.query(ctx, "read status", statusQuery)
	if err != nil {
		return Status{}, err
	}
	if len(sets) < 6 || len(sets[0]) != 1 {
		return Status{}, fmt.Errorf("read status: mysqld gave %d results", len(sets))
	}
	v := sets[0][0]
	st.UUID, st.Version = v["uuid"], v["version"]
	st.ReadOnly, st.SuperReadOnly, st.OfflineMode = v.on("ro"), v.on("sro"), v.on("offline")
	for _, f := range []struct {
		to   *gtid.Set
		text string
	}{{&st.Executed, v["executed"]}, {&st.Purged, v["purged"]}} {
		if *f.to, err = gtid.Parse(f.text); err != nil {
			return Status{}, fmt.Errorf("read status: %w", err)
		}
	}
	if st.Owned, err = parseOwned(v["owned"]); err != nil {
		return Status{}, fmt.Errorf("read status: %w", err)
	}
	counters := map[string]string{}
	for _, r := range sets[1] {
		counters[strings.TrimPrefix(r["Variable_name"], "Rpl_semi_sync_")] = r["Value"]
	}
	st.Source = sourceStatus(v, counters)
	for _, r := range sets[2] {
		st.DumpUsers = append(st.DumpUsers, r["user"])
	}
	if st.Binlog, err = binlogEnd(v["binlog_index"], v["datadir"], st.UUID); err != nil {
		return Status{}, fmt.Errorf("read status: %w", err)
	}
	if show := defaultChannel(sets[3]); show != nil && len(sets[4]) == 1 {
		if st.Replica, err = s.replicaStatus(show, sets[4][0], v, counters); err == nil && st.Replica.Receiver == Off && st.Replica.Applier == On {
			st.Replica.Half, err = begunOnly(sets[5], st.Position())
		}
	}
	return st, err
}

// begunOnly are the transactions that the applier is at and that are not in held. It is read after the position, so what
// has become whole in between is not in it.
func begunOnly(rows []row, held gtid.Set) (gtid.Set, error) {
	var half gtid.Set
	for _, r := range rows {
		if !strings.Contains(r["begun"], ":") { // nothing, or a transaction without a GTID
			continue
		}
		begun, err := gtid.Parse(r["begun"])
		if err != nil {
			return gtid.Set{}, fmt.Errorf("read applier status: %w", err)
		}
		half = half.Union(begun.Subtract(held))
	}
	return half, nil
}

func sourceStatus(v row, counters map[string]string) SourceStatus {
	c := row(counters)
	return SourceStatus{
		Enabled:      v.on("source_on"),
		Active:       c.on("source_status"),
		WaitCount:    int(v.number("wait_count")),
		Clients:      int(c.number("source_clients")),
		WaitSessions: int(c.number("source_wait_sessions")),
		YesTx:        c.unsigned("source_yes_tx"),
		NoTx:         c.unsigned("source_no_tx"),
	}
}

// defaultChannel finds the unnamed channel; others are not ours.
func defaultChannel(rows []row) row {
	for _, r := range rows {
		if r["Channel_Name"] == "" {
			return r
		}
	}
	return nil
}

func (s *Server) replicaStatus(show, perf, v row, counters map[string]string) (*ReplicaStatus, error) {
	// Not Retrieved_Gtid_Set: SHOW REPLICA STATUS reads that before the position, so it could lack what
	// the position already covers (seen). This one is read after it.
	received, err := gtid.Parse(perf["received"])
	if err != nil {
		return nil, fmt.Errorf("read replica status: %w", err)
	}
	r := &ReplicaStatus{
		Host: show["Source_Host"], Port: int(show.number("Source_Port")), User: show["Source_User"],
		SourceUUID: show["Source_UUID"],
		Receiver:   ThreadState(perf["receiver"]), Applier: ThreadState(perf["applier"]),
		IOErrno: int(show.number("Last_IO_Errno")), IOError: show["Last_IO_Error"],
		SQLErrno: int(show.number("Last_SQL_Errno")), SQLError: show["Last_SQL_Error"],
		Received:     received,
		ArmedWanted:  v.on("armed"),
		LastPacket:   later(serverTime(perf["beat"]), serverTime(perf["queued"])),
		LagSeconds:   -1,
		NoSpace:      perf["no_space"] == "1",
		autoPosition: show.on("Auto_Position"),
	}
	if file := show["Source_Log_File"]; file != "" {
		r.Pos = BinlogPos{File: file, Pos: show.unsigned("Read_Source_Log_Pos"), SourceUUID: r.SourceUUID}
	}
	// The variable alone means nothing: a running receiver goes on as it started.
	r.willAck = row(counters).on("replica_status")
	if r.Receiver == On {
		r.ReceiverStart = s.bootMark() + "-" + perf["thread"]
		r.Armed = r.willAck
	}
	if lag := show["Seconds_Behind_Source"]; lag != "" {
		r.LagSeconds = float64(show.number("Seconds_Behind_Source"))
	}
	if seconds, err := strconv.ParseFloat(perf["heartbeat"], 64); err == nil {
		r.HeartbeatPeriod = time.Duration(seconds * float64(time.Second))
	}
	return r, nil
}

// bootMark differs between two starts of mysqld: when its socket was made. Thread numbers begin anew
// with every start.
func (s *Server) bootMark() string {
	info, err := os.Stat(s.cfg.Socket())
	if err != nil {
		return "?"
	}
	return strconv.FormatInt(info.ModTime().UnixNano(), 36)
}

// serverTime reads a TIMESTAMP(6) in UTC; the zero date is the zero time.
func serverTime(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05.999999", text)
	if err != nil {
		return time.Time{}
	}
	return t
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
