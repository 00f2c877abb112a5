package election_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/internal/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryConformance(t *testing.T) {
	m := election.NewMemory()
	conformance.Run(t, conformance.Backend{
		Store:   m,
		Session: func(node string) election.Session { return m.Session(node, 0) },
	})
}

// open makes a session on m; c as in Memory.Session.
func open(t *testing.T, m *election.Memory, node string, c time.Duration) election.Session {
	t.Helper()
	s := m.Session(node, c)
	require.NoError(t, s.Open(t.Context()))
	return s
}

func get(t *testing.T, m *election.Memory, key string) election.KV {
	t.Helper()
	v, err := m.Read(t.Context(), key, true)
	require.NoError(t, err)
	return v.KVs[key]
}

func TestMemorySessionExpiresByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		a := open(t, m, "a", 3*time.Second)
		held, err := a.Acquire(t.Context(), "leader", []byte("a"))
		require.NoError(t, err)
		require.True(t, held)
		for range 5 {
			time.Sleep(2 * time.Second)
			require.NoError(t, a.Pass(t.Context()))
		}
		began := time.Now()
		v, err := m.Wait(t.Context(), "leader", get(t, m, "leader").ModifyIndex, time.Minute)
		require.NoError(t, err)
		require.Empty(t, v.KVs["leader"].Session)
		require.Equal(t, 3*time.Second, time.Since(began), "exactly C after the last pass, and it wakes the watchers")
		require.ErrorIs(t, a.Pass(t.Context()), election.ErrSessionGone)
	})
}

func TestMemoryPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		a := open(t, m, "a", time.Second)
		_, err := a.Acquire(t.Context(), "leader", nil)
		require.NoError(t, err)
		watched := make(chan error, 1)
		go func() {
			_, err := m.Node("a").Wait(t.Context(), "", 1<<30, time.Minute)
			watched <- err
		}()
		synctest.Wait()
		m.Partition("a", true)
		require.ErrorIs(t, <-watched, election.ErrUnreachable)
		require.ErrorIs(t, a.Pass(t.Context()), election.ErrUnreachable)
		_, _, err = m.Node("a").Txn(t.Context(), election.Set("k", nil))
		require.ErrorIs(t, err, election.ErrUnreachable)
		b := open(t, m, "b", 0)
		time.Sleep(time.Second + 1)
		held, err := b.Acquire(t.Context(), "leader", nil)
		require.NoError(t, err)
		require.True(t, held, "others are not affected, and the lock is free after C")
		m.Partition("a", false)
		require.ErrorIs(t, a.Pass(t.Context()), election.ErrSessionGone)
		require.Empty(t, get(t, m, "k").Key)
	})
}

func TestMemoryLosesAnswers(t *testing.T) {
	m := election.NewMemory()
	a := m.Node("a")
	m.LoseNextTxn("a", true)
	m.LoseNextTxn("a", false)
	_, _, err := m.Node("b").Txn(t.Context(), election.Set("other", []byte("b")))
	require.NoError(t, err)
	_, _, err = a.Txn(t.Context(), election.Set("k", []byte("1")))
	require.ErrorIs(t, err, election.ErrUnknown)
	require.Equal(t, "1", string(get(t, m, "k").Value))
	_, _, err = a.Txn(t.Context(), election.Set("k", []byte("2")))
	require.ErrorIs(t, err, election.ErrUnknown)
	require.Equal(t, "1", string(get(t, m, "k").Value))
	ok, _, err := a.Txn(t.Context(), election.Set("k", []byte("3")))
	require.NoError(t, err)
	require.True(t, ok)
}

func TestMemoryLateTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		a, b := open(t, m, "a", 0), open(t, m, "b", 0)
		_, err := a.Acquire(t.Context(), "leader", nil)
		require.NoError(t, err)
		late := func(value string) {
			m.Delay("a", 2*time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _, err := m.Node("a").Txn(ctx, election.CheckSession("leader", a.ID()), election.Set("sync", []byte(value)))
			require.ErrorIs(t, err, election.ErrUnknown)
			m.Delay("a", 0)
		}
		late("1")
		require.Empty(t, get(t, m, "sync").Key, "not yet")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "1", string(get(t, m, "sync").Value), "it lands after its caller gave up")

		late("2")
		require.NoError(t, a.Destroy(t.Context()))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, "1", string(get(t, m, "sync").Value), "destroying the session kills what is in flight")
		held, err := b.Acquire(t.Context(), "leader", nil)
		require.NoError(t, err)
		require.True(t, held)
	})
}

func TestMemoryExpireByHand(t *testing.T) {
	m := election.NewMemory()
	a := open(t, m, "a", 0)
	_, err := a.Acquire(t.Context(), "leader", []byte("v"))
	require.NoError(t, err)
	m.Expire("no such session")
	require.Equal(t, a.ID(), get(t, m, "leader").Session)
	m.Expire(a.ID())
	require.Empty(t, get(t, m, "leader").Session)
}
