package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// reapAfter is when Consul removes a service that stayed critical: the entries of nodes that died for good. Consul's
// minimum is a minute; a service that is merely failing for so long is registered again by its next Pass or Fail.
const reapAfter = 10 * time.Minute

// Services implements [election.Services] and [election.Discovery]. It remembers what it registered, to register it again
// when an agent forgot it.
type Services struct {
	c *Client

	mu      sync.Mutex
	entries map[string]*entry
}

// entry is one registered service and where it is. Its mutex keeps one request at a time about it.
type entry struct {
	mu      sync.Mutex
	service election.Service
	home    *agent
}

// Services is this node's part in the catalog, and the look-up of others.
func (c *Client) Services() *Services {
	return &Services{c: c, entries: make(map[string]*entry)}
}

func (s *Services) entry(id string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[id]
}

// Register implements [election.Services]. It is not remembered if it fails.
func (s *Services) Register(ctx context.Context, service election.Service) error {
	e := s.entry(service.ID)
	if e == nil {
		e = &entry{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.service = service
	if err := s.register(ctx, e, service.Pass); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[service.ID] = e
	return nil
}

// register writes the entry to the current agent, with the status it is to have at once.
func (s *Services) register(ctx context.Context, e *entry, passing bool) error {
	status := api.HealthCritical
	if passing {
		status = api.HealthPassing
	}
	reg := &api.AgentServiceRegistration{
		ID: e.service.ID, Name: e.service.Name, Address: e.service.Address, Port: e.service.Port,
		Tags: e.service.Tags, Meta: e.service.Meta,
		Check: &api.AgentServiceCheck{
			CheckID:                        serviceCheck(e.service.ID),
			Name:                           "autopilot-mysql",
			TTL:                            e.service.TTL.String(),
			Status:                         status,
			DeregisterCriticalServiceAfter: reapAfter.String(),
		},
	}
	r := request{op: "register service " + e.service.ID, effect: idempotent}
	return s.c.do(ctx, r, func(ctx context.Context, a *agent) error {
		err := a.api.Agent().ServiceRegisterOpts(reg, api.ServiceRegisterOpts{}.WithContext(ctx))
		if err == nil {
			e.home = a
		}
		return err
	})
}

// serviceCheck is the id Consul itself gives to the only check of a service.
func serviceCheck(id string) string { return "service:" + id }

// Deregister implements [election.Services].
func (s *Services) Deregister(ctx context.Context, id string) error {
	home := s.c.at()
	if e := s.entry(id); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		home = e.home
	}
	err := s.c.doAt(ctx, home, request{op: "deregister service " + id, effect: idempotent}, func(ctx context.Context, a *agent) error {
		return a.api.Agent().ServiceDeregisterOpts(id, queryOptions(ctx, false))
	})
	if answered(err) {
		if known, lookErr := s.known(ctx, home, id); lookErr == nil && !known {
			err = nil // newer versions answer 404 for a service that does not exist
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, id)
	return nil
}

// Pass implements [election.Services].
func (s *Services) Pass(ctx context.Context, id, note string) error {
	return s.report(ctx, id, note, true)
}

// Fail implements [election.Services].
func (s *Services) Fail(ctx context.Context, id, note string) error {
	return s.report(ctx, id, note, false)
}

// report tells the agent the state of a service. If the agent forgot it (it was restarted, or its data are gone), or is gone
// itself, the service is registered again in that state.
func (s *Services) report(ctx context.Context, id, note string, passing bool) error {
	e := s.entry(id)
	if e == nil {
		return fmt.Errorf("report service %s: it was never registered: %w", id, election.ErrRefused)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	status := api.HealthCritical
	if passing {
		status = api.HealthPassing
	}
	err := s.c.doAt(ctx, e.home, request{op: "report service " + id, effect: idempotent}, func(ctx context.Context, a *agent) error {
		return a.api.Agent().UpdateTTLOpts(serviceCheck(id), note, status, queryOptions(ctx, false))
	})
	switch {
	case err == nil || errors.Is(err, election.ErrDenied):
		return err
	case movesOn(err) && len(s.c.agents) > 1 && s.c.at() != e.home:
		return s.register(ctx, e, passing) // do has moved on to another agent
	case answered(err):
		if known, lookErr := s.known(ctx, e.home, id); lookErr == nil && !known {
			return s.register(ctx, e, passing)
		}
	}
	return err
}

// known asks an agent whether it has the service.
func (s *Services) known(ctx context.Context, a *agent, id string) (known bool, err error) {
	err = s.c.doAt(ctx, a, request{op: "look for service " + id}, func(ctx context.Context, a *agent) error {
		services, err := a.api.Agent().ServicesWithFilterOpts("", queryOptions(ctx, false))
		_, known = services[id]
		return err
	})
	return known, err
}

// Healthy implements [election.Discovery].
func (s *Services) Healthy(ctx context.Context, name string) ([]election.Instance, error) {
	instances, _, err := s.lookup(ctx, name, 0, 0)
	return instances, err
}

// WaitHealthy implements [election.Discovery].
func (s *Services) WaitHealthy(ctx context.Context, name string, index uint64, most time.Duration) ([]election.Instance, uint64, error) {
	return s.lookup(ctx, name, index, waitLimit(most))
}

func (s *Services) lookup(ctx context.Context, name string, index uint64, most time.Duration) (found []election.Instance, next uint64, err error) {
	r := request{op: "look up service " + name, timeout: most + most/16 + s.c.timeout}
	err = s.c.do(ctx, r, func(ctx context.Context, a *agent) error {
		q := queryOptions(ctx, false)
		q.WaitIndex, q.WaitTime = index, most
		entries, meta, err := a.api.Health().Service(name, "", true, q)
		if err != nil {
			return err
		}
		found, next = found[:0], max(meta.LastIndex, 1)
		for _, e := range entries {
			found = append(found, instance(e))
		}
		return nil
	})
	slices.SortFunc(found, func(a, b election.Instance) int { return strings.Compare(a.ID, b.ID) })
	return found, next, err
}

// instance is what an application needs of a catalog entry. A service without an address is at its node's.
func instance(e *api.ServiceEntry) election.Instance {
	address := e.Service.Address
	if address == "" {
		address = e.Node.Address
	}
	return election.Instance{ID: e.Service.ID, Name: e.Service.Service, Address: address, Port: e.Service.Port,
		Tags: e.Service.Tags, Meta: e.Service.Meta}
}

var (
	_ election.Services  = (*Services)(nil)
	_ election.Discovery = (*Services)(nil)
)
