package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

const endWritesQuery = `SELECT @@GLOBAL.super_read_only AS sro, @@GLOBAL.gtid_owned AS owned, @@GLOBAL.gtid_executed AS executed;
` + waitersQuery

// Throttle makes every group of commits wait for delay before it is made durable: clients write slower, none is refused, and
// followers catch up. 0 ends it; then as before commits wait as long as the user's own options say, if they do. It does not
// survive a restart, and EndWrites, ReadOnlyOff and DisableEvents end it too: it never outlives a role.
func (s *Server) Throttle(ctx context.Context, delay time.Duration) error {
	return s.set(ctx, "throttle commits", s.cfg.throttle(delay))
}

func (c Config) throttle(delay time.Duration) string {
	const name = "binlog_group_commit_sync_delay"
	own, _ := extraInt(c.Extra, name)
	return fmt.Sprintf("%s=%d", name, max(int64(own), delay.Microseconds()))
}

// EndWrites makes a serving primary read-only in order: commits under way are completed, with their ACKs, and no other
// begins. It ends a Throttle, also when it fails. It returns the whole history: nothing is in the binary log that is not in
// it. Clients stay connected.
//
// When something holds it up (a lock, a commit without ACK) it fails within lock_wait_timeout, one second, and mysqld
// goes on as before; after an unknown outcome the caller reads the state.
func (s *Server) EndWrites(ctx context.Context) (history gtid.Set, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "end writes"
	query := fmt.Sprintf("SET GLOBAL %s, GLOBAL super_read_only=ON;\n", s.cfg.throttle(0)) + endWritesQuery
	err = poll(ctx, op, func(ctx context.Context) (bool, error) {
		sets, err := s.fence.query(ctx, op, query)
		if err != nil {
			return false, err
		}
		sets = sets[len(sets)-2:]
		v := sets[0][0]
		if !v.on("sro") {
			return false, fmt.Errorf("%s: %w", op, errors.New("mysqld did not take super_read_only"))
		}
		query = endWritesQuery // once is enough; the rest is a look
		if v["owned"] != "" || sets[1][0]["Value"] != "0" {
			return false, nil
		}
		history, err = gtid.Parse(v["executed"])
		return err == nil, err
	})
	return history, err
}

// BeginWrites undoes EndWrites, and offline_mode with it.
func (s *Server) BeginWrites(ctx context.Context) error {
	return s.set(ctx, "begin writes", "read_only=OFF", "offline_mode=OFF")
}

// WaitExecuted returns what is here once everything in set is executed, or with the context's end: there may be more than
// set.
func (s *Server) WaitExecuted(ctx context.Context, set gtid.Set) (Held, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "wait for execution"
	deadline, _ := ctx.Deadline()
	limit := max(time.Until(deadline)-20*time.Millisecond, time.Millisecond).Seconds()
	sets, err := s.repl.query(ctx, op, fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, %.3f) AS late;\n", limit)+heldQuery, set.String())
	if err != nil {
		return Held{}, err
	}
	if sets[0][0]["late"] != "0" {
		return Held{}, fmt.Errorf("%s: %w: not within %.1f s", op, ErrUndrained, limit)
	}
	h, err := heldFrom(sets[1:])
	if err != nil {
		return Held{}, fmt.Errorf("%s: %w", op, err)
	}
	return h, nil
}

// LetIn makes the replication accounts of others exist and unlocks them at a server that is not the primary: they may
// receive from it. Every other replication account it locks: opening then finds nothing left to lock. It takes
// super_read_only off for a moment; read_only, which binds every application, stays on.
func (s *Server) LetIn(ctx context.Context, users []string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	accounts, err := s.ReplicationAccounts(ctx)
	if err != nil {
		return err
	}
	var others []string
	for user, locked := range accounts {
		if !locked && !slices.Contains(users, user) {
			others = append(others, user)
		}
	}
	if len(users) == 0 && len(others) == 0 {
		return nil
	}
	return s.whileAdminsWrite(ctx, "let followers in", func(ctx context.Context) error {
		if err := s.LockAccounts(ctx, others); err != nil {
			return err
		}
		return s.OpenAccounts(ctx, users)
	})
}

// whileAdminsWrite does something that super_read_only forbids, at a server that is not the primary.
func (s *Server) whileAdminsWrite(ctx context.Context, op string, do func(context.Context) error) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.set(ctx, op, "super_read_only=OFF", "read_only=ON"); err != nil {
		return err
	}
	defer func() { // also when ctx is over by then
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		if again := s.set(ctx, op, "super_read_only=ON"); err == nil {
			err = again
		}
	}()
	return do(ctx)
}
