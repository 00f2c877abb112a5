package mysql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Source is where a follower gets its events from, and how.
type Source struct {
	Host     string
	Port     int
	User     string // the replication account of this node at the source
	Password string
	// Armed: the receiver sends ACKs.
	Armed bool
	// Heartbeat is how often a silent source says that it lives; zero means 1 s.
	Heartbeat time.Duration
	// ConnectRetry is the pause between two attempts to connect, whole seconds, at least 1.
	ConnectRetry time.Duration
}

// String names the source without its password.
func (s Source) String() string {
	return fmt.Sprintf("%s@%s:%d armed=%t", s.User, s.Host, s.Port, s.Armed)
}

// GoString keeps the password out of %#v as well.
func (s Source) GoString() string { return "mysql.Source{" + s.String() + "}" }

// connectRetries is SOURCE_RETRY_COUNT: with a second between two attempts it lasts 31 years.
const connectRetries = 1_000_000_000

// StopReceiver stops the receiver and returns once mysqld confirms that it is off: from then on this
// server ACKs nothing and receives nothing. 2 s when the receiver is in the middle of connecting to a
// frozen host (trap 11), else milliseconds. No channel is fine.
func (s *Server) StopReceiver(ctx context.Context) error {
	const op = "stop receiver"
	ctx, cancel := bounded(ctx)
	defer cancel()
	refused, err := s.tellThread(ctx, op, "STOP REPLICA IO_THREAD")
	if err != nil {
		return err
	}
	return poll(ctx, "confirm: "+op, func(ctx context.Context) (bool, error) {
		h, err := s.Held(ctx)
		switch {
		case err != nil:
			return false, fmt.Errorf("%s: %w", op, err)
		case h.Receiver == Off:
			return true, nil
		}
		return false, refused
	})
}

// StopReplica stops receiver and applier and confirms both. The applier stops at a transaction's end; one that was received
// by half has none, and is dropped.
func (s *Server) StopReplica(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.StopReceiver(ctx); err != nil {
		return err
	}
	if err := s.DropHalf(ctx); err != nil && !errors.Is(err, ErrUndrained) {
		return err
	}
	return s.stopThread(ctx, "stop replica", "STOP REPLICA",
		func(r *ReplicaStatus) bool { return r.Receiver == Off && r.Applier == Off })
}

