package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// homeless is a session whose agent is lost. Move makes a new one in the store, as another agent would.
type homeless struct {
	election.Session
	k     *keeping
	lost  bool
	stuck error // why there is nowhere to go
	moves int
}

func (h *homeless) Pass(ctx context.Context) error {
	if h.lost {
		return errors.Join(election.ErrAgentLost, election.ErrUnreachable)
	}
	return h.Session.Pass(ctx)
}

func (h *homeless) Move(ctx context.Context, key string, value []byte) error {
	h.moves++
	if h.stuck != nil {
		return h.stuck
	}
	next := h.k.store.Session("n1@two", h.k.params.C)
	if err := next.Open(ctx); err != nil {
		return err
	}
	if key != "" {
		from := h.ID()
		ok, why, err := h.k.store.Txn(ctx, election.CheckSession(key, from), election.Unlock(key, from), election.Lock(key, next.ID(), value))
		if err != nil || !ok {
			return errors.Join(errors.New(why), err, election.ErrNotHeld)
		}
	}
	h.Session, h.lost = next, false
	return nil
}

func withHomeless(k *keeping) *homeless {
	h := &homeless{Session: k.session, k: k}
	k.keeper.session = h
	return h
}

func TestALostConsulAgentEndsNoLease(t *testing.T) {
	for _, keep := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			k := newKept(t, keep)
			k.probe = errors.New("no other proof")
			h := withHomeless(k)
			k.lead(t)
			k.opened(4)
			k.beats(t.Context(), 5*time.Second, true)
			from := k.session.ID()
			h.lost = true
			k.beats(t.Context(), 30*time.Second, true)
			require.Equal(t, 1, h.moves)
			require.True(t, k.state().held)
			require.NotEqual(t, from, k.holding())
			require.Equal(t, k.state().session, k.holding())
			require.Equal(t, k.holding(), k.left().Led.Session, "the next agent would go on with the new one")
			require.Greater(t, k.guard.last(), k.now())
		})
	}
}

func TestNowhereToMoveIsAnOutageLikeAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, false)
		h := withHomeless(k)
		h.stuck = election.ErrUnavailable
		k.lead(t)
		k.opened(4)
		h.lost = true
		k.beats(t.Context(), k.params.H+time.Millisecond, true)
		require.False(t, k.state().provable)
		require.NotZero(t, h.moves)
	})
}

func TestAFollowerMovesItsSessionToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		h := withHomeless(k)
		k.beats(t.Context(), time.Second, true)
		from := k.session.ID()
		require.NotEmpty(t, from)
		h.lost = true
		k.beats(t.Context(), 5*time.Second, true)
		require.NotEqual(t, from, k.session.ID())
		require.NoError(t, k.state().trouble)
	})
}
