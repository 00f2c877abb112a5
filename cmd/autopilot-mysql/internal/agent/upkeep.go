package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// accountsWait is how long a turn waits for the list of accounts before it goes on with the one it knows.
	accountsWait = 250 * time.Millisecond
	// accountsLimit is longer than mysqld's own lock_wait_timeout of 1 s, so that a list that waits behind a lock ends in an
	// answer and not in a lost connection: logging in again may hang as well.
	accountsLimit = 1500 * time.Millisecond
	// accountsEvery is how old the list may be while this agent has changed nothing in it: what an administrator does to a replication
	// account by hand is seen within that time.
	accountsEvery = 2 * time.Second
	// notesEvery is how often a primary writes down which events a user disabled; notesLimit bounds it.
	notesEvery = 15 * time.Second
	notesLimit = 10 * time.Second
	// steadyAfter is how long a receiver that kept losing its connection must hold one to count as healthy again.
	steadyAfter = 3 * time.Second
)

// accounts are the replication accounts at a primary and whether each is locked. Only this agent changes them, so what was
// read last, with its own changes since, is as good as a fresh look while mysqld cannot answer: behind a
// lock on the table of accounts it cannot, and the primary must go on looking after its ack set.
type accounts struct {
	locked map[string]bool // nil: not known yet
	run    chan accountsAnswer
	dirty  bool      // something was changed since the last look was begun: its answer may be older
	at     time.Time // when the look was begun that locked is from
	begun  time.Time // when the last look was begun
}

type accountsAnswer struct {
	locked map[string]bool
	err    error
}

// look gives the newest list, which is read again when it is accountsEvery old or was changed; nil, with the reason, before the first
// answer.
func (c *accounts) look(ctx context.Context, srv *mysql.Server) (map[string]bool, error) {
	if c.locked != nil && c.run == nil && !c.dirty && time.Since(c.at) < accountsEvery {
		return maps.Clone(c.locked), nil
	}
	err := errors.New("list replication accounts: no answer yet")
	for range 2 { // the second time for a list that was asked for before the last change
		if c.run == nil {
			c.begin(ctx, srv)
		}
		t := time.NewTimer(accountsWait)
		select {
		case got := <-c.run:
			t.Stop()
			c.run = nil
			if err = got.err; err == nil && !c.dirty {
				c.locked, c.at = got.locked, c.begun
			}
		case <-t.C:
		}
		if c.locked != nil || c.run != nil {
			break
		}
	}
	return maps.Clone(c.locked), err
}

func (c *accounts) begin(ctx context.Context, srv *mysql.Server) {
	run := make(chan accountsAnswer, 1)
	c.run, c.dirty, c.begun = run, false, time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), accountsLimit)
	go func() {
		defer cancel()
		locked, err := srv.ReplicationAccounts(ctx)
		run <- accountsAnswer{locked, err}
	}()
}

// note remembers a change of this agent's own.
func (c *accounts) note(user string, locked bool) {
	c.dirty = true
	if c.locked != nil {
		c.locked[user] = locked
	}
}

// forget is for what changes more than one account, or which there are.
func (c *accounts) forget() { c.locked, c.dirty = nil, true }

// notes writes down, beside the loop, which events a user disabled at the primary: on a replica a disabled event looks like
// an enabled one, and the next primary would run it.
type notes struct {
	next    time.Duration
	running atomic.Bool
}

func (n *notes) look(ctx context.Context, now time.Duration, srv *mysql.Server, log *slog.Logger) {
	if now < n.next || !n.running.CompareAndSwap(false, true) {
		return
	}
	n.next = now + notesEvery
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notesLimit)
	go func() {
		defer cancel()
		defer n.running.Store(false)
		if err := srv.NoteDisabledEvents(ctx); err != nil {
			log.Debug("note disabled events", "err", err)
		}
	}()
}

// steadiness keeps a receiver that connects and loses its connection again and again from looking healthy in between. It
// belongs to the loop.
type steadiness struct {
	source  string // a connection to another server says nothing of this one: a primary that dies takes young ones with it
	id      string
	since   time.Duration // since when it has been connected without a break; 0: it is not
	now     time.Duration
	flapped bool
}

// look is called on every turn. A server that does not answer says nothing about its receiver.
func (s *steadiness) look(now time.Duration, m roles.MySQL) {
	if m.Ready && m.Source != s.source {
		*s = steadiness{source: m.Source}
	}
	s.now = now
	switch {
	case !m.Ready:
	case m.Receiver == roles.On && (s.since == 0 || m.ReceiverID != s.id):
		s.id, s.since = m.ReceiverID, now
	case m.Receiver == roles.On:
		s.flapped = s.flapped && now-s.since < steadyAfter
	case s.since != 0:
		s.flapped = s.flapped || now-s.since < steadyAfter
		s.since = 0
	}
}

// planned says that this node itself ends the connection.
func (s *steadiness) planned() { s.since = 0 }

// ok reports whether the connection counts.
func (s *steadiness) ok() bool { return !s.flapped || s.since != 0 && s.now-s.since >= steadyAfter }
