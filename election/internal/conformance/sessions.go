package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

func testLock(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	require.NotEqual(t, a.ID(), b.ID())
	k := e.key("leader")
	require.True(t, acquire(t, a, k, "a"))
	first := e.get(t, "leader")
	require.Equal(t, a.ID(), first.Session)
	require.EqualValues(t, 1, first.LockIndex)
	require.Equal(t, "a", string(first.Value))
	require.True(t, acquire(t, a, k, "a"), "the holder proves possession")
	require.Equal(t, first, e.get(t, "leader"), "which changes nothing")
	require.False(t, acquire(t, b, k, "b"))
	require.Equal(t, first, e.get(t, "leader"), "a refused acquisition changes nothing")
	require.True(t, acquire(t, a, k, "new"))
	second := e.get(t, "leader")
	require.Equal(t, "new", string(second.Value))
	require.Greater(t, second.ModifyIndex, first.ModifyIndex)
	require.EqualValues(t, 1, second.LockIndex)
}

// acquiresNothing demands that the session is noticed to be gone. During the lock-delay of a millisecond the store may
// just say no.
func acquiresNothing(t *testing.T, s election.Session, key string) {
	t.Helper()
	require.Eventually(t, func() bool {
		held, err := s.Acquire(t.Context(), key, nil)
		require.False(t, held)
		if err != nil {
			require.ErrorIs(t, err, election.ErrSessionGone)
		}
		return err != nil
	}, limit, 5*time.Millisecond)
}

func testSetOnHeldKey(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	k := e.key("leader")
	require.True(t, acquire(t, a, k, "a"))
	require.True(t, e.txn(t, election.Set(k, []byte("intruder"))))
	kv := e.get(t, "leader")
	require.Equal(t, a.ID(), kv.Session, "the holder stays")
	require.Zero(t, kv.LockIndex, "and the lock index is useless as a term")
	require.False(t, acquire(t, b, k, "b"))
	require.True(t, acquire(t, a, k, "a"))
	require.True(t, e.txn(t, election.CAS(k, e.get(t, "leader").ModifyIndex, []byte("cas"))))
	require.Equal(t, a.ID(), e.get(t, "leader").Session)
	require.True(t, e.txn(t, election.Delete(k)), "anybody may delete a held lock")
	require.True(t, acquire(t, b, k, "b"))
	require.False(t, acquire(t, a, k, "a"), "the old holder notices")
}

func testRelease(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	k := e.key("leader")
	require.ErrorIs(t, a.Release(t.Context(), k), election.ErrNotHeld)
	require.True(t, acquire(t, a, k, "a"))
	require.ErrorIs(t, b.Release(t.Context(), k), election.ErrNotHeld)
	require.NoError(t, a.Release(t.Context(), k))
	kv := e.get(t, "leader")
	require.Empty(t, kv.Session)
	require.Empty(t, kv.Value, "releasing empties the value")
	require.ErrorIs(t, a.Release(t.Context(), k), election.ErrNotHeld)
	require.True(t, acquire(t, b, k, "b"), "at once")
	require.EqualValues(t, 2, e.get(t, "leader").LockIndex)
}

func testSessionEnds(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	k := e.key("leader")
	require.True(t, acquire(t, a, k, "a"))
	require.True(t, acquire(t, a, e.key("second"), "a"))
	before := e.get(t, "leader")
	e.end(t, a.ID())
	after := e.get(t, "leader")
	require.Empty(t, after.Session)
	require.Equal(t, "a", string(after.Value), "the value stays, so one sees that it was not released")
	require.Equal(t, before.LockIndex, after.LockIndex)
	require.Greater(t, after.ModifyIndex, before.ModifyIndex)
	require.Empty(t, e.get(t, "second").Session)
	// The lock-delay of a millisecond may still be over the first attempt.
	require.Eventually(t, func() bool { return acquire(t, b, k, "b") }, limit, 5*time.Millisecond)
	old := a.ID()
	acquiresNothing(t, a, k)
	require.NoError(t, a.Open(t.Context()), "the next Open makes a new one")
	require.NotEmpty(t, a.ID())
	require.NotEqual(t, old, a.ID())
	require.False(t, acquire(t, a, k, "a"))
	require.NoError(t, a.Pass(t.Context()))
}

