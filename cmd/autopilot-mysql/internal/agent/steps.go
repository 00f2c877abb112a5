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

// errNotNow says that a step found its condition gone; the next turn decides again.
var errNotNow = errors.New("the situation has changed")

// errAgain says that a step did its part of something longer: look around and go on at once.
var errAgain = errors.New("not done yet")

// step carries out one step, bounded in time, and reports whether something changed.
func (a *Agent) step(ctx context.Context, s roles.Step, f roles.Facts) bool {
	started := election.Boottime()
	sctx, cancel := a.stepContext(ctx, s)
	defer cancel()
	err := a.perform(sctx, s, f)
	took := (election.Boottime() - started).Round(time.Millisecond)
	switch {
	case err == nil:
		a.Log.Info("step", "op", s.Op, "why", s.Why, "took", took.String())
		a.milestones.reach(s.Op, f, election.Boottime())
		return true
	case errors.Is(err, errAgain):
		return true
	case errors.Is(err, errNotNow):
		a.Log.Debug("step overtaken", "op", s.Op, "why", s.Why, "err", err)
		return false
	}
	a.Log.Warn("step failed; it is decided again", "op", s.Op, "why", s.Why, "took", took.String(), "err", err)
	a.why = fmt.Sprintf("%s: %v", s.Why, err)
	return false
}

// stepContext bounds a step. What a leader does ends with its lease at the latest: then only fencing matters.
func (a *Agent) stepContext(ctx context.Context, s roles.Step) (context.Context, context.CancelFunc) {
	limit := stepTimeout
	if s.Op == roles.Fence {
		return context.WithCancel(ctx)
	}
	if st := a.keeper.state(); st.provable {
		limit = min(limit, st.expiresIn)
	}
	return context.WithTimeout(ctx, limit)
}

func (a *Agent) perform(ctx context.Context, s roles.Step, f roles.Facts) error {
	switch s.Op {
	case roles.StartMysqld:
		return a.startMysqld(ctx)
	case roles.StopMysqld:
		return a.killMysqld(ctx)
	case roles.Found:
		return a.found()
	case roles.Restore:
		a.restore(f)
		return nil
	case roles.PutBack:
		return a.putBack(ctx, s)
	case roles.Close:
		return a.srv.ReadOnlyOn(ctx)
	case roles.Archive:
		return a.giveUp(f)
	case roles.Fence:
		a.fence(ctx, s.Why)
		return nil
	case roles.SealReceive:
		return a.seal(ctx, f)
	case roles.PublishSeal:
		return a.publishSeal(ctx)
	case roles.Acquire:
		return a.acquire(ctx, f)
	case roles.Drain:
		return a.drain(ctx, f)
	case roles.Promote:
		return a.promote(ctx)
	case roles.Release:
		return a.keeper.release(ctx)
	case roles.Expect:
		return a.expectPrimary(ctx, f)
	case roles.FollowOp:
		return a.followPrimary(ctx, f)
	case roles.Confirm:
		return a.confirm(ctx, f)
	case roles.TakeBack:
		return a.takeBack(ctx, s.Sync)
	case roles.WriteSync:
		return a.writeSync(ctx, s.Sync)
	case roles.GiveUp:
		return a.surrender(s, f)
	case roles.Force:
		return a.force(ctx, s)
	}
	if err, ok := a.performHandover(ctx, s, f); ok {
		return err
	}
	return a.performPrimary(ctx, s, f)
}

func (a *Agent) performPrimary(ctx context.Context, s roles.Step, f roles.Facts) error {
	user := a.accountOf(s.Node)
	switch s.Op {
	case roles.Unlock:
		a.checkpoints = roles.AfterUnlock(a.checkpoints, s.Node)
		if err := a.srv.EnsureAccount(ctx, user, true); err != nil {
			return err
		}
		a.accounts.note(user, false) // also if the answer is lost
		return a.srv.UnlockAccount(ctx, user)
	case roles.Lock:
		if err := a.srv.LockAccounts(ctx, []string{user}); err != nil {
			return err
		}
		a.accounts.note(user, true)
		return a.srv.KillDumpThreads(ctx, []string{user})
	case roles.LockAll:
		defer a.accounts.forget()
		return a.lockEverybody(ctx, true)
	case roles.SetK:
		return a.srv.SetSource(ctx, s.K > 0, s.K)
	case roles.Ask:
		return a.ask(ctx, s.For)
	case roles.Marker:
		return a.commitMarker(ctx)
	case roles.Dismiss:
		return a.dismiss(ctx, s, f)
	case roles.Forget:
		return a.forget(ctx, s.Node)
	}
	return fmt.Errorf("step %q is not known", s.Op)
}

func (a *Agent) accountOf(i roles.Inc) string {
	name := i.Name()
	if len(name) > len(accountPrefix) && name[:len(accountPrefix)] == accountPrefix {
		return name[len(accountPrefix):]
	}
	return a.creds.Node(name)
}

// writeSync changes the ack set under the lock. When the outcome stays unknown the node no longer knows who may
// complete a commit, so it gives up leading: it destroys its session, which kills the transaction if it is under way.
func (a *Agent) writeSync(ctx context.Context, next roles.Sync) error {
	ok, why, err := a.Store.Txn(ctx, election.CheckSession(a.keys.Leader(), a.keeper.state().session),
		election.CAS(a.keys.Sync(), next.Ver, cluster.Encode(next)))
	return a.adoptSync(ctx, next, ok, why, err)
}

