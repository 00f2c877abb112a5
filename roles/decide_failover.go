package roles

import (
	"fmt"
	"slices"
	"time"
)

func decideFailover(f Facts) Decision {
	if f.Disk.Data == DataCondemned {
		return fire(Diverged, condemnedBecause(f))
	}
	if d, ok := giveUp(f); ok {
		return d
	}
	switch {
	case (!f.MySQL.Running || f.MySQL.Killed) && f.View.Leader.Session == f.Lease.Session && f.Lease.Session != "":
		return do(Release, "mysqld is dead: letting the others go on")
	case f.MySQL.Killed:
		return wait("mysqld was killed and its process cannot end: the disk does not answer")
	case !f.MySQL.Running && f.Stop:
		return wait("stopping")
	case !f.MySQL.Running && f.MySQL.Down > 0 && f.MySQL.Down < electionFirst && othersSuffice(f):
		return wait("mysqld is down; the others elect a primary before it recovers")
	case !f.MySQL.Running:
		return do(StartMysqld, "mysqld is down")
	case !f.MySQL.Ready:
		return wait("mysqld is starting")
	case promoted(f) && !f.MySQL.Undrained().IsEmpty() && !cannotDrain(f, f.Disk.Promised):
		return do(Drain, "more is in the relay log than there was at the promotion")
	case promoted(f) && f.MySQL.Undrained().IsEmpty():
		return fire(Won, fmt.Sprintf("promoted in term %d: %s", f.Promoted, f.View.Sync))
	case !f.MySQL.ReadOnly || !f.MySQL.Offline && f.MySQL.K > 0 || f.MySQL.WaitSessions > 0:
		return do(Fence, "no longer the primary")
	case !f.View.OK:
		return wait(consulSilent)
	case f.View.RecordLost():
		return decideWiped(f)
	}
	l := f.View.Leader
	switch {
	case l.Free() && outdated(f) && len(f.View.Sync.Absent) > 0:
		return decideNewer(f)
	case l.Free() && outdated(f):
		return wait(fmt.Sprintf("Consul's record (%s) is older than what this node knows (%s): an old backup was put back; restore a newer one, "+
			"or correct the key sync", f.View.Sync, f.Disk.LastSync))
	case l.Free():
		return decideSealed(f)
	case l.Session == f.Lease.Session:
		return decideHolding(f)
	}
	if h, ok := f.View.ValidPrimary(); ok && h.Inc != f.Self.Inc && f.View.Sync.Term >= f.Disk.Promised {
		return fire(PrimaryFound, fmt.Sprintf("%s is the primary of term %d", h.Name, f.View.Sync.Term))
	}
	if s, ok := expect(f); ok {
		return doStep(s)
	}
	return wait(fmt.Sprintf("%s holds the lock; waiting for it to open a term", l.Holder.Name()))
}

// electionFirst is how long a server that died is left alone while the others elect a primary: its crash recovery would take
// the processor and the disk from them, where they share one.
const electionFirst = time.Second

// othersSuffice reports whether the others are at an election that needs nothing of this node, or at its end: a primary that
// has opened commits nothing before one of its ackers is connected.
func othersSuffice(f Facts) bool {
	sync := f.View.Sync
	if !f.View.OK || f.View.Paused {
		return false
	}
	if h, open := f.View.ValidPrimary(); open {
		return slices.ContainsFunc(sync.Ackers(), func(a Inc) bool { return a != f.Self.Inc && f.View.Nodes[a].Alive() }) &&
			!slices.ContainsFunc(sync.Ackers(), func(a Inc) bool {
				n := f.View.Nodes[a]
				return n.Follows == h.Inc && n.FollowTerm == sync.Term && n.Armed
			})
	}
	able := 0
	for _, a := range sync.Ackers() {
		if n := f.View.Nodes[a]; a != f.Self.Inc && n.Alive() && !n.Void && n.Unfit == "" {
			able++
		}
	}
	return able > len(sync.Ackers())-sync.Acks
}

