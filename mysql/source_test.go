package mysql

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

func TestBinlogPos_Covers(t *testing.T) {
	at := func(file string, pos uint64) BinlogPos { return BinlogPos{File: file, Pos: pos, SourceUUID: "u"} }
	require.True(t, at("binlog.000002", 4).Covers(at("binlog.000002", 4)))
	require.True(t, at("binlog.000003", 4).Covers(at("binlog.000002", 9000)))
	require.True(t, at("binlog.1000000", 4).Covers(at("binlog.999999", 4)), "more digits are more")
	require.False(t, at("binlog.000002", 3).Covers(at("binlog.000002", 4)))
	require.False(t, at("binlog.000002", 9).Covers(at("binlog.000003", 4)))
	require.False(t, at("other.000003", 9).Covers(at("binlog.000002", 4)))
	require.False(t, at("", 9).Covers(at("", 4)))
	require.False(t, BinlogPos{File: "b.1", Pos: 9, SourceUUID: "v"}.Covers(BinlogPos{File: "b.1", Pos: 4, SourceUUID: "u"}))
	require.False(t, BinlogPos{File: "b.1", Pos: 9}.Covers(BinlogPos{File: "b.1", Pos: 4}), "unknown servers")
}

// The end must cover what waits for its ACK, and be readable while everything that asks for the
// binary log by SQL hangs (trap 19).
func TestEndOfBinlog_covers_waiting_commits(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	p.exec("INSERT INTO t.t VALUES (1, 'acknowledged')")
	idle, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.Equal(t, showBinlogStatus(t, p), fmt.Sprintf("%s:%d", idle.File, idle.Pos))
	require.NoError(t, f.StopReceiver(ctx))
	f.until("drained", func(st Status) bool { return st.Undrained().IsEmpty() })

	insert := background(t, p.app(), "INSERT INTO t.t VALUES (2, 'waits')")
	st := p.waiter()
	require.EqualValues(t, 1, st.Owned.Count())
	require.False(t, st.Executed.Contains(st.Owned), "not executed, and still not lost")
	end, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.Equal(t, showBinlogStatus(t, p), fmt.Sprintf("%s:%d", end.File, end.Pos))
	require.False(t, idle.Covers(end))
	require.False(t, f.st().Replica.Pos.Covers(end))

	flush := background(t, p.db, "FLUSH BINARY LOGS")
	p.until("flush under way", func(Status) bool {
		return p.value("SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO = 'FLUSH BINARY LOGS'") == "1"
	})
	_, err = p.db.ExecContext(within(t, 300*time.Millisecond), "SHOW BINARY LOG STATUS")
	require.Error(t, err, "the reason why EndOfBinlog does not use it")
	same, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.Equal(t, end, same)

	start := p.source(f, true)
	require.NoError(t, f.Follow(ctx, start))
	require.NoError(t, <-insert)
	require.NoError(t, <-flush)
	fst := f.until("holds the end", func(st Status) bool { return st.Replica.Pos.Covers(end) })
	require.True(t, fst.Position().Contains(st.Owned))
}

func showBinlogStatus(t testing.TB, n *opsNode) string {
	t.Helper()
	var file, pos string
	var rest [3]any
	require.NoError(t, n.db.QueryRowContext(procContext(t), "SHOW BINARY LOG STATUS").Scan(&file, &pos, &rest[0], &rest[1], &rest[2]))
	return file + ":" + pos
}

// A follower that is pointed elsewhere must at no moment show the old source's position as the new one's.
func TestStatus_position_never_runs_ahead_after_a_repoint(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	for i := range 3 {
		p.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, REPEAT('x', 5000))", i))
		p.exec("FLUSH BINARY LOGS")
	}
	q := opsStart(t, "q") // hardly anything in its log
	q.open()
	require.NoError(t, q.EnsureAccount(ctx, procCreds.Node("f"), false))
	q.exec("INSERT INTO t.t VALUES (50, 'q')")
	end, err := q.EndOfBinlog(ctx)
	require.NoError(t, err)
	pEnd, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	f.until("holds p's end", func(st Status) bool { return st.Replica.Pos.Covers(pEnd) })
	bySQL := q.st().Executed

	for range 3 {
		early := false
		done := make(chan error, 1)
		go func() { done <- f.Follow(ctx, q.source(f, false)) }()
		f.until("holds q's end", func(st Status) bool {
			r := st.Replica
			if r.SourceUUID == end.SourceUUID && r.Pos.Covers(end) {
				early = !st.Position().Contains(bySQL)
				return true
			}
			return false
		})
		require.False(t, early, "the position was there before the transactions")
		require.NoError(t, <-done)
		require.NoError(t, f.Follow(ctx, p.source(f, false)))
		f.until("back at p", func(st Status) bool { return st.Replica.Pos.Covers(pEnd) })
		q.exec("INSERT INTO t.t SELECT MAX(i) + 1, 'q' FROM t.t")
		end, err = q.EndOfBinlog(ctx)
		require.NoError(t, err)
		bySQL = q.st().Executed
	}
}