// adoptSync settles the outcome of a transaction that wrote sync as the primary.
func (a *Agent) adoptSync(ctx context.Context, next roles.Sync, ok bool, why string, err error) error {
	if err != nil && !errors.Is(err, election.ErrUnknown) {
		return fmt.Errorf("write ack set: %w", err)
	}
	if err == nil && !ok {
		return fmt.Errorf("write ack set: refused: %s: %w", why, errNotNow)
	}
	view, rerr := a.watch.refresh(ctx)
	if rerr != nil || !view.Sync.Equal(next) {
		if err == nil && rerr == nil {
			err = errors.New("somebody changed it again at once")
		}
		return errors.Join(fmt.Errorf("write ack set: %w", errors.Join(err, rerr)), a.keeper.destroy(ctx))
	}
	a.leading = view.Sync
	return a.disk.save(func(s *diskState) { s.LastSync = view.Sync })
}

// takeBack gets the lost lock back in a new term, without a pause in the writes.
func (a *Agent) takeBack(ctx context.Context, next roles.Sync) error {
	session := a.keeper.state().session
	if session == "" {
		return errors.New("there is no session to take the lock with yet")
	}
	t0 := election.Boottime()
	ok, why, err := a.Store.Txn(ctx, election.Lock(a.keys.Leader(), session, []byte(a.disk.inc())),
		election.CAS(a.keys.Sync(), next.Ver, cluster.Encode(next)))
	err = a.adoptSync(ctx, next, ok, why, err)
	if err != nil && !a.leading.Equal(next) {
		a.keeper.poke() // if the session is gone as well, it is replaced now and not at its next turn
		return err
	}
	// The term is open, also when it could not be noted on disk: what is there says the same of the term before.
	a.keeper.hold(t0, session, []byte(a.disk.inc()))
	a.openTerm = a.leading.Term
	a.keeper.opened(a.openTerm)
	a.history.add(cluster.HistoryEntry{Kind: cluster.HistoryTakeBack, Node: a.Settings.Name, Term: a.leading.Term, Why: "the lock was taken back in a new term, without a pause in the writes"})
	return err
}

// putBack writes records that Consul lost, exactly as the members remember them; those who are there, when an operator goes
// on without the others.
func (a *Agent) putBack(ctx context.Context, s roles.Step) error {
	before, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("put cluster records back: %w", err)
	}
	ops, err := a.recordsBack(before, s.Sync)
	if err != nil {
		return fmt.Errorf("put cluster records back: %w", err)
	}
	var loss, by string
	if s.For != "" {
		r, err := requestOf(before, s.For)
		if err != nil {
			return err
		}
		if roles.Refuse(r, before) != nil || r.State != roles.RequestOpen {
			return fmt.Errorf("put cluster records back: %w", errNotNow)
		}
		loss, by = roles.LossOf(before, a.Settings.Name).String(), r.By
		r.State, r.Inc, r.Progress = roles.RequestRunning, a.disk.inc(), "the cluster's record is put back; given up: "+loss
		ops = append(ops, a.casRequest(r))
	}
	ok, why, err := a.Store.Txn(ctx, ops...)
	if err != nil {
		return fmt.Errorf("put cluster records back: %w", err)
	}
	if !ok {
		return fmt.Errorf("put cluster records back: %s: %w", why, errNotNow)
	}
	if by != "" {
		a.Log.Warn("forced failover: the cluster's record is put back without all of its members", "by", by, "given_up", loss, "term", s.Sync.Term)
		a.history.add(cluster.HistoryEntry{Kind: cluster.HistoryForced, Node: a.Settings.Name, Term: s.Sync.Term, Why: by + " gave up " + loss})
	}
	view, err := a.watch.refresh(ctx)
	if err == nil && a.leadingNow() && view.Sync.Equal(s.Sync) {
		a.leading = view.Sync
	}
	return err
}

// recordsBack writes what is missing in before: one of the two records may have been lost alone, or be garbage.
func (a *Agent) recordsBack(before roles.View, sync roles.Sync) ([]election.Op, error) {
	var ops []election.Op
	switch {
	case !before.Sync.Exists():
		ops = append(ops, election.CAS(a.keys.Sync(), before.GarbledVer(roles.KeySync), cluster.Encode(sync)))
	case sync.Ver != 0: // a newer one than an operator had put back
		ops = append(ops, election.CAS(a.keys.Sync(), sync.Ver, cluster.Encode(sync)))
	}
	if before.Cluster == nil {
		id := roles.Cluster{ID: a.disk.s.ClusterID, Name: a.Settings.Cluster, CreatedAt: time.Now().UTC(), CreatedBy: a.disk.inc()}
		ops = append(ops, election.CAS(a.keys.Cluster(), before.GarbledVer(roles.KeyCluster), cluster.Encode(id)))
	}
	if len(ops) == 0 {
		return nil, fmt.Errorf("somebody else did: %w", errNotNow)
	}
	if session := a.keeper.state().session; a.leadingNow() && session != "" && before.Leader.Session == session {
		ops = append(ops, election.CheckSession(a.keys.Leader(), session))
	}
	return ops, nil
}

// holder reads consistently which session holds the lock; "" when none does.
func (a *Agent) holder(ctx context.Context) (string, error) {
	view, err := a.watch.refresh(ctx)
	return view.Leader.Session, err
}
