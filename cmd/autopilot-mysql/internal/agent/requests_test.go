package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestRequestsAgeByThisNodesClock(t *testing.T) {
	var d requestDesk
	rs := []roles.Request{{ID: "1", At: time.Now().Add(-time.Hour)}}
	require.Equal(t, map[string]time.Duration{"1": 0}, d.ages(rs, 10*time.Second), "the operator's clock is another one")
	rs = append(rs, roles.Request{ID: "2"})
	require.Equal(t, map[string]time.Duration{"1": 5 * time.Second, "2": 0}, d.ages(rs, 15*time.Second))
	require.Nil(t, d.ages(nil, 20*time.Second))
	require.Equal(t, map[string]time.Duration{"1": 0}, d.ages(rs[:1], 30*time.Second))
}

func TestProgressIsWrittenSeldomAndOutcomesSoon(t *testing.T) {
	var d requestDesk
	require.True(t, d.mayMove("1", true, time.Hour))
	require.False(t, d.mayMove("1", true, time.Hour+time.Second))
	require.True(t, d.mayMove("1", false, time.Hour+time.Second))
	require.True(t, d.mayMove("2", true, time.Hour+time.Second))
	require.True(t, d.mayMove("1", true, time.Hour+10*time.Second))
}

func TestMilestonesOfAFailover(t *testing.T) {
	ms := time.Millisecond
	m := milestones{lastPacket: 1000 * ms}
	m.reach(roles.SealReceive, roles.Facts{LeaderFree: 10 * ms}, 4010*ms)
	require.Nil(t, m.phases(5000*ms), "nothing was won yet")
	m.reach(roles.PublishSeal, roles.Facts{}, 4030*ms)
	m.reach(roles.Acquire, roles.Facts{}, 4035*ms)
	m.reach(roles.Drain, roles.Facts{}, 4038*ms)
	m.reach(roles.Promote, roles.Facts{}, 4048*ms)
	require.Equal(t, &cluster.Phases{Detect: 3000, Seal: 30, Elect: 5, Drain: 3, Promote: 10, Open: 12}, m.phases(4060*ms))

	m = milestones{}
	m.reach(roles.SealReceive, roles.Facts{LeaderFree: 10 * ms}, 4010*ms)
	m.reach(roles.PublishSeal, roles.Facts{}, 4030*ms)
	m.reach(roles.Acquire, roles.Facts{}, 4035*ms)
	m.reach(roles.Promote, roles.Facts{}, 4048*ms)
	p := m.phases(4060 * ms)
	require.InDelta(t, -1, p.Detect, 0, "it was not following")
	require.Zero(t, p.Drain, "there was nothing to apply")
}

// flaky is a store that refuses the first transactions.
type flaky struct {
	*election.Memory
	fails atomic.Int32
}

func (s *flaky) Txn(ctx context.Context, ops ...election.Op) (bool, string, error) {
	if s.fails.Add(-1) >= 0 {
		return false, "", election.ErrUnreachable
	}
	return s.Memory.Txn(ctx, ops...)
}

func TestAnEntryIsTriedUntilItIsWritten(t *testing.T) {
	store, keys := &flaky{Memory: election.NewMemory()}, cluster.KeysOf("shop")
	store.fails.Store(2)
	h := &historian{store: store, keys: keys, kick: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { h.run(ctx); close(ended) }()
	h.add(cluster.HistoryEntry{Kind: cluster.HistoryLost, Node: "db1"})
	require.Eventually(t, func() bool {
		v, err := store.Read(context.Background(), keys.History(), true)
		return err == nil && len(v.KVs) == 1
	}, 30*time.Second, 10*time.Millisecond)
	cancel()
	<-ended
}

func TestTheHistoryIsTrimmedAndReadOnceForEverybody(t *testing.T) {
	store, keys := election.NewMemory(), cluster.KeysOf("shop")
	for i := range cluster.HistoryKeep + 100 {
		putAll(t, store, keys.WriteHistory(cluster.HistoryEntry{At: time.Unix(int64(i), 0), Node: "db1", Term: uint64(i)}))
	}
	h := &historian{store: store, keys: keys, kick: make(chan struct{}, 1)}
	all, err := h.entries(t.Context())
	require.NoError(t, err)
	require.Len(t, all, cluster.HistoryKeep+100)
	h.trim(t.Context())
	h.lastAt = time.Now().Add(time.Minute) // however slow the machine is
	all, err = h.entries(t.Context())
	require.NoError(t, err)
	require.Len(t, all, cluster.HistoryKeep+100, "as it was a moment ago")
	h.lastAt = time.Now().Add(-historyFresh)
	all, err = h.entries(t.Context())
	require.NoError(t, err)
	require.Len(t, all, cluster.HistoryKeep)
	require.Equal(t, uint64(100), all[0].Term)
}

// TestEveryEntryIsFollowedByATrim: nothing else keeps the history from growing for ever.
func TestEveryEntryIsFollowedByATrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, keys := election.NewMemory(), cluster.KeysOf("shop")
		for i := range cluster.HistoryKeep + 5 {
			putAll(t, store, keys.WriteHistory(cluster.HistoryEntry{At: time.Unix(int64(i), 0), Node: "db1"}))
		}
		h := &historian{store: store, keys: keys, kick: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go h.run(ctx)
		h.add(cluster.HistoryEntry{Kind: cluster.HistoryLost, Node: "db1"})
		count := func() int {
			v, err := store.Read(ctx, keys.History(), true)
			require.NoError(t, err)
			return len(v.KVs)
		}
		time.Sleep(trimAfter - time.Second)
		require.Equal(t, cluster.HistoryKeep+6, count(), "a failover has no time for that")
		time.Sleep(2 * time.Second)
		require.Equal(t, cluster.HistoryKeep, count())
	})
}

func TestHistoryOutlivesASilentConsul(t *testing.T) {
	store, keys := election.NewMemory(), cluster.KeysOf("shop")
	store.Partition("", true)
	h := &historian{store: store, keys: keys, kick: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { h.run(ctx); close(ended) }()
	for i := range historyBacklog + 3 {
		h.add(cluster.HistoryEntry{Kind: cluster.HistoryLost, Node: "db1", Term: uint64(i), At: time.Unix(int64(i), 0)})
	}
	store.Partition("", false)
	count := func() int {
		v, err := store.Read(context.Background(), keys.History(), true)
		require.NoError(t, err)
		return len(v.KVs)
	}
	require.Eventually(t, func() bool {
		_, more := h.first()
		return !more
	}, 30*time.Second, 10*time.Millisecond)
	require.GreaterOrEqual(t, count(), historyBacklog) // and the one that was under way when it was dropped, perhaps
	require.LessOrEqual(t, count(), historyBacklog+1)
	cancel()
	<-ended
}
