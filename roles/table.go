package roles

import (
	"context"
	"errors"
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/engine"
)

// Actor is what the table's actions need of a node.
type Actor interface {
	// OpenWrites is OPEN: lets clients write. It must check the lease again just before the last step, and an error
	// means the node may be half open: the caller fences.
	OpenWrites(ctx context.Context, f Facts) error
	// GoOn is ATTACH: makes sure that nothing a previous agent sent can take effect any more, and goes on with the term
	// that is open. An error means doubt: the caller fences.
	GoOn(ctx context.Context, f Facts) error
}

type (
	// Rule is the engine's type for this machine.
	Rule = engine.Rule[State, Event, Facts, Actor]
	// Spec is the engine's type for this machine.
	Spec = engine.Spec[State, Event, Facts, Actor]
)

// Names of the guards that every way into primary must carry.
const (
	guardFounded  = "lease and creation"
	guardPromoted = "lease and quorum"
	guardAttached = "lease and open term"
)

// Table is the whole behaviour: who may become what, when, and why.
func Table() Spec {
	return Spec{
		Name:    "autopilot-mysql node",
		Initial: Init,
		States:  States(),
		Events:  Events(),
		Rules: []Rule{
			{From: []State{Init}, On: Founded, To: Primary, Guard: guardFounded, If: mayOpenFirst, Do: openWrites, Why: "created the cluster under the lock"},
			{From: []State{Init}, On: Attached, To: Primary, Guard: guardAttached, If: mayGoOn, Do: goOn, Why: "only the agent was restarted"},
			{From: []State{Init}, On: ClusterFound, To: RestoreSnapshot, Guard: "no data", If: noData, Why: "no data here, the cluster has some"},
			{From: []State{Init}, On: PrimaryFound, To: Replica, Guard: "data", If: hasData, Why: "data on disk and a valid primary"},
			{From: []State{Init}, On: NoPrimary, To: Failover, Guard: "data", If: hasData, Why: "data on disk and no valid primary"},

			{From: []State{RestoreSnapshot}, On: Restored, To: Replica, Guard: "data", If: hasData, Why: "data in place"},

			{From: []State{Replica}, On: Admitted, To: Standby, Guard: "member and armed", If: acksCount, Why: "caught up and in the ack set"},
			{From: []State{Standby}, On: Dropped, To: Replica, Why: "acknowledgements do not count any more"},
			{From: []State{Replica, Standby}, On: NoPrimary, To: Failover, Why: "nobody valid holds the lock"},
			{From: []State{Replica, Standby, Failover}, On: Diverged, To: RestoreSnapshot, Guard: "difference archived", If: condemned, Why: "cannot follow the primary from this data"},

			{From: []State{Standby}, On: Won, To: Primary, Guard: guardPromoted, If: mayOpen, Do: openWrites, Why: "the primary handed over"},
			{From: []State{Failover}, On: Won, To: Primary, Guard: guardPromoted, If: mayOpen, Do: openWrites, Why: "holds every acknowledged write"},
			{From: []State{Failover}, On: PrimaryFound, To: Replica, Guard: "promise kept", If: promiseKept, Why: "a valid primary is open"},

			{From: []State{Primary}, On: LeaseLost, To: Failover, Why: "never refused, never waits"},
			{From: []State{Primary}, On: MysqldLost, To: Failover, Why: "mysqld is gone or useless"},
			{From: []State{Primary}, On: StepDown, To: Failover, Why: "graceful stop"},
		},
		Ignore:  ignored(),
		Require: []func(Rule) error{guardedIntoPrimary, unguardedOutOfPrimary},
	}
}

func openWrites(ctx context.Context, a Actor, f Facts) error { return a.OpenWrites(ctx, f) }

func goOn(ctx context.Context, a Actor, f Facts) error { return a.GoOn(ctx, f) }

