package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// waiting starts a blocking query and returns the channel on which its result comes.
func (e env) waiting(ctx context.Context, index uint64, most time.Duration) <-chan waited {
	out := make(chan waited, 1)
	go func() {
		began := time.Now()
		v, err := e.Store.Wait(ctx, e.prefix, index, most)
		out <- waited{v, err, time.Since(began)}
	}()
	return out
}

type waited struct {
	view election.View
	err  error
	took time.Duration
}

func testWaitWakes(t *testing.T, e env) {
	a := e.open(t, "a")
	require.True(t, e.txn(t, election.Set(e.key("first"), nil)))
	changes := []struct {
		name string
		do   func()
	}{
		{"set", func() { require.True(t, e.txn(t, election.Set(e.key("k"), []byte("v")))) }},
		{"acquire", func() { require.True(t, acquire(t, a, e.key("leader"), "a")) }},
		{"release", func() { require.NoError(t, a.Release(t.Context(), e.key("leader"))) }},
		{"acquire again", func() { require.True(t, acquire(t, a, e.key("leader"), "a")) }},
		{"session ends", func() { e.end(t, a.ID()) }},
		{"delete", func() { require.True(t, e.txn(t, election.Delete(e.key("k")))) }},
	}
	for _, c := range changes {
		index := e.view(t).Index
		w := e.waiting(t.Context(), index, limit)
		time.Sleep(30 * time.Millisecond) // so that it usually blocks; either order must work
		c.do()
		got := <-w
		require.NoError(t, got.err, c.name)
		require.Greater(t, got.view.Index, index, c.name)
		require.Less(t, got.took, limit, "%s woke the query", c.name)
		require.Equal(t, e.view(t).KVs, got.view.KVs, c.name)
		// An old index returns at once.
		stale, err := e.Store.Wait(t.Context(), e.prefix, index, limit)
		require.NoError(t, err)
		require.Equal(t, got.view, stale)
	}
}

func testWaitSleeps(t *testing.T, e env) {
	a := e.open(t, "a")
	require.True(t, acquire(t, a, e.key("leader"), "a"))
	v := e.view(t)
	const most = 300 * time.Millisecond
	w := e.waiting(t.Context(), v.Index, most)
	require.True(t, e.txn(t, election.Set("test/elsewhere", []byte(t.Name()))))
	require.True(t, acquire(t, a, e.key("leader"), "a"), "a renewal")
	require.False(t, e.txn(t, election.Set(e.key("leader"), []byte("x")), election.CAS(e.key("leader"), 1, nil)), "a refusal")
	got := <-w
	require.NoError(t, got.err)
	require.GreaterOrEqual(t, got.took, most, "nothing of this wakes the query")
	require.Equal(t, v, got.view)
}

func testWaitFuture(t *testing.T, e env) {
	require.True(t, e.txn(t, election.Set(e.key("k"), []byte("v"))))
	v, err := e.Store.Wait(t.Context(), e.prefix, 1<<40, 100*time.Millisecond)
	require.NoError(t, err, "the store was wiped and its indexes began anew")
	require.Less(t, v.Index, uint64(1<<40), "the lower index replaces the higher one")
	require.Len(t, v.KVs, 1)
}

func testWaitCancelled(t *testing.T, e env) {
	require.True(t, e.txn(t, election.Set(e.key("k"), []byte("v"))))
	ctx, cancel := context.WithCancel(t.Context())
	w := e.waiting(ctx, e.view(t).Index, limit)
	time.Sleep(20 * time.Millisecond) // usually blocked by now; either order must work
	cancel()
	got := <-w
	require.Error(t, got.err)
	require.Less(t, got.took, limit/2)
	_, _, err := e.Store.Txn(ctx, election.Set(e.key("never"), nil))
	require.ErrorIs(t, err, election.ErrUnreachable, "a request that never left")
	e.absent(t, "never")
}
