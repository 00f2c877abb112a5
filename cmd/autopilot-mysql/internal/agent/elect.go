package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// seal is SEAL: the lock is free by a consistent read; the receiver stops, and is seen to have stopped, before the
// promise is made durable. From here on this node acknowledges nothing of the old term.
func (a *Agent) seal(ctx context.Context, f roles.Facts) error {
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if !view.Leader.Free() {
		return fmt.Errorf("seal: %s holds the lock again: %w", view.Leader.Holder.Name(), errNotNow)
	}
	if f.MySQL.Receiver != roles.Off {
		if err := a.srv.StopReceiver(ctx); err != nil {
			return fmt.Errorf("seal: %w", err)
		}
	}
	a.follow = roles.Follow{}
	term := view.Sync.Term + 1
	if a.disk.s.Promised == term {
		return nil
	}
	if a.disk.s.Promised > term { // a promise is never lowered: Consul went back in time
		return fmt.Errorf("seal: promised term %d already, Consul shows %s: %w", a.disk.s.Promised, view.Sync, errNotNow)
	}
	return a.disk.save(func(s *diskState) {
		s.Promised = term
		s.LastSync = newer(s.LastSync, view.Sync)
	})
}

func newer(a, b roles.Sync) roles.Sync {
	if b.Term > a.Term || b.Term == a.Term && b.Ver > a.Ver {
		return b
	}
	return a
}

// publishSeal is PUBLISH: the position is read now, after the receiver stopped, and told while the lock is still free.
func (a *Agent) publishSeal(ctx context.Context) error {
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("publish seal: %w", err)
	}
	if !view.Leader.Free() || view.Sync.Term+1 != a.disk.s.Promised {
		return fmt.Errorf("publish seal: %w", errNotNow)
	}
	f, err := a.sealedFacts(ctx, view)
	if err != nil {
		return fmt.Errorf("publish seal: %w", err)
	}
	me := a.disk.inc()
	ok, why, err := a.Store.Txn(ctx, election.CheckIndex(a.keys.Sync(), view.Sync.Ver), election.Set(a.keys.Seal(me), cluster.Encode(roles.OwnSeal(f))))
	if err != nil {
		return fmt.Errorf("publish seal: %w", err)
	}
	if !ok {
		return fmt.Errorf("publish seal: %s: %w", why, errNotNow)
	}
	_, err = a.watch.refresh(ctx)
	return err
}

// sealedFacts reads the position again and makes sure that it cannot grow: no receiver, no open writes, no waiter.
func (a *Agent) sealedFacts(ctx context.Context, view roles.View) (roles.Facts, error) {
	st, err := a.srv.Status(ctx)
	if err != nil {
		return roles.Facts{}, err
	}
	m := a.render(st)
	if m.Receiver != roles.Off || !m.ReadOnly || m.WaitSessions > 0 {
		return roles.Facts{}, fmt.Errorf("not sealed (receiver %s, read-only %t, %d commits waiting): %w", m.Receiver, m.ReadOnly, m.WaitSessions, errNotNow)
	}
	return roles.Facts{
		Self: roles.Self{Inc: a.disk.inc(), Name: a.Settings.Name, Priority: a.Settings.Priority}, Disk: a.diskFacts(), MySQL: m, View: view,
		CannotDrain: a.noDrain, Stop: a.stop.Load(),
	}, nil
}

// acquire takes the lock: to found a cluster, or as the winner of an election that still holds by a consistent read.
func (a *Agent) acquire(ctx context.Context, f roles.Facts) error {
	if a.disk.s.Founding { // what a former creation sent, perhaps still under way, must not be recorded from here on
		if err := a.keeper.destroy(ctx); err != nil {
			return fmt.Errorf("acquire lock: end the former creation: %w", err)
		}
	}
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("acquire lock: %w", err)
	}
	if !view.Leader.Free() {
		return fmt.Errorf("acquire lock: %s has it: %w", view.Leader.Holder.Name(), errNotNow)
	}
	if a.machine.State() == roles.Failover {
		if v := roles.Elect(f.Self.Inc, view, a.settings().Acks); !v.Win {
			return fmt.Errorf("acquire lock: %s: %w", v.Why, errNotNow)
		}
	}
	a.promoted = 0 // an older promotion says nothing about what happens under this lock
	got, err := a.keeper.acquire(ctx, []byte(f.Self.Inc))
	if err != nil {
		return fmt.Errorf("acquire lock: %w", err)
	}
	if !got {
		return fmt.Errorf("acquire lock: somebody was quicker: %w", errNotNow)
	}
	_, err = a.watch.refresh(ctx)
	return err
}

