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
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// accepted is an offer that this node has taken.
type accepted struct {
	roles.Takeover
	seen time.Duration // when the offer was seen here
	gap  time.Duration // without writes, known once they go on
	// accounts are this server's replication accounts as they were then; nobody else makes any.
	accounts map[string]bool
	laps     *lapTimer
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
	host, port, err := splitAddr(c.MySQL)
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
	if err := a.confirmFollow(ctx, f); err != nil {
		a.chained = nil
		return fmt.Errorf("turn to %s: %w", c.Name, err)
	}
	user, password := a.creds.Node(a.Settings.Name), a.creds.Password
	if a.creds.Former != "" && errors.Is(mysql.TryLogin(ctx, c.MySQL, user, password, a.creds.TLS), mysql.ErrAccessDenied) {
		password = a.creds.Former // the candidate does not know better yet
	}
	return a.srv.Follow(ctx, mysql.Source{
		Host: host, Port: port, User: user, Password: password, Armed: true, Heartbeat: heartbeat, ConnectRetry: connectRetry,
	})
}

// takeOver accepts an offer: everything offered is executed here, and nothing else; then one transaction moves lock and
// record. When its outcome stays unknown this node destroys its session, which kills the transaction if it is under way.
func (a *Agent) takeOver(ctx context.Context, f roles.Facts) error {
	seen := election.Boottime()
	t, err := roles.Accept(f.Self.Inc, f.View, a.Settings.Acks)
	if err != nil {
		return fmt.Errorf("take over: %w: %w", err, errNotNow)
	}
	told := float64(time.Since(t.Offer.At).Microseconds()) / 1000 // by the clocks of two hosts
	laps := &lapTimer{last: seen, laps: cluster.Laps{{Name: "end of writes to offer seen", MS: told}}}
	session, before := a.keeper.state().session, a.disk.s
	forget := func() error {
		return a.disk.save(func(s *diskState) { s.Promised = before.Promised }) // nobody has seen it
	}
	var local localSide
	var closing, all errgroup.Group
	turnAway := func() (err error) { local.accounts, err = a.turnAway(ctx); return err }
	early := f.MySQL.Position().Equal(t.Offer.GTID) // nothing that belongs to the offer is still to come
	if early {
		closing.Go(turnAway)
	}
	t0, err := a.mayTake(ctx, t, f)
	if err != nil {
		return errors.Join(fmt.Errorf("take over: %w", err), forget(), closing.Wait())
	}
	laps.lap("promise durable, everything executed")
	if !early {
		closing.Go(turnAway)
	}
	all.Go(func() (err error) {
		if err = closing.Wait(); err == nil {
			local.status, err = a.srv.Status(ctx)
		}
		return err
	})
	ok, why, err := a.Store.Txn(ctx,
		election.CheckSession(a.keys.Leader(), t.Session), election.CAS(a.keys.Sync(), t.Next.Ver, cluster.Encode(t.Next)),
		election.Unlock(a.keys.Leader(), t.Session), election.Lock(a.keys.Leader(), session, []byte(f.Self.Inc)))
	if err != nil && !errors.Is(err, election.ErrUnknown) || err == nil && !ok {
		return errors.Join(fmt.Errorf("take over: refused: %s: %w", why, errNotNow), err, forget(), all.Wait())
	}
	laps.lap("transaction")
	view, rerr := a.watch.refresh(ctx)
	if rerr != nil || !view.Sync.Equal(t.Next) || view.Leader.Session != session {
		return errors.Join(fmt.Errorf("take over: outcome unknown: %w", errors.Join(err, rerr)), a.keeper.destroy(ctx), all.Wait())
	}
	laps.lap("read back")
	a.keeper.hold(t0, session, []byte(f.Self.Inc))
	// Only now: a plan that was refused must not be what is put back if Consul loses its data.
	if err := errors.Join(a.disk.save(func(s *diskState) { s.LastSync = view.Sync }), all.Wait()); err != nil {
		return fmt.Errorf("take over: %w", err) // holding the lock it goes on as in an election: from scratch, or by letting go
	}
	laps.lap("this server turned round")
	a.promoted, a.accepted, a.seen = t.Next.Term, &accepted{Takeover: t, seen: seen, accounts: local.accounts, laps: laps}, &local.status
	return nil
}

// localSide is what this server says once it neither receives nor serves.
type localSide struct {
	status   mysql.Status
	accounts map[string]bool
}

// turnAway does at this server what may be done before the term is known to be its own: nothing more can arrive, since the
// offer is everything there is, and readers look for another server. When the offer is not taken after all, this node
// follows again as after any stop of its receiver.
func (a *Agent) turnAway(ctx context.Context) (accounts map[string]bool, err error) {
	var all errgroup.Group
	all.Go(func() error { return a.srv.OfflineOn(ctx) })
	all.Go(func() error { return a.srv.StopReceiver(ctx) })
	all.Go(func() (err error) { accounts, err = a.srv.ReplicationAccounts(ctx); return err })
	return accounts, all.Wait()
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

// replicationAccounts are this server's accounts; takeOver has just read them.
func (a *Agent) replicationAccounts(ctx context.Context) (map[string]bool, error) {
	if t := a.accepted; t != nil && t.accounts != nil && !a.leadingNow() {
		return t.accounts, nil
	}
	return a.srv.ReplicationAccounts(ctx)
}

// mayTake makes sure that this server has executed exactly what was offered, makes the coming term durable, and
// returns since when the session is known to live. The facts were gathered after the offer had been seen, and nothing can
// be added to it; so if they say it is all here, there is no need to ask again.
func (a *Agent) mayTake(ctx context.Context, t roles.Takeover, f roles.Facts) (t0 time.Duration, err error) {
	var all errgroup.Group
	all.Go(func() (err error) { t0, err = a.keeper.signOfLife(ctx); return err })
	all.Go(func() error {
		return a.disk.save(func(s *diskState) { s.Promised = max(s.Promised, t.Next.Term) })
	})
	all.Go(func() error {
		if holdsExactly(f.MySQL, t.Offer) == nil {
			return nil
		}
		if err := a.srv.WaitExecuted(ctx, t.Offer.GTID); err != nil {
			return err
		}
		st, err := a.srv.Status(ctx)
		if err != nil {
			return err
		}
		return holdsExactly(a.render(st), t.Offer)
	})
	return t0, all.Wait()
}

// holdsExactly reports what is missing here of an offer, or is here beside it.
func holdsExactly(m roles.MySQL, o roles.Offer) error {
	switch {
	case !m.Position().Equal(o.GTID):
		return fmt.Errorf("this node holds %s, offered is %s: %w", m.Position(), o.GTID, errNotNow)
	case !m.Undrained().IsEmpty():
		return fmt.Errorf("not everything is executed: %w", errNotNow)
	}
	return nil
}

// spared are the accounts that OPEN leaves alone: those of members that acknowledge for this very term already.
func (a *Agent) spared(sync roles.Sync) []string {
	if a.accepted == nil || a.accepted.Next.Term != sync.Term {
		return nil
	}
	var users []string
	for _, i := range a.accepted.Spare {
		users = append(users, a.creds.Node(i.Name()))
	}
	return users
}

// openedAfterHandover measures for how long nobody could write: by the clocks of both hosts, within what this one knows.
func (a *Agent) openedAfterHandover() {
	t := a.accepted
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
