package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// newRecord is the record of n1 over the in-memory store, with a session that does not end by itself.
func newRecord(t *testing.T, m *election.Memory) *record {
	t.Helper()
	r := &record{store: m.Node("n1"), session: m.Session("n1", time.Hour), keys: cluster.KeysOf("main"), kick: make(chan struct{}, 1)}
	require.NoError(t, r.session.Open(t.Context()))
	return r
}

// inBackground runs r until the test ends.
func inBackground(t *testing.T, r *record) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// seen is the cluster as everybody reads it.
func seen(t *testing.T, m *election.Memory, keys cluster.Keys) roles.View {
	t.Helper()
	raw, err := m.Read(t.Context(), keys.Prefix, true)
	require.NoError(t, err)
	v, _, err := keys.Parse(raw)
	require.NoError(t, err)
	return v
}

func TestARecordLivesAsLongAsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		r := newRecord(t, m)
		require.NoError(t, r.write(t.Context(), roles.Node{Inc: "n1~1~u", Name: "n1", Promised: 4}))
		n := seen(t, m, r.keys).Nodes["n1~1~u"]
		require.True(t, n.Alive())
		require.Equal(t, uint64(4), n.Promised)

		m.Expire(r.session.ID())
		require.False(t, seen(t, m, r.keys).Nodes["n1~1~u"].Alive())
		require.Error(t, r.write(t.Context(), roles.Node{Inc: "n1~1~u", Name: "n1", Promised: 5}), "nothing is said without a session")
		require.NoError(t, r.session.Open(t.Context()))
		require.NoError(t, r.write(t.Context(), roles.Node{Inc: "n1~1~u", Name: "n1", Promised: 4}))
		require.True(t, seen(t, m, r.keys).Nodes["n1~1~u"].Alive(), "the same words under a new session are written again")
	})
}

func TestNothingOlderIsWrittenAfterAConfirmation(t *testing.T) {
	m := election.NewMemory() // in real time: a wait for a mutex does not let simulated time pass
	r := newRecord(t, m)
	m.Delay("n1", 50*time.Millisecond)
	r.want(roles.Node{Inc: "n1~1~u", Name: "n1", ArmedWanted: true})
	inBackground(t, r)
	require.Eventually(t, func() bool { return len(r.kick) == 0 }, 10*time.Second, time.Millisecond, "the older record is on its way")
	require.NoError(t, r.write(t.Context(), roles.Node{Inc: "n1~1~u", Name: "n1", Follows: "n2~1~v", FollowTerm: 3}))
	r.kick <- struct{}{} // it writes once more what is wanted
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		n := seen(t, m, r.keys).Nodes["n1~1~u"]
		require.Equal(t, roles.Inc("n2~1~v"), n.Follows)
		require.False(t, n.ArmedWanted)
	}
}

// A follower decided to acknowledge, and was frozen. The primary took it out meanwhile.
func TestNobodySaysThatItAcknowledgesOnceItIsNoMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		r := newRecord(t, m)
		sync := roles.Sync{Term: 3, Primary: "n2~1~v", Members: []roles.Inc{"n2~1~v", "n1~1~u"}, Acks: 1}
		change := func() {
			ok, why, err := m.Txn(t.Context(), election.CAS(r.keys.Sync(), sync.Ver, cluster.Encode(sync)))
			require.NoError(t, err)
			require.True(t, ok, why)
			sync = seen(t, m, r.keys).Sync
		}
		say := func(sync roles.Sync, armed bool) (bool, error) {
			n, conditions := confirmation(roles.Node{Inc: "n1~1~u", Name: "n1", Follows: "n2~1~v", FollowTerm: 3, ArmedWanted: armed}, sync, r.keys)
			err := r.write(t.Context(), n, conditions...)
			synctest.Wait()
			time.Sleep(3 * time.Second) // whatever is still wanted is written each second
			return seen(t, m, r.keys).Nodes["n1~1~u"].ArmedWanted, err
		}
		inBackground(t, r)
		change()
		armed, err := say(sync, false)
		require.NoError(t, err)
		require.False(t, armed)

		decided := sync
		sync.Members = sync.Members[:1]
		change()
		armed, err = say(decided, true)
		require.ErrorIs(t, err, errNotNow)
		require.False(t, armed)
		armed, err = say(decided, false)
		require.NoError(t, err, "what harms nobody needs no condition")
		require.False(t, armed)

		sync.Members = decided.Members
		change()
		armed, err = say(sync, true)
		require.NoError(t, err)
		require.True(t, armed)
		sync.Acks = 0
		change()
		armed, err = say(decided, true)
		require.ErrorIs(t, err, errNotNow, "the same words again")
		require.True(t, armed)
	})
}

func TestWhatOnlyPeopleLookAtMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		r := newRecord(t, m)
		inBackground(t, r)
		say := func(n roles.Node) roles.Node {
			n.Inc, n.Name = "n1~1~u", "n1"
			r.want(n)
			synctest.Wait()
			return seen(t, m, r.keys).Nodes["n1~1~u"]
		}
		require.Equal(t, "u:1", say(roles.Node{Executed: "u:1"}).Executed)
		require.Equal(t, "u:1", say(roles.Node{Executed: "u:1-2"}).Executed)
		require.Equal(t, uint64(4), say(roles.Node{Executed: "u:1-3", Promised: 4}).Promised, "what decisions hang on does not wait")
		time.Sleep(recordRefresh)
		require.Equal(t, "u:1-4", say(roles.Node{Executed: "u:1-4", Promised: 4}).Executed)
	})
}

func TestAFormerIncarnationLeavesNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		r := newRecord(t, m)
		require.NoError(t, r.write(t.Context(), roles.Node{Inc: "n1~0~none", Name: "n1"}))
		require.NoError(t, r.write(t.Context(), roles.Node{Inc: "n1~1~u", Name: "n1"}))
		require.Equal(t, []roles.Inc{"n1~1~u"}, seen(t, m, r.keys).Incs())
	})
}

func TestARecordThatSomebodySpoiltIsWrittenOnceMore(t *testing.T) {
	m := election.NewMemory()
	r := newRecord(t, m)
	n := roles.Node{Inc: "n1~1~u", Name: "n1", State: roles.Standby}
	require.NoError(t, r.write(t.Context(), n))
	shown := func() roles.View { return seen(t, m, r.keys) }
	require.False(t, shown().Unrecorded(n.Inc))
	for name, spoil := range map[string]election.Op{
		"deleted":   election.Delete(r.keys.Node(n.Inc)),
		"overwrote": election.Set(r.keys.Node(n.Inc), []byte("garbage")),
	} {
		_, _, err := m.Txn(t.Context(), spoil)
		require.NoError(t, err)
		require.True(t, shown().Unrecorded(n.Inc), name)
		require.NoError(t, r.write(t.Context(), n))
		require.True(t, shown().Unrecorded(n.Inc), "%s: nothing in it has changed, so by itself it is not written", name)
		r.again()
		require.NotEmpty(t, r.kick)
		require.NoError(t, r.write(t.Context(), n))
		require.False(t, shown().Unrecorded(n.Inc), name)
	}
}
