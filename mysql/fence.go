package mysql

import (
	"context"
	"fmt"
	"time"
)

// FenceResult is what a complete fence found.
type FenceResult struct {
	// Waiters is how many sessions waited for an ACK when fencing began. They are cut without an OK;
	// their transactions may be in the history all the same.
	Waiters int
	Took    time.Duration
}

// notClients are sessions a fence must leave alone: the streams that carry the ACKs waiting commits
// need, and mysqld's own threads.
const notClients = "COMMAND NOT LIKE 'Binlog Dump%' AND USER NOT IN ('system user', 'event_scheduler')"

// Fence takes a serving mysqld out of service in the order of the protocol: clients off, remaining
// sessions killed (those with CONNECTION_ADMIN too), no more writes, nobody left who waits for an ACK.
// Streams to replicas stay, so that waiting commits can still complete.
//
// It is bounded by ctx. After any error the state is unknown (a super_read_only that hangs behind an
// ACK leaves both variables off when it gives up): the caller sends SIGKILL, never SIGTERM. The error
// is a *StepError and names the step.
func (s *Server) Fence(ctx context.Context) (FenceResult, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	began := time.Now()
	var result FenceResult
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"fence 1, cut clients", s.OfflineOn},
		{"fence 2, kill sessions", func(ctx context.Context) (err error) {
			if result.Waiters, err = s.waiters(ctx); err != nil {
				return err
			}
			return s.killAll(ctx, "kill sessions", false, notClients)
		}},
		{"fence 3, no more writes", func(ctx context.Context) error {
			return s.fence.exec(ctx, "set super_read_only", "SET GLOBAL super_read_only=ON")
		}},
		{"fence 4, check", s.checkFenced},
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			result.Took = time.Since(began)
			return result, &StepError{Step: step.name, Err: err}
		}
	}
	result.Took = time.Since(began)
	return result, nil
}

const fencedQuery = `SELECT @@GLOBAL.offline_mode AS offline, @@GLOBAL.super_read_only AS sro, @@GLOBAL.gtid_owned AS owned;
` + waitersQuery

// checkFenced waits until no commit is under way any more and reads both variables back.
func (s *Server) checkFenced(ctx context.Context) error {
	var waiting, owned string
	err := poll(ctx, "wait for commits under way", func(ctx context.Context) (bool, error) {
		sets, err := s.fence.query(ctx, "check fence", fencedQuery)
		if err != nil {
			return false, err
		}
		if v := sets[0][0]; !v.on("offline") || !v.on("sro") {
			return false, fmt.Errorf("check fence: somebody opened mysqld again: offline_mode=%s super_read_only=%s", v["offline"], v["sro"])
		}
		waiting, owned = sets[1][0]["Value"], sets[0][0]["owned"]
		return waiting == "0" && owned == "", nil
	})
	if err != nil && ctx.Err() != nil && waiting != "" {
		return fmt.Errorf("%w: %s sessions, transactions %q: %w", ErrWaiters, waiting, owned, err)
	}
	return err
}

func (s *Server) waiters(ctx context.Context) (int, error) {
	sets, err := s.fence.query(ctx, "count waiters", waitersQuery)
	if err != nil {
		return 0, err
	}
	return int(sets[0][0].number("Value")), nil
}
