// Package conformance says by tests what a store of package election does. The same suite runs against the real store and
// against the in-memory one, so that what a simulation proves holds in reality.
package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// Backend is one implementation under test.
type Backend struct {
	Store election.Store
	// Session makes a new handle for a node's session, as a newly started process would.
	Session func(node string) election.Session
}

// limit bounds every step; only a broken implementation needs as long.
const limit = time.Minute

// env is what one test case works with.
type env struct {
	Backend
	prefix string
}

func (e env) key(name string) string { return e.prefix + name }

// open makes a session that is closed at the end of the test.
func (e env) open(t *testing.T, node string) election.Session {
	t.Helper()
	s := e.Session(e.prefix + node)
	require.NoError(t, s.Open(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
	return s
}

// end destroys a session behind its owner's back.
func (e env) end(t *testing.T, id string) {
	t.Helper()
	other := e.Session(e.prefix + "somebody-else")
	other.Adopt(id)
	require.NoError(t, other.Destroy(t.Context()))
}

// txn runs a transaction that must have a known outcome.
func (e env) txn(t *testing.T, ops ...election.Op) bool {
	t.Helper()
	ok, why, err := e.Store.Txn(t.Context(), ops...)
	require.NoError(t, err)
	require.Equal(t, ok, why == "", "a refusal, and only a refusal, has a reason: %q", why)
	return ok
}

func (e env) view(t *testing.T) election.View {
	t.Helper()
	v, err := e.Store.Read(t.Context(), e.prefix, true)
	require.NoError(t, err)
	require.NotZero(t, v.Index)
	return v
}

func (e env) get(t *testing.T, name string) election.KV {
	t.Helper()
	kv, ok := e.view(t).KVs[e.key(name)]
	require.True(t, ok, "key %s exists", name)
	require.Equal(t, e.key(name), kv.Key)
	return kv
}

func (e env) absent(t *testing.T, name string) {
	t.Helper()
	require.NotContains(t, e.view(t).KVs, e.key(name))
}

func acquire(t *testing.T, s election.Session, key string, value string) bool {
	t.Helper()
	held, err := s.Acquire(t.Context(), key, []byte(value))
	require.NoError(t, err)
	return held
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	cases := []struct {
		name string
		run  func(*testing.T, env)
	}{
		{"cas", testCAS},
		{"same content keeps its index", testSameContent},
		{"all or nothing", testAtomic},
		{"delete", testDelete},
		{"check index", testCheckIndex},
		{"values come back as they are", testValues},
		{"prefix", testPrefix},
		{"lock", testLock},
		{"set on a held key", testSetOnHeldKey},
		{"release", testRelease},
		{"session ends", testSessionEnds},
		{"destroyed session", testDestroyed},
		{"check session", testCheckSession},
		{"lock in a transaction", testTxnLock},
		{"move a lock", testMove},
		{"open twice", testOpenTwice},
		{"open after a crash", testLeftover},
		{"two owners of one name", testOwners},
		{"adopt", testAdopt},
		{"renew", testRenew},
		{"wait wakes", testWaitWakes},
		{"wait sleeps", testWaitSleeps},
		{"wait with an index of the future", testWaitFuture},
		{"wait is cancelled", testWaitCancelled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, env{b, "test/" + t.Name() + "/"})
		})
	}
}
