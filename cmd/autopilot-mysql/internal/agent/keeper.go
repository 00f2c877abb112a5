package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// feeder is what the keeper needs of the guard.
type feeder interface {
	Feed(deadline time.Duration, memory []byte) error
	Mysqld() (pid int, running bool)
}

// keeper owns the node's session and, while this node leads, its lease: it renews, proves, passes the check, and
// feeds the guard. Nothing here waits for mysqld, so a hanging server cannot starve the lease's arithmetic; whether
// mysqld is healthy is told to it. All methods are safe for concurrent use.
type keeper struct {
	session election.Session
	params  election.Params
	key     string
	guard   feeder
	now     func() time.Duration
	wake    func()
	log     *slog.Logger
	// probe commits one row and returns when it is acknowledged by the ack quorum; the proof of policy keep.
	probe func(context.Context) error
	// holder reads, consistently, which session holds the lock ("": none): a free lock is never taken in an old term.
	holder func(context.Context) (string, error)
	kick   chan struct{} // lets the next beat come at once; nil in tests

	mu      sync.Mutex
	value   []byte          // what the lock says: the incarnation
	bound   string          // the session that took the lock
	term    uint64          // the term mysqld is open for; 0: not open, or not to be gone on with
	said    []byte          // what the guard was given last to remember of a follower
	lease   *election.Lease // nil: not holding
	quorum  *election.Lease // the proof by quorum of the same holding
	keep    bool            // policy keep
	armed   bool            // the guard has a deadline: mysqld may be open
	alone   bool            // acks are 0: nobody else may win, being alive is the proof
	healthy time.Duration   // when mysqld was last seen healthy
	passed  time.Duration   // when the newest sign of life was sent that the session's check took
	trouble error
	probing bool

	feeding sync.Mutex // one feed at a time: an older deadline must not arrive after a newer one, nor any after disarm
}

// run renews until ctx ends.
func (k *keeper) run(ctx context.Context) {
	t := time.NewTicker(k.params.I)
	defer t.Stop()
	for {
		k.beat(ctx)
		select {
		case <-ctx.Done():
			return
		case <-k.kick:
		case <-t.C:
		}
	}
}

// poke makes the next sign of life come at once.
func (k *keeper) poke() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// beat is one sign of life.
func (k *keeper) beat(ctx context.Context) {
	k.mu.Lock()
	if k.lease != nil && !k.armed && !k.lease.Fresh(k.now()) {
		k.lease, k.quorum = nil, nil // it ran out with nothing open: from here on this node needs a session, not a lease
	}
	lease, value, bound, armed := k.lease, k.value, k.bound, k.armed
	healthy := !k.armed || k.now()-k.healthy < k.params.H
	k.mu.Unlock()
	end := k.meanwhile(ctx)
	var err error
	switch {
	case lease == nil:
		err = k.live(ctx)
	case !healthy:
		err = errors.New("mysqld is not healthy: the lease is left to run out")
	case k.session.ID() != bound && !armed:
		err = election.ErrLeaseLost
	case k.session.ID() != bound:
		err = k.orphaned(ctx)
	case !lease.Fresh(k.now()):
		err = k.regain(ctx, lease, value)
	default:
		err = k.renew(ctx, lease, value, armed)
	}
	end()
	k.mu.Lock()
	was := k.trouble
	k.trouble = err
	k.mu.Unlock()
	if (err == nil) != (was == nil) {
		k.wake()
	}
	if lease == nil {
		return
	}
	if err != nil {
		k.prove(ctx)
	}
	k.feed()
	gone := errors.Is(err, election.ErrSessionGone)
	if errors.Is(err, election.ErrLeaseLost) || gone && !armed {
		lease.Lost()
	}
	if errors.Is(err, election.ErrLeaseLost) || gone {
		k.wake()
	}
}

