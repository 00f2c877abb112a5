package election

import (
	"context"
	"fmt"
	"time"
)

// Session is one node's membership in the store: every lock it holds is released when it ends. It lives on a TTL check
// that must be passed within [Params.C], with a longer time-out as back-stop. Safe for concurrent use.
type Session interface {
	// Own says who is behind the node's name, for example the identity of its data: sessions that a previous run of the
	// same owner left behind are cleared away by Open, those of another owner never. Call it before the first Open.
	Own(owner string)
	// Open makes sure that there is a living session with a passing check, and creates both if there is none or the old
	// one is gone. It destroys what a previous run of the same node left behind, locks included: call it only when that
	// run cannot be acting as a holder any more, otherwise Adopt its session first.
	// ErrNameTaken while a session of the same name and another owner lives.
	Open(ctx context.Context) error
	// ID is the id of the session, "" before the first Open and after Destroy.
	ID() string
	// Pass gives a sign of life. It proves nothing about possession. ErrSessionGone if check or session is known to be gone,
	// which it need not be at once: a check can outlive its session for some seconds.
	Pass(ctx context.Context) error
	// Acquire takes the lock key, and sets its value. For the holder it is the linearizable proof that it still holds it.
	// false: somebody else holds it, or it was lost a moment ago (the store keeps it closed for the lock-delay of 1 ms,
	// even before it looks whether the session lives). Errors: ErrSessionGone, ErrUnknown, ErrUnreachable, ErrDenied.
	// After ErrUnknown the request may still arrive, even after a Release: whoever sees its own session hold a lock that it
	// does not want gives it back, and Destroy is the way to be sure.
	Acquire(ctx context.Context, key string, value []byte) (bool, error)
	// Release gives the lock back; its value becomes empty. ErrNotHeld if this session does not hold it.
	Release(ctx context.Context, key string) error
	// Destroy ends the session. Once it returns nil, no transaction that demands the session can succeed any more, those
	// in flight included. The next Open makes a new one. After an error the id is kept, so that it can be repeated.
	Destroy(ctx context.Context) error
	// Close is Destroy and in addition removes the check, so that nothing stays behind in the store.
	Close(ctx context.Context) error
	// Move goes on with a new session at another agent of the store, when the one that keeps this session's sign of life is
	// out of reach ([ErrAgentLost]). The lock key, unless it is "", changes hands in one transaction, so that nobody can get
	// it in between. The new session counts from after Move was called. Errors: ErrUnavailable when there is no other agent
	// or none of them answers; ErrNotHeld when the lock was not this session's any more. After any error the session is the
	// old one; after ErrUnknown the lock may be lost, and is surely not held by anybody who could act on it.
	Move(ctx context.Context, key string, value []byte) error
	// Adopt continues the session of a previous run of this node. It is not verified: the next Acquire tells.
	Adopt(id string)
}

// Renew proves possession of the lock key once and moves the deadline of lease. It is also the way to acquire the lock.
// clock is [Boottime] (a simulation has its own). The whole of it is bounded by timeout ([Params.R]).
//
// The order matters. The sign of life goes first and possession is proven after it: then, at the moment of the proof, the
// session was alive and its check had been passed after t0, so that it lives until t0 + C at least. The other way round the
// session could end between the two (by the check's previous deadline), and the lease would count from a sign of life that
// came too late.
//
// ErrLeaseLost means that it is over: lease has been ended. Any other error leaves the lease as it is: it runs out by itself
// unless a later renewal succeeds. The caller stops renewing when the lease is not fresh any more, or the store would
// keep the lock for a holder that does not act.
func Renew(ctx context.Context, s Session, lease *Lease, clock func() time.Duration, timeout time.Duration, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t0 := clock()
	if err := s.Pass(ctx); err != nil {
		return fmt.Errorf("pass check: %w", err)
	}
	held, err := s.Acquire(ctx, key, value)
	if err != nil {
		return fmt.Errorf("prove possession of %s: %w", key, err)
	}
	if !held {
		lease.Lost()
		return fmt.Errorf("prove possession of %s: another session holds it: %w", key, ErrLeaseLost)
	}
	if !lease.Renewed(t0) {
		return fmt.Errorf("renew lease on %s: its deadline had passed: %w", key, ErrLeaseLost)
	}
	return nil
}
