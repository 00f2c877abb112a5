package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// markerEvery is the least time between two markers: each one may itself wait for an acknowledgement.
	markerEvery = 500 * time.Millisecond
	// maxQuestions bounds the checkpoints that stand at a time; the oldest is forgotten, and asked again if it still matters.
	maxQuestions = 8
)

// OpenWrites is OPEN. Until its last statement no client can reach the server, so an error leaves it closed or, at
// worst, unknown; the caller fences. The lease bounds it.
func (a *Agent) OpenWrites(ctx context.Context, f roles.Facts) error {
	st := a.keeper.state()
	if !st.held {
		return errors.New("open writes: the lease ran out")
	}
	if a.hooks != nil {
		if err := a.disk.finish(ctx); err != nil { // nobody outside is told of a term that may not be remembered
			return fmt.Errorf("open writes: %w", err)
		}
		a.hookPromotion(ctx, f, st.expiresIn)
		if st = a.keeper.state(); !st.held {
			return errors.New("open writes: the lease ran out while the hook before-promote was waited for")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, st.expiresIn)
	defer cancel()
	sync := f.View.Sync
	if err := a.keeper.arm(); err != nil {
		return fmt.Errorf("open writes: %w", err)
	}
	var laps *lapTimer
	var turn *turning
	if t := a.handed(sync); t != nil {
		laps, turn = t.laps, t.turning
		laps.lap("begin to open")
	}
	k := max(min(a.settings().Acks, len(sync.Ackers())), sync.Acks) // the setting may have changed since the promise was made
	noEvents := false                                               // nothing is received any more and everything is applied: what is not there now will not come
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"cut readers", a.cutReaders(f, turn)},
		{"read_only off", func(ctx context.Context) error {
			var all errgroup.Group
			all.Go(func() error { return a.srv.ReadOnlyOff(ctx) })
			if turn == nil {
				all.Go(func() (err error) { noEvents, err = a.srv.NoEventsWait(ctx); return err })
			} else {
				noEvents = turn.noEvents
			}
			return all.Wait()
		}},
		// Locked out before anything is to be acknowledged: with the source side on, a stream that is killed ends only when the
		// thread that collects acknowledgements lets go of it, up to a second later (trap 15). Both are in force before clients are.
		{"lock out", a.lockOthersOut(turn)},
		{"source on", func(ctx context.Context) error { return a.srv.SetSource(ctx, k > 0, k) }},
		{"let in", a.letSealedIn(f, turn)},
		{"receiver off", turn.nothingElse},
		{"term on disk", func(ctx context.Context) error { return a.termOnDisk(ctx, sync) }},
		{"events", func(ctx context.Context) error { // the scheduler starts only now: an event's commits wait for the same acknowledgements
			if noEvents {
				return a.srv.StartEvents(ctx)
			}
			return a.srv.EnableEvents(ctx)
		}},
		{"marker", a.ensureMarker(f)},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("open writes: %w", err)
		}
		laps.lap(step.name)
	}
	if !a.keeper.state().held {
		return errors.New("open writes: the lease ran out while opening")
	}
	if err := a.srv.OfflineOff(ctx); err != nil {
		return fmt.Errorf("open writes: %w", err)
	}
	a.catalog.want(a.catalog.primary())
	a.leading, a.openTerm, a.admits, a.checkpoints, a.follow = sync, sync.Term, 0, nil, roles.Follow{}
	a.accounts.forget()
	clear(a.silent)
	a.keeper.opened(sync.Term)
	a.openedAfterHandover(sync)
	return nil
}

// cutReaders makes sure that no client is there: a follower serves readers, and none of them may write before everything is
// in force. A sealed node receives nothing any more either, and its applier holds no rows of a transaction that will not
// come any more; one that was handed over to ends its receiver meanwhile.
func (a *Agent) cutReaders(f roles.Facts, turn *turning) func(context.Context) error {
	return func(ctx context.Context) error {
		if turn != nil {
			return turn.closed.wait(ctx)
		}
		if f.MySQL.Receiver != roles.Off {
			if err := a.srv.StopReceiver(ctx); err != nil {
				return err
			}
		}
		if r := a.status.Replica; r != nil && !r.Half.IsEmpty() {
			a.Log.Info("the old primary died while it sent a transaction; its beginning is dropped", "gtid", r.Half.String())
			if err := a.srv.DropHalf(ctx); err != nil {
				return err
			}
		}
		return a.srv.OfflineOn(ctx)
	}
}

// lockOthersOut leaves only those streams that acknowledge for this very term already.
func (a *Agent) lockOthersOut(turn *turning) func(context.Context) error {
	return func(ctx context.Context) error {
		switch {
		case turn == nil:
			return a.lockEverybody(ctx, false)
		case turn.clear: // only this agent ever unlocks one, and it has not
			return nil
		}
		return a.lockEverybody(ctx, false, turn.spare...)
	}
}

