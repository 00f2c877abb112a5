package roles

import (
	"fmt"
	"slices"
	"time"
)

// decideFollower serves replica and standby: the difference is only whether our acknowledgements count.
func decideFollower(s State, f Facts) Decision {
	if f.Disk.Data == DataCondemned {
		return fire(Diverged, condemnedBecause(f))
	}
	if d, ok := giveUp(f); ok {
		return d
	}
	if !f.MySQL.Ready && s == Standby {
		return fire(Dropped, "mysqld does not answer")
	}
	switch {
	case !f.MySQL.Running && f.Stop:
		return wait("stopping")
	case !f.MySQL.Running:
		return do(StartMysqld, "mysqld is down")
	case !f.MySQL.Ready:
		return wait("mysqld does not answer")
	case !f.View.OK:
		return wait("Consul does not answer; following on")
	case f.View.RecordLost():
		if r, ok := f.View.forcedOn(f.Self.Name); ok && Refuse(r, f.View) == nil {
			return fire(NoPrimary, f.View.lost()+", and "+r.By+" wants to go on without who is missing")
		}
		return wait(f.View.lost() + "; following on until the primary puts it back")
	}
	if promoted(f) {
		return decidePromoted(s, f)
	}
	h, ok := f.View.ValidPrimary()
	if !ok || h.Inc == f.Self.Inc {
		return decideLeaderless(f)
	}
	if f.View.Sync.Term < f.Disk.Promised {
		return wait(fmt.Sprintf("%s is primary of term %d, this node promised to wait for term %d", h.Name, f.View.Sync.Term, f.Disk.Promised))
	}
	return decideFollow(s, f, h)
}

// ackersAlone is how long the ackers are left alone with an election: a few times what one takes.
const ackersAlone = time.Second

// LeavesToAckers reports whether this node stays out of an election. It is in no ack set, so its seal has no vote, and the
// ackers suffice: what it would do and publish now, in a large cluster with most of the others, takes Consul's time from those
// everybody waits for, and its services would leave the catalog for a moment. Its stream has ended, so nothing comes from the old
// primary any more that the new one may lack.
func LeavesToAckers(f Facts) bool {
	sync, l := f.View.Sync, f.View.Leader
	switch _, open := f.View.ValidPrimary(); {
	case !f.View.OK || open || f.View.Paused || sync.Has(f.Self.Inc) || f.MySQL.Receiver == On:
		return false
	case l.Free():
		return f.LeaderFree < ackersAlone && othersSuffice(f)
	}
	return sync.Has(l.Holder) && l.Holder != f.Follow.Primary
}

// condemnedBecause is why this node's data is given up.
func condemnedBecause(f Facts) string {
	if f.Disk.Condemned != "" {
		return f.Disk.Condemned
	}
	return "the primary's history cannot be reached from this data; what only this node had is archived"
}

func decideLeaderless(f Facts) Decision {
	l := f.View.Leader
	chained := f.Chained != nil && f.Chained.To == l.Holder && f.Chained.Term == f.View.Sync.Term
	if !l.Free() && l.Holder == f.View.Sync.Primary && (l.Holder == f.Follow.Primary || chained) {
		return wait(fmt.Sprintf("%s is opening term %d", l.Holder.Name(), f.View.Sync.Term))
	}
	grace := min(f.Set.C/4, graceMax)
	if f.ConsulBack > 0 && f.ConsulBack < 2*f.Set.C { // the outage took the lock, and the primary has to find that out first
		grace = f.Set.C
	}
	if l.Expired() && f.LeaderFree < grace && f.MySQL.Receiver == On && f.MySQL.PacketAge < 2*f.Set.Heartbeat {
		return wait(fmt.Sprintf("%s lost its session but still sends: waiting a moment for it to take the lock back", l.Holder.Name()))
	}
	if f.View.Paused {
		return wait("there is no valid primary, and automatic failover is paused" + f.View.Pause.Text() + "; end that with: autopilot-mysql resume")
	}
	if LeavesToAckers(f) {
		return wait("the primary is gone; not in the ack set: following whoever the ackers elect")
	}
	if l.Free() {
		return fire(NoPrimary, "nobody holds the lock")
	}
	return fire(NoPrimary, fmt.Sprintf("%s holds the lock and is not the primary followed here", l.Holder.Name()))
}

func decideFollow(s State, f Facts, h Node) Decision {
	if p, ok := f.View.plans(h); ok && slices.Contains(p.Chain, f.Self.Inc) {
		if d, ok := decideChained(s, f, p); ok {
			return d
		}
	}
	sync, m, next := f.View.Sync, f.MySQL, Following(f, h)
	member, armed, confirmed := sync.Has(f.Self.Inc), next.Armed, f.Follow == next
	switch {
	case f.Busy != "":
		return wait(f.Busy)
	case !m.ReadOnly:
		return doStep(Step{Op: Close, Node: h.Inc, Why: "somebody opened this follower for writes: closing it"})
	case m.Source != h.MySQL || m.Receiver == Off || m.ArmedWanted != armed || !confirmed:
		if s == Standby && f.Follow.Armed && !armed {
			return fire(Dropped, "left the ack set")
		}
		return doStep(Step{Op: FollowOp, Node: h.Inc, Why: fmt.Sprintf("following %s in term %d", h.Name, sync.Term)})
	case m.Applier == Off:
		return doStep(Step{Op: FollowOp, Node: h.Inc, Why: "the applier is stopped: " + m.Trouble})
	}
	if len(Answers(f, h)) > 0 {
		return doStep(Step{Op: Confirm, Node: h.Inc, Why: "holds the primary's binary log up to the checkpoint asked for"})
	}
	if d, ok := decideErrant(f, h); ok {
		return d
	}
	if d, ok := decideCandidate(s, f, h); ok {
		return d
	}
	counts := member && m.Armed && m.Receiver == On && !f.Disk.Void
	switch {
	case s == Replica && counts:
		return fire(Admitted, "member of the ack set and acknowledging")
	case s == Standby && !counts:
		return fire(Dropped, "its acknowledgements do not count: "+whyNot(f, member))
	case s == Replica:
		return wait(fmt.Sprintf("following %s; %s", h.Name, whyNot(f, member)))
	}
	return wait("following " + h.Name)
}

