package agent

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const leader = roles.Inc("n1")

// left is what the guard would give to the next agent.
func (k *keeping) left() memory { return remembered(k.guard.memory, 7, leader) }

func TestTheGuardRemembersAnOpenTermOnlyWhileItIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		require.Nil(t, k.left().Led, "armed, and not open yet")
		k.opened(4)
		k.beats(t.Context(), 5*time.Second, true)
		l := k.left().Led
		require.NotNil(t, l)
		require.Equal(t, uint64(4), l.Term)
		require.Equal(t, k.session.ID(), l.Session)
		require.Equal(t, k.guard.last(), l.Lease+k.params.F/2, "the lease itself, not the guard's deadline")

		require.NoError(t, k.withhold())
		require.Nil(t, k.left().Led, "somebody may be offered this node's place from here on")
		require.Greater(t, k.guard.last(), k.now(), "the deadline runs on")
		k.beats(t.Context(), 5*time.Second, true)
		require.Nil(t, k.left().Led, "and stays forgotten while it is fed")

		k.opened(4)
		require.NotNil(t, k.left().Led)
		k.disarm()
		require.Nil(t, k.left().Led)
		require.Zero(t, k.guard.last())
	})
}

func TestTheProofByQuorumIsNotLeftToTheNextAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.opened(4)
		k.beats(t.Context(), time.Second, true)
		k.store.Partition("n1", true)
		k.beats(t.Context(), time.Minute, true)
		require.True(t, k.state().provable)
		require.Less(t, k.left().Led.Lease, k.now(), "without Consul nobody could see which term it is: the next agent fences")
	})
}

// next is the keeper of the agent that follows on k's.
func (k *keeping) next(t *testing.T) *keeping {
	t.Helper()
	n := newKept(t, true)
	n.keeper.now, n.store, n.guard = k.now, k.store, k.guard
	n.keeper.session, n.keeper.guard = k.store.Session("n1", k.params.C), k.guard
	return n
}

func TestTheNextAgentRenewsTheSameSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.opened(4)
		session, deadline := k.session.ID(), k.guard.last()
		time.Sleep(time.Second)
		n := k.next(t)
		n.adopt(*k.left().Led, []byte(leader))
		require.Equal(t, deadline, n.guard.last(), "adopting proves nothing: the deadline stays")
		require.True(t, n.state().held)
		n.beats(t.Context(), 30*time.Second, true)
		require.True(t, n.state().held)
		require.Equal(t, session, n.holding())
		require.Greater(t, n.guard.last(), n.now())
		require.NotNil(t, n.left().Led, "and the one after it could do the same")
	})
}

func TestANextAgentThatComesTooLateHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.opened(4)
		time.Sleep(k.params.H)
		n := k.next(t)
		n.adopt(*k.left().Led, []byte(leader))
		require.False(t, n.state().held)
		require.False(t, n.state().provable)
		n.disown()
		n.disarm()
		n.drop()
		old := k.session.ID()
		n.beats(t.Context(), time.Second, true)
		require.NotEqual(t, old, n.session.ID())
		ok, _, err := k.store.Txn(t.Context(), election.CheckSession("leader", old), election.Set("x", nil))
		require.NoError(t, err)
		require.False(t, ok, "whatever the previous agent sent has no effect any more")
	})
}

func TestWhatIsRememberedOfAnotherServerIsNothing(t *testing.T) {
	b := memory{Mysqld: 7, Inc: leader, Led: &led{Term: 4}}.encode()
	require.NotNil(t, remembered(b, 7, leader).Led)
	require.Nil(t, remembered(b, 8, leader).Led, "another mysqld")
	require.Nil(t, remembered(b, 7, "n1~2~x").Led, "other data")
	require.Nil(t, remembered(nil, 7, leader).Led)
	require.Nil(t, remembered([]byte("x"), 7, leader).Led)
	var other map[string]any
	require.NoError(t, json.Unmarshal(b, &other))
	other["format"] = memoryFormat + 1
	b, err := json.Marshal(other)
	require.NoError(t, err)
	require.Nil(t, remembered(b, 7, leader).Led, "of another version")
	require.NotNil(t, memory{}.encode(), "nothing is said, not left unsaid")
}

func TestAFollowersMemoryIsSaidOnceAndNeverToAnOpenServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		b := memory{Mysqld: 7, Inc: leader, Kept: &kept{Follow: roles.Follow{Primary: "n2", Term: 3, Armed: true}, Receiver: "r1"}}.encode()
		k.remember(b)
		require.Equal(t, "r1", k.left().Kept.Receiver)
		k.guard.memory = nil
		k.remember(b)
		require.Nil(t, k.guard.memory, "known already")
		k.lead(t)
		k.opened(4)
		k.remember(b)
		require.NotNil(t, k.left().Led)
		require.NotZero(t, k.guard.last(), "the deadline is not taken away")
	})
}

