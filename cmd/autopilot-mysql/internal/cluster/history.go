package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// HistoryKeep is how many entries of the history are kept, the newest ones.
const HistoryKeep = 200

// HistoryKind is what happened.
type HistoryKind string

// The kinds of entries.
const (
	HistoryPromotion HistoryKind = "promotion" // a node opened a term
	HistoryAttached  HistoryKind = "attached"  // a new agent went on with its mysqld's open term
	HistoryStepDown  HistoryKind = "step-down" // a primary let go in order
	HistoryLost      HistoryKind = "lost"      // a primary lost its lease or its mysqld
	HistoryTakeBack  HistoryKind = "take-back" // a primary got its lock back in a new term, without a pause
	HistoryRebuild   HistoryKind = "rebuild"   // a node gave its data up, or got new data
	HistoryRequest   HistoryKind = "request"   // an operator's request ended
	HistoryForced    HistoryKind = "forced"    // an operator gave acknowledged writes up
	HistoryWaiting   HistoryKind = "waiting"   // there is no primary and nobody can become one
	HistoryPause     HistoryKind = "pause"
	HistoryResume    HistoryKind = "resume"
	HistorySettings  HistoryKind = "settings"
)

// Phases is how long each part of a failover took, at the winner, in milliseconds; -1: it was not seen. Detect is from the
// last packet of the old primary until its lock was free.
type Phases struct {
	Detect  float64 `json:"detect_ms"`
	Seal    float64 `json:"seal_ms"`
	Elect   float64 `json:"elect_ms"`
	Drain   float64 `json:"drain_ms"`
	Promote float64 `json:"promote_ms"`
	Open    float64 `json:"open_ms"`
}

// String is one line for people.
func (p Phases) String() string {
	var parts []string
	for _, x := range []struct {
		name string
		ms   float64
	}{{"detect", p.Detect}, {"seal", p.Seal}, {"elect", p.Elect}, {"drain", p.Drain}, {"promote", p.Promote}, {"open", p.Open}} {
		if x.ms >= 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", x.name, x.ms))
		}
	}
	return strings.Join(parts, ", ") + " ms"
}

// Lap is one part of something that takes milliseconds.
type Lap struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
}

// Laps are the parts of a hand-over at the node that took over, from the end of writes at the old primary on.
type Laps []Lap

// String is one line for people.
func (l Laps) String() string {
	parts := make([]string, 0, len(l))
	for _, x := range l {
		parts = append(parts, fmt.Sprintf("%s %.1f", x.Name, x.MS))
	}
	return strings.Join(parts, ", ") + " ms"
}

// HistoryEntry is one thing worth remembering.
type HistoryEntry struct {
	At   time.Time   `json:"at"`
	Kind HistoryKind `json:"kind"`
	// Node is where it happened; "" when it was an operator's doing.
	Node   string  `json:"node,omitempty"`
	Term   uint64  `json:"term,omitempty"`
	Why    string  `json:"why"`
	Phases *Phases `json:"phases,omitempty"`
	Laps   *Laps   `json:"laps,omitempty"` // of a promotion by hand-over
	// GapMS is for how long nobody could write, as the new primary knows it; 0 when it does not.
	GapMS   float64 `json:"gap_ms,omitempty"`
	Request string  `json:"request,omitempty"` // id
	State   string  `json:"state,omitempty"`   // how the request ended
	// Order, Target and Guard are the request's kind, node, and what refused it.
	Order  roles.RequestKind `json:"order,omitempty"`
	Target string            `json:"target,omitempty"`
	Guard  string            `json:"guard,omitempty"`
	By     string            `json:"by,omitempty"`
}

// HistoryKey is where an entry goes: keys sort by time.
func (k Keys) HistoryKey(e HistoryEntry) string {
	who := e.Node
	if who == "" {
		who = "operator"
	}
	return k.History() + e.At.UTC().Format("20060102T150405.000000Z") + "-" + who
}

// WriteHistory adds an entry.
func (k Keys) WriteHistory(e HistoryEntry) election.Op {
	return election.Set(k.HistoryKey(e), Encode(e))
}

// TrimHistory forgets what is beyond the newest HistoryKeep entries of a read of History; nothing if there are no more. One
// transaction takes 64 steps, so it may have to be repeated.
func TrimHistory(v election.View) []election.Op {
	keys := slices.Sorted(maps.Keys(v.KVs))
	const most = 60
	var ops []election.Op
	for _, old := range keys[:max(0, min(most, len(keys)-HistoryKeep))] {
		ops = append(ops, election.Delete(old))
	}
	return ops
}

// ParseHistory are the entries of a read of History, the oldest first; what cannot be read is left out.
func ParseHistory(v election.View) []HistoryEntry {
	out := make([]HistoryEntry, 0, len(v.KVs))
	for _, key := range slices.Sorted(maps.Keys(v.KVs)) {
		kv := v.KVs[key]
		var e HistoryEntry
		if json.Unmarshal(kv.Value, &e) == nil && !e.At.IsZero() {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b HistoryEntry) int { return a.At.Compare(b.At) })
	return out
}

// RequestEntry is what the history says about a request that ended.
func RequestEntry(node string, term uint64, r roles.Request) HistoryEntry {
	return HistoryEntry{Kind: HistoryRequest, Node: node, Term: term, Why: howEnded(r) + r.Outcome, Request: r.ID, State: string(r.State), By: r.By,
		Order: r.Kind, Target: r.Node, Guard: r.Guard, GapMS: r.GapMS}
}

// howEnded begins the sentence about a request; its outcome follows.
func howEnded(r roles.Request) string {
	what := string(r.Kind)
	if r.Node != "" {
		what += " " + r.Node
	}
	if r.Guard != "" {
		return fmt.Sprintf("%s: %s by guard %s: ", what, r.State, r.Guard)
	}
	return fmt.Sprintf("%s: %s: ", what, r.State)
}

// Ended is the request as its own record said, out of what RequestEntry made of it.
func (e HistoryEntry) Ended() roles.Request {
	r := roles.Request{ID: e.Request, Kind: e.Order, Node: e.Target, Guard: e.Guard, State: roles.RequestState(e.State), By: e.By, GapMS: e.GapMS, UpdatedAt: e.At}
	r.Outcome = strings.TrimPrefix(e.Why, howEnded(r))
	return r
}
