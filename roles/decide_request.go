package roles

import (
	"fmt"
	"time"
)

// forceGrace is how long the living members get to end the election without any loss before force is used: they may only
// be slower than the operator.
const forceGrace = 10 * time.Second

// running finds the request of a kind that has begun and is about this incarnation.
func (v View) running(kind RequestKind, i Inc) (Request, bool) {
	for _, r := range v.Requests {
		if r.Kind == kind && r.State == RequestRunning && r.Inc == i {
			return r, true
		}
	}
	return Request{}, false
}

// outgoing reports whether incarnation i is on its way out at an operator's wish, and whether by force.
func (v View) outgoing(i Inc) (out, force bool) {
	for _, kind := range []RequestKind{RequestRebuild, RequestRemove} {
		if r, ok := v.running(kind, i); ok {
			return true, r.Options.Force
		}
	}
	return v.Removed[i], false
}

func (v View) isOutgoing(i Inc) bool {
	out, _ := v.outgoing(i)
	return out
}

// banished reports whether incarnation i is out of the cluster for good, or nothing but that is left to be done.
func (v View) banished(i Inc) bool {
	_, removing := v.running(RequestRemove, i)
	return v.Removed[i] || removing && !v.Sync.Has(i)
}

// giveUp is the node's own part of a rebuild: once the primary has taken it out of the ack set nobody counts on its data
// any more, and it gives the data up. It needs nothing of mysqld: data that cannot even be started is what is rebuilt most.
func giveUp(f Facts) (Decision, bool) {
	r, asked := f.View.running(RequestRebuild, f.Self.Inc)
	if !asked || !f.View.OK || f.Stop || f.Disk.Data != DataOurs || f.View.Sync.Has(f.Self.Inc) {
		return Decision{}, false
	}
	if h, ok := f.View.ValidPrimary(); !ok || h.Inc == f.Self.Inc {
		return Decision{}, false
	}
	if f.Busy != "" {
		return wait(f.Busy), true
	}
	return doStep(Step{Op: GiveUp, For: r.ID, Sync: f.View.Sync, Why: r.By + " asked for a rebuild of this node"}), true
}

// force is the target's part of a forced failover: it writes itself into the record as all that is left of the cluster.
// The election that follows is an ordinary one.
func force(f Facts) (Decision, bool) {
	r, ok := f.View.forcedOn(f.Self.Name)
	e := Elect("", f.View, f.Set.Acks)
	if !ok || f.Stop || Refuse(r, f.View) != nil || e.Winner != "" {
		return Decision{}, false
	}
	if !e.Alarm && f.View.LivingSuffice() && f.RequestAge[r.ID] < forceGrace {
		return wait("the living members may still elect one of themselves without any loss; force is used when they have not done so in " + forceGrace.String()), true
	}
	// The record will name this node as the one whose binary log has everything, so what it received has to be in there
	// first: a power cut could still take it from the relay log, and nobody else would be asked any more.
	if !f.MySQL.Undrained().IsEmpty() && !cannotDrain(f, f.Disk.Promised) {
		return do(Drain, "applying what was received before the cluster goes on with this node alone"), true
	}
	return doStep(Step{Op: Force, For: r.ID, Sync: Forced(f.Self.Inc, f.View),
		Why: fmt.Sprintf("%s accepted the loss of %s", r.By, LossOf(f.View, f.Self.Name))}), true
}

// forcedOn finds the open request to go on with the named node whatever is lost.
func (v View) forcedOn(name string) (Request, bool) {
	for _, r := range v.Requests {
		if r.Kind == RequestFailover && r.State == RequestOpen && r.Node == name && r.Options.Force && r.Options.AcceptDataLoss {
			return r, true
		}
	}
	return Request{}, false
}

// failoverAsked reports whether an operator wants a failover now: nothing but safety holds it back.
func (v View) failoverAsked() bool {
	for _, r := range v.Requests {
		if r.Kind == RequestFailover {
			return true
		}
	}
	return false
}

// dismiss is the primary's part of a removal, once the node is out of the ack set.
func dismiss(f Facts) (Step, bool) {
	for _, r := range f.View.Requests {
		if r.Kind == RequestRemove && r.State == RequestRunning && !f.View.Sync.Has(r.Inc) {
			return Step{Op: Dismiss, Node: r.Inc, For: r.ID, Sync: f.View.Sync, Why: r.By + " removed " + r.Node}, true
		}
	}
	for i := range f.View.Removed {
		if n, ok := f.View.Nodes[i]; ok && !n.Alive() {
			return Step{Op: Forget, Node: i, Why: i.Name() + " was removed and has ended"}, true
		}
	}
	return Step{}, false
}

