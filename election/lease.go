package election

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Boottime reads CLOCK_BOOTTIME, the time since the machine started including suspend. A lease must go on running out
// while the machine sleeps, and must not jump with the wall clock.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// It exists since Linux 2.6.39. Without a clock there is no lease, and no sensible way on.
		panic("read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// Lease is the holder's own idea of how long it may act as holder: pure arithmetic on instants of one clock, in practice
// [Boottime]. It belongs to one acquisition: once lost it stays lost, and the next acquisition begins a new Lease.
// Safe for concurrent use.
type Lease struct {
	hold time.Duration

	mu       sync.Mutex
	held     bool
	lost     bool
	deadline time.Duration
}

// NewLease makes a lease that nobody holds yet; hold is [Params.H].
func NewLease(hold time.Duration) *Lease { return &Lease{hold: hold} }

// Renewed notes that a proof of possession succeeded which was begun at t0: the clock was read before its first request
// was sent. The deadline moves to t0 + H, never backwards. It reports false and changes nothing if the lease is lost, or
// if the proof was begun after the deadline: in between, anybody may have held the lock.
func (l *Lease) Renewed(t0 time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost || (l.held && t0 >= l.deadline) {
		return false
	}
	l.held = true
	l.deadline = max(l.deadline, t0+l.hold)
	return true
}

// Deadline returns the instant after which the holder must not act, and whether the lease is held at all.
func (l *Lease) Deadline() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline, l.held && !l.lost
}

// Fresh reports whether the holder may act at the instant now. At the deadline itself it may not.
func (l *Lease) Fresh(now time.Duration) bool {
	deadline, held := l.Deadline()
	return held && now < deadline
}

// Lost ends the lease for good.
func (l *Lease) Lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
}