// DropHalf rolls back a transaction of which only the beginning was received, and forgets the channel with its relay log,
// in which nothing else is left to execute. Left alone the applier holds its locks for as long as nobody sends more, and is
// a minute at ending it when asked to stop (trap 22); and started again it would begin it again, on rows that may be others
// by then. The next source sends that transaction whole, if it has it. DropHalf does nothing when there is no such
// transaction, and refuses with ErrUndrained while anything that was received whole is not executed.
func (s *Server) DropHalf(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "drop half-received transaction"
	st, err := s.Status(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if st.Replica == nil || st.Replica.Half.IsEmpty() {
		return nil
	}
	if left := st.Undrained(); !left.IsEmpty() {
		return fmt.Errorf("%s: %w: %s", op, ErrUndrained, left)
	}
	if err := s.killApplier(ctx, op); err != nil {
		return err
	}
	return s.repl.exec(ctx, op, "RESET REPLICA ALL FOR CHANNEL ''")
}

// killApplier stops the applier in the middle of what it does, which STOP REPLICA would wait for.
func (s *Server) killApplier(ctx context.Context, op string) error {
	sets, err := s.repl.query(ctx, op, "SELECT t.PROCESSLIST_ID AS id FROM performance_schema.replication_applier_status_by_coordinator c "+
		"JOIN performance_schema.threads t USING (THREAD_ID) WHERE c.CHANNEL_NAME = ''")
	if err != nil {
		return err
	}
	if len(sets[0]) == 0 { // without parallel workers it stops at once
		return s.stopThread(ctx, op, "STOP REPLICA SQL_THREAD", func(r *ReplicaStatus) bool { return r.Applier == Off })
	}
	for _, r := range sets[0] {
		if err := s.repl.exec(ctx, op, fmt.Sprintf("KILL CONNECTION %d", r.number("id"))); err != nil && !hasErrno(err, errnoNoSuchThread) {
			return err
		}
	}
	return s.awaitReplica(ctx, op, func(r *ReplicaStatus) (bool, error) { return r.Applier == Off, nil })
}

func (s *Server) stopThread(ctx context.Context, op, statement string, off func(*ReplicaStatus) bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	refused, err := s.tellThread(ctx, op, statement)
	if err != nil {
		return err
	}
	return poll(ctx, "confirm: "+op, func(ctx context.Context) (bool, error) {
		st, err := s.Status(ctx)
		if err != nil {
			return false, fmt.Errorf("%s: %w", op, err)
		}
		if st.Replica == nil || off(st.Replica) {
			return true, nil
		}
		return false, refused
	})
}

// tellThread sends a statement that stops threads, without a look beforehand: stopping what does not run is no error, and
// a server without a channel says so. What mysqld answered is for whoever finds that it did not help.
func (s *Server) tellThread(ctx context.Context, op, statement string) (refused, err error) {
	err = s.repl.exec(ctx, op, statement+" FOR CHANNEL ''")
	if err != nil && isServerError(err) {
		return err, nil
	}
	return nil, err
}

// awaitReplica looks at the channel until ok says so; no channel is an error.
func (s *Server) awaitReplica(ctx context.Context, op string, ok func(*ReplicaStatus) (bool, error)) error {
	return poll(ctx, op, func(ctx context.Context) (bool, error) {
		st, err := s.Status(ctx)
		if err != nil {
			return false, fmt.Errorf("%s: %w", op, err)
		}
		if st.Replica == nil {
			return false, fmt.Errorf("%s: no replication channel is configured", op)
		}
		return ok(st.Replica)
	})
}

// StartApplier starts the applier and confirms that it runs. When it stops at once the error tells
// why.
func (s *Server) StartApplier(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "start applier"
	st, err := s.Status(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if st.Replica == nil {
		return fmt.Errorf("%s: no replication channel is configured", op)
	}
	if st.Replica.Applier == On {
		return nil
	}
	if err := s.repl.exec(ctx, op, "START REPLICA SQL_THREAD FOR CHANNEL ''"); err != nil {
		return err
	}
	return s.awaitReplica(ctx, op, applierRuns)
}

func applierRuns(r *ReplicaStatus) (bool, error) {
	if r.Applier != On && r.SQLErrno != 0 {
		return false, fmt.Errorf("applier stopped: error %d: %s", r.SQLErrno, r.SQLError)
	}
	return r.Applier == On, nil
}

// Follow points the receiver at src and starts it. It does nothing when that is so already. The relay
// log with everything received and not yet executed is kept: with both threads stopped every CHANGE
// would delete it (trap 2), so the applier runs first and only the receiver stops.
//
// It returns as soon as the receiver is started; Status tells when it is connected. ErrRelayLogLost
// means that received transactions vanished all the same (the applier died in between): the node is
// void.
func (s *Server) Follow(ctx context.Context, src Source) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	st, err := s.Status(ctx)
	if err != nil {
		return fmt.Errorf("follow %s: %w", src, err)
	}
	switch r := st.Replica; {
	case r == nil || !r.autoPosition:
		err = s.followFirst(ctx, src)
	case follows(r, src):
		return nil
	case r.Applier != On && st.Undrained().IsEmpty():
		// The relay log may end in half a transaction, which would be begun again, on rows that may be others by now (trap 22).
		err = s.followFirst(ctx, src)
	default:
		err = s.repoint(ctx, src)
	}
	if err != nil {
		return fmt.Errorf("follow %s: %w", src, err)
	}
	return nil
}

// follows tells whether the receiver runs as src wants it to.
func follows(r *ReplicaStatus, src Source) bool {
	return r.Receiver != Off && r.Applier == On && r.willAck == src.Armed && r.ArmedWanted == src.Armed && pointed(r, src)
}

// pointed tells whether the channel's settings are those of src.
func pointed(r *ReplicaStatus, src Source) bool {
	return r.autoPosition && r.Host == src.Host && r.Port == src.Port && r.User == src.User && r.HeartbeatPeriod == heartbeat(src)
}

func heartbeat(src Source) time.Duration {
	if src.Heartbeat <= 0 {
		return time.Second
	}
	return src.Heartbeat.Round(time.Millisecond)
}

// followFirst configures a server whose relay log, if there is one, holds nothing that is still to be executed. It is
// deleted; ResetReplica makes sure of that.
func (s *Server) followFirst(ctx context.Context, src Source) error {
	if err := s.ResetReplica(ctx); err != nil {
		return err
	}
	if err := s.arm(ctx, src.Armed); err != nil {
		return err
	}
	if err := s.change(ctx, src, "SOURCE_AUTO_POSITION=1"); err != nil {
		return err
	}
	if err := s.repl.exec(ctx, "start replica", "START REPLICA FOR CHANNEL ''"); err != nil {
		return err
	}
	return s.awaitReplica(ctx, "start applier", applierRuns)
}

func (s *Server) repoint(ctx context.Context, src Source) error {
	if err := s.StartApplier(ctx); err != nil {
		return err
	}
	if err := s.point(ctx, src); err != nil {
		return err
	}
	return s.startReceiver(ctx)
}

// Point points the receiver at src, which stays off: what [Server.Begin] then has to do is little. The applier runs, or nothing
// is changed and the error says why. ErrRelayLogLost as with Follow.
func (s *Server) Point(ctx context.Context, src Source) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.point(ctx, src); err != nil {
		return fmt.Errorf("point at %s: %w", src, err)
	}
	return nil
}

