package election

import (
	"context"
	"fmt"
	"time"
)

// faults are what currently goes wrong between one node and the store.
type faults struct {
	partitioned bool
	delay       time.Duration
	lose        []bool // for each of the next transactions whose answer gets lost: whether it is applied
}

func (m *Memory) fault(node string, change func(*faults)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.faults[node]
	if f == nil {
		f = &faults{}
		m.faults[node] = f
	}
	change(f)
	m.wake() // a waiting node must notice
}

// Partition cuts a node off from the store, or heals it: everything it sends ends with [ErrUnreachable]. Its session then
// expires by time.
func (m *Memory) Partition(node string, cut bool) {
	m.fault(node, func(f *faults) { f.partitioned = cut })
}

// Delay makes every request of a node take d before it has its effect. A write whose caller gives up before that ends with
// [ErrUnknown] and is applied all the same, later: the most dangerous thing a network does.
func (m *Memory) Delay(node string, d time.Duration) {
	m.fault(node, func(f *faults) { f.delay = d })
}

// LoseNextTxn lets the answer of the node's next transaction get lost, which then ends with [ErrUnknown]; applied says
// whether it takes effect nevertheless. Several calls affect several transactions in turn.
func (m *Memory) LoseNextTxn(node string, applied bool) {
	m.fault(node, func(f *faults) { f.lose = append(f.lose, applied) })
}

// read runs f under the lock, after the faults of node.
func (m *Memory) read(ctx context.Context, node string, f func()) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
	cut, delay, _, _ := m.meet(node, false)
	if cut {
		return ErrUnreachable
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		case <-timer.C:
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	return nil
}

// write runs f under the lock, after and with the faults of node.
func write[T any](ctx context.Context, m *Memory, node string, txn bool, f func() T) (out T, err error) {
	if ctx.Err() != nil {
		return out, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
	cut, delay, lost, applied := m.meet(node, txn)
	locked := func() T {
		m.mu.Lock()
		defer m.mu.Unlock()
		return f()
	}
	switch {
	case cut:
		return out, ErrUnreachable
	case lost:
		if applied {
			locked()
		}
		return out, fmt.Errorf("%w: the answer got lost", ErrUnknown)
	case delay <= 0:
		return locked(), nil
	}
	done := make(chan T, 1)
	time.AfterFunc(delay, func() { done <- locked() })
	select {
	case out = <-done:
		return out, nil
	case <-ctx.Done():
		return out, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// meet looks up, and for a lost answer uses up, the faults that a request of node meets.
func (m *Memory) meet(node string, txn bool) (cut bool, delay time.Duration, lost, applied bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.faults[node]
	if f == nil {
		return false, 0, false, false
	}
	if txn && !f.partitioned && len(f.lose) > 0 {
		lost, applied = true, f.lose[0]
		f.lose = f.lose[1:]
	}
	return f.partitioned, f.delay, lost, applied
}
