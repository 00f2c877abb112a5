package roles

import "fmt"

// decideCandidate prepares for an offer, and takes it; false when there is nothing to do.
func decideCandidate(s State, f Facts, h Node) (Decision, bool) {
	m := f.MySQL
	p, ok := f.View.plans(h)
	able := ok && p.To == f.Self.Inc && s == Standby && !f.Stop && !f.View.Paused && !f.Disk.Void && f.Disk.Unfit == "" && !f.Self.NoFailover && !f.Self.Maintenance &&
		m.Receiver == On && m.Applier == On && f.Lease.Session != ""
	switch {
	case !able && f.Ready != 0, f.Ready != 0 && f.Ready != p.Seq:
		return do(Unprepare, "cannot take over from "+h.Name+" any more"), true
	case !able:
		return Decision{}, false
	case p.Offer != nil && f.Ready == p.Seq && p.Offer.Ver == f.View.Sync.Ver:
		return doStep(Step{Op: TakeOver, Node: h.Inc, Why: fmt.Sprintf("%s hands term %d over", h.Name, p.Term)}), true
	case p.Offer == nil && f.Ready != p.Seq: // whatever is left to apply: followers that turn to this node need time as well
		return doStep(Step{Op: Prepare, Node: h.Inc, Why: h.Name + " is going to hand over: preparing"}), true
	}
	return Decision{}, false
}

// DrainedFor is the Seq of the hand-over that this node is prepared for, or chained for, while so little is left to apply that
// writes may end; else 0.
func DrainedFor(f Facts) uint64 {
	h, valid := f.View.ValidPrimary()
	p, ok := f.View.plans(h)
	part := p.To == f.Self.Inc && f.Ready == p.Seq || f.Chained.isFor(p)
	if !valid || !ok || !part || !f.MySQL.Ready || f.Applying > applyPatience {
		return 0
	}
	limit := uint64(nearlyDrained)
	if f.View.Nodes[f.Self.Inc].Drained == p.Seq {
		limit = notDrained
	}
	if f.MySQL.Undrained().Count() > limit {
		return 0
	}
	return p.Seq
}

// decideChained leaves the present primary, once it is out of its ack set, for the one to come.
func decideChained(s State, f Facts, p Handover) (Decision, bool) {
	c, m := f.View.Nodes[p.To], f.MySQL
	if f.View.Sync.Has(f.Self.Inc) || !c.Alive() || f.Stop || f.View.Paused || f.Self.NoFailover {
		return Decision{}, false
	}
	if s == Standby {
		return fire(Dropped, "left the ack set for the hand-over to "+c.Name), true
	}
	switch {
	case f.Chained.isFor(p) && m.Source == c.MySQL && m.Receiver != Off && m.ArmedWanted && m.Applier == On:
		return wait(fmt.Sprintf("ready to acknowledge for %s as soon as it is the primary", c.Name)), true
	case c.Ready != p.Seq: // it lets nobody in yet
		return Decision{}, false
	}
	return doStep(Step{Op: Chain, Node: p.To, Why: fmt.Sprintf("%s is going to be the primary: receiving from it from now on", c.Name)}), true
}

// decidePromoted is a follower that has taken over and is not open yet.
func decidePromoted(s State, f Facts) Decision {
	if s == Standby && f.MySQL.Undrained().IsEmpty() {
		return fire(Won, fmt.Sprintf("term %d was handed over: %s", f.Promoted, f.View.Sync))
	}
	return fire(NoPrimary, "the term was handed over and cannot be opened from here")
}