// decideSealed walks SEAL, PUBLISH, DECIDE, ACQUIRE while the lock is free.
func decideSealed(f Facts) Decision {
	term := f.View.Sync.Term + 1
	mine, published := f.View.Seals[f.Self.Inc]
	switch {
	case f.View.Paused:
		return wait("automatic failover is paused" + f.View.Pause.Text() + "; end that with: autopilot-mysql resume")
	case f.MySQL.Receiver != Off || f.Disk.Promised != term:
		return do(SealReceive, fmt.Sprintf("nobody holds the lock: sealing for term %d", term))
	case !published || !mine.sameAs(ownSeal(f, term)):
		return do(PublishSeal, fmt.Sprintf("publishing the position for term %d", term))
	}
	if d, ok := force(f); ok {
		return d
	}
	if !f.View.Sync.Has(f.Self.Inc) {
		return wait("sealed; not in the ack set, so without a vote")
	}
	v := Elect(f.Self.Inc, f.View, f.Set.Acks)
	switch {
	case !v.Win || f.Stop:
		return wait("sealed; " + v.Why)
	case HeldBack(f) != "":
		return wait("sealed; " + HeldBack(f))
	case cannotDrain(f, term) && f.MySQL.Applier == Off:
		return do(Drain, "the winner could not apply what it received: starting the applier again; "+f.MySQL.Trouble)
	case cannotDrain(f, term):
		return wait("the winner is still applying what it received before it takes the lock; " + f.MySQL.Trouble)
	}
	return do(Acquire, v.Why)
}

// ownSeal is what this node's seal has to say.
func ownSeal(f Facts, term uint64) Seal {
	return Seal{
		Promise: term, Position: f.MySQL.Position(), Undrained: f.MySQL.Undrained().Count(), Void: f.Disk.Void,
		Priority: f.Self.Priority, CannotDrain: cannotDrain(f, term), Leaving: f.Stop, Unfit: f.Disk.Unfit != "",
	}
}

// sameAs compares what an election looks at; how much is left to apply shrinks all the time and may be stale.
func (s Seal) sameAs(o Seal) bool {
	return s.Promise == o.Promise && s.Position.Equal(o.Position) && s.Void == o.Void && s.Priority == o.Priority &&
		s.CannotDrain == o.CannotDrain && s.Leaving == o.Leaving && s.Unfit == o.Unfit
}

// promoted reports whether a promotion of this very process stands behind the present term, and everything that allowed
// it still holds: the lock, the lease, and this node's own promise of exactly that term.
func promoted(f Facts) bool {
	return f.View.OK && f.Promoted != 0 && f.Promoted == f.View.Sync.Term && f.Promoted == f.Disk.Promised &&
		f.View.Sync.Primary == f.Self.Inc && f.Lease.Held && f.View.Leader.Session == f.Lease.Session
}

// cannotDrain reports whether applying has taken too long in this promise and has still not ended.
func cannotDrain(f Facts, promise uint64) bool {
	return f.CannotDrain == promise && !f.MySQL.Undrained().IsEmpty()
}

// OwnSeal is the seal a node publishes for the facts it has just read.
func OwnSeal(f Facts) Seal { return ownSeal(f, f.Disk.Promised) }

// decideHolding walks DRAIN and PROMOTE while this node holds the lock.
func decideHolding(f Facts) Decision {
	v := Elect(f.Self.Inc, f.View, f.Set.Acks)
	switch {
	case !f.Lease.Held:
		return do(Release, "the lease ran out before the promotion")
	case f.MySQL.Receiver != Off || f.Disk.Promised != f.View.Sync.Term+1:
		return do(Release, "holding the lock unsealed")
	case f.Stop:
		return do(Release, "stopping")
	case f.View.Paused:
		return do(Release, "automatic failover was paused before the promotion")
	case cannotDrain(f, f.Disk.Promised):
		return do(Release, "cannot apply what it received in time: "+f.MySQL.Trouble)
	case !v.Win:
		return do(Release, "no longer the winner: "+v.Why)
	case !f.MySQL.Undrained().IsEmpty():
		return do(Drain, "applying what was received before opening")
	}
	return doStep(Step{Op: Promote, Sync: v.Next, Why: v.Why})
}
