package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// endWritesLimit bounds ending the writes; mysqld gives up waiting for a lock after a second by itself.
	endWritesLimit = 1500 * time.Millisecond
	// removeLimit is how long writes go on for clients to find no primary in the catalog any more. A few milliseconds are
	// enough for a Consul that is well; the end of the writes does not depend on it.
	removeLimit = 100 * time.Millisecond
	// tryLimit is how long a stopping primary looks for somebody to hand over to.
	tryLimit = 3 * time.Second
)

// handing is a hand-over and when its phases began.
type handing struct {
	roles.Handover
	since     time.Duration
	ready     time.Duration // since the candidate is prepared; 0: it is not
	drained   time.Duration // since it first had next to nothing left to apply; 0: it never had
	throttled time.Duration // since writes were first slowed down; 0: they were not
	held      time.Duration // since writes are off; 0: they are on
	limit     time.Duration
}

// maybeThrottled is a delay on commits that nobody here knows of: an earlier agent's, or one whose setting got no answer.
const maybeThrottled = time.Nanosecond

// taken reports whether sync is what the candidate made of the offer. No hand-over, or one without an offer, was not taken.
func (h *handing) taken(sync roles.Sync) bool {
	return h != nil && h.Offer != nil && sync.Term == h.Term+1 && sync.Primary == h.To
}

// noteHandover adds what decisions look at.
func (a *Agent) noteHandover(f *roles.Facts, now time.Duration) {
	f.TriedToHandOver = a.tried || a.handing == nil && a.stopAt != 0 && now-a.stopAt > tryLimit
	if h := a.handing; h != nil {
		switch prepared := f.View.Nodes[h.To].Ready == h.Seq; {
		case !prepared:
			h.ready = 0
		case h.ready == 0:
			h.ready = now
		}
		if h.drained == 0 && f.View.Nodes[h.To].Drained == h.Seq {
			h.drained = now
		}
		age := func(since time.Duration) time.Duration {
			if since == 0 {
				return 0
			}
			return max(now-since, 1)
		}
		f.Handing = &roles.Handing{Handover: h.Handover, For: now - h.since, Held: age(h.held), ReadyFor: age(h.ready), DrainedFor: age(h.drained), Throttled: age(h.throttled), Limit: h.limit}
	}
	f.Throttle = a.throttle
	if t := a.accepted; t != nil && a.leadingNow() {
		f.TookOver = &roles.TookOver{Request: t.Plan.Request, From: t.From, Gap: t.gap}
	}
}

// performHandover carries out the steps of a hand-over; ok is false for any other step.
func (a *Agent) performHandover(ctx context.Context, s roles.Step, f roles.Facts) (err error, ok bool) { //nolint:revive // ok says whether err says anything
	switch s.Op {
	case roles.PlanHandover:
		return a.planHandover(ctx, s), true
	case roles.DropHandover:
		a.endHandover(ctx, s.For)
		return nil, true
	case roles.Throttle:
		return a.throttleWrites(ctx, s.Delay), true
	case roles.MakeOffer:
		return a.makeOffer(ctx, f), true
	case roles.TakeWritesBack:
		return a.takeWritesBack(ctx, s), true
	case roles.Prepare:
		return a.prepare(ctx, f), true
	case roles.Unprepare:
		a.ready = 0
		return a.record.write(ctx, a.ownRecord(f)), true
	case roles.Chain:
		return a.chain(ctx, f), true
	case roles.TakeOver:
		return a.takeOver(ctx, f), true
	case roles.MoveRequest:
		return a.moveRequest(ctx, *s.Request), true
	}
	return nil, false
}

// planHandover announces it: everybody prepares while writes go on.
func (a *Agent) planHandover(ctx context.Context, s roles.Step) error {
	a.tried = a.tried || a.stop.Load()
	if s.Request != nil {
		if err := a.moveRequest(ctx, *s.Request); err != nil {
			return fmt.Errorf("begin hand-over: %w", err)
		}
	}
	h := &handing{Handover: s.Handing.Handover, since: election.Boottime(), limit: s.Handing.Limit}
	h.Seq = uint64(time.Now().UnixMilli())
	a.handing = h
	return nil
}

