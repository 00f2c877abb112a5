package roles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Inc is an incarnation: a node's name, how often it has been rebuilt, and the server UUID of its data. A rebuilt
// node is a new incarnation, so nothing said about the old data (membership, seals, acknowledgements) carries over.
type Inc string

// NewInc puts an incarnation together. Names hold letters, digits, '.', '_' and '-' only.
func NewInc(name string, rebuilds int, uuid string) Inc {
	return Inc(name + "~" + strconv.Itoa(rebuilds) + "~" + uuid)
}

// Name is the node's bare name.
func (i Inc) Name() string {
	name, _, _ := strings.Cut(string(i), "~")
	return name
}

// rebuilds is how often the node's data had been replaced.
func (i Inc) rebuilds() int {
	_, rest, _ := strings.Cut(string(i), "~")
	number, _, _ := strings.Cut(rest, "~")
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}

// UUID is the server UUID of the incarnation's data.
func (i Inc) UUID() string {
	return string(i)[strings.LastIndexByte(string(i), '~')+1:]
}

// HasData reports whether the incarnation is that of a complete data directory.
func (i Inc) HasData() bool { return i.UUID() != "none" && i != "" }

// Cluster is the identity of a cluster, created once by compare-and-set.
type Cluster struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy Inc       `json:"created_by"`
}

// Sync is the one record that says whose acknowledgements can complete a commit. It changes only by
// compare-and-set on Ver.
type Sync struct {
	// Ver is the ModifyIndex the record was read at; 0 means it does not exist. It is not part of the stored value.
	Ver uint64 `json:"-"`
	// Term grows by one with every promotion (and every take-back of a lost lock).
	Term uint64 `json:"term"`
	// Primary is the incarnation that may be open for writes in this term.
	Primary Inc `json:"primary"`
	// Members are a superset of the nodes whose acknowledgement can complete a commit, the primary included.
	Members []Inc `json:"members"`
	// Acks is a promise: at least this many of the members without the primary hold every acknowledged write.
	Acks int `json:"acks"`
	// Rev makes a new version of the same content, when no transaction that is still under way may succeed any more:
	// a write that changes nothing would leave Ver as it is.
	Rev uint64 `json:"rev,omitempty"`
	// Absent are the names of members that did not report when an operator had this record put back after Consul had lost
	// it: they may know a newer one. It is gone with the next term.
	Absent []string `json:"absent,omitempty"`
}

// Exists reports whether the record has been created.
func (s Sync) Exists() bool { return s.Term > 0 }

// Has reports whether i is a member.
func (s Sync) Has(i Inc) bool { return slices.Contains(s.Members, i) }

// Ackers are the members without the primary.
func (s Sync) Ackers() []Inc {
	out := make([]Inc, 0, len(s.Members))
	for _, m := range s.Members {
		if m != s.Primary {
			out = append(out, m)
		}
	}
	return out
}

// IsAcker reports whether i is a member other than the primary.
func (s Sync) IsAcker(i Inc) bool { return i != s.Primary && s.Has(i) }

// With returns a copy with i as a member; the promise stays as it was.
func (s Sync) With(i Inc) Sync {
	s.Members = append(slices.Clone(s.Members), i)
	return s
}

// Without returns a copy without member i, and the promise no higher than the ackers left.
func (s Sync) Without(i Inc) Sync {
	s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m Inc) bool { return m == i })
	s.Acks = min(s.Acks, len(s.Ackers()))
	return s
}

// Equal compares everything but Ver.
func (s Sync) Equal(o Sync) bool {
	return s.Term == o.Term && s.Primary == o.Primary && s.Acks == o.Acks && s.Rev == o.Rev && slices.Equal(s.Members, o.Members)
}

// String is the form used in sentences for operators.
func (s Sync) String() string {
	if !s.Exists() {
		return "no term yet"
	}
	names := make([]string, len(s.Members))
	for i, m := range s.Members {
		names[i] = m.Name()
	}
	return fmt.Sprintf("term %d, primary %s, members %s, acks %d", s.Term, s.Primary.Name(), strings.Join(names, "+"), s.Acks)
}

// Seal is a node's vow for one promise: its receiver is stopped and stays stopped until a valid primary of term
// Promise or later exists. Position was read after the receiver had stopped.
type Seal struct {
	Promise   uint64   `json:"promise"`
	Position  gtid.Set `json:"position"`
	Undrained uint64   `json:"undrained"`
	Void      bool     `json:"void,omitempty"`
	Priority  int      `json:"priority,omitempty"`
	// CannotDrain is set when the node could not apply what it received, in this promise: it comes last.
	CannotDrain bool `json:"cannot_drain,omitempty"`
	// Leaving is set by a primary that is being stopped: its position counts, it does not want to win.
	Leaving bool `json:"leaving,omitempty"`
	// Unfit is set by a node that cannot write to its volume: it counts only when there is no quorum without it.
	Unfit bool `json:"unfit,omitempty"`
}

// Leader is the lock.
type Leader struct {
	// Holder is who wrote the lock's value last; "" after a release.
	Holder Inc
	// Session holds the lock; "" when it is free.
	Session string
	// Missing is true when not even the key is there: nobody let go of it, somebody deleted it.
	Missing bool
}

// Free reports whether nobody holds the lock.
func (l Leader) Free() bool { return l.Session == "" }

// Expired reports whether the lock became free because its session ended or its key was deleted, not because its holder
// let go.
func (l Leader) Expired() bool { return l.Free() && (l.Holder != "" || l.Missing) }

// BinlogPos is an end of a source's binary log, as its server counts it.
type BinlogPos struct {
	SourceUUID string `json:"uuid"`
	File       string `json:"file"`
	Pos        uint64 `json:"pos"`
}