func testDestroyed(t *testing.T, e env) {
	a := e.open(t, "a")
	require.True(t, acquire(t, a, e.key("leader"), "a"))
	require.NoError(t, a.Destroy(t.Context()))
	require.NoError(t, a.Destroy(t.Context()), "twice is fine")
	require.Empty(t, a.ID())
	require.Empty(t, e.get(t, "leader").Session)
	require.ErrorIs(t, a.Pass(t.Context()), election.ErrSessionGone)
	_, err := a.Acquire(t.Context(), e.key("leader"), nil)
	require.ErrorIs(t, err, election.ErrSessionGone)
	require.ErrorIs(t, a.Release(t.Context(), e.key("leader")), election.ErrNotHeld)
}

func testCheckSession(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	k, sync := e.key("leader"), e.key("sync")
	require.False(t, e.txn(t, election.CheckSession(k, a.ID()), election.Set(sync, nil)), "no such key")
	require.True(t, acquire(t, a, k, "a"))
	require.True(t, e.txn(t, election.CheckSession(k, a.ID()), election.Set(sync, []byte("1"))))
	require.False(t, e.txn(t, election.CheckSession(k, b.ID()), election.Set(sync, []byte("2"))))
	dead := a.ID()
	require.NoError(t, a.Destroy(t.Context()))
	require.False(t, e.txn(t, election.CheckSession(k, dead), election.Set(sync, []byte("3"))), "a destroyed session does nothing any more")
	require.Equal(t, "1", string(e.get(t, "sync").Value))
}

func testTxnLock(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	k := e.key("leader")
	require.True(t, e.txn(t, election.Lock(k, a.ID(), []byte("a")), election.CAS(e.key("sync"), 0, []byte("1"))))
	require.Equal(t, a.ID(), e.get(t, "leader").Session)
	require.True(t, e.txn(t, election.Lock(k, a.ID(), []byte("a"))), "again by the holder")
	require.False(t, e.txn(t, election.Lock(k, b.ID(), []byte("b"))))
	require.False(t, e.txn(t, election.Unlock(k, b.ID())))
	require.True(t, e.txn(t, election.Unlock(k, a.ID()), election.Set(e.key("note"), []byte("to b"))))
	require.Empty(t, e.get(t, "leader").Session)
	require.Empty(t, e.get(t, "leader").Value)
	dead := b.ID()
	e.end(t, dead)
	require.False(t, e.txn(t, election.Lock(k, dead, []byte("b"))), "a dead session")
}

func testMove(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	k := e.key("leader")
	require.True(t, acquire(t, a, k, "a"))
	require.False(t, e.txn(t, election.CheckSession(k, a.ID()), election.Lock(k, b.ID(), []byte("b"))), "not without unlock")
	require.True(t, e.txn(t, election.CheckSession(k, a.ID()), election.Unlock(k, a.ID()), election.Lock(k, b.ID(), []byte("b"))))
	kv := e.get(t, "leader")
	require.Equal(t, b.ID(), kv.Session)
	require.Equal(t, "b", string(kv.Value))
	require.False(t, e.txn(t, election.CheckSession(k, a.ID()), election.Unlock(k, a.ID()), election.Lock(k, a.ID(), nil)))
}

func testOpenTwice(t *testing.T, e env) {
	a := e.open(t, "a")
	require.True(t, acquire(t, a, e.key("leader"), "a"))
	id := a.ID()
	require.NoError(t, a.Open(t.Context()))
	require.Equal(t, id, a.ID(), "a living session is kept")
	require.Equal(t, id, e.get(t, "leader").Session, "with its locks")
}