// ignored lists every pair the table leaves out, and why that is right.
func ignored() []engine.Ignored[State, Event] {
	var out []engine.Ignored[State, Event]
	add := func(e Event, why string, states ...State) {
		out = append(out, engine.IgnoreIn(why, e, states...)...)
	}
	add(Founded, "a cluster is founded from init only", RestoreSnapshot, Replica, Standby, Failover, Primary)
	add(Attached, "decided once, before anything else", RestoreSnapshot, Replica, Standby, Failover, Primary)
	add(ClusterFound, "decided once, in init", RestoreSnapshot, Replica, Standby, Failover, Primary)
	add(PrimaryFound, "needs data first", RestoreSnapshot)
	add(PrimaryFound, "followed already; a change of primary goes through failover", Replica, Standby)
	add(PrimaryFound, "another primary shows as a lost lease", Primary)
	add(NoPrimary, "a node without data has no part in an election", RestoreSnapshot)
	add(NoPrimary, "waits in failover for exactly that to end", Failover)
	add(NoPrimary, "a free lock is taken back, or shows as a lost lease", Primary)
	add(Restored, "only restore-snapshot restores", Init, Replica, Standby, Failover, Primary)
	add(Admitted, "must follow first", Init, RestoreSnapshot, Failover)
	add(Admitted, "is one already", Standby)
	add(Admitted, "a primary is a member by definition", Primary)
	add(Dropped, "acknowledges nothing", Init, RestoreSnapshot, Failover)
	add(Dropped, "does not count anyway", Replica)
	add(Dropped, "a primary leaves by a lost lease", Primary)
	add(Diverged, "compared with the primary once it follows", Init)
	add(Diverged, "its data is being replaced", RestoreSnapshot)
	add(Diverged, "its history is the cluster's", Primary)
	add(Won, "only a sealed node can win, or a standby that was handed over to", Init, RestoreSnapshot, Replica)
	add(Won, "is open already", Primary)
	for _, e := range []Event{LeaseLost, MysqldLost, StepDown} {
		add(e, "leads nothing", Init, RestoreSnapshot, Replica, Standby, Failover)
	}
	return out
}

// guardedIntoPrimary: promotion is guarded, always.
func guardedIntoPrimary(r Rule) error {
	if r.To == Primary && (r.If == nil || r.Guard != guardFounded && r.Guard != guardPromoted && r.Guard != guardAttached) {
		return errors.New("a way into primary without the lease guard")
	}
	return nil
}

// unguardedOutOfPrimary: demotion never waits.
func unguardedOutOfPrimary(r Rule) error {
	for _, from := range r.From {
		if from == Primary && (r.If != nil || r.Do != nil) {
			return errors.New("a way out of primary that could be refused or could wait")
		}
	}
	return nil
}

func hasData(f Facts) error {
	if f.Disk.Data != DataOurs {
		return errors.New("there is no complete data directory here")
	}
	return nil
}

func noData(f Facts) error {
	if f.Disk.Data == DataOurs {
		return errors.New("there is a data directory here")
	}
	return nil
}

func condemned(f Facts) error {
	if f.Disk.Data != DataCondemned {
		return errors.New("the data is not given up yet")
	}
	return nil
}

func acksCount(f Facts) error {
	switch {
	case !f.View.Sync.Has(f.Self.Inc):
		return errors.New("not a member of the ack set")
	case !f.MySQL.Armed || f.MySQL.Receiver != On:
		return errors.New("the receiver does not acknowledge")
	case f.Disk.Void:
		return errors.New("earlier acknowledgements may be lost")
	}
	return nil
}

func promiseKept(f Facts) error {
	if f.View.Sync.Term < f.Disk.Promised {
		return fmt.Errorf("term %d is below the promised term %d", f.View.Sync.Term, f.Disk.Promised)
	}
	return nil
}

// mayOpenFirst guards the first opening of a cluster: the lease, and records created by this very process.
func mayOpenFirst(f Facts) error {
	if !f.Founded {
		return errors.New("this process did not create the cluster")
	}
	return mayLead(f)
}

// mayOpen guards every other opening: the lease, and a promotion that named this node after a quorum had sealed.
func mayOpen(f Facts) error {
	if f.Promoted == 0 || f.Promoted != f.View.Sync.Term {
		return fmt.Errorf("no promotion of this process stands behind term %d", f.View.Sync.Term)
	}
	return mayLead(f)
}

func mayLead(f Facts) error {
	switch {
	case !f.Lease.Held:
		return errors.New("the lease is not fresh")
	case !f.View.OK || f.View.Leader.Session != f.Lease.Session || f.Lease.Session == "":
		return errors.New("the lock is not held by this node's session")
	case f.View.Sync.Primary != f.Self.Inc:
		return fmt.Errorf("sync names %s", f.View.Sync.Primary.Name())
	case f.Disk.LastSync.Term != f.View.Sync.Term || f.Disk.Promised != f.View.Sync.Term:
		return errors.New("the term is not the one this node promised and made durable")
	case !f.MySQL.Ready || !f.MySQL.Undrained().IsEmpty():
		return errors.New("mysqld is not ready with everything applied")
	}
	return nil
}
