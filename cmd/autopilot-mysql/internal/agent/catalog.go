package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// catalogTimeout bounds one request about a registration.
	catalogTimeout = time.Second
	// catalogEvery is the longest time between two signs of life of an entry: an agent of Consul that was started without its data
	// shows the entry again after as long.
	catalogEvery = time.Second
)

// catalog keeps this node's entry in Consul's service catalog as wanted: the primary as <service>-primary, a reader as
// <service>, anything else not at all. It has its own goroutine: nothing waits for it but, for a moment, the end of the writes.
type catalog struct {
	services election.Services
	params   election.Params
	set      *config.Settings
	log      *slog.Logger
	kick     chan struct{}

	mu     sync.Mutex
	wanted *election.Service
	left   *election.Service // what a previous agent may have registered, and nobody wants
	absent bool              // nothing was wanted, and nothing is registered any more
	done   bell              // rung with every answer of the catalog
}

func newCatalog(s election.Services, p election.Params, set *config.Settings, log *slog.Logger) *catalog {
	return &catalog{services: s, params: p, set: set, log: log, kick: make(chan struct{}, 1)}
}

// of is the entry that follows from a node's record; nil for none.
func (c *catalog) of(n roles.Node) *election.Service {
	switch {
	case n.State == roles.Primary && n.Open != 0 && !n.Offers():
		return c.primary()
	case (n.State == roles.Standby || n.State == roles.Replica) && n.Healthy && n.Caught && !n.Maintenance:
		return c.entry(c.set.Service, string(n.State))
	}
	return nil
}

// primaryService is the name under which applications find the writable server.
func primaryService(s *config.Settings) string { return s.Service + "-primary" }

func (c *catalog) primary() *election.Service {
	return c.entry(primaryService(c.set), string(roles.Primary))
}

func (c *catalog) entry(name, state string) *election.Service {
	return &election.Service{
		ID: name + "-" + c.set.Cluster + "-" + c.set.Name, Name: name, Address: c.set.Advertise, Port: c.set.AdvertisePort,
		Tags: []string{state}, Meta: map[string]string{"state": state, "cluster": c.set.Cluster, "node": c.set.Name}, TTL: c.params.C, Pass: true,
	}
}

// want sets what shall be registered; nil is nothing. Safe for concurrent use.
func (c *catalog) want(s *election.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if same(c.wanted, s) {
		return
	}
	c.wanted, c.absent = s, false
	c.hurry()
}

// hurry makes run look at once. Safe for concurrent use.
func (c *catalog) hurry() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// remove wants nothing registered and returns once nothing is, or with ctx: it goes on then. Safe for concurrent use.
func (c *catalog) remove(ctx context.Context) {
	c.want(nil)
	for {
		c.mu.Lock()
		absent := c.absent || c.wanted != nil
		done := c.done.next()
		c.mu.Unlock()
		if absent {
			return
		}
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// found says that a previous agent may have left s registered. Safe for concurrent use.
func (c *catalog) found(s *election.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = s
}

// clear has s, which a previous agent may have left, removed now. Safe for concurrent use.
func (c *catalog) clear(s *election.Service) {
	c.found(s)
	c.hurry()
}

// clearCatalog removes what this node left in the catalog when it died as the primary and comes back before its lease is over. Its
// own session freed the lock then, but clients would see two primaries, one of them dead, until the entry's check runs out. With a
// session this node knows that nobody else has its name.
func (a *Agent) clearCatalog(f roles.Facts) {
	if a.leftBehind && f.Lease.Session != "" {
		a.leftBehind = false
		a.catalog.clear(a.catalog.primary())
	}
}

func same(a, b *election.Service) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID == b.ID && a.Tags[0] == b.Tags[0]
}

// run keeps the catalog in step until ctx ends, and then removes the entry.
func (c *catalog) run(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	var have *election.Service
	for {
		c.mu.Lock()
		want := c.wanted
		if have == nil {
			have, c.left = c.left, nil
		}
		c.mu.Unlock()
		var err error
		have, err = c.reconcile(ctx, have, want)
		if err != nil {
			c.log.Debug("keep the entry in the catalog", "err", err)
		}
		c.answered(have)
		t.Reset(c.next(err))
		select {
		case <-ctx.Done():
			_, _ = c.reconcile(context.WithoutCancel(ctx), have, nil) // else its check runs out
			return
		case <-c.kick:
		case <-t.C:
		}
	}
}

// next is how soon to tell Consul again: three times within the time of its check as long as it takes what it is told, but every
// catalogEvery at least.
func (c *catalog) next(err error) time.Duration {
	if err != nil {
		return c.params.I
	}
	return max(c.params.I, min(c.params.C/3, catalogEvery))
}

// answered tells who waits.
func (c *catalog) answered(have *election.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absent = have == nil && c.wanted == nil
	c.done.ring()
}

// reconcile returns what is registered afterwards, also with an error.
func (c *catalog) reconcile(ctx context.Context, have, want *election.Service) (*election.Service, error) {
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	if have != nil && want != nil && have.ID != want.ID && want.Name != c.set.Service {
		// Clients wait for the primary; that it is found as a reader for a moment longer harms nobody.
		if err := c.services.Register(ctx, *want); err != nil {
			return have, err
		}
		err := c.services.Deregister(ctx, have.ID)
		if err != nil {
			c.found(have) // its check runs out, and it is removed when this node is no primary any more
		}
		return want, err // what must never be left behind
	}
	if have != nil && (want == nil || have.ID != want.ID) {
		if err := c.services.Deregister(ctx, have.ID); err != nil {
			return have, err
		}
		have = nil
	}
	switch {
	case want == nil:
		return nil, nil
	case have == nil || !same(have, want):
		if err := c.services.Register(ctx, *want); err != nil {
			return have, err
		}
		return want, nil
	}
	err := c.services.Pass(ctx, want.ID, want.Meta["state"])
	if errors.Is(err, election.ErrRefused) { // registered by a previous agent, not by this one
		return nil, err
	}
	return want, err
}
