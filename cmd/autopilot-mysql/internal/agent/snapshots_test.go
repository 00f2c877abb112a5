package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestTaker(t *testing.T) {
	now := time.Unix(10000, 0)
	node := func(name string, state roles.State, lag float64, edit ...func(*roles.Node)) roles.Node {
		n := roles.Node{Inc: roles.Inc(name), Name: name, State: state, Healthy: true, Caught: true, LagSeconds: lag, Session: "s"}
		for _, e := range edit {
			e(&n)
		}
		return n
	}
	sick := func(n *roles.Node) { n.Healthy = false }
	gone := func(n *roles.Node) { n.Session = "" }
	behind := func(n *roles.Node) { n.Caught = false }
	trouble := func(name string, store bool, age time.Duration) *cluster.SnapshotTrouble {
		return &cluster.SnapshotTrouble{Node: name, Store: store, At: now.Add(-age)}
	}
	primary := node("p", roles.Primary, 0)
	for name, c := range map[string]struct {
		nodes   []roles.Node
		trouble *cluster.SnapshotTrouble
		want    string
	}{
		"the standby that lags least":                {[]roles.Node{primary, node("a", roles.Standby, 3), node("b", roles.Standby, 1), node("c", roles.Standby, 2)}, nil, "b"},
		"level ones by name, whatever the fractions": {[]roles.Node{primary, node("b", roles.Standby, 0.1), node("a", roles.Standby, 0.9)}, nil, "a"},
		"one that does not know its lag comes last":  {[]roles.Node{primary, node("a", roles.Standby, -1), node("b", roles.Standby, 9)}, nil, "b"},
		"a standby before a replica":                 {[]roles.Node{primary, node("a", roles.Replica, 0), node("b", roles.Standby, 5)}, nil, "b"},
		"a replica before the primary":               {[]roles.Node{primary, node("z", roles.Replica, 5)}, nil, "z"},
		"not one that lags":                          {[]roles.Node{primary, node("a", roles.Replica, 50, behind)}, nil, "p"},
		"not a sick or dead one":                     {[]roles.Node{primary, node("a", roles.Standby, 0, sick), node("b", roles.Standby, 0, gone)}, nil, "p"},
		"the primary when it is alone":               {[]roles.Node{primary}, nil, "p"},
		"nobody":                                     {[]roles.Node{node("a", roles.RestoreSnapshot, 0), node("p", roles.Primary, 0, sick)}, nil, ""},
		"not one that has just failed":               {[]roles.Node{primary, node("a", roles.Standby, 0), node("b", roles.Standby, 4)}, trouble("a", false, time.Minute), "b"},
		"but again some time later":                  {[]roles.Node{primary, node("a", roles.Standby, 0), node("b", roles.Standby, 4)}, trouble("a", false, time.Hour), "a"},
		"the store's trouble is nobody's":            {[]roles.Node{primary, node("a", roles.Standby, 0), node("b", roles.Standby, 4)}, trouble("a", true, time.Minute), "a"},
		"one that has failed before nobody at all":   {[]roles.Node{primary}, trouble("p", false, time.Minute), "p"},
	} {
		v := roles.View{Nodes: map[roles.Inc]roles.Node{}}
		for _, n := range c.nodes {
			v.Nodes[n.Inc] = n
		}
		require.Equal(t, roles.Inc(c.want), taker(v, c.trouble, now), name)
	}
}

func TestBinlogGrowth(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	files := []mysql.BinlogFile{{Name: "binlog.000003", Size: 100, Modified: at(10)}, {Name: "binlog.000004", Size: 100, Modified: at(20)}, {Name: "binlog.000005", Size: 30, Modified: at(30)}}
	s1, s2 := cluster.LastSnapshot{ID: "s1", At: at(15)}, cluster.LastSnapshot{ID: "s2", At: at(31)}
	var b binlogMark
	b = b.at(s1, files)
	require.EqualValues(t, 130, b.since(files), "after a restart the files' times tell: all written after the snapshot")
	require.EqualValues(t, 130, b.at(s1, files).since(files), "the mark stays")
	b = b.at(s2, files)
	require.Zero(t, b.since(files), "a new snapshot begins anew")
	files[2].Size = 80
	files = append(files, mysql.BinlogFile{Name: "binlog.000006", Size: 7, Modified: at(40)})
	require.EqualValues(t, 57, b.since(files))
	require.EqualValues(t, 57, b.since(files[1:]), "what was purged before the mark does not matter")
	require.EqualValues(t, 7, b.since(files[3:]), "a mark that was purged counts what there is")
	require.EqualValues(t, 287, binlogMark{}.at(cluster.LastSnapshot{ID: "old", At: at(1)}, files).since(files))
}