func testLeftover(t *testing.T, e env) {
	crashed := e.open(t, "a")
	bystander := e.open(t, "b")
	require.True(t, acquire(t, crashed, e.key("leader"), "a"))
	require.True(t, acquire(t, bystander, e.key("other"), "b"))
	again := e.open(t, "a")
	require.NotEqual(t, crashed.ID(), again.ID())
	require.Empty(t, e.get(t, "leader").Session, "what the previous run held is free")
	require.Equal(t, bystander.ID(), e.get(t, "other").Session)
	acquiresNothing(t, crashed, e.key("leader"))
}

func testOwners(t *testing.T, e env) {
	own := func(owner string) election.Session {
		s := e.Session(e.prefix + "a")
		s.Own(owner)
		t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
		return s
	}
	first, bystander := own("one"), e.open(t, "b")
	require.NoError(t, first.Open(t.Context()))
	require.True(t, acquire(t, first, e.key("leader"), "a"))
	require.True(t, acquire(t, bystander, e.key("other"), "b"))

	second := own("two")
	require.ErrorIs(t, second.Open(t.Context()), election.ErrNameTaken)
	require.Empty(t, second.ID())
	require.NoError(t, second.Close(t.Context()))
	require.NoError(t, first.Pass(t.Context()), "the first one noticed nothing")
	require.Equal(t, first.ID(), e.get(t, "leader").Session)

	again := own("one")
	require.NoError(t, again.Open(t.Context()), "the same owner has come back")
	require.Empty(t, e.get(t, "leader").Session)
	require.Equal(t, bystander.ID(), e.get(t, "other").Session)
	require.ErrorIs(t, second.Open(t.Context()), election.ErrNameTaken)

	e.end(t, again.ID())
	require.NoError(t, second.Open(t.Context()), "the name is free")
	require.ErrorIs(t, again.Open(t.Context()), election.ErrNameTaken)
}

func testAdopt(t *testing.T, e env) {
	before := e.open(t, "a")
	require.True(t, acquire(t, before, e.key("leader"), "a"))
	after := e.Session(e.prefix + "a")
	after.Adopt(before.ID())
	require.NoError(t, after.Pass(t.Context()))
	require.True(t, acquire(t, after, e.key("leader"), "a"))
	require.NoError(t, after.Open(t.Context()), "an adopted session that lives is kept")
	require.Equal(t, before.ID(), after.ID())
	e.end(t, before.ID())
	acquiresNothing(t, after, e.key("leader"))
	require.NoError(t, after.Open(t.Context()))
	require.NotEqual(t, before.ID(), after.ID())
	require.NoError(t, after.Close(t.Context()))
}

func testRenew(t *testing.T, e env) {
	a, b := e.open(t, "a"), e.open(t, "b")
	p, err := election.ParamsFor(3 * time.Second)
	require.NoError(t, err)
	now := 100 * time.Second
	clock := func() time.Duration { return now }
	renew := func(s election.Session, l *election.Lease) error {
		return election.Renew(t.Context(), s, l, clock, limit, e.key("leader"), []byte("x"))
	}
	mine, theirs := election.NewLease(p.H), election.NewLease(p.H)
	require.NoError(t, renew(a, mine))
	deadline, held := mine.Deadline()
	require.True(t, held)
	require.Equal(t, now+p.H, deadline)
	require.ErrorIs(t, renew(b, theirs), election.ErrLeaseLost)
	require.False(t, theirs.Fresh(now))
	now += time.Second
	require.NoError(t, renew(a, mine))
	e.end(t, a.ID())
	require.Eventually(t, func() bool { return acquire(t, b, e.key("leader"), "b") }, limit, 5*time.Millisecond)
	now += time.Millisecond
	err = renew(a, mine)
	require.True(t, errors.Is(err, election.ErrSessionGone) || errors.Is(err, election.ErrLeaseLost), "%v", err)
	deadline, _ = mine.Deadline()
	require.Equal(t, 101*time.Second+p.H, deadline, "a failed renewal moves nothing")
}
