package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// lossy is a store that loses the next answers to transactions on a key; a value says whether one of them was applied.
type lossy struct {
	election.Store
	lose map[string][]bool
}

func (l *lossy) Txn(ctx context.Context, ops ...election.Op) (bool, string, error) {
	for _, op := range ops {
		if next := l.lose[op.Key]; len(next) > 0 {
			l.lose[op.Key] = next[1:]
			if next[0] {
				_, _, _ = l.Store.Txn(ctx, ops...)
			}
			return false, "", election.ErrUnknown
		}
	}
	return l.Store.Txn(ctx, ops...)
}

// wanted is a snapshotter with a request for its node, in a store that loses what the test says.
type wanted struct {
	*snapshotter
	t     *testing.T
	store *lossy
	id    string
}

func want(t *testing.T, m *election.Memory, s *snapshotter) *wanted {
	t.Helper()
	w := &wanted{snapshotter: s, t: t, store: &lossy{Store: s.a.Store, lose: map[string][]bool{}}, id: "r1"}
	s.a.Store, s.a.Snapshots = w.store, store(t)
	r := cluster.SnapshotRequest{By: "op", At: time.Now().UTC(), Node: s.a.Settings.Name, State: cluster.RequestOpen, Changed: time.Now().UTC()}
	putAll(t, m, election.Set(s.a.keys.Cluster(), cluster.Encode(roles.Cluster{ID: "c", Name: "main"})), election.Set(w.key(), cluster.Encode(r)))
	return w
}

func (w *wanted) key() string { return w.a.keys.SnapshotRequest(w.id) }

// look is what the loop tells at every turn, from a fresh view.
func (w *wanted) look(ready bool) cluster.SnapshotRequest {
	w.t.Helper()
	raw, err := w.store.Read(w.t.Context(), w.a.keys.Prefix, true)
	require.NoError(w.t, err)
	view, extra, err := w.a.keys.Parse(raw)
	require.NoError(w.t, err)
	view.OK = true
	w.facts = roles.Facts{View: view, Self: roles.Self{Inc: "i", Name: w.a.Settings.Name}, MySQL: roles.MySQL{Ready: ready}}
	w.extra = extra
	i := slices.IndexFunc(extra.SnapshotRequests, func(r cluster.SnapshotRequest) bool { return r.ID == w.id })
	require.GreaterOrEqual(w.t, i, 0, "the request is gone")
	return extra.SnapshotRequests[i]
}

// becomes demands the state of the request after one turn.
func (w *wanted) becomes(state string) cluster.SnapshotRequest {
	w.t.Helper()
	err := w.turn(w.t.Context())
	r := w.look(true)
	require.Equal(w.t, state, r.State, "%s; the turn ended with: %v", r.Outcome, err)
	return r
}

// TestWhatPassesEndsNoSnapshotRequest: neither a mysqld that was late with one answer, nor another node's snapshot that was
// begun at the same moment, nor answers of Consul that got lost at any point.
func TestWhatPassesEndsNoSnapshotRequest(t *testing.T) {
	n := newTrapLab(t).start(t, "n1")
	m := election.NewMemory()
	s, other := claimer(t, m, "n1"), claimer(t, m, "n2")
	s.a.mycfg, s.a.creds, s.a.Settings = n.mycfg, n.creds, n.Settings
	s.a.marker.Store(n.srv)
	w := want(t, m, s)

	w.look(false)
	w.becomes(cluster.RequestOpen)
	require.NoError(t, other.claimed(t.Context(), cluster.WorkTaking, func(context.Context, *claim) error {
		w.becomes(cluster.RequestOpen) // it has looked before the other one began
		return nil
	}))
	w.store.lose[w.key()] = []bool{false, true}
	w.look(true)
	w.becomes(cluster.RequestOpen)
	w.becomes(cluster.RequestRunning)
	// The pointer to the complete snapshot, and then the outcome: both are written again.
	w.store.lose[w.a.keys.SnapshotLast()] = []bool{true, false}
	w.store.lose[w.key()] = []bool{false, true}
	w.becomes(cluster.RequestRunning)
	w.becomes(cluster.RequestDone)
	r := w.becomes(cluster.RequestDone)
	require.Equal(t, r.Snapshot, w.extra.Snapshot.ID)
	require.Nil(t, w.extra.SnapshotTrouble)
	names, err := s.a.Snapshots.List(t.Context(), "main/snapshots/")
	require.NoError(t, err)
	for _, o := range names {
		require.Contains(t, o.Key, r.Snapshot, "it was taken once")
	}
	w.becomes(cluster.RequestDone)
	require.Len(t, s.a.history.pending, 1)
}

// TestWhatDoesNotPassEndsASnapshotRequest: with its reason.
func TestWhatDoesNotPassEndsASnapshotRequest(t *testing.T) {
	m := election.NewMemory()
	w := want(t, m, claimer(t, m, "n1"))
	w.look(false)
	w.becomes(cluster.RequestOpen)
	w.look(false)
	w.asked[w.id].ready = time.Now().Add(-requestPatience)
	require.Contains(t, w.becomes(cluster.RequestFailed).Outcome, "mysqld of this node has not been ready for 5m0s")

	w = want(t, m, claimer(t, m, "n2"))
	w.a.Snapshots = nil
	w.look(true)
	require.Contains(t, w.becomes(cluster.RequestFailed).Outcome, "no snapshot store")

	w = want(t, m, claimer(t, m, "n3"))
	r := w.look(true)
	r.State, r.Taker = cluster.RequestRunning, "n3"
	putAll(t, m, election.Set(w.key(), cluster.Encode(r)))
	w.look(true)
	require.Contains(t, w.becomes(cluster.RequestFailed).Outcome, "restarted", "of an agent that is no more")
}
