package election

import "errors"

// Sentinels for the ways in which a store can let its caller down. Implementations wrap them, so that callers decide with
// [errors.Is] and operators read the whole sentence.
var (
	// ErrUnknown means that a write was sent and nobody knows whether it happened. It must never be repeated blindly:
	// read the keys again, or destroy the session whose possession the write was conditional on.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnreachable means that the request surely never left this machine, so that nothing can have happened.
	ErrUnreachable = errors.New("store unreachable")
	// ErrUnavailable means that a request which only reads got no usable answer: none in time, or that the store cannot
	// serve it now (for example because it has no leader). Writes in the same situation end with [ErrUnknown].
	ErrUnavailable = errors.New("store unavailable")
	// ErrDenied means that the store refused for want of permission. Nothing happened; repeating it will not help.
	ErrDenied = errors.New("permission denied")
	// ErrRefused means that the store understood the request and refused it as invalid. Nothing happened.
	ErrRefused = errors.New("request refused")
	// ErrSessionGone means that the session does not exist any more (or was never opened). It never comes back under the
	// same id, every lock it held is released, and the next [Session.Open] makes a new one.
	ErrSessionGone = errors.New("session gone")
	// ErrNameTaken means that a session of the same node name lives that belongs to somebody else (see [Session.Own]).
	ErrNameTaken = errors.New("name taken")
	// ErrAgentLost means that the store's agent which keeps the session's sign of life is out of reach, beside the sentinel
	// that says how. What the session holds is safe for as long as the lease; [Session.Move] may take it elsewhere.
	ErrAgentLost = errors.New("agent lost")
	// ErrNotHeld means that a lock which should have been released is not held by this session.
	ErrNotHeld = errors.New("lock not held")
	// ErrLeaseLost means that a lease cannot be renewed any more: somebody else holds the lock, or the deadline passed.
	ErrLeaseLost = errors.New("lease lost")
)