// Following is what a node confirms that follows h in the present term: it acknowledges only as a member.
func Following(f Facts, h Node) Follow {
	return Follow{Primary: h.Inc, Term: f.View.Sync.Term, Armed: f.View.Sync.Has(f.Self.Inc) && !f.Self.NoFailover}
}

// expect is FOLLOW while the winner of an election opens its term. Whoever will follow it confirms that at once, and receives as
// soon as the winner has locked everybody out and lets its ackers in: the first commit waits for just that. Only those can whose
// history the winner's seal contains; all others compare first, and for that the winner must be open.
func expect(f Facts) (Step, bool) {
	h, ok := f.View.Promoted()
	term := f.View.Sync.Term
	if !ok || f.Stop || term != f.Disk.Promised || !WinnerHolds(f, h) {
		return Step{}, false
	}
	switch confirmed := f.Follow == Following(f, h); {
	case !confirmed:
		return Step{Op: Expect, Node: h.Inc, Why: fmt.Sprintf("%s opens term %d: confirming that it will be followed", h.Name, term)}, true
	case h.Admits == term && LetIn(f):
		return Step{Op: FollowOp, Node: h.Inc, Why: fmt.Sprintf("following %s, which opens term %d", h.Name, term)}, true
	}
	return Step{}, false
}

// WinnerHolds reports whether the seal with which h won this very term proves that its history has everything this node holds:
// the histories need not be compared. What the seal says h had executed before it opened, and here nothing is received.
func WinnerHolds(f Facts, h Node) bool {
	s, ok := f.View.Seals[h.Inc]
	m := f.MySQL
	return ok && s.Promise == f.View.Sync.Term && m.ReadOnly && m.WaitSessions == 0 && m.Receiver == Off && s.Position.Contains(m.Position())
}

// Answers lists the primary's checkpoints that this node's relay log covers and that it has not confirmed yet.
func Answers(f Facts, h Node) []Checkpoint {
	var out []Checkpoint
	own := f.View.Nodes[f.Self.Inc]
	for _, c := range h.Checkpoints {
		if f.MySQL.Receiver == On && f.MySQL.Pos.Covers(c.End) && !slices.Contains(own.Confirms, Confirmation{Seq: c.Seq, Receiver: f.MySQL.ReceiverID}) {
			out = append(out, c)
		}
	}
	return out
}

// decideErrant deals with transactions that were written here and nowhere else. The node leaves the ack set first, as long
// as that can do without it, and only one at a time gives its data up: a script that wrote to all replicas must not take
// away all copies at once.
func decideErrant(f Facts, h Node) (Decision, bool) {
	sync := f.View.Sync
	if f.Errant == "" || !f.Set.RebuildErrant || sync.IsAcker(f.Self.Inc) && len(sync.Ackers()) > 1 {
		return Decision{}, false
	}
	for _, i := range f.View.Incs() {
		n := f.View.Nodes[i]
		if i == f.Self.Inc || !n.Alive() {
			continue
		}
		if n.State == RestoreSnapshot || n.Errant != "" && n.Name < f.Self.Name {
			return wait(fmt.Sprintf("following %s; holds transactions it lacks (%s); rebuilding itself after %s", h.Name, f.Errant, n.Name)), true
		}
	}
	return doStep(Step{Op: Archive, Node: h.Inc, Why: fmt.Sprintf("holds transactions that %s lacks: %s", h.Name, f.Errant)}), true
}

func whyNot(f Facts, member bool) string {
	switch {
	case f.Errant != "" && f.Set.RebuildErrant:
		return fmt.Sprintf("holds transactions that the primary lacks (%s)", f.Errant)
	case f.Errant != "":
		return fmt.Sprintf("holds transactions that the primary lacks (%s), and the setting errant says: only report; give them up with: autopilot-mysql rebuild %s",
			f.Errant, f.Self.Name)
	case f.Self.NoFailover:
		return "tagged nofailover"
	case f.Self.Maintenance:
		return "in maintenance" + f.View.Maintenance[f.Self.Name].Text() + "; end that with: autopilot-mysql resume " + f.Self.Name
	case f.MySQL.Receiver != On:
		return "the receiver is not connected: " + f.MySQL.Trouble
	case !f.MySQL.Caught:
		return "catching up"
	case f.Disk.Void:
		return "earlier acknowledgements may be lost; waiting for the primary to check"
	case !member:
		return "not in the ack set"
	}
	return "its acknowledgements are not switched on yet"
}