func TestDue(t *testing.T) {
	s := &snapshotter{a: &Agent{Deps: Deps{Settings: &config.Settings{SnapshotInterval: time.Hour}}}}
	with := func(last *cluster.LastSnapshot) noticed { return noticed{extra: cluster.Extra{Snapshot: last}} }
	require.NotEmpty(t, s.due(t.Context(), with(nil)))
	require.Empty(t, s.due(t.Context(), with(&cluster.LastSnapshot{ID: "a", At: time.Now().Add(-time.Minute)})))
	require.Contains(t, s.due(t.Context(), with(&cluster.LastSnapshot{ID: "a", At: time.Now().Add(-2 * time.Hour)})), "2h0m0s old")
	s.gone = "a"
	require.Contains(t, s.due(t.Context(), with(&cluster.LastSnapshot{ID: "a", At: time.Now()})), "does not have the last one")
	damaged := with(&cluster.LastSnapshot{ID: "d", At: time.Now()})
	damaged.extra.SnapshotVerified = &cluster.SnapshotVerified{ID: "d"}
	require.Contains(t, s.due(t.Context(), damaged), "damaged", "whoever has found that out")
	damaged.extra.SnapshotVerified.OK = true
	require.Empty(t, s.due(t.Context(), damaged))
	s.a.Settings.SnapshotInterval = 0
	require.Empty(t, s.due(t.Context(), with(&cluster.LastSnapshot{ID: "b", At: time.Unix(0, 0)})), "0: not by the clock")
}

// claimer is a snapshotter of a node on a shared memory store, with a session of its own.
func claimer(t *testing.T, m *election.Memory, name string) *snapshotter {
	t.Helper()
	p, err := election.ParamsFor(time.Second)
	require.NoError(t, err)
	a := &Agent{keys: cluster.KeysOf("main"), Deps: Deps{Settings: &config.Settings{Name: name}, Params: p, Store: m.Node(name),
		Session: m.Session(name, time.Hour), Log: slog.New(slog.DiscardHandler)}}
	require.NoError(t, a.Session.Open(t.Context()))
	a.history = &historian{store: a.Store, keys: a.keys, kick: make(chan struct{}, 1)}
	return &snapshotter{a: a}
}

