package roles

import (
	"fmt"
	"slices"
	"time"
)

func decidePrimary(f Facts) Decision {
	sync, l := f.View.Sync, f.View.Leader
	switch {
	case !f.MySQL.Running:
		return fire(MysqldLost, "mysqld is gone")
	case !f.Lease.Provable:
		return fire(LeaseLost, "the lease can no longer be proven")
	case f.MySQL.Failing > f.Set.H:
		return fire(MysqldLost, fmt.Sprintf("mysqld has not answered for %s", f.MySQL.Failing.Round(time.Millisecond)))
	case f.View.OK && (sync.Term > f.Leading.Term || sync.Term == f.Leading.Term && sync.Exists() && sync.Primary != f.Self.Inc):
		return fire(LeaseLost, "Consul says: "+sync.String())
	case f.Handing != nil && f.Handing.Offer != nil:
		return decideHeld(f)
	case f.Stop && !mayHandOver(f):
		return fire(StepDown, "asked to stop")
	case !f.MySQL.Ready:
		return wait("mysqld does not answer")
	case throttleOver(f):
		return doStep(Step{Op: Throttle, Why: "no hand-over needs it any more: writes at full speed"})
	case !f.View.OK:
		return wait("Consul does not answer; the ack quorum still proves that nobody else was promoted")
	case f.View.GarbledVer(KeySync) != 0 && !l.Free() && l.Session != f.Lease.Session && l.Holder != f.Self.Inc:
		return fire(LeaseLost, l.Holder.Name()+" holds the lock, and "+f.View.lost())
	case f.View.RecordLost():
		back := f.Leading
		back.Ver = 0
		return doStep(Step{Op: PutBack, Sync: back, Why: f.View.lost() + " while its primary is open"})
	case sync.Term < f.Leading.Term && (l.Free() || l.Session == f.Lease.Session):
		next := f.Leading
		next.Ver = sync.Ver
		next.Term++
		return doStep(Step{Op: TakeBack, Sync: next, Why: fmt.Sprintf("Consul went back to %s: writing over it what the open primary knows", sync)})
	case l.Free():
		next := sync
		next.Term++
		return doStep(Step{Op: TakeBack, Sync: next, Why: "the lock was lost, the quorum was not: taking it back in a new term"})
	case l.Session != f.Lease.Session && l.Holder == f.Self.Inc:
		return wait("this node's former session still shows as the lock's holder")
	case l.Session != f.Lease.Session:
		return fire(LeaseLost, l.Holder.Name()+" holds the lock")
	case sync.Ver != f.Leading.Ver:
		return fire(LeaseLost, "somebody else changed the ack set: "+sync.String())
	case promisedBeyond(f):
		next := sync
		next.Term++
		return doStep(Step{Op: TakeBack, Sync: next, Why: "a member has promised to wait for the next term: opening it without a pause"})
	case f.MySQL.ReadOnly || f.MySQL.Offline:
		return fire(MysqldLost, "somebody made mysqld read-only or offline")
	case useless(f):
		return decideUseless(f)
	}
	return decideAckSet(f)
}

// promisedBeyond reports whether a living node sealed for a term that never came, e.g. because the lock was free for a
// moment. It follows nobody below its promise, so the term has to grow; its seal is void with the new term.
func promisedBeyond(f Facts) bool {
	for i, n := range f.View.Nodes {
		if i != f.Self.Inc && n.Alive() && n.Promised > f.View.Sync.Term {
			return true
		}
	}
	return false
}

// outdated reports whether Consul shows a record older than what this node has acted on: an old backup of it was put
// back. Nobody may be elected from that: its members are not those who hold the acknowledged writes. A record of the
// next term that names this node itself may be a promotion that was refused, and proves nothing.
func outdated(f Facts) bool {
	shown, last := f.View.Sync, f.Disk.LastSync
	return shown.Exists() && (last.Term > shown.Term+1 || last.Term == shown.Term+1 && last.Primary != f.Self.Inc)
}

func names(is []Inc) string {
	slices.Sort(is)
	out := ""
	for n, i := range is {
		if n > 0 {
			out += ", "
		}
		out += i.Name()
	}
	return out
}
