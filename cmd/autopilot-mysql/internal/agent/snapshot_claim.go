package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// Ends of work on a snapshot that say nothing about snapshots or their store: it is tried again.
var (
	// errLostClaim ends work whose lock is held by another node now.
	errLostClaim = errors.New("another node holds the snapshot lock now")
	// errNoClaim means that Consul did not say whether the lock is ours.
	errNoClaim = errors.New("take the snapshot lock")
)

// unclaimed reports whether work ended, or did not begin, for want of the lock.
func unclaimed(err error) bool {
	return errors.Is(err, errNotNow) || errors.Is(err, errLostClaim) || errors.Is(err, errNoClaim)
}

// claim is the cluster-wide right to work on a snapshot: a lock of our session, taken again all the time. While nobody
// can tell whether we still hold it, the work stands still; it goes on when we do, and ends when another node does.
type claim struct {
	a      *Agent
	lock   string
	cancel context.CancelCauseFunc

	mu        sync.Mutex
	work      cluster.SnapshotWork
	confirmed time.Duration // CLOCK_BOOTTIME before the last request that confirmed it was sent
}

// claimed runs work under the lock; errNotNow when another node holds it, errNoClaim when nobody knows.
func (s *snapshotter) claimed(ctx context.Context, doing string, work func(ctx context.Context, c *claim) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &claim{a: s.a, lock: s.a.keys.SnapshotLock(), cancel: cancel,
		work: cluster.SnapshotWork{Node: s.a.Settings.Name, Doing: doing, Stage: doing, Since: time.Now().UTC().Truncate(time.Second)}}
	err := c.renew(ctx)
	if errors.Is(err, errLostClaim) {
		return errNotNow
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoClaim, err)
	}
	defer s.unlock(ctx, c.lock)
	var keeping sync.WaitGroup
	keeping.Go(func() { c.keep(ctx) })
	err = work(ctx, c)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errLostClaim) {
		err = errors.Join(cause, err)
	}
	cancel(nil)
	keeping.Wait()
	return err
}

// renew takes the lock, again or for the first time.
func (c *claim) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	c.mu.Lock()
	value := cluster.Encode(c.work)
	c.mu.Unlock()
	t0 := election.Boottime()
	got, err := c.a.Session.Acquire(ctx, c.lock, value)
	if err != nil {
		return err
	}
	if !got {
		return errLostClaim
	}
	c.mu.Lock()
	c.confirmed = t0
	c.mu.Unlock()
	return nil
}

// keep renews until ctx ends. It also publishes how far the work is.
func (c *claim) keep(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, max(c.a.Params.H/3, 300*time.Millisecond))
		if ctx.Err() != nil {
			return
		}
		if err := c.renew(ctx); errors.Is(err, errLostClaim) {
			c.cancel(errLostClaim)
			return
		}
	}
}

// report says how far the work is, and waits while nobody can tell whether we may do it.
func (c *claim) report(ctx context.Context, stage, id string, done, total int64) {
	c.mu.Lock()
	c.work.Stage, c.work.ID = stage, id
	if done == total || done-c.work.Done > total/50 || done < c.work.Done || total != c.work.Total { // every value is a write in Consul
		c.work.Done, c.work.Total = done, total
	}
	c.mu.Unlock()
	for ctx.Err() == nil && c.doubtful() {
		pause(ctx, 50*time.Millisecond)
	}
}

// doubtful reports whether the lock may be another node's by now.
func (c *claim) doubtful() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return election.Boottime()-c.confirmed > c.a.Params.H
}
