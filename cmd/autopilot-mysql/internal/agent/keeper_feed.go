package agent

import (
	"bytes"
	"errors"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// feed gives the guard the newest proof. mysqld may live half the fencing budget longer than the proof, so that the
// agent, if it is alive, fences in order first; H + F/2 is still well before anybody else can hold the lock.
func (k *keeper) feed() {
	k.feeding.Lock()
	defer k.feeding.Unlock()
	k.mu.Lock()
	deadline, ok := k.deadlineLocked()
	armed, memory := k.armed, k.memoryLocked()
	k.mu.Unlock()
	if !armed || !ok {
		return
	}
	if err := k.guard.Feed(deadline+k.params.F/2, memory); err != nil {
		k.log.Warn("feed guard", "err", err)
	}
}

// memoryLocked is what the next agent may go on with: an open term and the lease it was proven with.
func (k *keeper) memoryLocked() []byte {
	if !k.armed || k.term == 0 || k.lease == nil {
		return memory{}.encode()
	}
	pid, _ := k.guard.Mysqld()
	deadline, _ := k.lease.Deadline()
	return memory{Mysqld: pid, Inc: roles.Inc(k.value), Led: &led{Term: k.term, Session: k.bound, Lease: deadline}}.encode()
}

// arm begins feeding the guard, before the server is opened; an error means that the guard did not take it.
func (k *keeper) arm() error {
	k.feeding.Lock()
	defer k.feeding.Unlock()
	k.mu.Lock()
	deadline, ok := k.deadlineLocked()
	k.armed, k.term, k.said = ok, 0, nil
	k.mu.Unlock()
	if !ok {
		return errors.New("arm guard: there is no lease")
	}
	return k.guard.Feed(deadline+k.params.F/2, memory{}.encode())
}

// opened tells the next agent, through the guard, that mysqld is open for this term.
func (k *keeper) opened(term uint64) {
	k.mu.Lock()
	k.term = term
	k.mu.Unlock()
	k.feed()
}

// withhold keeps any later agent of this mysqld from going on as the primary, while the deadline runs on: it has to be
// called, and to have returned nil, before anybody is offered this node's place. An error means: do not offer.
func (k *keeper) withhold() error {
	k.feeding.Lock()
	defer k.feeding.Unlock()
	k.mu.Lock()
	deadline, ok := k.deadlineLocked()
	armed := k.armed
	k.term = 0
	k.mu.Unlock()
	if !armed || !ok {
		return errors.New("withhold attachment: mysqld is not open")
	}
	return k.guard.Feed(deadline+k.params.F/2, memory{}.encode())
}

// disarm ends feeding: mysqld is fenced or gone.
func (k *keeper) disarm() {
	k.feeding.Lock()
	defer k.feeding.Unlock()
	k.mu.Lock()
	was := k.armed
	k.armed, k.term, k.said = false, 0, nil
	k.mu.Unlock()
	if was {
		_ = k.guard.Feed(0, memory{}.encode()) // a dead mysqld or guard needs no deadline
	}
}

// remember leaves with the guard what a follower is. While mysqld is open for writes there is a deadline instead.
func (k *keeper) remember(b []byte) {
	k.feeding.Lock()
	defer k.feeding.Unlock()
	k.mu.Lock()
	skip := k.armed || k.said != nil && bytes.Equal(k.said, b)
	k.mu.Unlock()
	if skip || k.guard.Feed(0, b) != nil { // not taken: said again on the next turn
		return
	}
	k.mu.Lock()
	k.said = b
	k.mu.Unlock()
}

// adopt takes over the session and the lease of a previous agent whose mysqld is open. The deadline stays what it was.
func (k *keeper) adopt(l led, value []byte) {
	k.session.Adopt(l.Session)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value, k.bound, k.term, k.armed = value, l.Session, l.Term, true
	k.lease, k.quorum = election.NewLease(k.params.H), election.NewLease(k.params.H)
	k.lease.Renewed(l.Lease - k.params.H)
	k.healthy = k.now()
}

// disown forgets an adopted session; the next one opened ends it, and with it all that was sent in its name.
func (k *keeper) disown() {
	k.session.Adopt("")
	k.poke()
}
