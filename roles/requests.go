package roles

import "time"

// RequestKind is what an operator asks for.
type RequestKind string

// The kinds of requests.
const (
	RequestSwitchover RequestKind = "switchover"
	RequestFailover   RequestKind = "failover"
	RequestRebuild    RequestKind = "rebuild"
	RequestRemove     RequestKind = "remove"
)

// RequestState is how far a request has got.
type RequestState string

// The states of a request. The last four are final.
const (
	RequestOpen    RequestState = "open"    // written, nobody has begun with it
	RequestRunning RequestState = "running" // the node that is responsible works on it
	RequestDone    RequestState = "done"
	RequestRefused RequestState = "refused" // a safety guard said no, see Guard; nothing was changed
	RequestFailed  RequestState = "failed"  // it was tried; everything is as it was before unless Outcome says otherwise
	RequestUnknown RequestState = "unknown" // nobody knows whether it took effect
)

// Request is what an operator asked for, and its outcome: one record, created by compare-and-set and moved on the same way
// by the node that performs it, so that a lost terminal loses nothing.
type Request struct {
	ID   string      `json:"id"`
	Kind RequestKind `json:"kind"`
	// Node is the bare name of the node it concerns; for a switchover the target, "" for the best one.
	Node    string         `json:"node,omitempty"`
	By      string         `json:"by,omitempty"`
	At      time.Time      `json:"at"`
	Options RequestOptions `json:"options,omitzero"`
	// Timeout bounds the work; 0 is the default of its kind.
	Timeout time.Duration `json:"timeout,omitempty"`

	State RequestState `json:"state"`
	// Guard names the safety guard of a refusal.
	Guard string `json:"guard,omitempty"`
	// Outcome is one sentence, there with a final state; Progress says what is being done until then.
	Outcome  string `json:"outcome,omitempty"`
	Progress string `json:"progress,omitempty"`
	// GapMS is for how long nobody could write, as far as the servers know; 0 while it is not known.
	GapMS     float64   `json:"gap_ms,omitempty"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	// Inc is the incarnation that a rebuild or a removal is about, known when it begins.
	Inc Inc `json:"inc,omitempty"`

	// Ver is the ModifyIndex the record was read at. It is not part of the stored value.
	Ver uint64 `json:"-"`
}

// RequestOptions are what an operator takes upon himself.
type RequestOptions struct {
	Force          bool `json:"force,omitempty"`
	AcceptDataLoss bool `json:"accept_data_loss,omitempty"`
}

// Final reports whether nothing will happen to the request any more.
func (r Request) Final() bool { return r.State != RequestOpen && r.State != RequestRunning }
