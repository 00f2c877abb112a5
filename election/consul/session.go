package consul

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

const (
	// backstop is the smallest session TTL that Consul accepts. It frees the lock when the agent that keeps the check is
	// dead; Consul takes up to twice as long.
	backstop = 10 * time.Second
	// lockDelay keeps Consul from blocking a lost lock for 15 s. The library omits a zero, so it is the smallest unit.
	lockDelay = time.Millisecond
)

// Session implements [election.Session]. It lives at one agent, the one that was current when it was opened.
type Session struct {
	c       *Client
	name    string // id of the check; with the owner the name of the session
	params  election.Params
	ttl     time.Duration
	opening sync.Mutex // one Open at a time

	mu      sync.Mutex
	owner   string
	id      string
	home    *agent        // where the check is; nil: nowhere yet, or unknown after Adopt
	renewed time.Duration // when the back-stop was last renewed, CLOCK_BOOTTIME
}

// Session makes the session of a node. prefix is the prefix of the cluster's keys ("mysql/main/"); together with the node's
// name it is the identity of the check, so that two clusters, or two nodes on one Consul agent, do not meet.
func (c *Client) Session(node string, p election.Params, prefix string) *Session {
	// Twice the lease, so that the back-stop can never be earlier than the check.
	return &Session{c: c, name: checkID(prefix, node), params: p, ttl: max(backstop, 2*p.C)}
}

// checkID makes an id that is safe in a URL path. Slashes of the prefix become colons; whatever else had to be replaced is
// told apart by a hash.
func checkID(prefix, node string) string {
	prefix = strings.Trim(prefix, "/")
	clean := func(text string, slash rune) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r == '/':
				return slash
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
				return r
			}
			return '_'
		}, text)
	}
	parts := strings.ReplaceAll(prefix, "/", ":")
	id := clean(prefix, ':') + ":" + clean(node, '_')
	if id != parts+":"+node {
		id += fmt.Sprintf(".%x", sha256.Sum256([]byte(prefix+"/"+node)))[:9]
	}
	return id
}

// Own implements [election.Session].
func (s *Session) Own(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = owner
}

// fullName is the name of the session: the check's id, and the owner after a space, which no check id holds.
func (s *Session) fullName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == "" {
		return s.name
	}
	return s.name + " " + s.owner
}

// CheckID is the id of the TTL check at the agent, and the beginning of the session's name.
func (s *Session) CheckID() string { return s.name }

// Agent is the address of the agent that keeps the check, "" while there is none. If that agent dies, Pass fails until it is
// back, and what the session holds is freed by the back-stop only; Destroy and Open make a session at another agent.
func (s *Session) Agent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home == nil {
		return ""
	}
	return s.home.addr
}

// ID implements [election.Session].
func (s *Session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Adopt implements [election.Session]. The agent that keeps the check is found by the next Pass.
func (s *Session) Adopt(id string) { s.set(id, nil) }

func (s *Session) set(id string, home *agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.home, s.renewed = id, home, 0
}

func (s *Session) state() (id string, home *agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id, s.home
}

// forget drops id if it is still the current one.
func (s *Session) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == id {
		s.id = ""
	}
}

// Pass implements [election.Session]: it passes the check and, four times in its life, renews the back-stop.
func (s *Session) Pass(ctx context.Context) error {
	id, home := s.state()
	if id == "" {
		return fmt.Errorf("pass check %s: %w", s.name, election.ErrSessionGone)
	}
	t0 := election.Boottime()
	if home == nil {
		if _, err := s.findHome(ctx, id); err != nil {
			return err
		}
	} else if err := s.pass(ctx, home); err != nil {
		if movesOn(err) {
			return fmt.Errorf("%w: %w", election.ErrAgentLost, err)
		}
		return err
	}
	s.mu.Lock()
	due := s.id == id && (s.renewed == 0 || t0-s.renewed >= s.ttl/4)
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.renewBackstop(ctx, id, t0)
}

// pass passes the check at one agent. An agent that does not know it has lost the session with it.
func (s *Session) pass(ctx context.Context, a *agent) error {
	r := s.request("pass check "+s.name, idempotent)
	err := s.c.doAt(ctx, a, r, func(ctx context.Context, a *agent) error {
		return a.api.Agent().UpdateTTLOpts(s.name, "", api.HealthPassing, queryOptions(ctx, false))
	})
	if !answered(err) {
		return err
	}
	known, lookErr := s.checkKnown(ctx, a)
	if lookErr != nil || known {
		return err
	}
	return fmt.Errorf("%w: check %s is not registered at the Consul agent %s", election.ErrSessionGone, s.name, a.addr)
}

// checkKnown asks an agent whether it has our check. Versions differ in how they answer a pass of an unknown check.
func (s *Session) checkKnown(ctx context.Context, a *agent) (known bool, err error) {
	node, err := s.checkNode(ctx, a)
	return node != "", err
}