// Begin starts the receiver if st, which was just looked at, shows that Point has done the rest; else it is Follow.
func (s *Server) Begin(ctx context.Context, src Source, st Status) error {
	r := st.Replica
	if r == nil || r.Receiver != Off || r.Applier != On || r.ArmedWanted != src.Armed || !pointed(r, src) {
		return s.Follow(ctx, src)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.startReceiver(ctx); err != nil {
		return fmt.Errorf("follow %s: %w", src, err)
	}
	return nil
}

// point does it with the receiver off and the applier on: with both off the relay log would be deleted.
func (s *Server) point(ctx context.Context, src Source) error {
	if err := s.StopReceiver(ctx); err != nil {
		return err
	}
	before, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if before.Replica == nil || before.Replica.Applier != On {
		return errors.New("applier stopped again: a change of the source would delete the relay log")
	}
	if err := s.arm(ctx, src.Armed); err != nil {
		return err
	}
	if err := s.change(ctx, src); err != nil {
		return err
	}
	after, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if lost := before.Position().Subtract(after.Position()); !lost.IsEmpty() {
		return fmt.Errorf("change source: %w: %s", ErrRelayLogLost, lost)
	}
	return nil
}

func (s *Server) startReceiver(ctx context.Context) error {
	if err := s.repl.exec(ctx, "start receiver", "START REPLICA IO_THREAD FOR CHANNEL ''"); err != nil {
		return err
	}
	return s.awaitReplica(ctx, "start receiver", func(r *ReplicaStatus) (bool, error) {
		if r.Receiver == Off && r.IOErrno != 0 {
			return false, fmt.Errorf("receiver stopped: error %d: %s", r.IOErrno, r.IOError)
		}
		return r.Receiver != Off, nil
	})
}

// change runs CHANGE REPLICATION SOURCE. Host and port are always given, because that makes mysqld
// forget the old source's file and position, which would otherwise pass for the new one's. So are
// all timings: a CHANGE that leaves out the heartbeat resets it.
func (s *Server) change(ctx context.Context, src Source, more ...string) error {
	options := append([]string{"SOURCE_HOST=?", "SOURCE_PORT=?", "SOURCE_USER=?", "SOURCE_PASSWORD=?",
		"GET_SOURCE_PUBLIC_KEY=1",
		fmt.Sprintf("SOURCE_HEARTBEAT_PERIOD=%.3f", heartbeat(src).Seconds()),
		fmt.Sprintf("SOURCE_CONNECT_RETRY=%d", max(1, int64(math.Ceil(src.ConnectRetry.Seconds())))),
		fmt.Sprintf("SOURCE_RETRY_COUNT=%d", connectRetries)}, more...)
	options = append(options, s.cfg.TLS.source()...)
	err := s.repl.exec(ctx, "change source",
		"CHANGE REPLICATION SOURCE TO "+strings.Join(options, ", ")+" FOR CHANNEL ''",
		src.Host, int64(src.Port), src.User, src.Password)
	if hasErrno(err, errnoNoChannel) {
		return fmt.Errorf("%w: %w", ErrNoReplication, err)
	}
	return err
}

// arm decides what the next start of the receiver will do; a running one goes on as it is.
func (s *Server) arm(ctx context.Context, armed bool) error {
	return s.set(ctx, "set semi-sync replica side", "rpl_semi_sync_replica_enabled="+onOff(armed))
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// SetArmed makes the receiver send ACKs, or not, and restarts it, because only that applies it. With
// armed=false it returns only when the receiver is confirmed to have stopped in between. A receiver
// that was off stays off.
func (s *Server) SetArmed(ctx context.Context, armed bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	st, err := s.Status(ctx)
	if err != nil {
		return fmt.Errorf("set armed: %w", err)
	}
	r := st.Replica
	if r != nil && r.Receiver == On && r.Armed == armed && r.ArmedWanted == armed {
		return nil
	}
	if r == nil || r.Receiver == Off {
		return s.arm(ctx, armed)
	}
	if err := s.StopReceiver(ctx); err != nil {
		return fmt.Errorf("set armed: %w", err)
	}
	if err := s.arm(ctx, armed); err != nil {
		return errors.Join(err, s.startReceiver(ctx))
	}
	if err := s.startReceiver(ctx); err != nil {
		return fmt.Errorf("set armed: %w", err)
	}
	return nil
}

// ResetReplica forgets the channel and deletes the relay logs. It refuses with ErrUndrained while
// anything received is not executed (trap 3). No channel is fine.
func (s *Server) ResetReplica(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	// Before the threads stop, because an applier in the middle of something may not stop; and after,
	// because until then more may have come.
	for _, prepare := range []func(context.Context) error{nil, s.StopReplica} {
		if prepare != nil {
			if err := prepare(ctx); err != nil {
				return fmt.Errorf("reset replica: %w", err)
			}
		}
		st, err := s.Status(ctx)
		if err != nil {
			return fmt.Errorf("reset replica: %w", err)
		}
		if left := st.Undrained(); !left.IsEmpty() {
			return fmt.Errorf("reset replica: %w: %s", ErrUndrained, left)
		}
		if st.Replica == nil {
			return nil
		}
	}
	return s.repl.exec(ctx, "reset replica", "RESET REPLICA ALL FOR CHANNEL ''")
}

// drainStep bounds one wait inside WaitDrained, so that a stopped applier is noticed.
const drainStep = 0.25 // seconds

// WaitDrained returns once everything received so far is executed. It fails at once when the applier
// is stopped; otherwise it ends with the context.
func (s *Server) WaitDrained(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		if done, err := s.DrainSome(ctx); done || err != nil {
			return err
		}
	}
}

// DrainSome waits for a quarter of a second at most, and tells whether everything received is executed by then. Like
// WaitDrained it fails at once when the applier is stopped.
func (s *Server) DrainSome(ctx context.Context) (done bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "wait until drained"
	st, err := s.Status(ctx)
	if err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	left := st.Undrained()
	if left.IsEmpty() {
		return true, nil
	}
	if _, err := applierRuns(st.Replica); err != nil {
		return false, fmt.Errorf("%s: %w: %s left", op, err, left)
	}
	if st.Replica.Applier != On {
		return false, fmt.Errorf("%s: %w: applier is off: %s left", op, ErrUndrained, left)
	}
	if err := s.waitExecuted(ctx, left); err != nil {
		return false, fmt.Errorf("%s: %w: %s left", op, err, left)
	}
	return false, nil
}

func (s *Server) waitExecuted(ctx context.Context, set gtid.Set) error {
	_, err := s.slow.query(ctx, "wait for execution",
		fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, %g)", drainStep), set.String())
	return err
}
