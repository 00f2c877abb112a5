package agent

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// ailing is a store that can be away, can lose its answers, and can take for ever to remove something, or fail to read one object, so many times.
type ailing struct {
	snapshot.Store
	away, mute, slow atomic.Bool
	removing         atomic.Int32 // how many removals hang
	unread           atomic.Pointer[string]
	refused          atomic.Int32 // how often reading that one has failed
}

// refusals are more than the attempts that are made without patience.
const refusals = 5

var errAway = errors.New("the store is away")

func (s *ailing) Put(ctx context.Context, key string, r io.Reader) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Put(ctx, key, r)
}

func (s *ailing) PutNew(ctx context.Context, key string, data []byte) error {
	if s.away.Load() {
		return errAway
	}
	err := s.Store.PutNew(ctx, key, data)
	if s.mute.Swap(false) {
		return errors.New("the answer got lost")
	}
	return err
}

func (s *ailing) List(ctx context.Context, prefix string) ([]snapshot.Object, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.Store.List(ctx, prefix)
}

func (s *ailing) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if unread := s.unread.Load(); unread != nil && *unread == key {
		if s.refused.Add(1) == refusals {
			s.unread.Store(nil)
		}
		return nil, 0, errAway
	}
	return s.Store.Get(ctx, key)
}

func (s *ailing) Delete(ctx context.Context, key string) error {
	if s.slow.Load() {
		s.removing.Add(1)
		defer s.removing.Add(-1)
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.Delete(ctx, key)
}

// archived is a node that archives as the primary of a term.
func (n *trapNode) archives(s snapshot.Store, m *election.Memory, term uint64) *archiver {
	n.t.Helper()
	session := m.Session(n.Settings.Name, time.Hour)
	require.NoError(n.t, session.Open(n.ctx()))
	got, err := session.Acquire(n.ctx(), n.keys.Leader(), []byte(n.disk.inc()))
	require.NoError(n.t, err)
	require.True(n.t, got)
	n.Settings.ArchiveInterval = 10 * time.Second
	n.Snapshots, n.Store = s, m.Node(n.Settings.Name)
	n.marker.Store(n.srv)
	r := newArchiver(n.Agent)
	r.lead = leadership{term, roles.Cluster{ID: "id", Name: "main", CreatedAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}, session.ID()}
	n.t.Cleanup(r.drop)
	return r
}

// whole demands that the archive leads from nothing to all that the node has executed.
func (n *trapNode) whole(s snapshot.Store) {
	n.t.Helper()
	p := planned(n.t, s, gtid.Set{})
	require.NoError(n.t, p.Why())
	require.Equal(n.t, n.look().Executed.String(), p.Reach.String())
}

func planned(t *testing.T, s snapshot.Store, from gtid.Set) snapshot.LogPlan {
	t.Helper()
	l, err := snapshot.ReadLog(t.Context(), s, "main", 0)
	require.NoError(t, err)
	require.Empty(t, l.Bad)
	return l.Plan(snapshot.Manifest{ClusterID: "id", GTIDLower: from}, from, snapshot.Target{})
}

// told is what the archiver said in Consul.
func told(t *testing.T, m *election.Memory, keys cluster.Keys) cluster.LastArchive {
	t.Helper()
	v, err := m.Read(t.Context(), keys.Prefix, true)
	require.NoError(t, err)
	_, x, err := keys.Parse(election.View{KVs: map[string]election.KV{keys.ArchiveLast(): v.KVs[keys.ArchiveLast()]}})
	require.NoError(t, err)
	require.NotNil(t, x.Archive)
	return *x.Archive
}

// purgeOlder removes all binary logs but the newest.
func purgeOlder(n *trapNode) {
	n.t.Helper()
	st, err := n.srv.LogState(n.ctx())
	require.NoError(n.t, err)
	n.exec(n.db(trapCreds.Admin(), trapCreds.Password), "PURGE BINARY LOGS TO '"+filepath.Base(st.Files[len(st.Files)-1])+"'")
}

// step is one round of the archiver's loop.
func (r *archiver) step(t *testing.T) error {
	t.Helper()
	lead := r.leading()
	err := r.round(t.Context(), lead)
	if err != nil {
		r.term = 0
		r.publish(t.Context(), lead, err)
	}
	return err
}