// TestASessionThatIsGoneIsNoReasonToStop: it was destroyed by hand, or its check was. mysqld stays open on the old
// proof, with a new session for the loop to take the lock back with; and the lock is not taken in the old term.
func TestASessionThatIsGoneIsNoReasonToStop(t *testing.T) {
	for _, keep := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			k := newKept(t, keep)
			k.lead(t)
			k.opened(4)
			k.beats(t.Context(), 2*time.Second, true)
			old, deadline := k.session.ID(), k.guard.last()
			k.store.Expire(old)
			k.probe = errors.New("nobody acknowledges")
			k.beats(t.Context(), k.params.I+time.Millisecond, true)
			s := k.state()
			require.True(t, s.provable, "the deadline has not passed")
			require.NotEqual(t, old, s.session)
			require.NotEmpty(t, s.session)
			require.Empty(t, k.holding(), "never in the old term")
			require.GreaterOrEqual(t, deadline, k.guard.last(), "and nothing new is proven")

			ok, _, err := k.store.Txn(t.Context(), election.Lock("leader", s.session, []byte(leader))) // what TAKEBACK does
			require.NoError(t, err)
			require.True(t, ok)
			k.hold(k.now(), s.session, []byte(leader))
			k.beats(t.Context(), 10*time.Second, true)
			require.True(t, k.state().held)
		})
	}
}

func TestWithoutTheLockAndWithoutAProofItEnds(t *testing.T) {
	for _, keep := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			k := newKept(t, keep)
			k.lead(t)
			k.opened(4)
			k.probe = errors.New("nobody acknowledges")
			k.store.Expire(k.session.ID())
			k.beats(t.Context(), k.params.H+time.Millisecond, true)
			require.False(t, k.state().provable)
			require.LessOrEqual(t, k.guard.last(), k.now()+k.params.F/2)
		})
	}
}

// TestKeepGoesOnByTheQuorumUntilTheLockIsBack: with policy keep the quorum's acknowledgements are a proof for as long as
// it takes.
func TestKeepGoesOnByTheQuorumUntilTheLockIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.opened(4)
		k.store.Expire(k.session.ID())
		k.beats(t.Context(), time.Minute, true)
		require.True(t, k.state().provable)
		require.False(t, k.state().held)
		require.Empty(t, k.holding())
	})
}

// TestALockThatIsAnothersEndsItAtOnce, whatever the deadline says.
func TestALockThatIsAnothersEndsItAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, false)
		k.lead(t)
		k.opened(4)
		_, _, err := k.store.Txn(t.Context(), election.Delete("leader"))
		require.NoError(t, err)
		other := k.store.Session("n2", 0)
		require.NoError(t, other.Open(t.Context()))
		got, err := other.Acquire(t.Context(), "leader", []byte("n2"))
		require.NoError(t, err)
		require.True(t, got)
		k.beats(t.Context(), k.params.I, true)
		require.False(t, k.state().held)
	})
}

// closed is a session whose lock Consul keeps closed for a moment after it was lost.
type closed struct {
	election.Session
	refuse int
}

func (c *closed) Acquire(ctx context.Context, key string, value []byte) (bool, error) {
	if c.refuse > 0 {
		c.refuse--
		return false, nil
	}
	return c.Session.Acquire(ctx, key, value)
}

func TestALockThatNobodyHasIsNotAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, false)
		c := &closed{Session: k.session}
		k.keeper.session = c
		k.lead(t)
		k.opened(4)
		_, _, err := k.store.Txn(t.Context(), election.Delete("leader"))
		require.NoError(t, err)
		c.refuse = 1
		k.note(true, false)
		k.beat(t.Context())
		require.True(t, k.state().held, "the deadline is what it was")
		require.ErrorIs(t, k.state().trouble, errOrphaned)
	})
}

// TestALockLostInAnOutageIsTakenBackWithALivingSession: the old one may still take signs of life for a while.
func TestALockLostInAnOutageIsTakenBackWithALivingSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.opened(4)
		k.beats(t.Context(), time.Second, true)
		k.store.Partition("n1", true)
		k.beats(t.Context(), time.Minute, true)
		old := k.session.ID()
		require.NotEqual(t, old, k.holding(), "it has expired")
		k.keeper.session = &undead{Session: k.session}
		k.store.Partition("n1", false)
		k.note(true, false)
		k.beat(t.Context())
		require.NotEqual(t, old, k.session.ID())
		require.Empty(t, k.holding())
		require.True(t, k.state().provable)
	})
}

// undead is a session whose check outlives it.
type undead struct{ election.Session }

func (u *undead) Pass(ctx context.Context) error {
	if err := u.Session.Pass(ctx); !errors.Is(err, election.ErrSessionGone) {
		return err
	}
	return nil
}
