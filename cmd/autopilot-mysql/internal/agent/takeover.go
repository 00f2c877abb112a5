package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// accepted is an offer that this node has taken.
type accepted struct {
	roles.Takeover
	seen    time.Duration // when the offer was seen here
	gap     time.Duration // without writes, known once they go on
	turning *turning
	laps    *lapTimer
}

// lapTimer notes how long the parts of a hand-over took. It belongs to the loop's goroutine.
type lapTimer struct {
	last time.Duration
	laps cluster.Laps
}

// lap ends one part and begins the next.
func (l *lapTimer) lap(name string) {
	if l == nil {
		return
	}
	now := election.Boottime()
	l.laps = append(l.laps, cluster.Lap{Name: name, MS: float64((now - l.last).Microseconds()) / 1000})
	l.last = now
}

// offerLaps begins with what happened before the offer was seen here, by the clocks of two hosts.
func offerLaps(o roles.Offer, seen time.Duration) *lapTimer {
	done := o.Done
	if done.IsZero() {
		done = o.At
	}
	lap := func(name string, took time.Duration) cluster.Lap {
		return cluster.Lap{Name: name, MS: float64(took.Microseconds()) / 1000}
	}
	return &lapTimer{last: seen, laps: cluster.Laps{lap("writes under way completed", done.Sub(o.At)), lap("offer seen", time.Since(done))}}
}

// seenLimit is how old a status may be that a turn takes from the step before it.
const seenLimit = 200 * time.Millisecond

// prepare lets in those who will acknowledge for this node, and says so. They shall find their place in the binary log at once.
func (a *Agent) prepare(ctx context.Context, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok || h.Handover == nil {
		return errNotNow
	}
	users := make([]string, 0, len(h.Handover.Chain))
	for _, i := range h.Handover.Chain {
		users = append(users, a.creds.Node(i.Name()))
	}
	if err := errors.Join(a.srv.RotateBinlog(ctx), a.srv.LetIn(ctx, users)); err != nil {
		return fmt.Errorf("prepare for the hand-over: %w", err)
	}
	a.ready, f.Ready = h.Handover.Seq, h.Handover.Seq
	return a.record.write(ctx, a.ownRecord(f))
}

// chain turns this node's receiver to the candidate. It confirms what it held when nothing arrived from anywhere, before
// it receives again.
func (a *Agent) chain(ctx context.Context, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok || h.Handover == nil {
		return errNotNow
	}
	plan, c := *h.Handover, f.View.Nodes[h.Handover.To]
	src, err := a.sourceAt(c, true)
	if err != nil {
		return err
	}
	if f.MySQL.Receiver != roles.Off {
		if err := a.srv.StopReceiver(ctx); err != nil {
			return fmt.Errorf("turn to %s: %w", c.Name, err)
		}
	}
	st, err := a.srv.Status(ctx)
	if err != nil {
		return fmt.Errorf("turn to %s: %w", c.Name, err)
	}
	if m := a.render(st); m.Receiver != roles.Off || m.K > 0 {
		return fmt.Errorf("turn to %s: still receiving, or a source: %w", c.Name, errNotNow)
	}
	a.follow, a.checked, a.steady = roles.Follow{}, checkedHistory{}, steadiness{} // the primary ended the old stream itself
	a.chained = &roles.Chained{To: plan.To, Term: plan.Term + 1, Seq: plan.Seq, Position: st.Position()}
	f.Chained = a.chained
	if err := a.confirmFollow(ctx, f); err != nil {
		a.chained = nil
		return fmt.Errorf("turn to %s: %w", c.Name, err)
	}
	if a.creds.Former != "" && errors.Is(mysql.TryLogin(ctx, c.MySQL, src.User, src.Password, a.creds.TLS), mysql.ErrAccessDenied) {
		src.Password = a.creds.Former // the candidate does not know better yet
	}
	return a.srv.Follow(ctx, src)
}