// checkNode asks an agent for its name in Consul, by our check there; "" if it does not have it.
func (s *Session) checkNode(ctx context.Context, a *agent) (node string, err error) {
	err = s.c.doAt(ctx, a, s.request("look for check "+s.name, none), func(ctx context.Context, a *agent) error {
		checks, err := a.api.Agent().ChecksWithFilterOpts("", queryOptions(ctx, false))
		if check, known := checks[s.name]; known {
			node = check.Node
		}
		return err
	})
	return node, err
}

// answered says whether err is an answer of Consul, other than a denial, and not a failure to reach it.
func answered(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && !errors.Is(err, election.ErrDenied)
}

// findHome looks for the agent that keeps the check of an adopted session, and passes it there. An agent that the session
// has moved away from may still have a check of the same name, which is none of its own.
func (s *Session) findHome(ctx context.Context, id string) (*agent, error) {
	entry, err := s.info(ctx, id)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		s.forget(id)
		return nil, fmt.Errorf("look for session %s: %w", id, election.ErrSessionGone)
	}
	var first error
	for _, a := range s.c.agents {
		node, err := s.checkNode(ctx, a)
		if err == nil && node != entry.Node {
			err = fmt.Errorf("%w: check %s is not registered at the Consul agent %s", election.ErrSessionGone, s.name, a.addr)
		}
		if err == nil {
			err = s.pass(ctx, a)
		}
		if err == nil {
			s.mu.Lock()
			s.home = a
			s.mu.Unlock()
			return a, nil
		}
		if first == nil || errors.Is(first, election.ErrSessionGone) {
			first = err // an agent that cannot be reached may be the one: say so rather than "gone"
		}
	}
	return nil, first
}

// renewBackstop renews the session's own TTL, at any agent.
func (s *Session) renewBackstop(ctx context.Context, id string, t0 time.Duration) error {
	gone := false
	err := s.c.do(ctx, s.request("renew session "+id, idempotent), func(ctx context.Context, a *agent) error {
		entry, _, err := a.api.Session().Renew(id, writeOptions(ctx))
		gone = err == nil && entry == nil
		return err
	})
	if err != nil {
		return err
	}
	if gone {
		s.forget(id)
		return fmt.Errorf("renew session %s: %w", id, election.ErrSessionGone)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == id {
		s.renewed = t0
	}
	return nil
}

// Acquire implements [election.Session].
func (s *Session) Acquire(ctx context.Context, key string, value []byte) (held bool, err error) {
	id := s.ID()
	if id == "" {
		return false, fmt.Errorf("acquire %s: %w", key, election.ErrSessionGone)
	}
	err = s.c.do(ctx, s.request("acquire "+key, once), func(ctx context.Context, a *agent) error {
		var err error
		held, _, err = a.api.KV().Acquire(&api.KVPair{Key: key, Value: value, Session: id}, writeOptions(ctx))
		return err
	})
	return held, s.orGone(ctx, id, err)
}

// Release implements [election.Session].
func (s *Session) Release(ctx context.Context, key string) error {
	id, released := s.ID(), false
	if id == "" {
		return fmt.Errorf("release %s: %w", key, election.ErrNotHeld)
	}
	err := s.c.do(ctx, s.request("release "+key, once), func(ctx context.Context, a *agent) error {
		var err error
		released, _, err = a.api.KV().Release(&api.KVPair{Key: key, Session: id}, writeOptions(ctx))
		return err
	})
	if err == nil && !released {
		return fmt.Errorf("release %s: %w", key, election.ErrNotHeld)
	}
	return s.orGone(ctx, id, err)
}

// orGone replaces the error of a request that Consul answered badly by ErrSessionGone if the session does not exist any
// more, which is certain for ever. It asks Consul instead of reading the words of its message.
func (s *Session) orGone(ctx context.Context, id string, err error) error {
	var e *Error
	if err == nil || !errors.As(err, &e) || !isStatus(e.Err, http.StatusInternalServerError) {
		return err
	}
	alive, lookErr := s.alive(ctx, id)
	if lookErr != nil || alive {
		return err
	}
	s.forget(id)
	return fmt.Errorf("%s: session %s: %w", e.Op, id, election.ErrSessionGone)
}

func isStatus(err error, code int) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == code
}

// alive asks Consul, linearizably, whether a session exists.
func (s *Session) alive(ctx context.Context, id string) (bool, error) {
	entry, err := s.info(ctx, id)
	return entry != nil, err
}

// info asks Consul, linearizably, for a session; nil if it does not exist.
func (s *Session) info(ctx context.Context, id string) (entry *api.SessionEntry, err error) {
	err = s.c.do(ctx, s.request("look up session "+id, none), func(ctx context.Context, a *agent) (err error) {
		entry, _, err = a.api.Session().Info(id, queryOptions(ctx, true))
		return err
	})
	return entry, err
}

func (s *Session) request(op string, e effect) request {
	return request{op: op, effect: e, timeout: s.params.R}
}
