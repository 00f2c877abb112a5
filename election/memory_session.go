package election

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// memorySession is a living session inside [Memory]; guarded by its mutex.
type memorySession struct {
	id, node string
	owner    string
	timer    *time.Timer // ends it; nil: never by time
}

// Session makes the session of a node; c is [Params.C], or 0 for one that expires only by [Memory.Expire].
func (m *Memory) Session(node string, c time.Duration) Session {
	return &nodeSession{m: m, node: node, c: c}
}

// Expire ends a session as the store does when its check lapses: its locks are released. An unknown id is ignored.
func (m *Memory) Expire(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(id)
}

// end removes a session and releases what it holds, under one index.
func (m *Memory) end(id string) {
	s := m.sessions[id]
	if s == nil {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	delete(m.sessions, id)
	m.index++
	for _, kv := range m.kvs {
		if kv.Session == id {
			kv.Session = ""
			m.put(kv)
		}
	}
	m.wake()
}

// nodeSession implements [Session] on a [Memory].
type nodeSession struct {
	m    *Memory
	node string
	c    time.Duration

	mu    sync.Mutex
	id    string
	owner string
}

// Own implements [Session].
func (s *nodeSession) Own(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = owner
}

// ID implements [Session].
func (s *nodeSession) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Adopt implements [Session].
func (s *nodeSession) Adopt(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

// Open implements [Session].
func (s *nodeSession) Open(ctx context.Context) error {
	old := s.ID()
	s.mu.Lock()
	owner := s.owner
	s.mu.Unlock()
	id, err := write(ctx, s.m, s.node, false, func() string {
		if living := s.m.sessions[old]; living != nil {
			s.touch(living)
			return old
		}
		for _, other := range s.m.sessions {
			if other.node == s.node && other.owner != owner {
				return ""
			}
		}
		return s.create(owner)
	})
	if err == nil && id == "" {
		err = ErrNameTaken
	}
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	s.Adopt(id)
	return nil
}

// create makes a new session in place of those the node left behind.
func (s *nodeSession) create(owner string) string {
	m := s.m
	for id, other := range m.sessions {
		if other.node == s.node {
			m.end(id)
		}
	}
	m.index++
	m.created++
	id := fmt.Sprintf("%s-session-%d", s.node, m.created)
	living := &memorySession{id: id, node: s.node, owner: owner}
	if s.c > 0 {
		living.timer = time.AfterFunc(s.c, func() { m.Expire(id) })
	}
	m.sessions[id] = living
	return id
}

// touch gives the session its full time again.
func (s *nodeSession) touch(living *memorySession) {
	if living.timer != nil {
		living.timer.Reset(s.c)
	}
}

// Pass implements [Session].
func (s *nodeSession) Pass(ctx context.Context) error {
	id := s.ID()
	alive, err := write(ctx, s.m, s.node, false, func() bool {
		living := s.m.sessions[id]
		if living != nil {
			s.touch(living)
		}
		return living != nil
	})
	if err == nil && !alive {
		err = ErrSessionGone
	}
	if err != nil {
		return fmt.Errorf("pass check: %w", err)
	}
	return nil
}

// Acquire implements [Session].
func (s *nodeSession) Acquire(ctx context.Context, key string, value []byte) (bool, error) {
	type result struct{ alive, held bool }
	id := s.ID()
	out, err := write(ctx, s.m, s.node, false, func() result {
		if s.m.sessions[id] == nil {
			return result{}
		}
		held, _ := s.m.apply([]Op{Lock(key, id, value)})
		return result{alive: true, held: held}
	})
	if err == nil && !out.alive {
		err = ErrSessionGone
	}
	if err != nil {
		return false, fmt.Errorf("acquire %s: %w", key, err)
	}
	return out.held, nil
}

// Release implements [Session].
func (s *nodeSession) Release(ctx context.Context, key string) error {
	id := s.ID()
	released, err := write(ctx, s.m, s.node, false, func() bool {
		ok, _ := s.m.apply([]Op{Unlock(key, id)})
		return ok
	})
	if err == nil && !released {
		err = ErrNotHeld
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", key, err)
	}
	return nil
}

// Destroy implements [Session].
func (s *nodeSession) Destroy(ctx context.Context) error {
	id := s.ID()
	_, err := write(ctx, s.m, s.node, false, func() bool { s.m.end(id); return true })
	if err != nil {
		return fmt.Errorf("destroy session: %w", err)
	}
	s.Adopt("")
	return nil
}

// Move implements [Session]. There is only one agent.
func (s *nodeSession) Move(context.Context, string, []byte) error {
	return fmt.Errorf("move session: there is no other agent: %w", ErrUnavailable)
}

// Close implements [Session].
func (s *nodeSession) Close(ctx context.Context) error { return s.Destroy(ctx) }

var (
	_ Store   = (*Memory)(nil)
	_ Session = (*nodeSession)(nil)
)
