package roles

import (
	"fmt"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Handover is what a primary says in its record while it hands over: first the plan, so that everybody prepares while
// writes go on, then, with writes off, the offer.
type Handover struct {
	// Seq tells one attempt from another of the same node.
	Seq uint64 `json:"seq"`
	To  Inc    `json:"to"`
	// Term is the term that is handed over; the next one is the candidate's.
	Term uint64 `json:"term"`
	// Chain are followers that have left the ack set to acknowledge for the candidate as soon as it opens.
	Chain []Inc `json:"chain,omitempty"`
	// Request is the operator's request, "" when the primary leaves by itself.
	Request string `json:"request,omitempty"`
	// Leaving is set by a primary that is about to stop: nobody shall count on its acknowledgements.
	Leaving bool `json:"leaving,omitempty"`
	// Offer is there once no write can happen any more at the primary.
	Offer *Offer `json:"offer,omitempty"`
}

// Offer is the old primary's word that nothing will be added to its history in this version of the ack set.
type Offer struct {
	// GTID is its whole binary log: it was read-only, and nobody waited for an acknowledgement.
	GTID gtid.Set `json:"gtid"`
	// Ver is the version of sync that the offer is bound to: taking the writes back changes it.
	Ver uint64 `json:"ver"`
	// At is when ending the writes began, Done when the last of those under way was complete; zero from an earlier version. For
	// people: nothing is decided by them.
	At   time.Time `json:"at"`
	Done time.Time `json:"done,omitzero"`
}

// Chained is a follower's confirmation that it receives from a candidate, armed, before that is the primary. It is no
// promise and gives no vote.
type Chained struct {
	To   Inc    `json:"to"`
	Term uint64 `json:"term"` // the candidate's term to come
	Seq  uint64 `json:"seq"`
	// Position is everything it held after its receiver had stopped and before it turned to the candidate.
	Position gtid.Set `json:"position"`
}

// Handing is a hand-over as its primary sees it.
type Handing struct {
	Handover
	For  time.Duration // since it was begun
	Held time.Duration // since writes are off; 0 while they are on
	// ReadyFor is for how long the candidate has been prepared; 0 while it is not.
	ReadyFor time.Duration
	// DrainedFor is the time since the candidate first had next to nothing left to apply; 0 if it never had.
	DrainedFor time.Duration
	// Throttled is the time since this hand-over first slowed the writes down; 0 if it has not.
	Throttled time.Duration
	// Limit bounds For while writes are on.
	Limit time.Duration
}

// TookOver is how a primary came by its term, when it was handed over.
type TookOver struct {
	Request string
	From    Inc
	Gap     time.Duration // between the end of writes there and their beginning here
}

// Limits of a hand-over that are not settings.
const (
	// heldMax is how long writes may be off before they are taken back.
	heldMax = 2 * time.Second
	// SwitchoverLimit bounds the preparations of a switchover that sets no time-out of its own.
	SwitchoverLimit = 30 * time.Second
	// stopLimit bounds those of a primary that is being stopped: an election does it as well.
	stopLimit = 8 * time.Second
	// chainPatience is how long a candidate that is prepared, and lets followers in, waits for them. Without them the first
	// commits of the new term wait a little longer.
	chainPatience = 4 * time.Second
	// tellAfter is when an operator is told what his hand-over waits for; most are over by then.
	tellAfter = time.Second
	// nearlyDrained is how many received transactions a candidate may still have to apply when writes end: they are applied
	// while nobody can write. Once it has said so it does not take it back before notDrained: its record must not change with
	// every look.
	nearlyDrained, notDrained = 16, 64
	// applyPatience is how long applying one transaction may take at a candidate that is to count as drained.
	applyPatience = 100 * time.Millisecond
	// throttleFirst is the first delay put on commits for a candidate that cannot keep up; it doubles every throttleStep. Three
	// servers on two cores: 8 clients that never pause leave a backlog of some hundred transactions, which is applied within
	// 0.3 s at 5 ms; that of 64 grows at 20 ms, shrinks by 600 a second at 40 ms, by 600 to 1300 at 80 ms, and at 160 ms not
	// much faster, while clients wait for a commit longer than for the hand-over.
	throttleFirst, throttleMost = 5 * time.Millisecond, 80 * time.Millisecond
	throttleStep                = 250 * time.Millisecond
	// throttleEase is by how much the writes are slowed down less, once a candidate is drained, for as long as commits still wait
	// that were slowed down more. 8 clients: ending the writes takes some milliseconds with it, and
	// without it up to the delay.
	throttleEase = 4
	// throttleLimit is how long one hand-over may slow the writes down: those 64 clients have left a candidate 5000 transactions
	// behind after three seconds, and it needs eight for them.
	throttleLimit = 12 * time.Second
	// companyLimit is for how long those chained to a drained candidate are waited for to be drained as well. What they apply
	// while nobody can write costs the hand-over time where they share a machine with it; it goes well without them.
	companyLimit = 2 * time.Second
)

// plans reports whether a hand-over, told in the record of the primary h, is under way in the present term.
func (v View) plans(h Node) (Handover, bool) {
	if h.Handover == nil || h.Handover.Term != v.Sync.Term || h.Inc != v.Sync.Primary {
		return Handover{}, false
	}
	return *h.Handover, true
}

// Offers reports whether n is a primary that has ended writes to hand over.
func (n Node) Offers() bool { return n.Handover != nil && n.Handover.Offer != nil }

// isChained reports whether n has confirmed that it is ready to acknowledge for the candidate of p.
func (n Node) isChained(p Handover) bool { return n.Alive() && n.Chained.isFor(p) }

// isFor reports whether c is a confirmation for p; nil is none.
func (c *Chained) isFor(p Handover) bool {
	return c != nil && c.To == p.To && c.Term == p.Term+1 && c.Seq == p.Seq
}

// Takeover is what a candidate writes when it accepts an offer.
type Takeover struct {
	From Inc
	// Session is the old primary's, which must still hold the lock.
	Session string
	Offer   Offer
	Plan    Handover
	// Next is the record to write at the offer's version.
	Next Sync
	// Spare are the chained members that OPEN does not lock out: they acknowledge already.
	Spare []Inc
}

// Accept computes the takeover of an offer made to me, from one consistent read. k is the wanted number of acknowledgements.
//
// The old primary is a member as its history is the offer itself. A chained node is one as everything it held when it
// confirmed is part of the offer, and what it got since came from me. Only nodes known to hold the whole offer count for
// the promise.
func Accept(me Inc, v View, k int) (Takeover, error) {
	h, ok := v.ValidPrimary()
	if !ok {
		return Takeover{}, fmt.Errorf("there is no valid primary")
	}
	p, ok := v.plans(h)
	switch {
	case !ok || p.To != me || p.Offer == nil:
		return Takeover{}, fmt.Errorf("%s offers nothing to this node in term %d", h.Name, v.Sync.Term)
	case p.Offer.Ver != v.Sync.Ver:
		return Takeover{}, fmt.Errorf("the offer of %s is for another version of the ack set", h.Name)
	case !v.Sync.IsAcker(me):
		return Takeover{}, fmt.Errorf("not in the ack set")
	case v.Paused:
		return Takeover{}, fmt.Errorf("the cluster is paused")
	}
	t := Takeover{From: h.Inc, Session: v.Leader.Session, Offer: *p.Offer, Plan: p}
	t.Next = Sync{Ver: p.Offer.Ver, Term: v.Sync.Term + 1, Primary: me, Members: []Inc{me}}
	equal := 0
	for _, i := range p.Chain {
		n := v.Nodes[i]
		if i == me || i == h.Inc || !n.isChained(p) || !p.Offer.GTID.Contains(n.Chained.Position) {
			continue
		}
		t.Next.Members, t.Spare = append(t.Next.Members, i), append(t.Spare, i)
		if n.Chained.Position.Equal(p.Offer.GTID) && !n.Void {
			equal++
		}
	}
	if !p.Leaving || len(t.Spare) == 0 {
		t.Next.Members, equal = append(t.Next.Members, h.Inc), equal+1
	}
	t.Next.Acks = min(k, equal)
	slices.Sort(t.Next.Members)
	return t, nil
}

// SwitchoverTarget says who would take over from the primary: the named node, or the best one. An empty guard means
// that nothing stands against it; otherwise guard and why are the refusal.
func SwitchoverTarget(node string, v View) (to Inc, guard, why string) {
	h, ok := v.ValidPrimary()
	switch {
	case !ok:
		return "", GuardNoPrimary, "there is no primary that could hand over; bring one back with: autopilot-mysql failover"
	case v.Paused:
		return "", GuardPaused, "hand-overs are paused" + v.Pause.Text() + ": end that with: autopilot-mysql resume"
	case node == h.Name:
		return "", GuardPrimary, node + " is the primary already"
	}
	var best Node
	for _, i := range v.Sync.Ackers() {
		n := v.Nodes[i]
		if node != "" && n.Name != node || cannotTake(n, v) != "" {
			continue
		}
		if best.Inc == "" || betterTarget(n, best) {
			best = n
		}
	}
	switch {
	case best.Inc != "":
		return best.Inc, "", ""
	case node == "":
		return "", GuardNoStandby, "no standby is ready to take over: " + everybody(v) + "; wait for one, see: autopilot-mysql status"
	}
	for _, i := range v.Incs() {
		if n := v.Nodes[i]; n.Name == node && n.Alive() {
			return "", GuardTarget, node + " cannot take over: " + cannotTake(n, v) + "; wait for it, or name another node with --to"
		}
	}
	return "", GuardTarget, "there is no living node " + node + ": start it, or name another one with --to"
}

// cannotTake says why a node could not be handed over to; "" if it could.
func cannotTake(n Node, v View) string {
	switch {
	case !n.Alive():
		return "not running"
	case n.NoFailover:
		return "tagged nofailover"
	case v.InMaintenance(n.Inc.Name()):
		return "in maintenance" + v.Maintenance[n.Inc.Name()].Text()
	case v.isOutgoing(n.Inc):
		return "an operator asked for its rebuild or removal"
	case !v.Sync.IsAcker(n.Inc):
		return "not in the ack set"
	case n.Void:
		return "its earlier acknowledgements may be lost"
	case n.Follows != v.Sync.Primary || n.FollowTerm != v.Sync.Term || !n.Armed:
		return "its acknowledgements do not count"
	case n.Errant != "":
		return "it holds transactions of its own"
	case n.Unfit != "":
		return n.Unfit
	case !n.Healthy:
		return "not healthy"
	case !n.Caught:
		return "lagging"
	}
	return ""
}

// betterTarget orders candidates: least lag, then priority, then name.
func betterTarget(a, b Node) bool {
	switch {
	case a.LagSeconds != b.LagSeconds:
		return a.LagSeconds < b.LagSeconds
	case a.Priority != b.Priority:
		return a.Priority > b.Priority
	}
	return a.Inc < b.Inc
}

func everybody(v View) string {
	out := ""
	for _, i := range v.Incs() {
		n := v.Nodes[i]
		if i == v.Sync.Primary {
			continue
		}
		if out != "" {
			out += ", "
		}
		out += n.Name + " (" + cannotTake(n, v) + ")"
	}
	if out == "" {
		return "there is no other node"
	}
	return out
}

// chainFor lists the ackers that can turn to the candidate beforehand: as many as leave enough acknowledgements behind.
func chainFor(f Facts, to Inc) []Inc {
	var out []Inc
	spare := min(len(streaming(f))-max(f.Set.Acks, f.MySQL.K), f.Set.MaxAckers-1)
	for _, a := range f.View.Sync.Ackers() {
		if len(out) >= spare {
			break
		}
		if a != to && Streaming(f, a) && !f.View.Nodes[a].Void {
			out = append(out, a)
		}
	}
	return out
}

// chains reports whether this primary has asked i to leave the ack set for the candidate's sake.
func (f Facts) chains(i Inc) bool { return f.Handing != nil && slices.Contains(f.Handing.Chain, i) }