// throttleWrites slows the writes down, or no longer. Whatever comes of it, it is taken off again.
func (a *Agent) throttleWrites(ctx context.Context, delay time.Duration) error {
	a.throttle = max(a.throttle, maybeThrottled)
	if h := a.handing; h != nil && h.throttled == 0 && delay > 0 {
		h.throttled = election.Boottime()
	}
	if err := a.srv.Throttle(ctx, delay); err != nil {
		return err
	}
	a.throttle = delay
	return nil
}

// endHandover forgets a hand-over that did not come about, and tells the operator.
func (a *Agent) endHandover(ctx context.Context, why string) {
	h := a.handing
	a.handing = nil
	a.Log.Warn("not handed over", "to", h.To.Name(), "why", why)
	if a.throttle > 0 {
		if err := a.throttleWrites(ctx, 0); err != nil {
			a.Log.Warn("end the throttling of writes; it is tried again", "err", err)
		}
	}
	view, _, _, _ := a.watch.current(a.Params.H)
	for _, r := range view.Requests {
		if r.ID != h.Request {
			continue
		}
		r.State, r.Progress, r.Outcome = roles.RequestFailed, "", "nothing changed: "+why
		if err := a.moveRequest(ctx, r); err != nil {
			a.Log.Warn("tell the operator", "request", r.ID, "err", err)
		}
	}
}

// moveRequest writes the next version of a request, unless somebody else did.
func (a *Agent) moveRequest(ctx context.Context, r roles.Request) error {
	ok, why, err := a.Store.Txn(ctx, a.casRequest(r))
	if err != nil {
		return fmt.Errorf("write request %s: %w", r.ID, err)
	}
	if !ok {
		return fmt.Errorf("write request %s: %s: %w", r.ID, why, errNotNow)
	}
	a.tellRequest(r)
	_, err = a.watch.refresh(ctx)
	return err
}

// makeOffer ends the writes and offers the term. Once the offer may have been seen, writes come back only by
// takeWritesBack.
func (a *Agent) makeOffer(ctx context.Context, f roles.Facts) error {
	// First: a client that is refused here shall wait for the next primary, and not come back again and again. Logins by the
	// hundred slow down whoever takes over on the same machine, and the registration shall not stand before the offer in Consul.
	rctx, stop := context.WithTimeout(ctx, removeLimit)
	a.catalog.remove(rctx)
	stop()
	at, now := time.Now(), election.Boottime()
	ectx, cancel := context.WithTimeout(ctx, endWritesLimit)
	history, err := a.srv.EndWrites(ectx)
	cancel()
	if err != nil {
		return a.resume(ctx, fmt.Errorf("end writes: %w", err))
	}
	a.throttle = 0
	a.handing.Offer, a.handing.held = &roles.Offer{GTID: history, Ver: a.leading.Ver, At: at.UTC(), Done: time.Now().UTC()}, now
	a.watch.spare.Store(true) // the offer itself is no news here
	if err := a.record.write(ctx, a.ownRecord(f)); err != nil {
		return fmt.Errorf("publish offer: %w", err)
	}
	return a.srv.OfflineOn(ctx) // whoever is connected shall look for the new primary
}

// resume lets writes go on after an offer that was never made.
func (a *Agent) resume(ctx context.Context, cause error) error {
	if a.keeper.state().provable {
		if err := a.srv.BeginWrites(ctx); err != nil {
			return errors.Join(cause, err) // it is found read-only, and fenced
		}
	}
	a.endHandover(ctx, "a lock or a commit that found no acknowledgement held up the end of writes")
	return cause
}

// takeWritesBack is ABORT: a new version of sync makes a takeover that may be under way fail; only then writes go on.
func (a *Agent) takeWritesBack(ctx context.Context, s roles.Step) error {
	if err := a.writeSync(ctx, s.Sync); err != nil {
		return err
	}
	defer a.endHandover(ctx, s.For)
	if !a.keeper.state().provable {
		return errors.New("take writes back: the lease ran out")
	}
	return a.srv.BeginWrites(ctx)
}
