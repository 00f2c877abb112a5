package roles

import (
	"cmp"
	"fmt"
	"time"
)

// mayHandOver reports whether a primary that was asked to stop should go on for a while, to hand over in order.
func mayHandOver(f Facts) bool {
	v := f.View
	if !v.OK || v.Paused || !f.MySQL.Ready || !f.Lease.Held || v.Leader.Session != f.Lease.Session || v.Sync.Ver != f.Leading.Ver ||
		promisedBeyond(f) {
		return false
	}
	if f.Handing != nil {
		return f.Handing.For < f.Handing.Limit
	}
	_, guard, _ := SwitchoverTarget("", v)
	return guard == "" && !f.TriedToHandOver
}

// handOver moves a hand-over on while writes are on: begin it, prepare it, and make the offer.
func handOver(f Facts) (Step, bool) {
	if f.Handing != nil {
		return prepareOffer(f)
	}
	for _, r := range f.View.Requests {
		if r.Kind == RequestSwitchover {
			return switchover(f, r)
		}
	}
	if !f.Stop || f.TriedToHandOver {
		return Step{}, false
	}
	to, guard, _ := SwitchoverTarget("", f.View)
	if guard != "" {
		return Step{}, false
	}
	return beginHandover(f, to, "asked to stop: handing over to "+to.Name(), nil), true
}

func beginHandover(f Facts, to Inc, why string, r *Request) Step {
	h := Handing{Handover: Handover{To: to, Term: f.View.Sync.Term, Chain: chainFor(f, to), Leaving: f.Stop}, Limit: SwitchoverLimit}
	switch {
	case f.Stop:
		h.Limit = stopLimit
	case r != nil && r.Timeout > 0:
		h.Limit = r.Timeout
	}
	if r != nil {
		h.Request = r.ID
	}
	return Step{Op: PlanHandover, Node: to, Handing: &h, Request: r, Why: why}
}

// switchover answers an operator's request that this primary is not working on.
func switchover(f Facts, r Request) (Step, bool) {
	answer := func(s RequestState, guard, outcome string) (Step, bool) {
		r.State, r.Guard, r.Outcome, r.Progress = s, guard, outcome, ""
		return Step{Op: MoveRequest, Request: &r, Why: outcome}, true
	}
	here := fmt.Sprintf("%s is the primary of term %d", f.Self.Name, f.View.Sync.Term)
	if r.State == RequestRunning {
		switch t := f.TookOver; {
		case t != nil && t.Request == r.ID:
			r.GapMS = float64(t.Gap.Microseconds()) / 1000
			return answer(RequestDone, "", fmt.Sprintf("%s; %s handed over, and nobody could write for %.0f ms", here, t.From.Name(), r.GapMS))
		case r.Node == f.Self.Name:
			return answer(RequestDone, "", here+"; the one before ended before it had handed over in order")
		}
		return answer(RequestFailed, "", here+"; the node that was handing over has ended or has lost its term meanwhile; ask again")
	}
	to, guard, why := SwitchoverTarget(r.Node, f.View)
	switch {
	case r.Node == f.Self.Name:
		return answer(RequestDone, "", here+" already")
	case guard == "no-primary": // nobody can have seen yet that this node is one
		return Step{}, false
	case guard != "":
		return answer(RequestRefused, guard, why)
	}
	r.State, r.Progress = RequestRunning, fmt.Sprintf("preparing %s while writes go on", to.Name())
	return beginHandover(f, to, "a switchover was asked for: handing over to "+to.Name(), &r), true
}

// prepareOffer waits, within limits, until the candidate and those chained to it are ready, and then ends the writes. What
// the candidate still has to apply then is time without writes, so a candidate that cannot keep up is given it beforehand. So
// is what a commit that is slowed down has still to wait: those that wait longest end before.
func prepareOffer(f Facts) (Step, bool) {
	p, c := f.Handing, f.View.Nodes[f.Handing.To]
	drop := func(why string) (Step, bool) {
		return Step{Op: DropHandover, Node: p.To, For: why, Why: "not handed over: " + why}, true
	}
	missing := notReady(f)
	switch no := cannotTake(c, f.View); {
	case p.Term != f.View.Sync.Term:
		return drop("the term changed meanwhile")
	case f.View.Paused:
		return drop("the cluster was paused")
	case no != "" && no != "lagging":
		return drop(p.To.Name() + " cannot take over any more: " + no)
	case p.For > p.Limit:
		return drop(fmt.Sprintf("%s was not ready within %s: %s", p.To.Name(), p.Limit, cmp.Or(missing, "it has too much left to apply")))
	case missing != "":
		return tellWaiting(f, missing)
	case c.Drained != p.Seq && p.Throttled > throttleLimit:
		return drop(p.To.Name() + " has too much left to apply, even with the writes slowed down")
	case c.Drained != p.Seq && p.Throttled == 0 && !c.Caught: // that far behind it would not get there in time
		return tellWaiting(f, p.To.Name()+" is catching up")
	}
	throttle := func(delay time.Duration, slow Inc) (Step, bool) {
		return Step{Op: Throttle, Node: p.To, Delay: delay, Why: "slowing the writes down until " + slow.Name() + " has applied what it received"}, f.Throttle < delay
	}
	if strongest := throttleAfter(p.Throttled - p.DrainedFor); p.DrainedFor > 0 && p.DrainedFor <= strongest && strongest > throttleFirst {
		gentle := max(strongest/throttleEase, throttleFirst)
		return Step{Op: Throttle, Node: p.To, Delay: gentle, Why: "letting the writes go on that are slowed down most, before they end"}, f.Throttle > gentle
	}
	if c.Drained != p.Seq {
		return throttle(throttleAfter(p.Throttled), p.To)
	}
	if i, some := behind(f); some && p.DrainedFor < companyLimit && p.Throttled <= throttleLimit {
		return throttle(throttleFirst, i)
	}
	return Step{Op: MakeOffer, Node: p.To, Why: p.To.Name() + " is ready: ending writes here"}, true
}

