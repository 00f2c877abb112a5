package roles

// State is one of the six things a node can be. The values are part of the product's contract: they appear in
// logs, metrics, the HTTP API and Consul.
type State string

// The six states.
const (
	Init            State = "init"
	RestoreSnapshot State = "restore-snapshot"
	Primary         State = "primary"
	Replica         State = "replica"
	Standby         State = "standby"
	Failover        State = "failover"
)

// States lists all states in the order they are drawn.
func States() []State {
	return []State{Init, RestoreSnapshot, Replica, Standby, Failover, Primary}
}

// Event is something that became true and that a row of the table answers.
type Event string

// The events. Every (state, event) pair is a rule or deliberately ignored, see [Table].
const (
	Founded      Event = "founded"       // this node created the cluster and may open its first term
	Attached     Event = "attached"      // a previous agent of this mysqld was the primary, and this still holds
	ClusterFound Event = "cluster-found" // nothing on disk, but the cluster exists
	PrimaryFound Event = "primary-found" // a valid primary is open for writes
	NoPrimary    Event = "no-primary"    // nobody valid holds the lock
	Restored     Event = "restored"      // a data directory is in place
	Admitted     Event = "admitted"      // our acknowledgements count
	Dropped      Event = "dropped"       // our acknowledgements do not count (any more)
	Diverged     Event = "diverged"      // we hold transactions the primary's history lacks
	Won          Event = "won"           // the promotion is recorded in our name
	LeaseLost    Event = "lease-lost"    // we can no longer prove that we are the primary
	MysqldLost   Event = "mysqld-lost"   // our mysqld is gone or useless
	StepDown     Event = "step-down"     // asked to give up leadership (graceful stop)
)

// Events lists all events.
func Events() []Event {
	return []Event{Founded, Attached, ClusterFound, PrimaryFound, NoPrimary, Restored, Admitted, Dropped, Diverged, Won, LeaseLost, MysqldLost, StepDown}
}