// takeOver accepts an offer: everything offered is executed here, and nothing else; then one transaction moves lock and
// record. When its outcome stays unknown this node destroys its session, which kills the transaction if it is under way.
func (a *Agent) takeOver(ctx context.Context, f roles.Facts) error {
	seen := election.Boottime()
	t, err := roles.Accept(f.Self.Inc, f.View, a.Settings.Acks)
	if err != nil {
		return fmt.Errorf("take over: %w: %w", err, errNotNow)
	}
	laps := offerLaps(t.Offer, seen)
	if err := a.disk.answers(); err != nil { // it would not open, and the old primary can take its writes back
		return fmt.Errorf("take over: %w", err)
	}
	session := a.keeper.state().session
	a.turning = newTurning(a.srv, t.Offer.GTID, a.spares(t))
	t0, err := a.mayTake(ctx, t.Offer.GTID, a.turning)
	if err != nil {
		return errors.Join(fmt.Errorf("take over: %w", err), a.turning.over(ctx))
	}
	laps.lap("everything executed")
	ok, why, err := a.Store.Txn(ctx,
		election.CheckSession(a.keys.Leader(), t.Session), election.CAS(a.keys.Sync(), t.Next.Ver, cluster.Encode(t.Next)),
		election.Unlock(a.keys.Leader(), t.Session), election.Lock(a.keys.Leader(), session, []byte(f.Self.Inc)))
	if err != nil && !errors.Is(err, election.ErrUnknown) || err == nil && !ok {
		return errors.Join(fmt.Errorf("take over: refused: %s: %w", why, errNotNow), err, a.turning.over(ctx))
	}
	laps.lap("transaction")
	show := a.watch.refresh
	if err == nil {
		show = func(ctx context.Context) (roles.View, error) { return a.watch.written(ctx, t.Next.Ver, t.Next) }
	}
	view, rerr := show(ctx)
	if rerr != nil || !view.Sync.Equal(t.Next) || view.Leader.Session != session {
		return errors.Join(fmt.Errorf("take over: outcome unknown: %w", errors.Join(err, rerr)), a.keeper.destroy(ctx), a.turning.over(ctx))
	}
	laps.lap("shown")
	a.keeper.hold(t0, session, []byte(f.Self.Inc))
	// Only now: a plan that was refused must not be what is put back if Consul loses its data, and binds nobody. OPEN waits for
	// it; a node that dies before has led nothing.
	err = a.disk.begin(func(s *diskState) {
		s.LastSync, s.Promised, s.Led = view.Sync, max(s.Promised, view.Sync.Term), true
	})
	if err != nil {
		return fmt.Errorf("take over: %w", err) // holding the lock it goes on as in an election: from scratch, or by letting go
	}
	look := a.status // what has changed since is known: everything is executed, and there is nothing else
	look.At, look.Executed = time.Now(), t.Offer.GTID
	a.promoted, a.accepted, a.seen = t.Next.Term, &accepted{Takeover: t, seen: seen, turning: a.turning, laps: laps}, &look
	return nil
}

// hasten takes the last turn's look at mysqld for this one's when an offer to this node has just come: takeOver makes sure
// itself of everything that is to be certain, and nobody can write meanwhile.
func (a *Agent) hasten(v roles.View) {
	h, ok := v.ValidPrimary()
	if !ok || !h.Offers() || h.Handover.To != a.disk.inc() || a.ready != h.Handover.Seq || a.hastened == h.Handover.Seq {
		return
	}
	st := a.status
	a.hastened, a.seen = h.Handover.Seq, &st
}

// seenOrAsked is the server's status: the one that a step of the last turn ended with, or a new one.
func (a *Agent) seenOrAsked(ctx context.Context) (mysql.Status, error) {
	if st := a.seen; st != nil {
		a.seen = nil
		if time.Since(st.At) < seenLimit {
			return *st, nil
		}
	}
	return a.srv.Status(ctx)
}

// mayTake makes sure that this server has executed exactly what was offered, and returns since when the session is known to
// live. The server is turned round as soon as it may be.
func (a *Agent) mayTake(ctx context.Context, offer gtid.Set, turn *turning) (t0 time.Duration, err error) {
	var all errgroup.Group
	all.Go(func() (err error) { t0, err = a.keeper.signOfLife(ctx); return err })
	all.Go(func() error {
		held, err := a.srv.Held(ctx)
		if err != nil {
			return err
		}
		if held.Position().Equal(offer) { // as a rule: it was acknowledged
			turn.stopReceiver(ctx)
		}
		if held.Exactly(offer) != nil {
			if held, err = a.srv.WaitExecuted(ctx, offer); err != nil {
				return err
			}
			if err := held.Exactly(offer); err != nil {
				return fmt.Errorf("%w: %w", err, errNotNow)
			}
			turn.stopReceiver(ctx)
		}
		turn.close(ctx)
		return nil
	})
	return t0, all.Wait()
}

// handed is the takeover that this term came from; nil: it came from an election.
func (a *Agent) handed(sync roles.Sync) *accepted {
	if t := a.accepted; t != nil && t.Next.Term == sync.Term {
		return t
	}
	return nil
}

// spares are the accounts that OPEN leaves alone: those of members that acknowledge for this very term already.
func (a *Agent) spares(t roles.Takeover) []string {
	var users []string
	for _, i := range t.Spare {
		users = append(users, a.creds.Node(i.Name()))
	}
	return users
}

// openedAfterHandover measures for how long nobody could write: by the clocks of both hosts, within what this one knows.
func (a *Agent) openedAfterHandover(sync roles.Sync) {
	t := a.handed(sync)
	if t == nil {
		return
	}
	own := election.Boottime() - t.seen
	t.gap = min(max(time.Since(t.Offer.At), own), own+endWritesLimit)
	t.laps.lap("admit clients")
	a.Log.Info("took over", "from", t.From.Name(), "without_writes", t.gap.Round(100*time.Microsecond).String(), "laps", t.laps.laps.String())
}

// refusedTakeover forgets a takeover of this node that can never be applied any more.
func refusedTakeover(last, shown roles.Sync, me roles.Inc) roles.Sync {
	if last.Primary == me && last.Term == shown.Term+1 && last.Ver != shown.Ver {
		return shown
	}
	return last
}
