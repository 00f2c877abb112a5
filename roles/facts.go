package roles

import (
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Facts is everything a decision may look at: one immutable value, gathered at one instant. Durations are ages
// ("for how long"), so that nothing here needs a clock.
type Facts struct {
	Self  Self
	Disk  Disk
	MySQL MySQL
	Lease Lease
	View  View
	Set   Settings

	// Follow is what this node has confirmed about whom it follows.
	Follow Follow
	// Promoted is the term this very process has won by a promotion whose success is known; 0 if none.
	Promoted uint64
	// Founded is true once this very process has created the cluster's records.
	Founded bool
	// Attach is the term in which a previous agent of this very mysqld was open when it ended, as the guard remembers;
	// 0 if it was not, or if it must not be gone on with (an offer to hand over is out).
	Attach uint64
	// Leading is the sync record as this primary wrote it last (its Ver included).
	Leading Sync
	// Checkpoints are the questions this primary has asked in this term, the newest last.
	Checkpoints []Checkpoint
	// Silent says, at a primary, for how long each acker has not been seen streaming.
	Silent map[Inc]time.Duration
	// Waiting is for how long commits have been waiting for an acknowledgement without any being given.
	Waiting time.Duration
	// LeaderFree is for how long the lock has been seen free.
	LeaderFree time.Duration
	// ConsulBack is for how long Consul has answered this node again after an outage; 0 when there was none.
	ConsulBack time.Duration
	// CannotDrain is the promise in which this node could not apply what it received; 0 if it could.
	CannotDrain uint64
	// Recent are the ages of the cluster's last automatic failovers, in any order.
	Recent []time.Duration
	// Errant are transactions of this follower that its primary's history lacks, found while it follows; "" for none.
	Errant string
	// Busy names a long job that runs in the background of the present state ("" = none), e.g. a restore.
	Busy string
	// RequestAge is for how long this node has known each unfinished request.
	RequestAge map[string]time.Duration
	// Handing is the hand-over this primary is working on; nil if none. With its Offer the term is no longer its own to use.
	Handing *Handing
	// TriedToHandOver is true once a hand-over because of Stop has been begun: there is no second attempt.
	TriedToHandOver bool
	// TookOver is set at a primary whose term was handed over to it.
	TookOver *TookOver
	// Throttle is the delay that may be on this primary's commits because of a hand-over; 0 if none.
	Throttle time.Duration
	// Ready is the Seq of the hand-over this node is prepared to take; 0 if none.
	Ready uint64
	// Applying is for how long nothing has been applied here although something is left; 0 when nothing is.
	Applying time.Duration
	// Chained is what this node has confirmed about a candidate it receives from.
	Chained *Chained
	// Stop is true when a graceful stop has been asked for.
	Stop bool
}

// Self is who this node is.
type Self struct {
	Inc        Inc
	Name       string
	NoFailover bool
	Priority   int
	// Maintenance is true while an operator works on this node. It leaves the ack set by the primary's doing, in order:
	// until then its acknowledgements count.
	Maintenance bool
}

// DataKind says what the node's directory holds.
type DataKind int

// The kinds of data directories. Foreign data never gets this far: the process refuses to start on it.
const (
	DataEmpty     DataKind = iota // nothing, or a creation that never finished
	DataOurs                      // a complete data directory of this cluster
	DataCondemned                 // to be replaced by a copy: it diverged, and the difference is archived
)

// Disk is what the node has made durable about itself.
type Disk struct {
	Data      DataKind
	ClusterID string
	// Founding is true while it is not known whether the creation of the cluster by this node was recorded.
	Founding bool
	// Promised is the highest term this node has vowed to wait for: it follows nobody of a lower term.
	Promised uint64
	// Condemned says why the data is given up; "" for a divergence.
	Condemned string
	// Void is true when acknowledgements this node gave in the past may no longer hold.
	Void bool
	// LastSync is the newest sync record this node acted on; its Ver is kept too.
	LastSync Sync
	// Unfit says, in words, why the node's volume cannot be written to; "" when it can.
	Unfit string
}

// ThreadState is the state of one replication thread.
type ThreadState string

// The thread states.
const (
	Off        ThreadState = "off"
	Connecting ThreadState = "connecting"
	On         ThreadState = "on"
)

// MySQL is what the local server says. When Ready is false everything but Running, Killed and Failing is unknown.
type MySQL struct {
	Running bool
	Ready   bool
	// Killed is true when SIGKILL was sent and the process has not ended yet: it waits for a disk that does not answer. It
	// executes nothing any more, so it serves and acknowledges nothing.
	Killed  bool
	Failing time.Duration // for how long a running server has not answered
	Down    time.Duration // for how long it has been seen not running; 0: not known, or it runs
	// Stuck is for how long a primary has been unable to commit, for another reason than a missing acknowledgement.
	Stuck time.Duration
	// StuckWhy is what it said about it; "" when it said nothing and only hangs.
	StuckWhy string

	ReadOnly bool // read_only and super_read_only
	Offline  bool
	Executed gtid.Set
	Received gtid.Set

	// As a source.
	K            int // acknowledgements a commit waits for; 0 with the source side off
	WaitSessions int
	Streams      map[string]bool // node name → a dump thread serves it
	Unlocked     map[string]bool // node name → its replication account exists and is unlocked

	// As a replica.
	Source      string // host:port the channel points at; "" without a channel
	Receiver    ThreadState
	Applier     ThreadState
	ReceiverID  string // changes with every start of the receiver
	ArmedWanted bool
	Armed       bool
	Pos         BinlogPos
	PacketAge   time.Duration
	Caught      bool // lag within the limit
	Trouble     string
}

// Position is everything this server holds, applied or not.
func (m MySQL) Position() gtid.Set { return m.Executed.Union(m.Received) }

// Undrained is what was received and not yet executed.
func (m MySQL) Undrained() gtid.Set { return m.Received.Subtract(m.Executed) }

// Lease is the local view of the lock's possession.
type Lease struct {
	// Held is true while the deadline counted from before the last proven renewal lies ahead.
	Held bool
	// Provable is Held, or, under policy keep, that the ack quorum was proven within the same time.
	Provable bool
	// Session is this node's session; "" while it has none.
	Session string
}

// Follow is a follower's confirmation.
type Follow struct {
	Primary Inc
	Term    uint64
	Armed   bool
}

// View is the cluster as Consul shows it: one consistent read. OK is false when Consul has not answered for so
// long that the rest is only a memory.
type View struct {
	OK      bool
	Cluster *Cluster
	Leader  Leader
	Sync    Sync
	Seals   map[Inc]Seal
	Nodes   map[Inc]Node
	Paused  bool
	// Garbled are the records that cannot be read, by key. Cluster and Sync are then zero and a seal is left out; of a node
	// only incarnation, name and session are known.
	Garbled []Garbled
	// Pause says who paused the cluster, when, and why.
	Pause Pause
	// Maintenance are the nodes an operator is about to work on, by name: they follow on, but never become primary,
	// acknowledge nothing that counts, and are not offered to readers.
	Maintenance map[string]Pause
	// Removed are incarnations that an operator took out for good: they never follow, vote or win again.
	Removed map[Inc]bool
	// Requests are the operators' requests that are open or running, sorted by id.
	Requests []Request
}

// Pause is the record that stops automatic failover. That the key exists is what counts.
type Pause struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	// Force is about the maintenance of one node: it leaves the ack set even if nobody else acknowledges.
	Force bool `json:"force,omitempty"`
}