// TestClaim: never two at once. The second node waits its turn; a holder that is cut off stands still and goes on; one
// whose lock is another's ends.
func TestClaim(t *testing.T) {
	m := election.NewMemory()
	one, two := claimer(t, m, "n1"), claimer(t, m, "n2")
	began, finish := make(chan *claim), make(chan error)
	work := func(ctx context.Context, c *claim) error {
		began <- c
		select {
		case err := <-finish:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- one.claimed(t.Context(), "taking", work) }()
	c := <-began
	require.ErrorIs(t, two.claimed(t.Context(), "taking", func(context.Context, *claim) error { t.Error("two at once"); return nil }), errNotNow)
	require.NoError(t, c.renew(t.Context()), "the fence lets the holder through")

	c.report(t.Context(), "storing", "s1", 30, 100)
	require.Eventually(t, func() bool {
		raw, err := m.Read(t.Context(), one.a.keys.Prefix, true)
		require.NoError(t, err)
		_, x, err := one.a.keys.Parse(raw)
		require.NoError(t, err)
		return x.SnapshotWork != nil && x.SnapshotWork.Done == 30 && x.SnapshotWork.Node == "n1" && x.SnapshotRunning
	}, 30*time.Second, 10*time.Millisecond, "everybody sees how far it is")

	m.Partition("n1", true)
	require.Eventually(t, c.doubtful, 30*time.Second, 10*time.Millisecond)
	reported := make(chan struct{})
	go func() { c.report(t.Context(), "storing", "s1", 40, 100); close(reported) }()
	select {
	case <-reported:
		require.Fail(t, "it went on while the lock may be another's")
	case <-time.After(300 * time.Millisecond): // the fault itself: nothing may happen in it
	}
	require.Error(t, c.renew(t.Context()), "the fence lets nobody through who cannot prove it")
	m.Partition("n1", false)
	<-reported // it goes on

	finish <- nil
	require.NoError(t, <-ended)
	go func() { ended <- one.claimed(t.Context(), "taking", work) }()
	<-began
	m.Expire(one.a.Session.ID())
	require.NoError(t, two.claimed(t.Context(), "taking", func(context.Context, *claim) error {
		require.NoError(t, one.a.Session.Open(t.Context()))
		err := <-ended
		require.ErrorIs(t, err, errLostClaim)
		return nil
	}))
}

// TestRequestsFindTheirNode looks at who has to answer what.
func TestRequestsFindTheirNode(t *testing.T) {
	s := &snapshotter{a: &Agent{Deps: Deps{Settings: &config.Settings{Name: "b"}}}}
	view := roles.View{OK: true, Cluster: &roles.Cluster{ID: "c"}, Nodes: map[roles.Inc]roles.Node{
		"a": {Inc: "a", Name: "a", State: roles.Standby, Healthy: true, Session: "s"}, "b": {Inc: "b", Name: "b", State: roles.Primary, Healthy: true, Session: "s"},
		"d": {Inc: "d", Name: "d"},
	}}
	ask := func(self string, running bool, r cluster.SnapshotRequest) bool {
		s.a.Settings.Name = self
		_, mine := s.request(noticed{facts: roles.Facts{View: view, Self: roles.Self{Inc: roles.Inc(self), Name: self}},
			extra: cluster.Extra{SnapshotRunning: running, SnapshotRequests: []cluster.SnapshotRequest{r}}})
		return mine
	}
	open := cluster.SnapshotRequest{State: cluster.RequestOpen}
	require.True(t, ask("a", false, open), "whose turn it is")
	require.False(t, ask("b", false, open))
	require.False(t, ask("a", true, open), "it waits for the one being taken")
	forB := cluster.SnapshotRequest{State: cluster.RequestOpen, Node: "b"}
	require.True(t, ask("b", false, forB))
	require.False(t, ask("a", false, forB))
	running := cluster.SnapshotRequest{State: cluster.RequestRunning, Taker: "b"}
	require.True(t, ask("b", true, running), "it was restarted in the middle")
	require.False(t, ask("a", true, running))
	running.Taker = "d"
	require.True(t, ask("a", false, running), "its taker is dead")
	done := cluster.SnapshotRequest{State: cluster.RequestDone, Changed: time.Now()}
	require.False(t, ask("a", false, done))
	done.Changed = time.Now().Add(-2 * requestsKept)
	require.True(t, ask("a", false, done), "it is removed")
	require.False(t, ask("b", false, done))
}

func TestOneSentence(t *testing.T) {
	require.Equal(t, "a b", oneSentence(errors.New("a\n b")))
	require.LessOrEqual(t, len([]rune(oneSentence(errors.New(string(make([]rune, 1000)))))), 300)
}

// TestAVerificationThatFoundTheLockBusyIsStillDue: it waits for its turn, not for the pause after an attempt.
func TestAVerificationThatFoundTheLockBusyIsStillDue(t *testing.T) {
	m := election.NewMemory()
	one, two := claimer(t, m, "n1"), claimer(t, m, "n2")
	two.a.Settings.Cluster, two.a.Settings.SnapshotVerify, two.a.Snapshots = "main", time.Hour, store(t)
	v := noticed{facts: roles.Facts{View: roles.View{Cluster: &roles.Cluster{ID: "c"}}}, extra: cluster.Extra{Snapshot: &cluster.LastSnapshot{ID: "a"}}}
	require.True(t, two.verifyDue(v))
	require.NoError(t, one.claimed(t.Context(), cluster.WorkTaking, func(context.Context, *claim) error {
		require.ErrorIs(t, two.verify(t.Context(), v), errNotNow)
		return nil
	}))
	require.True(t, two.verifyDue(v))
	m.Partition("n2", true)
	require.ErrorIs(t, two.verify(t.Context(), v), errNoClaim, "and neither the store nor the node is to blame")
	m.Partition("n2", false)
	require.True(t, two.verifyDue(v))
	require.ErrorIs(t, two.verify(t.Context(), v), errNotNow, "the store has none")
	require.False(t, two.verifyDue(v), "an attempt was made")
}