// Covers reports whether having everything up to p means having everything up to o.
// Positions of different servers are never comparable.
func (p BinlogPos) Covers(o BinlogPos) bool {
	if p.SourceUUID == "" || p.SourceUUID != o.SourceUUID {
		return false
	}
	pn, on := fileNumber(p.File), fileNumber(o.File)
	return pn > on && on >= 0 || pn == on && pn >= 0 && p.Pos >= o.Pos
}

func fileNumber(f string) int64 {
	n, err := strconv.ParseInt(f[strings.LastIndexByte(f, '.')+1:], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Checkpoint is a primary's question: who holds my binary log up to End? It is asked after whatever For names has
// been put in force, so an answer covers every write acknowledged before that.
type Checkpoint struct {
	Seq uint64    `json:"seq"`
	For string    `json:"for"`
	End BinlogPos `json:"end"`
}

// Confirmation is a follower's answer: my relay log covers checkpoint Seq, received by this very start of the receiver.
type Confirmation struct {
	Seq      uint64 `json:"seq"`
	Receiver string `json:"receiver"`
}

// Node is what a node says about itself. It is locked by the node's session, so a record without one is a node
// that is gone.
type Node struct {
	Inc     Inc    `json:"inc"`
	Name    string `json:"name"`
	Cluster string `json:"cluster_id"`
	MySQL   string `json:"mysql"`
	HTTP    string `json:"http"`
	Version string `json:"version"`
	State   State  `json:"state"`
	Healthy bool   `json:"healthy"`
	Reason  string `json:"reason,omitempty"`

	Promised   uint64 `json:"promised"`
	Void       bool   `json:"void,omitempty"`
	NoFailover bool   `json:"nofailover,omitempty"`
	Priority   int    `json:"priority,omitempty"`
	LastSync   *Sync  `json:"last_sync,omitempty"`
	// Misses says that this node sees that Consul has lost the cluster's records: LastSync is then all that it will report. What
	// a dead node said before that is no report: it may have learned more since.
	Misses bool `json:"misses,omitempty"`
	// Maintenance says that an operator has taken the node out of service for a while.
	Maintenance bool `json:"maintenance,omitempty"`
	// Login tells whether nodes use the same password of the cluster's accounts, and nothing about it.
	Login string `json:"login,omitempty"`
	// Unfit says why the node cannot write to its volume; it is then healthy only as a primary that commits all the same.
	Unfit string `json:"unfit,omitempty"`
	// Leaving says that the node has been asked to stop: what it gives up it gives up on purpose.
	Leaving bool `json:"leaving,omitempty"`
	// Errant are the node's transactions that the primary's history lacks; it is no member while it has any.
	Errant string `json:"errant,omitempty"`

	// Follows and FollowTerm confirm: my receiver is set up for this primary of this term, and acknowledges only
	// if ArmedWanted. Armed and Receiver say what the running receiver does.
	Follows     Inc            `json:"follows,omitempty"`
	FollowTerm  uint64         `json:"follow_term,omitempty"`
	ArmedWanted bool           `json:"armed_wanted,omitempty"`
	Armed       bool           `json:"armed,omitempty"`
	Receiver    string         `json:"receiver,omitempty"`
	Caught      bool           `json:"caught,omitempty"` // within the lag limit
	Confirms    []Confirmation `json:"confirms,omitempty"`

	// Admits is the term that this node is opening and already lets its ackers in for: the first commit waits for them. 0
	// otherwise, and once it is open.
	Admits uint64 `json:"admits,omitempty"`
	// Open is the term this node is open for as the primary; 0 otherwise.
	Open        uint64       `json:"open,omitempty"`
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"`

	// Handover is the plan, and then the offer, of a primary that hands over.
	Handover *Handover `json:"handover,omitempty"`
	// Ready is the Seq of the hand-over that this node is prepared to take.
	Ready uint64 `json:"ready,omitempty"`
	// Drained is the Seq of the hand-over that this node is ready or chained for while next to nothing is left to apply, else 0:
	// writes end only when the candidate says so.
	Drained uint64 `json:"drained,omitempty"`
	// Chained says that this node receives from a candidate already.
	Chained *Chained `json:"chained,omitempty"`

	// What follows is for people; it may be some seconds old and nothing is decided by it.
	Executed   string  `json:"executed,omitempty"`
	LagSeconds float64 `json:"lag_seconds"`
	LeaseMS    int64   `json:"lease_ms,omitempty"`
	PIDs       PIDs    `json:"pids"`
	Datadir    string  `json:"datadir,omitempty"`
	// Kept says that differences of former incarnations lie in the node's directory, and why.
	Kept string `json:"kept,omitempty"`
	// Neighbour names, at a primary, a server of somebody else under the names of this cluster's services.
	Neighbour string `json:"neighbour,omitempty"`
	// Held is why the winner of the election does not take over yet; the next two are the settings behind that.
	Held             string `json:"held,omitempty"`
	CooldownMS       int64  `json:"cooldown_ms,omitempty"`
	FailoversPerHour int    `json:"failovers_per_hour,omitempty"`

	// Session holds the record; "" when the node is gone. Not part of the stored value.
	Session string `json:"-"`
}

// PIDs are the three processes of a node.
type PIDs struct {
	Guard  int `json:"guard"`
	Agent  int `json:"agent"`
	Mysqld int `json:"mysqld"`
}

// Confirmed reports whether the present start of the receiver has answered checkpoint seq.
func (n Node) Confirmed(seq uint64) bool {
	return slices.Contains(n.Confirms, Confirmation{Seq: seq, Receiver: n.Receiver})
}

// Alive reports whether the node's session still holds its record.
func (n Node) Alive() bool { return n.Session != "" }
