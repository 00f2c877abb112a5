package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"time"
)

const (
	// statementLimit bounds a statement whose caller gave no deadline.
	statementLimit = 10 * time.Second
	// reopenLimit bounds the background reopening of a kept connection: behind a CREATE USER that
	// waits for its ACK a login hangs for ever (trap 18).
	reopenLimit = 5 * time.Second
)

// lane is a small set of connections kept for one purpose, so that slow statements never stand in
// the way of urgent ones. A connection whose statement got no answer is given up, its session
// killed, and another one opened in the background.
type lane struct {
	name      string
	size      int
	limit     time.Duration // for a statement whose caller gave no deadline
	setup     string        // statements every connection starts with
	connector driver.Connector
	kill      func(id uint64) // ends a session that was given up, in the background
	tell      func(op string) // is told of every use; nil: nobody listens

	slots chan struct{} // one token per statement under way

	mu     sync.Mutex
	idle   []*session
	live   map[uint64]bool // sessions of this lane, busy or idle
	closed bool
	work   sync.WaitGroup // background reopening
	ctx    context.Context
	cancel context.CancelFunc
}

func newLane(name string, size int, setup string, connector driver.Connector, kill func(uint64)) *lane {
	l := &lane{name: name, size: size, limit: statementLimit, setup: setup, connector: connector, kill: kill,
		slots: make(chan struct{}, size), live: map[uint64]bool{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// with runs do on a connection of the lane. The connection is given up when the answer is missing.
func (l *lane) with(ctx context.Context, op string, do func(context.Context, *session) error) error {
	ctx, cancel := boundedBy(ctx, l.limit)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: all %s connections busy: %w", op, ErrUnavailable, l.name, ctx.Err())
	}
	s, err := l.take(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	if l.tell != nil {
		l.tell(op)
	}
	err = do(ctx, s)
	if _, answered := ServerErrno(err); err == nil || answered {
		l.put(s)
	} else {
		l.giveUp(s)
	}
	return classify(ctx, op, err)
}

func (l *lane) exec(ctx context.Context, op, query string, args ...any) error {
	return l.with(ctx, op, func(ctx context.Context, s *session) error { return s.exec(ctx, query, args...) })
}

// query runs one or several statements in one round trip.
func (l *lane) query(ctx context.Context, op, query string, args ...any) (sets [][]row, err error) {
	err = l.with(ctx, op, func(ctx context.Context, s *session) error {
		sets, err = s.query(ctx, query, args...)
		return err
	})
	return sets, err
}

// ready opens whatever connections are missing, all of them or an error.
func (l *lane) ready(ctx context.Context) error {
	for range l.size {
		l.mu.Lock()
		full := len(l.live) >= l.size
		l.mu.Unlock()
		if full {
			break
		}
		s, err := l.dial(ctx)
		if err != nil {
			return fmt.Errorf("open %s connection: %w: %w", l.name, ErrUnavailable, err)
		}
		l.put(s)
	}
	return l.with(ctx, "ping "+l.name+" connection", func(ctx context.Context, s *session) error {
		return s.conn.(driver.Pinger).Ping(ctx)
	})
}

// take prefers a kept connection; the caller holds a slot.
func (l *lane) take(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		n := len(l.idle)
		if n == 0 {
			l.mu.Unlock()
			return l.dial(ctx)
		}
		s := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		if s.alive(ctx) {
			return s, nil
		}
		l.forget(s)
	}
}

func (l *lane) dial(ctx context.Context) (*session, error) {
	s, err := openSession(ctx, l.connector, l.setup)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		s.close()
		return nil, fmt.Errorf("%s connections are closed", l.name)
	}
	l.live[s.id] = true
	return s, nil
}

func (l *lane) put(s *session) {
	l.mu.Lock()
	keep := !l.closed && len(l.idle) < l.size
	if keep {
		l.idle = append(l.idle, s)
	}
	l.mu.Unlock()
	if !keep {
		l.forget(s)
	}
}

func (l *lane) forget(s *session) {
	l.mu.Lock()
	delete(l.live, s.id)
	l.mu.Unlock()
	s.close()
}

// giveUp ends a connection whose last statement got no answer and opens another one meanwhile.
func (l *lane) giveUp(s *session) {
	l.forget(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.work.Go(func() {
		l.kill(s.id)
		ctx, cancel := context.WithTimeout(l.ctx, reopenLimit)
		defer cancel()
		if fresh, err := l.dial(ctx); err == nil { // otherwise the next statement dials
			l.put(fresh)
		}
	})
}

// ids adds the sessions of this lane to set.
func (l *lane) ids(set map[uint64]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.live {
		set[id] = true
	}
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	idle := l.idle
	l.idle = nil
	l.mu.Unlock()
	l.cancel()
	for _, s := range idle {
		l.forget(s)
	}
	l.work.Wait()
}

// bounded gives a statement a deadline when its caller has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return boundedBy(ctx, statementLimit)
}

func boundedBy(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
