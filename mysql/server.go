package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Pauses between two looks at a condition that usually comes true in milliseconds: they double.
const (
	firstPause = time.Millisecond
	longPause  = 20 * time.Millisecond
)

// Server operates the mysqld of this node over its unix socket, as the admin account. It is safe
// for concurrent use. Every method ends by its context's deadline (10 s when there is none). A
// statement that was sent and not answered ends in *UnknownError.
//
// Connections are opened beforehand (Ready) and kept in lanes by purpose, because a login hangs for
// ever behind a CREATE USER that waits for its ACK, and because a status query or a fence must never
// queue behind a slow statement.
type Server struct {
	cfg Config

	fence   *lane // fencing, killing sessions; nothing slow ever
	status  *lane // reading
	control *lane // accounts, events, variables: sql_log_bin=0
	repl    *lane // replication threads
	marker  *lane // logged commits, which wait for their ACK
	slow    *lane // on demand: clone, drain, DDL

	trace atomic.Pointer[func(op string)]

	mu    sync.Mutex
	creds Credentials // see SetCredentials
	slot  uint64      // the next marker row
}

// Trace has told be called with the name of every round trip to mysqld before it is made, from whatever goroutine makes it; nil
// ends that. For tests that count them.
func (s *Server) Trace(told func(op string)) {
	if told == nil {
		s.trace.Store(nil)
		return
	}
	s.trace.Store(&told)
}

func (s *Server) tell(op string) {
	if told := s.trace.Load(); told != nil {
		(*told)(op)
	}
}

// unloggedSetup makes a connection whose statements never reach the binary log.
const unloggedSetup = "SET SESSION sql_log_bin=0"

// sessionSetup is for every connection: times as UTC; and a lock that is not granted in a second
// ends in error 1205 instead of silence (lock_wait_timeout cannot be below 1 s).
const sessionSetup = "SET SESSION time_zone='+00:00', sql_mode='STRICT_TRANS_TABLES', lock_wait_timeout=1, " +
	"innodb_lock_wait_timeout=1, transaction_isolation='READ-COMMITTED', wait_timeout=31536000, sql_log_bin=1"

// Open returns the operations of the mysqld that cfg describes. It connects to nothing yet.
func Open(cfg Config, creds Credentials) *Server {
	s := &Server{cfg: cfg, creds: creds, slot: uint64(time.Now().UnixNano())}
	config := socketConnector(cfg.Socket(), creds.Admin(), creds.Password, true).(connector).cfg
	config.InterpolateParams = true // values become literals: no second round trip, and not everything can be prepared
	admin := adminConnector{connector{config}, s}
	newLaneHere := func(name string, size int, setup string) *lane {
		l := newLane(name, size, sessionSetup+"; "+setup, admin, s.killAbandoned)
		l.tell = s.tell
		return l
	}
	s.fence = newLaneHere("fence", 2, unloggedSetup)
	s.status = newLaneHere("status", 2, unloggedSetup)
	s.control = newLaneHere("control", 2, unloggedSetup)
	s.repl = newLaneHere("replication", 2, unloggedSetup)
	s.marker = newLaneHere("marker", 3, "SET SESSION sql_log_bin=1")
	s.slow = newLaneHere("slow", 4, unloggedSetup)
	return s
}

// adminConnector logs in with the password that is in use at that moment.
type adminConnector struct {
	connector
	s *Server
}

func (c adminConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	cfg := c.cfg.Clone()
	cfg.Passwd = c.s.credentials().Password
	return connector{cfg}.Connect(ctx)
}

// Close gives up all connections. Statements under way end on their own deadlines.
func (s *Server) Close() {
	var all sync.WaitGroup
	for _, l := range s.lanes() {
		all.Go(l.close)
	}
	all.Wait()
}

func (s *Server) lanes() []*lane {
	return []*lane{s.fence, s.status, s.control, s.repl, s.marker, s.slow}
}

func (s *Server) keptLanes() []*lane {
	return []*lane{s.fence, s.status, s.control, s.repl, s.marker}
}