// draining is since when this node applies what it received, for one promise.
type draining struct {
	promise uint64
	since   time.Duration
}

// drain applies what was received, a little at a time, so that the loop goes on looking around. What cannot be applied in
// time makes this node the last choice for this term.
func (a *Agent) drain(ctx context.Context, f roles.Facts) error {
	now := election.Boottime()
	if a.drains.promise != f.Disk.Promised {
		a.drains = draining{f.Disk.Promised, now}
	}
	done := false
	err := a.srv.StartApplier(ctx)
	if err == nil {
		done, err = a.srv.DrainSome(ctx)
	}
	switch {
	case done:
		return nil
	case err == nil && now-a.drains.since < a.Settings.DrainTimeout:
		return errAgain
	case err == nil:
		err = fmt.Errorf("not within %s (setting drain-timeout)", a.Settings.DrainTimeout)
	}
	a.noDrain = f.Disk.Promised
	return fmt.Errorf("drain: %w", err)
}

const (
	// rotateLimit bounds a new binary log file at a promotion, which takes milliseconds and only saves time.
	rotateLimit = 500 * time.Millisecond
	// rotateFrom is how long a binary log file must be for a new one to save more than it costs: 16 ms beside the transaction
	// (measured by make bench NAME=mysqld-killed), of one millisecond or more for each megabyte (make bench NAME=reconnect).
	rotateFrom = 16 << 20
)

// beginBinlog begins a new binary log file beside the promotion's transaction, if the present one is long, so that those who will
// follow find their place in it at once (trap 26). Nothing is committed here meanwhile: it must be over before anybody may write
// (trap 19), which is when the channel is closed.
func (a *Agent) beginBinlog(ctx context.Context) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		ctx, cancel := context.WithTimeout(ctx, rotateLimit)
		defer cancel()
		end, err := a.srv.EndOfBinlog(ctx)
		if err == nil && end.Pos >= rotateFrom {
			err = a.srv.RotateBinlog(ctx)
		}
		if err != nil {
			a.Log.Debug("no new binary log for this term", "err", err)
		}
	}()
	return over
}

// promote is PROMOTE: one transaction, guarded by the lock and by the version of sync the election was computed from.
func (a *Agent) promote(ctx context.Context) error {
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	session := a.keeper.state().session
	f, err := a.sealedFacts(ctx, view)
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	v := roles.Elect(f.Self.Inc, view, a.settings().Acks)
	if !v.Win || view.Leader.Session != session || !view.Seals[f.Self.Inc].Position.Equal(f.MySQL.Position()) || !f.MySQL.Undrained().IsEmpty() {
		return fmt.Errorf("promote: %s: %w", v.Why, errNotNow)
	}
	// LastSync only once it is recorded: after a loss of Consul's data it counts as what the cluster had agreed on, and a
	// promotion that was refused never was that.
	if err := a.disk.save(func(s *diskState) { s.Led = true }); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	ops := []election.Op{election.CheckSession(a.keys.Leader(), session), election.CAS(a.keys.Sync(), view.Sync.Ver, cluster.Encode(v.Next))}
	if view.Automatic(v.Next) {
		_, extra, _, _ := a.watch.current(a.Params.H)
		ops = append(ops, election.Set(a.keys.Failovers(), cluster.Encode(extra.WithFailover(view, v.Next, time.Now()))))
	}
	rotated := a.beginBinlog(ctx)
	ok, why, err := a.Store.Txn(ctx, ops...)
	<-rotated
	if err != nil && !errors.Is(err, election.ErrUnknown) {
		return fmt.Errorf("promote: %w", err)
	}
	if err == nil && !ok {
		return errors.Join(fmt.Errorf("promote: refused: %s", why), a.keeper.release(ctx))
	}
	after, rerr := a.watch.refresh(ctx)
	if rerr != nil || !after.Sync.Equal(v.Next) || after.Leader.Session != session {
		return errors.Join(fmt.Errorf("promote: outcome unknown: %w", errors.Join(err, rerr)), a.keeper.destroy(ctx))
	}
	if err := a.disk.save(func(s *diskState) { s.LastSync = after.Sync }); err != nil {
		return fmt.Errorf("promote: %w", err) // unremembered it does not open; what follows is the next election
	}
	a.promoted = v.Next.Term
	return nil
}
