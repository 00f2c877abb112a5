package cluster

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// LastSnapshot is the pointer to the newest complete snapshot, for people and as a hint; the store decides.
type LastSnapshot struct {
	ID    string    `json:"id"`
	At    time.Time `json:"at"`
	GTID  string    `json:"gtid"`
	Bytes int64     `json:"bytes"`
}

// SnapshotWork is the value of the snapshot lock: what its holder is doing.
type SnapshotWork struct {
	Node string `json:"node"`
	// Doing is WorkTaking or WorkVerifying, and Stage says more.
	Doing string    `json:"doing"`
	Stage string    `json:"stage,omitempty"`
	ID    string    `json:"id,omitempty"`
	Done  int64     `json:"done"`
	Total int64     `json:"total"`
	Since time.Time `json:"since"`
}

// What the holder of the snapshot lock does.
const (
	WorkTaking    = "taking"
	WorkVerifying = "verifying"
)

// SnapshotVerified is the newest verdict on a snapshot. OKID and OKAt are the newest snapshot that was found good.
type SnapshotVerified struct {
	ID   string    `json:"id"`
	OK   bool      `json:"ok"`
	Why  string    `json:"why,omitempty"`
	By   string    `json:"by"`
	At   time.Time `json:"at"` // of the verification
	OKID string    `json:"ok_id,omitempty"`
	OKAt time.Time `json:"ok_at"` // when the snapshot that was found good had been taken
}

// SnapshotTrouble is why the last attempt to work with the store failed. It is gone after the next one that succeeds.
type SnapshotTrouble struct {
	Node string    `json:"node"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"` // when it began
	// Store is true when the store is to blame, not the node.
	Store bool `json:"store"`
}

// States of a SnapshotRequest.
const (
	RequestOpen    = "open"
	RequestRunning = "running"
	RequestDone    = "done"
	RequestFailed  = "failed"
)

// OrderSnapshot is what the history calls such a request, beside the kinds of the others.
const OrderSnapshot roles.RequestKind = "snapshot"

// SnapshotRequest is an operator's wish for a snapshot now. The command creates it, the node that takes it up moves it on,
// both by compare-and-set; finished ones are removed after an hour.
type SnapshotRequest struct {
	ID    string    `json:"id"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Node  string    `json:"node"` // who shall do it; "": whose turn it is
	State string    `json:"state"`
	Taker string    `json:"taker,omitempty"`
	// Outcome is one sentence, Snapshot the id of what was made.
	Outcome  string    `json:"outcome,omitempty"`
	Snapshot string    `json:"snapshot,omitempty"`
	Changed  time.Time `json:"changed"`

	Ver uint64 `json:"-"` // ModifyIndex
}

// Over reports whether nobody will change it any more.
func (r SnapshotRequest) Over() bool { return r.State == RequestDone || r.State == RequestFailed }

// SnapshotLock is held while a snapshot is being taken or verified.
func (k Keys) SnapshotLock() string { return k.Prefix + "snapshot/lock" }

// SnapshotLast describes the newest complete snapshot.
func (k Keys) SnapshotLast() string { return k.Prefix + "snapshot/last" }

// SnapshotVerified describes the newest verification.
func (k Keys) SnapshotVerified() string { return k.Prefix + "snapshot/verified" }

// SnapshotTrouble says why the store cannot be worked with.
func (k Keys) SnapshotTrouble() string { return k.Prefix + "snapshot/trouble" }

// SnapshotRequest is one wish for a snapshot.
func (k Keys) SnapshotRequest(id string) string { return k.Prefix + "snapshot/requests/" + id }

// takeSnapshot reads a record about snapshots. Only the pointer to the newest one is demanded to be right: the others are
// for people and are written anew, so one that cannot be read counts as missing.
func (p *parser) takeSnapshot(rest string, kv election.KV) error {
	x := &p.extra
	switch {
	case rest == "lock":
		x.SnapshotRunning, x.SnapshotSession = kv.Session != "", kv.Session
		if w := (SnapshotWork{}); x.SnapshotRunning && json.Unmarshal(kv.Value, &w) == nil {
			x.SnapshotWork = &w
		}
	case rest == "last":
		x.Snapshot = &LastSnapshot{}
		if err := decode(kv.Value, x.Snapshot); err != nil || x.Snapshot.ID != "" {
			return err
		}
		return fmt.Errorf("it names no snapshot")
	case rest == "verified":
		x.SnapshotVerified = readRecord[SnapshotVerified](kv.Value)
	case rest == "trouble":
		x.SnapshotTrouble = readRecord[SnapshotTrouble](kv.Value)
	case strings.HasPrefix(rest, "requests/"):
		if r := readRecord[SnapshotRequest](kv.Value); r != nil {
			r.ID, r.Ver = strings.TrimPrefix(rest, "requests/"), kv.ModifyIndex
			x.SnapshotRequests = append(x.SnapshotRequests, *r)
		}
	}
	return nil
}

func readRecord[T any](value []byte) *T {
	var v T
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	return &v
}

// TakingSnapshot says whether a snapshot is being taken: not when one is only being verified.
func (x Extra) TakingSnapshot() bool {
	return x.SnapshotRunning && (x.SnapshotWork == nil || x.SnapshotWork.Doing != WorkVerifying)
}

// VerifiedNow is the record after another verification of the snapshot that was taken at the given time.
func (x Extra) VerifiedNow(id string, taken time.Time, v snapshot.Verification) SnapshotVerified {
	r := SnapshotVerified{ID: id, OK: v.OK, Why: v.Why, By: v.By, At: v.At}
	if old := x.SnapshotVerified; old != nil {
		r.OKID, r.OKAt = old.OKID, old.OKAt
	}
	switch {
	case v.OK && !taken.Before(r.OKAt):
		r.OKID, r.OKAt = id, taken
	case !v.OK && r.OKID == id: // it was good once
		r.OKID, r.OKAt = "", time.Time{}
	}
	return r
}

// snapshotProblems are what is wrong with the snapshots. They are shown, and make no cluster unwell.
func snapshotProblems(s SnapshotDoc) []Problem {
	var out []Problem
	if t := s.Trouble; t != nil {
		what := fmt.Sprintf("no snapshot can be taken on %s since %s: %s", t.Node, t.At.UTC().Format(time.RFC3339), t.Why)
		if t.Store {
			what = fmt.Sprintf("the snapshot store cannot be used since %s (%s): %s", t.At.UTC().Format(time.RFC3339), t.Node, t.Why)
		}
		out = append(out, Problem{What: what, Next: "the database is not affected; it is tried again at least every minute and catches up",
			Do: "see whether the store answers, and its credentials: autopilot-mysql snapshot list"})
	}
	if v := s.Verified; v != nil && !v.OK {
		out = append(out, Problem{What: fmt.Sprintf("snapshot %s is damaged: %s", v.ID, v.Why), Next: "it is not used; a new one is taken",
			Do: "autopilot-mysql snapshot verify"})
	}
	return out
}