// Move is the next version of a request that this node is responsible for, if it is to change now. It only judges and
// reports: what is done to the cluster are steps. Switchovers are moved on by whoever hands over.
func Move(s State, f Facts) (Request, bool) {
	if !f.View.OK {
		return Request{}, false
	}
	h, led := f.View.ValidPrimary()
	for _, r := range f.View.Requests {
		next, ok := r, false
		switch {
		case r.Kind == RequestSwitchover:
			if r.State == RequestOpen && r.Timeout > 0 && f.RequestAge[r.ID] > r.Timeout+forceGrace { // whoever hands over had its time
				next.State, next.Outcome, ok = RequestFailed, "nobody took it up in time; nothing was changed", true
			}
		case r.State == RequestOpen && r.Timeout > 0 && f.RequestAge[r.ID] > r.Timeout:
			next.State, next.Outcome, ok = RequestFailed, "nobody took it up in time; nothing was changed", true
		case led && h.Inc == f.Self.Inc && s == Primary:
			next, ok = asPrimary(r, f)
		case r.Kind == RequestRebuild && r.State == RequestRunning && r.Node == f.Self.Name:
			next, ok = asRebuilt(s, r, f)
		case led || r.Kind != RequestFailover || !f.View.Leader.Free() || !sealedNow(f):
		case r.State == RequestOpen:
			next, ok = asSealed(r, f)
		case r.Inc == f.Self.Inc && f.RequestAge[r.ID] > max(r.Timeout, forceGrace):
			next, ok = asPutBack(r, f)
		}
		if ok {
			return next, true
		}
	}
	return Request{}, false
}

// asSealed tells the operator of a failover when it became clear that it cannot be: at once when another node wins without
// any loss, after a while when the living turned out not to suffice.
func asSealed(r Request, f Facts) (Request, bool) {
	no := Refuse(r, f.View)
	switch {
	case no == nil:
		return r, false
	case no.Guard == GuardElection && r.Node == f.Self.Name, no.Guard != GuardElection && f.RequestAge[r.ID] > forceGrace:
		return refuse(r, no), true
	}
	return r, false
}

// asPutBack ends the request for which the cluster's record was put back, when that was not enough: what force would lose now
// has not been named to anybody.
func asPutBack(r Request, f Facts) (Request, bool) {
	e := Elect("", f.View, f.Set.Acks)
	if e.Winner != "" {
		return r, false
	}
	r.State, r.Outcome = RequestFailed, fmt.Sprintf("the cluster's record is back, but nobody can win yet: %s; start what is missing, or ask again with: %s", e.Why, forcedFailover(r.Node))
	return r, true
}

// sealedNow reports whether this node has said what it holds for the next term.
func sealedNow(f Facts) bool {
	s, ok := f.View.Seals[f.Self.Inc]
	return ok && s.Promise == f.View.Sync.Term+1
}

func refuse(r Request, no *Refusal) Request {
	r.State, r.Guard, r.Outcome = RequestRefused, no.Guard, no.Why
	return r
}

// asPrimary judges what is open and says how far what runs has come.
func asPrimary(r Request, f Facts) (Request, bool) {
	switch {
	case r.Kind == RequestFailover && (r.Node == "" || r.Node == f.Self.Name || r.State == RequestRunning):
		r.State, r.Outcome = RequestDone, fmt.Sprintf("%s is the primary of term %d", f.Self.Name, f.View.Sync.Term)
		return r, true
	case r.Kind == RequestFailover:
		return refuse(r, refused(GuardElection, "%s took over in term %d without losing anything; hand over with: autopilot-mysql switchover --to %s",
			f.Self.Name, f.View.Sync.Term, r.Node)), true
	case r.Inc == f.Self.Inc:
		r.State, r.Outcome = RequestFailed, r.Node+" became the primary in between; it stays what it is"
		return r, true
	case r.State == RequestOpen && !f.View.Knows(r.Node):
		r.State, r.Outcome = RequestFailed, "there is no node "+r.Node
		return r, true
	case r.State == RequestOpen:
		if no := Refuse(r, f.View); no != nil {
			return refuse(r, no), true
		}
		n, ok := f.View.Living(r.Node)
		if !ok { // no record any more: what is in the ack set is what it is about
			n.Inc = memberOf(f.View.Sync, r.Node)
		}
		r.State, r.Inc, r.Progress = RequestRunning, n.Inc, "taking "+r.Node+" out of the ack set"
		return r, true
	case r.Timeout > 0 && f.RequestAge[r.ID] > r.Timeout && f.View.Sync.Has(r.Inc):
		r.State, r.Outcome = RequestFailed, fmt.Sprintf("%s could not be taken out of the ack set in time: the other standbys do not hold everything yet; it stays what it was", r.Node)
		return r, true
	case r.Kind == RequestRebuild && f.View.Removed[r.Inc]:
		r.State, r.Outcome = RequestFailed, removedMeanwhile(r)
		return r, true
	}
	return r, false
}

// removedMeanwhile tells where the rebuild of a node ended that was taken out in the middle of it: not everything is as it
// was before.
func removedMeanwhile(r Request) string {
	s := r.Node + " was removed from the cluster in the middle of it"
	if r.Progress != "" {
		s += " (" + r.Progress + ")"
	}
	return s + ": it is no member any more, and what lies in its data directory stays there"
}

func memberOf(s Sync, name string) Inc {
	for _, m := range s.Members {
		if m.Name() == name {
			return m
		}
	}
	return ""
}

// asRebuilt reports a rebuild's progress, and its end: other data than it was about is in place and follows the primary.
func asRebuilt(s State, r Request, f Facts) (Request, bool) {
	switch {
	case r.Inc != f.Self.Inc && (s == Replica || s == Standby) && f.MySQL.Receiver == On:
		r.State, r.Outcome = RequestDone, fmt.Sprintf("%s has new data and follows %s", r.Node, f.View.Sync.Primary.Name())
		return r, true
	case s == RestoreSnapshot && f.Busy != "" && f.Busy != r.Progress:
		r.Progress = f.Busy
		return r, true
	}
	return r, false
}