// Ready opens the kept connections that are missing and pings one of each kind. Call it until it
// succeeds after every start of mysqld.
func (s *Server) Ready(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	kept := s.keptLanes()
	errs := make([]error, len(kept))
	var all sync.WaitGroup
	for i, l := range kept {
		all.Go(func() { errs[i] = l.ready(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// own is the set of session ids that belong to this Server.
func (s *Server) own() map[uint64]bool {
	ids := map[uint64]bool{}
	for _, l := range s.lanes() {
		l.ids(ids)
	}
	return ids
}

// KillOtherAdmins ends every session of the admin account that is not this Server's: the statements
// of a previous agent must not take effect later. It returns once they are gone; one that waits for
// an ACK stays until that comes, but executes nothing more.
func (s *Server) KillOtherAdmins(ctx context.Context) error {
	return s.killAll(ctx, "kill other agents' sessions", true, "USER = ?", s.credentials().Admin())
}

// commitWaits are the states of a session in the middle of its commit: KILL cuts its client at once,
// its server thread stays until the ACK comes.
var commitWaits = map[string]bool{
	"Waiting for semi-sync ACK from replica": true, // the first of a group
	"waiting for handler commit":             true, // those behind it
}

// killAll ends all sessions that match the condition and are not this Server's. It returns when every
// one was told to end, so that none begins another statement; with gone also when they did end, except
// for those in the middle of a commit.
func (s *Server) killAll(ctx context.Context, op string, gone bool, where string, args ...any) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	told := map[uint64]bool{}
	return poll(ctx, op, func(ctx context.Context) (bool, error) {
		sets, err := s.fence.query(ctx, op, "SELECT ID, STATE FROM performance_schema.processlist "+
			"WHERE ID <> CONNECTION_ID() AND COMMAND <> 'Daemon' AND "+where, args...)
		if err != nil {
			return false, err
		}
		own := s.own()
		done := true
		for _, r := range sets[0] {
			switch id := r.unsigned("ID"); {
			case own[id]:
			case !told[id]:
				if err := s.killID(ctx, s.fence, id); err != nil {
					return false, err
				}
				told[id], done = true, false
			case gone && !commitWaits[r["STATE"]]:
				done = false
			}
		}
		return done, nil
	})
}

// killID ends one session; one that is gone already is no error.
func (s *Server) killID(ctx context.Context, l *lane, id uint64) error {
	err := l.exec(ctx, "kill session", fmt.Sprintf("KILL CONNECTION %d", id))
	if hasErrno(err, errnoNoSuchThread) {
		return nil
	}
	return err
}

// killAbandoned ends a session of ours whose statement got no answer, so that it does not hold
// locks for ever. Best effort: the caller of that statement was told that the outcome is unknown.
func (s *Server) killAbandoned(id uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l := s.control
	l.mu.Lock()
	dead := l.closed
	l.mu.Unlock()
	if !dead {
		_ = l.with(ctx, "kill abandoned session", func(ctx context.Context, c *session) error {
			return c.exec(ctx, fmt.Sprintf("KILL CONNECTION %d", id))
		})
	}
}

// poll calls look until it says done or fails, or until the context ends.
func poll(ctx context.Context, op string, look func(context.Context) (bool, error)) error {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		done, err := look(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: not confirmed in time: %w", op, ctx.Err())
		}
	}
}

// set changes global variables in one statement on the control lane.
func (s *Server) set(ctx context.Context, op string, assignments ...string) error {
	return s.control.exec(ctx, op, "SET GLOBAL "+strings.Join(assignments, ", GLOBAL "))
}

// SealStart puts a live mysqld into the state it starts in: no client, no write. For an agent that
// found a running mysqld without a provable role.
func (s *Server) SealStart(ctx context.Context) error {
	if err := s.OfflineOn(ctx); err != nil {
		return err
	}
	return s.fence.exec(ctx, "set super_read_only", "SET GLOBAL super_read_only=ON")
}

// ReadOnlyOff lets privileged and ordinary clients write; under offline_mode there are none of the
// latter yet.
func (s *Server) ReadOnlyOff(ctx context.Context) error {
	return s.set(ctx, "clear read_only", s.cfg.throttle(0), "read_only=OFF")
}

// ReadOnlyOn refuses writes of everybody. It hangs behind a commit that waits for its ACK.
func (s *Server) ReadOnlyOn(ctx context.Context) error {
	return s.set(ctx, "set super_read_only", "super_read_only=ON")
}

// OfflineOff admits clients.
func (s *Server) OfflineOff(ctx context.Context) error {
	return s.set(ctx, "clear offline_mode", "offline_mode=OFF")
}

// OfflineOn cuts all clients without CONNECTION_ADMIN and admits no more.
func (s *Server) OfflineOn(ctx context.Context) error {
	return s.fence.exec(ctx, "set offline_mode", "SET GLOBAL offline_mode=ON")
}
