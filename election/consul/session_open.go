package consul

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// SessionService is the name under which nodes keep the checks of their sessions in the catalog. It is not for applications.
const SessionService = "autopilot-mysql"

// Open implements [election.Session]. It needs up to five requests when the session is new, each bounded by the client's
// request time-out; give it a ctx of its own, not the one of a renewal.
func (s *Session) Open(ctx context.Context) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	if id, _ := s.state(); id != "" {
		alive, err := s.alive(ctx, id)
		if err != nil {
			return err
		}
		if alive {
			// Without its check (the agent lost its data) the session is about to end: it is then cleared away below.
			if err := s.Pass(ctx); !errors.Is(err, election.ErrSessionGone) {
				return err
			}
		}
		s.forget(id)
	}
	if err := s.clearLeftovers(ctx); err != nil {
		return err
	}
	home, err := s.registerCheck(ctx)
	if err != nil {
		return err
	}
	id, err := s.create(ctx, home)
	if err != nil {
		return err
	}
	if err := s.first(ctx, id); err != nil {
		return errors.Join(err, s.destroy(ctx, id))
	}
	s.set(id, home)
	return nil
}

// clearLeftovers destroys sessions of previous runs of this node, wherever they live. It comes before the check is
// registered anew: registering a check under a living session would be a sign of life for the wrong one. A session of the
// same node name and another owner is somebody else's, and stays.
func (s *Session) clearLeftovers(ctx context.Context) error {
	all, err := s.namesakes(ctx)
	if err != nil {
		return err
	}
	name := s.fullName()
	for _, e := range all {
		if e.Name != name && e.Name != s.name {
			return fmt.Errorf("open session %s: session %s is of another owner: %w", s.name, e.ID, election.ErrNameTaken)
		}
	}
	for _, e := range all {
		if err := s.destroy(ctx, e.ID); err != nil {
			return err
		}
	}
	return nil
}

// namesakes lists the sessions of this node's name, ours or not.
func (s *Session) namesakes(ctx context.Context) (found []*api.SessionEntry, err error) {
	err = s.c.do(ctx, request{op: "list sessions"}, func(ctx context.Context, a *agent) error {
		entries, _, err := a.api.Session().List(queryOptions(ctx, true))
		found = found[:0]
		for _, e := range entries {
			if base, _, _ := strings.Cut(e.Name, " "); base == s.name {
				found = append(found, e)
			}
		}
		return err
	})
	return found, err
}

// first makes sure that of several owners who opened a session at the same moment only the first one keeps it.
func (s *Session) first(ctx context.Context, id string) error {
	all, err := s.namesakes(ctx)
	if err != nil {
		return err
	}
	var mine uint64
	for _, e := range all {
		if e.ID == id {
			mine = e.CreateIndex
		}
	}
	name := s.fullName()
	for _, e := range all {
		if e.Name != name && e.Name != s.name && e.CreateIndex < mine {
			return fmt.Errorf("open session %s: session %s of another owner is older: %w", s.name, e.ID, election.ErrNameTaken)
		}
	}
	return nil
}

// registerCheck registers the check as passing at the current agent. Nothing holds a lock by it now.
//
// The check belongs to a service entry of its own, not to the Consul node: a critical node check makes every service of
// that node critical, so one dead server would hide all others that share its Consul agent.
func (s *Session) registerCheck(ctx context.Context) (*agent, error) {
	var home *agent
	// Registering twice is the same as once, so a failure may be repeated at the next agent: what stays at the first one
	// lapses by itself.
	err := s.c.do(ctx, request{op: "register check " + s.name, effect: idempotent}, func(ctx context.Context, a *agent) error {
		home = a
		return a.api.Agent().ServiceRegisterOpts(s.registration(), api.ServiceRegisterOpts{}.WithContext(ctx))
	})
	return home, err
}

// registration is the service entry with the check.
func (s *Session) registration() *api.AgentServiceRegistration {
	return &api.AgentServiceRegistration{
		ID: s.name, Name: SessionService,
		Check: &api.AgentServiceCheck{
			CheckID: s.name, Name: "autopilot-mysql " + s.name,
			Notes:                          "passed by the autopilot-mysql agent of this node; its locks are released when it lapses",
			TTL:                            s.params.C.String(),
			Status:                         api.HealthPassing,
			DeregisterCriticalServiceAfter: reapAfter.String(),
		},
	}
}

// settle is how often creating a session is tried again while the fresh check travels from the agent to the servers.
const settle = 20 * time.Millisecond

// create makes the session at the agent that has the check. The agent tells the servers of a new check a moment later, and
// until then they refuse a session on it: so it is repeated, within one request time-out.
func (s *Session) create(ctx context.Context, home *agent) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.timeout)
	defer cancel()
	// The library's Create leaves an empty NodeChecks out, and then Consul adds the gossip health of the agent's machine.
	body := map[string]any{
		"Name":          s.fullName(),
		"NodeChecks":    []string{},
		"ServiceChecks": []api.ServiceCheck{{ID: s.name}},
		"LockDelay":     lockDelay.String(),
		"Behavior":      api.SessionBehaviorRelease,
		"TTL":           s.ttl.String(),
	}
	for {
		var id string
		err := s.c.doAt(ctx, home, request{op: "create session " + s.name, effect: once}, func(ctx context.Context, a *agent) error {
			var created struct{ ID string }
			_, err := a.api.Raw().Write("/v1/session/create", body, &created, writeOptions(ctx))
			id = created.ID
			return err
		})
		if err == nil {
			return id, nil
		}
		if !isStatus(err, 500) && !isStatus(err, 400) {
			return "", err
		}
		// An agent with a data directory remembers that the check had lapsed, and registers it as critical whatever the
		// registration says: only a pass changes that.
		if perr := s.pass(ctx, home); perr != nil {
			return "", perr
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(settle):
		}
	}
}

// Destroy implements [election.Session].
func (s *Session) Destroy(ctx context.Context) error {
	id := s.ID()
	if id == "" {
		return nil
	}
	if err := s.destroy(ctx, id); err != nil {
		return err
	}
	s.forget(id)
	return nil
}

// destroy ends a session by its id; one that does not exist is fine. Repeating it is harmless, so an unanswered one is
// tried at the next agent.
func (s *Session) destroy(ctx context.Context, id string) error {
	return s.c.do(ctx, request{op: "destroy session " + id, effect: idempotent}, func(ctx context.Context, a *agent) error {
		_, err := a.api.Session().Destroy(id, writeOptions(ctx))
		return err
	})
}

// Close implements [election.Session].
func (s *Session) Close(ctx context.Context) error {
	if err := s.Destroy(ctx); err != nil {
		return err
	}
	_, home := s.state()
	if home == nil {
		return nil
	}
	if known, err := s.checkKnown(ctx, home); err != nil || !known {
		return err
	}
	err := s.c.doAt(ctx, home, request{op: "remove check " + s.name, effect: idempotent}, func(ctx context.Context, a *agent) error {
		return a.api.Agent().ServiceDeregisterOpts(s.name, queryOptions(ctx, false))
	})
	if err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	s.set("", nil)
	return nil
}

var _ election.Session = (*Session)(nil)