// meanwhile looks for the other proof as often as Consul keeps a beat waiting for a whole request's time: a beat may consist
// of several requests, and the proof by quorum needs none of them. It goes on until end is called.
func (k *keeper) meanwhile(ctx context.Context) (end func()) {
	wait, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(k.params.R)
		defer t.Stop()
		for {
			select {
			case <-wait.Done():
				return
			case <-t.C:
				k.prove(ctx)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// errOrphaned says that the session which took the lock is no more, while mysqld is open: the loop takes the lock back in
// a new term, as long as the old proof lasts. It is never taken in the old term.
var errOrphaned = errors.New("the session that held the lock is gone; the lock is taken back in a new term")

// renew proves possession once. A session that ended without our doing (destroyed by hand, its check deregistered) is
// replaced at once; the lease keeps the deadline it has.
func (k *keeper) renew(ctx context.Context, lease *election.Lease, value []byte, armed bool) error {
	before, _ := lease.Deadline()
	err := election.Renew(ctx, k.session, lease, k.now, k.params.R, k.key, value)
	switch {
	case errors.Is(err, election.ErrAgentLost):
		return k.move(ctx, lease, value, err)
	case !armed:
	case errors.Is(err, election.ErrSessionGone):
		return errors.Join(err, k.open(ctx))
	case errors.Is(err, election.ErrLeaseLost):
		hctx, cancel := context.WithTimeout(ctx, k.params.R)
		defer cancel()
		if holder, herr := k.holder(hctx); herr != nil || holder != "" {
			return err
		}
		k.mu.Lock() // nobody has it: it was lost a moment ago, and Consul keeps it closed as long as that
		if k.lease == lease {
			k.lease = election.NewLease(k.params.H)
			k.lease.Renewed(before - k.params.H)
		}
		k.mu.Unlock()
		k.wake()
		return errOrphaned
	}
	return err
}

// move takes the lock to a session at another Consul agent, when the one that keeps the check is out of reach. The lease
// counts from before the new session was made: it lives a whole C from then on at least.
func (k *keeper) move(ctx context.Context, lease *election.Lease, value []byte, lost error) error {
	mctx, cancel := context.WithTimeout(ctx, k.params.R)
	defer cancel()
	t0, from := k.now(), k.session.ID()
	if err := k.session.Move(mctx, k.key, value); err != nil {
		return errors.Join(lost, err)
	}
	k.mu.Lock()
	held := k.lease == lease && lease.Renewed(t0)
	if held {
		k.bound = k.session.ID()
	}
	k.mu.Unlock()
	k.log.Info("moved the lock to another Consul agent", "because", lost, "from", from, "to", k.session.ID())
	k.wake()
	if !held {
		return election.ErrLeaseLost
	}
	return nil
}

// orphaned keeps a session alive for the loop to take the lock back with.
func (k *keeper) orphaned(ctx context.Context) error {
	if err := k.live(ctx); err != nil {
		return err
	}
	return errOrphaned
}

// regain begins a new lease after one ran out while the quorum went on proving that nobody else was promoted: Consul is
// back and the lock is still ours. If it is not, the loop takes it back in a new term, which needs a living session.
func (k *keeper) regain(ctx context.Context, lost *election.Lease, value []byte) error {
	k.mu.Lock()
	proven := k.keep && k.quorum != nil && k.quorum.Fresh(k.now())
	k.mu.Unlock()
	if !proven {
		return election.ErrLeaseLost
	}
	rctx, cancel := context.WithTimeout(ctx, k.params.R)
	defer cancel()
	t0 := k.now()
	if err := k.session.Pass(rctx); err != nil {
		if errors.Is(err, election.ErrSessionGone) {
			return k.open(ctx)
		}
		return err
	}
	holder, err := k.holder(rctx)
	switch {
	case err != nil:
		return err
	case holder == "":
		return errors.Join(errOrphaned, k.open(ctx)) // makes sure that there is a living session to take it back with
	case holder != k.session.ID():
		return nil
	}
	ok, err := k.session.Acquire(rctx, k.key, value)
	if err == nil && ok {
		k.mu.Lock()
		if k.lease == lost { // given up meanwhile, it stays given up
			k.lease = election.NewLease(k.params.H)
			k.lease.Renewed(t0)
		}
		k.mu.Unlock()
		k.wake()
	}
	return err
}

// live keeps a session that holds no lock.
func (k *keeper) live(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.params.R+time.Second)
	defer cancel()
	if k.session.ID() != "" {
		err := k.pass(ctx)
		if errors.Is(err, election.ErrAgentLost) {
			mctx, mcancel := context.WithTimeout(context.WithoutCancel(ctx), k.params.R)
			defer mcancel()
			if merr := k.session.Move(mctx, "", nil); merr != nil {
				return errors.Join(err, merr)
			}
			k.wake()
			return nil
		}
		if !errors.Is(err, election.ErrSessionGone) {
			return err
		}
	}
	return k.open(ctx)
}

func (k *keeper) pass(ctx context.Context) error {
	t0, id := k.now(), k.session.ID()
	err := k.session.Pass(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.passed = 0
	if err == nil && k.session.ID() == id {
		k.passed = t0
	}
	return err
}

// signOfLife returns when the newest sign of life was sent that the session's check took: a proof of possession which
// succeeds now holds for a lease from then. Without a recent one it gives one.
func (k *keeper) signOfLife(ctx context.Context) (time.Duration, error) {
	k.mu.Lock()
	t0 := k.passed
	k.mu.Unlock()
	if now := k.now(); t0 != 0 && now-t0 < k.params.I+k.params.R/2 {
		return t0, nil
	}
	if err := k.pass(ctx); err != nil {
		return 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.passed, nil
}

func (k *keeper) open(ctx context.Context) error {
	if err := k.session.Open(ctx); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	k.wake()
	return nil
}

// prove looks for the other proof: a commit of our own that the quorum acknowledged after it was sent.
func (k *keeper) prove(ctx context.Context) {
	k.mu.Lock()
	q, skip := k.quorum, !k.keep || !k.armed || k.probing
	if k.alone && k.keep && k.armed && q != nil && k.now()-k.healthy < k.params.H {
		k.provenLocked(k.now())
		skip = true
	}
	if skip || q == nil {
		k.mu.Unlock()
		return
	}
	k.probing = true
	k.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(ctx, k.params.R)
		defer cancel()
		t0 := k.now()
		err := k.probe(ctx)
		k.mu.Lock()
		k.probing = false
		if err == nil && k.quorum == q {
			k.provenLocked(t0)
		}
		k.mu.Unlock()
		if err == nil {
			k.feed()
		}
	}()
}

// provenLocked notes a proof by quorum begun at t0. A proof begun while any earlier proof still held begins a new lease
// of its own, so that a second outage is survived like the first.
func (k *keeper) provenLocked(t0 time.Duration) {
	if k.quorum.Renewed(t0) {
		return
	}
	if d, ok := k.deadlineLocked(); ok && t0 < d {
		k.quorum = election.NewLease(k.params.H)
		k.quorum.Renewed(t0)
	}
}

func (k *keeper) deadlineLocked() (time.Duration, bool) {
	if k.lease == nil {
		return 0, false
	}
	d, ok := k.lease.Deadline()
	if q, qok := k.quorum.Deadline(); k.keep && qok && (!ok || q > d) {
		d, ok = q, true
	}
	return d, ok
}

// state is what decisions look at.
type leaseState struct {
	held, provable bool
	session        string
	expiresIn      time.Duration
	trouble        error
}

func (k *keeper) state() leaseState {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := leaseState{session: k.session.ID(), trouble: k.trouble, expiresIn: -1}
	if k.lease == nil {
		return s
	}
	now := k.now()
	s.held = k.lease.Fresh(now)
	s.provable = s.held || k.keep && k.quorum.Fresh(now)
	if d, ok := k.deadlineLocked(); ok {
		s.expiresIn = d - now
	}
	return s
}

// acquire tries to take the lock once.
func (k *keeper) acquire(ctx context.Context, value []byte) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, k.params.R)
	defer cancel()
	if k.session.ID() == "" {
		if err := k.open(ctx); err != nil {
			return false, err
		}
	}
	t0, id := k.now(), k.session.ID()
	ok, err := k.session.Acquire(ctx, k.key, value)
	if errors.Is(err, election.ErrSessionGone) {
		return false, errors.Join(err, k.open(ctx)) // the next turn tries with the new one
	}
	if errors.Is(err, election.ErrUnknown) {
		return false, errors.Join(fmt.Errorf("acquire lock: %w", err), k.destroy(ctx))
	}
	if err != nil || !ok {
		return false, err
	}
	k.hold(t0, id, value)
	return true, nil
}

// hold begins a lease of the given session that was proven at t0.
func (k *keeper) hold(t0 time.Duration, session string, value []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value, k.bound = value, session
	k.lease, k.quorum = election.NewLease(k.params.H), election.NewLease(k.params.H)
	k.lease.Renewed(t0)
	k.healthy = max(k.healthy, t0)
}

// rename changes what the lock says from the next renewal on.
func (k *keeper) rename(value []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value = value
}

// release gives the lock back; the session stays.
func (k *keeper) release(ctx context.Context) error {
	k.drop()
	ctx, cancel := context.WithTimeout(ctx, k.params.R)
	defer cancel()
	err := k.session.Release(ctx, k.key)
	if errors.Is(err, election.ErrNotHeld) || errors.Is(err, election.ErrSessionGone) {
		return nil
	}
	return err
}

// destroy ends the session: no transaction of it can succeed any more.
func (k *keeper) destroy(ctx context.Context) error {
	k.drop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.params.R)
	defer cancel()
	return k.session.Destroy(ctx)
}

// drop forgets the lease at once. It never waits.
func (k *keeper) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lease, k.quorum = nil, nil
}

// note tells the keeper what the loop has just seen.
func (k *keeper) note(healthy, alone bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if healthy {
		k.healthy = k.now()
	}
	k.alone = alone
}
