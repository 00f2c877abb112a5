package consul

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// Move implements [election.Session]. A check belongs to one agent, so a session cannot go anywhere; but a new one can be
// made at another agent, and a transaction can take the lock from the one and give it to the other.
func (s *Session) Move(ctx context.Context, key string, value []byte) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	id, home := s.state()
	if id == "" {
		return fmt.Errorf("move session %s: %w", s.name, election.ErrSessionGone)
	}
	err := fmt.Errorf("move session %s: there is no other Consul agent: %w", s.name, election.ErrUnavailable)
	for i := range s.c.agents {
		a := s.c.agents[(int(s.c.at().index)+i)%len(s.c.agents)]
		if a == home || home == nil {
			continue
		}
		var next bool
		if next, err = s.moveTo(ctx, a, id, key, value); err == nil {
			return nil
		}
		if !next || ctx.Err() != nil {
			break
		}
	}
	return err
}

// moveTo makes a session at a and hands the lock over. next says whether another agent may be tried.
func (s *Session) moveTo(ctx context.Context, a *agent, from, key string, value []byte) (next bool, err error) {
	err = s.c.doAt(ctx, a, s.request("register check "+s.name, idempotent), func(ctx context.Context, a *agent) error {
		return a.api.Agent().ServiceRegisterOpts(s.registration(), api.ServiceRegisterOpts{}.WithContext(ctx))
	})
	if err != nil {
		return true, fmt.Errorf("%w: %w", election.ErrUnavailable, err)
	}
	id, err := s.create(ctx, a)
	if err != nil {
		return true, fmt.Errorf("%w: %w", election.ErrUnavailable, err)
	}
	if key != "" {
		if err := s.handOver(ctx, a, from, id, key, value); err != nil {
			// While the new session lives, a transaction that is still under way could give it the lock behind our back.
			return false, errors.Join(err, s.destroy(context.WithoutCancel(ctx), id))
		}
	}
	s.set(id, a)
	s.c.current.Store(a.index)
	_ = s.destroy(ctx, from) // it holds nothing that is missed; if this fails it lapses by itself
	return false, nil
}

// handOver moves the lock from one session to the other.
func (s *Session) handOver(ctx context.Context, a *agent, from, to, key string, value []byte) error {
	ops := []election.Op{election.CheckSession(key, from), election.Unlock(key, from), election.Lock(key, to, value)}
	var ok bool
	var why string
	err := s.c.doAt(ctx, a, s.request("move lock "+key, once), func(ctx context.Context, a *agent) (err error) {
		ok, why, err = transact(ctx, a, ops)
		return err
	})
	if err == nil && !ok {
		err = fmt.Errorf("move lock %s: %s: %w", key, why, election.ErrNotHeld)
	}
	return err
}