// Promoted is the node that holds the lock and is named by sync: it is open for that term, or about to open it.
func (v View) Promoted() (Node, bool) {
	if v.Leader.Free() || !v.Sync.Exists() || v.Leader.Holder != v.Sync.Primary {
		return Node{}, false
	}
	n, ok := v.Nodes[v.Sync.Primary]
	return n, ok && n.Alive()
}

// Admitting is the promoted node once it lets its ackers in: it is open, or opens next.
func (v View) Admitting() (Node, bool) {
	n, ok := v.Promoted()
	return n, ok && (n.Open == v.Sync.Term || n.Admits == v.Sync.Term)
}

// ValidPrimary is the promoted node once it says that it is open for that very term.
func (v View) ValidPrimary() (Node, bool) {
	n, ok := v.Promoted()
	return n, ok && n.Open == v.Sync.Term
}

// Incs lists the incarnations with a record, in order.
func (v View) Incs() []Inc {
	out := make([]Inc, 0, len(v.Nodes))
	for i := range v.Nodes {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// replaced reports whether a later incarnation of the same node is alive: the old one can then neither stream nor vote.
func (v View) replaced(i Inc) bool {
	for o, n := range v.Nodes {
		if o.Name() == i.Name() && o.rebuilds() > i.rebuilds() && n.Alive() {
			return true
		}
	}
	return false
}

// Settings are the cluster-wide settings decisions depend on.
type Settings struct {
	// Acks is k, the number of acknowledgements wanted for each commit.
	Acks int
	// MaxAckers bounds the ack set without the primary, so that an election never needs many answers.
	MaxAckers int
	// GoOnAlone lets a primary without any acker left accept writes that nobody else holds.
	GoOnAlone bool
	// C is the lease; H is how long one renewal proves possession.
	C, H time.Duration
	// Heartbeat is the interval at which an idle source sends a packet.
	Heartbeat time.Duration
	// RebuildErrant lets a follower with errant transactions archive them and get a new copy by itself.
	RebuildErrant bool
	// Cooldown is how long after an automatic failover the next one is held back; 0: not at all.
	Cooldown time.Duration
	// FailoversPerHour is how many automatic failovers may begin within an hour; 0: any number.
	FailoversPerHour int
}

// Limits on waiting that are not settings.
const (
	// graceMax bounds the time a follower waits for a primary that lost its session but still streams (protocol "Grace").
	graceMax = 300 * time.Millisecond
	// markerAfter is how long commits may wait while enough ackers are connected before a marker is committed: an
	// acknowledgement lost with its link is never repeated, and only a later commit frees those who wait (measured).
	markerAfter = 150 * time.Millisecond
)