func TestSetSource_binds_commits_to_ACKs(t *testing.T) {
	p := opsStart(t, "p")
	p.open()
	ctx := procContext(t)
	p.exec("SET GLOBAL rpl_semi_sync_source_timeout=1000, GLOBAL rpl_semi_sync_source_wait_no_replica=OFF, GLOBAL rpl_semi_sync_source_wait_point=AFTER_COMMIT")
	require.Error(t, p.SetSource(ctx, true, 0))
	require.False(t, p.st().Source.Enabled)
	require.NoError(t, p.SetSource(ctx, true, 2))
	st := p.st()
	require.True(t, st.Source.Enabled && st.Source.Active)
	require.Equal(t, 2, st.Source.WaitCount)
	require.Equal(t, "AFTER_SYNC", p.value("SELECT @@rpl_semi_sync_source_wait_point"))
	require.Equal(t, "1", p.value("SELECT @@rpl_semi_sync_source_wait_no_replica"))
	require.NoError(t, p.SetSource(ctx, false, 0))
	require.False(t, p.st().Source.Enabled)
}

func TestMarker_unknown_at_the_deadline_and_never_blocked_by_another(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	require.NoError(t, p.Marker(ctx), "makes its table")
	require.NoError(t, p.Marker(ctx))
	require.NoError(t, f.StopReceiver(ctx))

	var unknown *UnknownError
	before, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	behind := func(before BinlogPos) func() bool {
		return func() bool {
			end, err := p.EndOfBinlog(ctx)
			require.NoError(t, err)
			return !before.Covers(end)
		}
	}
	err = timesOut(t, behind(before), p.Marker) // it is in the binary log all the same
	require.ErrorAs(t, err, &unknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.until("it waits", func(st Status) bool { return st.Source.WaitSessions >= 1 })
	first, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.ErrorAs(t, timesOut(t, behind(first), p.Marker), &unknown, "the second reached the binary log too")

	require.NoError(t, f.Follow(ctx, p.source(f, true)))
	require.NoError(t, p.Marker(ctx))
	p.until("no waiter", func(st Status) bool { return st.Source.WaitSessions == 0 })
}

func TestBinlogFilesHolding(t *testing.T) {
	n := opsStart(t, "n")
	n.open()
	ctx := procContext(t)
	uuid := n.st().UUID
	for i := range 6 { // two transactions in each file
		n.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, 'x')", i))
		if i%2 == 1 {
			n.exec("FLUSH BINARY LOGS")
		}
	}
	var names []string
	all, err := n.BinlogFilesHolding(ctx, gtid.MustParse(uuid+":1-6"))
	require.NoError(t, err)
	require.Len(t, all, 3)
	for _, path := range all {
		require.FileExists(t, path)
		names = append(names, path)
	}
	some, err := n.BinlogFilesHolding(ctx, gtid.MustParse(uuid+":3:5"))
	require.NoError(t, err)
	require.Equal(t, names[1:], some)
	none, err := n.BinlogFilesHolding(ctx, gtid.Set{})
	require.NoError(t, err)
	require.Empty(t, none)

	_, err = n.db.ExecContext(ctx, "PURGE BINARY LOGS TO '"+n.st().Binlog.File+"'")
	require.NoError(t, err)
	n.exec("INSERT INTO t.t VALUES (7, 'x')")
	left, err := n.BinlogFilesHolding(ctx, gtid.MustParse(uuid+":6-7"))
	require.ErrorIs(t, err, ErrPurged)
	require.Len(t, left, 1)
}