// throttleAfter is the delay put on commits that have been slowed down for so long.
func throttleAfter(since time.Duration) time.Duration {
	return min(throttleFirst<<min(max(since, 0)/throttleStep, 8), throttleMost)
}

// behind is a node chained to the candidate that has much left to apply, and may get there in time.
func behind(f Facts) (Inc, bool) {
	for _, i := range f.Handing.Chain {
		n := f.View.Nodes[i]
		if n.isChained(f.Handing.Handover) && n.Healthy && n.Caught && n.Drained != f.Handing.Seq {
			return i, true
		}
	}
	return "", false
}

// tellWaiting tells the operator what a hand-over waits for that is not done in a moment.
func tellWaiting(f Facts, what string) (Step, bool) {
	what = "preparing " + f.Handing.To.Name() + " while writes go on: " + what
	for _, r := range f.View.Requests {
		if r.ID == f.Handing.Request && r.State == RequestRunning && r.Progress != what && f.Handing.For > tellAfter {
			r.Progress = what
			return Step{Op: MoveRequest, Request: &r, Why: what}, true
		}
	}
	return Step{}, false
}

// throttleOver reports whether commits are slowed down for nothing: there is no hand-over any more, or it has had its time,
// or it cannot go on.
func throttleOver(f Facts) bool {
	return f.Throttle > 0 && (f.Handing == nil || f.Handing.Throttled > throttleLimit || !f.View.OK)
}

// notReady says what the offer still waits for, beside what is left to apply.
func notReady(f Facts) string {
	p := f.Handing
	c := f.View.Nodes[p.To]
	patient := p.ReadyFor < chainPatience && p.For < p.Limit/2 // near the limit it is better to hand over without them
	switch {
	case c.Ready != p.Seq:
		return p.To.Name() + " is not prepared"
	case !Streaming(f, p.To):
		return p.To.Name() + " is not connected"
	case len(streaming(f)) < f.MySQL.K:
		return "too few standbys acknowledge"
	}
	for _, i := range p.Chain {
		n := f.View.Nodes[i]
		switch {
		case f.View.Sync.Has(i) && leaving(f, i):
			return i.Name() + " is in the ack set until " + p.To.Name() + " has said that it holds everything"
		case n.Alive() && !(n.isChained(p.Handover) && n.Armed && n.Receiver != "") && patient:
			return i.Name() + " has not turned to " + p.To.Name()
		}
	}
	return ""
}

// decideHeld is the old primary with an offer out. It writes again only after it has made a new version of sync, so that
// the takeover, should it be under way, fails. Everything else that is not plain waiting is a fence.
func decideHeld(f Facts) Decision {
	p, sync := f.Handing, f.View.Sync
	c := f.View.Nodes[p.To]
	abort := func(why string) Decision {
		next := sync
		next.Rev++
		return doStep(Step{Op: TakeWritesBack, Node: p.To, Sync: next, For: why, Why: "taking the writes back: " + why})
	}
	switch {
	case !f.MySQL.Ready:
		return wait("mysqld does not answer, and the term is offered to " + p.To.Name())
	case !f.MySQL.ReadOnly:
		return fire(MysqldLost, "somebody opened mysqld while the term is offered to "+p.To.Name())
	case !f.View.OK:
		return wait("Consul does not answer, and the term is offered to " + p.To.Name())
	case f.View.Leader.Session != f.Lease.Session || sync.Ver != f.Leading.Ver:
		return fire(LeaseLost, "the term was handed over, or lost: "+sync.String())
	case f.View.Paused:
		return abort("the cluster was paused")
	case !c.Alive():
		return abort(p.To.Name() + " has ended")
	case c.Ready != p.Seq:
		return abort(p.To.Name() + " cannot take over any more")
	case p.Held > heldMax:
		return abort(fmt.Sprintf("%s has not taken over within %s", p.To.Name(), heldMax))
	}
	return wait("read-only; " + p.To.Name() + " takes over")
}
