package election

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// Memory is a store inside the process, with the semantics of the real one as far as the conformance suite covers them,
// and with faults on demand. It serves to simulate whole clusters: every simulated node has its own handle ([Memory.Node],
// [Memory.Session]), so that faults can hit one node alone. Memory itself is a [Store] without faults: the observer's.
//
// Sessions expire with the package time (use testing/synctest), or by [Memory.Expire]. Safe for concurrent use.
type Memory struct {
	mu       sync.Mutex
	index    uint64
	kvs      map[string]KV
	removed  map[string]uint64 // deleted keys and the index of their deletion
	sessions map[string]*memorySession
	created  int           // sessions so far, for their ids
	changed  chan struct{} // closed and replaced at every change
	faults   map[string]*faults
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{index: 1, kvs: map[string]KV{}, removed: map[string]uint64{}, sessions: map[string]*memorySession{},
		changed: make(chan struct{}), faults: map[string]*faults{}}
}

// Read implements [Store].
func (m *Memory) Read(ctx context.Context, prefix string, consistent bool) (View, error) {
	return m.Node("").Read(ctx, prefix, consistent)
}

// Wait implements [Store].
func (m *Memory) Wait(ctx context.Context, prefix string, index uint64, most time.Duration) (View, error) {
	return m.Node("").Wait(ctx, prefix, index, most)
}

// Txn implements [Store].
func (m *Memory) Txn(ctx context.Context, ops ...Op) (bool, string, error) {
	return m.Node("").Txn(ctx, ops...)
}

// Node is the store as one node sees it: with the faults set for that node.
func (m *Memory) Node(name string) Store { return memoryNode{m, name} }

// memoryNode implements [Store] for one node.
type memoryNode struct {
	m    *Memory
	name string
}

// Read implements [Store].
func (n memoryNode) Read(ctx context.Context, prefix string, _ bool) (view View, err error) {
	err = n.m.read(ctx, n.name, func() { view = n.m.view(prefix) })
	return view, err
}

// Wait implements [Store].
func (n memoryNode) Wait(ctx context.Context, prefix string, index uint64, most time.Duration) (View, error) {
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	for last := false; ; {
		var (
			view    View
			changed chan struct{}
		)
		err := n.m.read(ctx, n.name, func() { view, changed = n.m.view(prefix), n.m.changed })
		if err != nil || last || view.Index > index {
			return view, err
		}
		select {
		case <-ctx.Done():
			return View{}, fmt.Errorf("watch %s: %w", prefix, ErrUnavailable)
		case <-timeout.C:
			last = true
		case <-changed:
		}
	}
}

// Txn implements [Store].
func (n memoryNode) Txn(ctx context.Context, ops ...Op) (ok bool, why string, err error) {
	type result struct {
		ok  bool
		why string
	}
	out, err := write(ctx, n.m, n.name, true, func() result {
		ok, why := n.m.apply(ops)
		return result{ok, why}
	})
	if err != nil {
		return false, "", fmt.Errorf("apply transaction: %w", err)
	}
	return out.ok, out.why, nil
}

// view collects a prefix. Its index is that of the latest change below it, or of the store if it never had any.
func (m *Memory) view(prefix string) View {
	v := View{KVs: map[string]KV{}}
	for key, kv := range m.kvs {
		if strings.HasPrefix(key, prefix) {
			kv.Value = append([]byte(nil), kv.Value...)
			v.KVs[key] = kv
			v.Index = max(v.Index, kv.ModifyIndex)
		}
	}
	for key, index := range m.removed {
		if strings.HasPrefix(key, prefix) {
			v.Index = max(v.Index, index)
		}
	}
	if v.Index == 0 {
		v.Index = m.index
	}
	return v
}

// apply runs a transaction: all of it, under one index, or nothing.
func (m *Memory) apply(ops []Op) (ok bool, why string) {
	kvs, removed := maps.Clone(m.kvs), maps.Clone(m.removed)
	m.index++
	var refused []string
	for _, op := range ops {
		if problem := m.step(op); problem != "" {
			refused = append(refused, op.String()+": "+problem)
		}
	}
	if len(refused) > 0 {
		m.kvs, m.removed = kvs, removed
		return false, strings.Join(refused, "; ")
	}
	m.wake()
	return true, ""
}

// wake lets every waiter look again.
func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// step applies one step at the current index and returns why it cannot be, or "".
func (m *Memory) step(op Op) string {
	kv, exists := m.kvs[op.Key]
	switch op.Verb {
	case VerbSet:
		m.put(KV{Key: op.Key, Value: op.Value, Session: kv.Session})
	case VerbCAS:
		if kv.ModifyIndex != op.Index {
			return "index is stale"
		}
		m.put(KV{Key: op.Key, Value: op.Value, Session: kv.Session})
	case VerbDelete, VerbDeleteCAS:
		if exists && op.Verb == VerbDeleteCAS && kv.ModifyIndex != op.Index {
			return "index is stale"
		}
		if exists {
			delete(m.kvs, op.Key)
			m.removed[op.Key] = m.index
		}
	case VerbCheckSession:
		if !exists || kv.Session != op.Session {
			return "session does not hold the key"
		}
	case VerbCheckIndex:
		if !exists || kv.ModifyIndex != op.Index {
			return "index is stale"
		}
	case VerbCheckNotExists:
		if exists {
			return "key exists"
		}
	case VerbLock:
		return m.lock(op, kv)
	case VerbUnlock:
		if !exists || op.Session == "" || kv.Session != op.Session {
			return "lock isn't held by the session"
		}
		m.put(KV{Key: op.Key, Value: op.Value, LockIndex: kv.LockIndex})
	default:
		return "unknown verb"
	}
	return ""
}

// lock makes a living session the holder.
func (m *Memory) lock(op Op, kv KV) string {
	if s := m.sessions[op.Session]; s == nil {
		return "invalid session"
	}
	switch kv.Session {
	case "":
		kv.LockIndex++
	case op.Session: // held already: neither acquisition nor change
	default:
		return "lock is already held"
	}
	m.put(KV{Key: op.Key, Value: op.Value, LockIndex: kv.LockIndex, Session: op.Session})
	return ""
}

// put stores kv at the current index. A write that changes nothing keeps the old index, as the real store does.
func (m *Memory) put(kv KV) {
	old, exists := m.kvs[kv.Key]
	kv.Value = append([]byte(nil), kv.Value...)
	kv.CreateIndex, kv.ModifyIndex = m.index, m.index
	if exists {
		kv.CreateIndex = old.CreateIndex
		if string(old.Value) == string(kv.Value) && old.Session == kv.Session && old.LockIndex == kv.LockIndex {
			kv.ModifyIndex = old.ModifyIndex
		}
	}
	m.kvs[kv.Key] = kv
}