// letSealedIn lets those in who sealed for this very term, now that everybody is locked out and commits wait for them, and says so:
// they connect while the rest is done, before clients that all log in at once take the processor.
func (a *Agent) letSealedIn(f roles.Facts, turn *turning) func(context.Context) error {
	return func(ctx context.Context) error {
		if turn != nil {
			return nil
		}
		var users []string
		for _, i := range roles.Sealed(f) {
			users = append(users, a.creds.Node(i.Name()))
		}
		if len(users) == 0 {
			return nil
		}
		if err := a.srv.OpenAccounts(ctx, users); err != nil {
			return err
		}
		a.admits = f.View.Sync.Term
		a.record.want(a.ownRecord(f)) // written beside the rest
		return nil
	}
}

// termOnDisk waits for the record of this term to be durable: a node that does not remember its term does not open it.
func (a *Agent) termOnDisk(ctx context.Context, sync roles.Sync) error {
	if err := a.disk.finish(ctx); err != nil {
		return err
	}
	if last := a.disk.s.LastSync; last.Term != sync.Term || a.disk.s.Promised != sync.Term {
		return fmt.Errorf("on disk is %s and a promise of term %d, not %s", last, a.disk.s.Promised, sync)
	}
	return nil
}

// ensureMarker makes the table of markers as the cluster's first transaction. Later terms have it already.
func (a *Agent) ensureMarker(f roles.Facts) func(context.Context) error {
	if !f.Founded {
		return func(context.Context) error { return nil }
	}
	return a.srv.EnsureMarkerTable
}

// lockEverybody locks every replication account but the spared, and ends every other stream. When locking hangs behind a
// commit that waits (logins then hang as well) and the record already says that nobody else can win, the source side goes
// off first: that frees the waiters, and then the lock is taken and verified.
func (a *Agent) lockEverybody(ctx context.Context, mayFree bool, spared ...string) error {
	accounts, err := a.srv.ReplicationAccounts(ctx)
	if err != nil {
		return fmt.Errorf("lock everybody: %w", err)
	}
	users := make([]string, 0, len(accounts))
	for user, locked := range accounts { // only this agent ever unlocks one, and it does so on this goroutine
		if !locked && !slices.Contains(spared, user) {
			users = append(users, user)
		}
	}
	if len(users) > 0 {
		err = a.srv.LockAccounts(ctx, users)
	}
	if err != nil && mayFree {
		if err = a.srv.SetSource(ctx, false, 0); err == nil {
			err = a.srv.LockAccounts(ctx, users)
		}
	}
	if err != nil {
		return fmt.Errorf("lock everybody: %w", err)
	}
	return a.srv.KillDumpThreadsBut(ctx, spared)
}

// fence makes sure that this server serves nobody: in order if it can within half the budget, by SIGKILL otherwise.
// It never waits for Consul and never fails.
func (a *Agent) fence(ctx context.Context, why string) {
	a.catalog.want(nil)
	started := election.Boottime()
	how := "fenced"
	if _, running := a.Guard.Mysqld(); !running {
		how = "mysqld is gone"
	} else if a.srv == nil {
		how = "killed: there is no connection to it"
		a.kill(ctx)
	} else {
		fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Params.F/2)
		_, err := a.srv.Fence(fctx)
		cancel()
		if err != nil {
			how = "killed: " + err.Error()
			a.kill(ctx)
		}
	}
	a.giveUpAttach()
	a.keeper.disarm()
	a.keeper.drop() // it is no longer this node's to renew; the session stays, and the lock is released next
	a.promoted, a.admits, a.founded, a.accepted = 0, 0, false, nil
	a.Log.Info("fence", "why", why, "how", how, "took", (election.Boottime() - started).Round(time.Millisecond).String())
}

// ask reads the end of the binary log, after whatever the question is about has been put in force, and publishes it.
func (a *Agent) ask(ctx context.Context, what string) error {
	end, err := a.srv.EndOfBinlog(ctx)
	if err != nil {
		return fmt.Errorf("ask %q: %w", what, err)
	}
	seq := uint64(time.Now().UnixMilli())
	if n := len(a.checkpoints); n > 0 {
		seq = max(seq, a.checkpoints[n-1].Seq+1)
	}
	c := roles.Checkpoint{Seq: seq, For: what, End: roles.BinlogPos{SourceUUID: end.SourceUUID, File: end.File, Pos: end.Pos}}
	a.checkpoints = append(slices.Clone(a.checkpoints[max(0, len(a.checkpoints)-maxQuestions+1):]), c)
	return nil
}

// commitMarker commits one row beside the loop, so that a marker that waits itself cannot hold up anything.
func (a *Agent) commitMarker(ctx context.Context) error {
	now := election.Boottime()
	if now-a.markerAt < markerEvery {
		return errNotNow
	}
	a.markerAt = now
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Params.H)
		defer cancel()
		if err := a.probe(ctx); err != nil {
			a.Log.Debug("commit marker", "err", err)
		}
	}()
	return nil
}

// probe commits one row and returns once it is acknowledged. Safe for concurrent use.
func (a *Agent) probe(ctx context.Context) error {
	srv := a.marker.Load()
	if srv == nil {
		return errors.New("mysqld is not running")
	}
	return srv.Marker(ctx)
}
