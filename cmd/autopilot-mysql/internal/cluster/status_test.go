package cluster

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

func inc(name string) roles.Inc { return roles.NewInc(name, 0, "uuid-"+name) }

// well is a cluster in which nothing is wrong: db1 leads, db2 and db10 follow.
func well() roles.View {
	sync := roles.Sync{Ver: 7, Term: 3, Primary: inc("db1"), Members: []roles.Inc{inc("db1"), inc("db2"), inc("db10")}, Acks: 1}
	v := roles.View{OK: true, Cluster: &roles.Cluster{ID: "c"}, Sync: sync, Leader: roles.Leader{Holder: inc("db1"), Session: "s-db1"},
		Nodes: map[roles.Inc]roles.Node{}, Seals: map[roles.Inc]roles.Seal{}}
	for _, m := range sync.Members {
		n := roles.Node{Inc: m, Name: m.Name(), State: roles.Standby, Healthy: true, Caught: true, Receiver: "r", Session: "s-" + m.Name(),
			MySQL: m.Name() + ":3306", HTTP: m.Name() + ":3308", Reason: "following db1", Executed: "aaaaaaaa-0000-0000-0000-000000000001:1-9"}
		if m == sync.Primary {
			n.State, n.Open, n.LeaseMS, n.Reason = roles.Primary, 3, 1800, "open for writes"
		}
		v.Nodes[m] = n
	}
	return v
}

// change edits one node's record.
func change(v roles.View, name string, edit func(*roles.Node)) {
	n := v.Nodes[inc(name)]
	edit(&n)
	v.Nodes[inc(name)] = n
}

func die(n *roles.Node) { n.Session = "" }

// headless ends the primary's session.
func headless(v *roles.View) {
	change(*v, "db1", die)
	v.Leader.Session = ""
}

func TestJudgement(t *testing.T) {
	seal := func(pos string) roles.Seal { return roles.Seal{Promise: 4, Position: gtid.MustParse(pos)} }
	for name, c := range map[string]struct {
		edit          func(v *roles.View)
		health        Health
		problems      int
		node          string // of the first problem
		what, next, d string // in the first problem; "-" wants it empty
	}{
		"well":         {func(*roles.View) {}, Well, 0, "", "", "", ""},
		"standby dead": {func(v *roles.View) { change(*v, "db2", die) }, Degraded, 1, "db2", "db2 is down", "takes it out of the ack set", "remove db2"},
		"the dead come before the starting": {func(v *roles.View) {
			change(*v, "db2", func(n *roles.Node) { n.State, n.Healthy = roles.RestoreSnapshot, false })
			change(*v, "db10", die)
		}, Degraded, 2, "db10", "db10 is down", "joins again", "start it"},
		"member without a record": {func(v *roles.View) { delete(v.Nodes, inc("db2")) }, Degraded, 1, "db2", "db2 is down", "joins again", "start it"},
		"receiver cut off": {func(v *roles.View) {
			change(*v, "db2", func(n *roles.Node) { n.Healthy, n.Receiver = false, "" })
		}, Degraded, 1, "db2", "receives nothing", "goes on connecting", "db1:3306"},
		"applier stopped": {func(v *roles.View) { change(*v, "db2", func(n *roles.Node) { n.Healthy = false }) }, Degraded, 1, "db2", "does not replicate", "tries again", "rebuild db2"},
		"lagging": {func(v *roles.View) { change(*v, "db2", func(n *roles.Node) { n.Caught, n.LagSeconds = false, 90 }) }, Degraded, 1, "db2", "90 s",
			"caught up", "primary key"},
		"paused":                 {func(v *roles.View) { v.Paused = true }, Degraded, 1, "", "paused", "nobody takes over", "resume"},
		"a node that is cut off": {func(v *roles.View) { v.OK = false }, Degraded, 1, "", "as it was when it last could", "goes on", "ask another node"},
		"a stranger": {func(v *roles.View) {
			change(*v, "db1", func(n *roles.Node) {
				n.Neighbour = `service mysql-primary in Consul also leads to node a of cluster "blog" at b:1`
			})
		}, Degraded, 1, "", "cannot tell it from db1", "-", "--service"},
		"alone":           {func(v *roles.View) { v.Sync.Acks = 0 }, Degraded, 1, "", "no standby holds", "by itself", "-"},
		"one node":        {func(v *roles.View) { *v = single(*v) }, Degraded, 1, "", "only one node", "-", "start more nodes"},
		"electing":        {func(v *roles.View) { headless(v) }, Broken, 2, "", "2 of its 2 ackers", "living members", "-"},
		"no quorum":       {func(v *roles.View) { headless(v); change(*v, "db2", die) }, Broken, 3, "", "db2 (not running)", "as soon as enough", "start what is missing"},
		"paused headless": {func(v *roles.View) { headless(v); v.Paused = true }, Broken, 2, "", "paused", "-", "resume"},
		"winner": {func(v *roles.View) {
			headless(v)
			v.Seals[inc("db2")], v.Seals[inc("db10")] = seal("aaaaaaaa-0000-0000-0000-000000000001:1-9"), seal("aaaaaaaa-0000-0000-0000-000000000001:1-8")
		}, Broken, 2, "", "db2 holds the most", "db2 takes over", "-"},
		"contradiction": {func(v *roles.View) {
			headless(v)
			v.Seals[inc("db2")], v.Seals[inc("db10")] = seal("aaaaaaaa-0000-0000-0000-000000000001:1-9"), seal("bbbbbbbb-0000-0000-0000-000000000001:1-8")
		}, Broken, 2, "", "only a person can decide", "-", "--accept-data-loss"},
		"draining": {func(v *roles.View) {
			headless(v)
			v.Leader = roles.Leader{Holder: inc("db2"), Session: "s-db2"}
		}, Broken, 2, "", "db2 won term 4", "gives the lock back", "-"},
		"identity gone": {func(v *roles.View) { headless(v); v.Cluster = nil }, Broken, 2, "", "identity is gone", "put back", "start the members"},
		"founding":      {func(v *roles.View) { *v = roles.View{OK: true, Leader: v.Leader} }, Broken, 1, "", "db1 is creating", "opens", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			v := well()
			c.edit(&v)
			d := Build("shop", v, Extra{}, "", "")
			require.Equal(t, c.health, d.Health, "%+v", d.Problems)
			require.Len(t, d.Problems, c.problems, "%+v", d.Problems)
			require.NotEmpty(t, d.Summary)
			if c.problems == 0 {
				return
			}
			p := d.Problems[0]
			require.Equal(t, c.node, p.Node)
			for want, got := range map[*string]string{&c.what: p.What, &c.next: p.Next, &c.d: p.Do} {
				if *want == "-" {
					require.Empty(t, got)
					continue
				}
				require.Contains(t, got, *want)
			}
		})
	}
}

// single leaves only the primary.
func single(v roles.View) roles.View {
	v.Sync.Members, v.Sync.Acks = v.Sync.Members[:1], 0
	v.Nodes = map[roles.Inc]roles.Node{inc("db1"): v.Nodes[inc("db1")]}
	return v
}

// TestStableNames: tools are built on these names; a change of any of them breaks somebody.
func TestStableNames(t *testing.T) {
	v := well()
	change(v, "db1", func(n *roles.Node) { n.PIDs = roles.PIDs{Guard: 1, Agent: 2, Mysqld: 3} })
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b, err := json.Marshal(Build("shop", v, Extra{Snapshot: &LastSnapshot{ID: "x", At: at, GTID: "g", Bytes: 9}}, "consul:8500", "file:///s"))
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(b, &got))
	nodes, ok := got["nodes"].([]any)
	require.True(t, ok)
	require.Len(t, nodes, 3)
	first, ok := nodes[0].(map[string]any)
	require.True(t, ok)
	delete(got, "nodes")
	for _, extra := range []string{"health", "summary", "problems", "failovers", "pause", "requests", "settings"} {
		require.Contains(t, got, extra)
		delete(got, extra)
	}
	for _, extra := range []string{"version", "caught_up", "nofailover", "priority", "unfit", "errant", "kept"} {
		require.Contains(t, first, extra)
		delete(first, extra)
	}
	require.Equal(t, map[string]any{
		"cluster": "shop", "term": 3.0, "primary": "db1", "ack_set": map[string]any{"members": []any{"db1", "db2", "db10"}, "acks": 1.0},
		"lease": map[string]any{"holder": "db1", "expires_in_ms": 1800.0}, "paused": false, "consul": "consul:8500", "store": "file:///s",
		"snapshot": map[string]any{"id": "x", "at": "2026-01-02T03:04:05Z", "gtid": "g", "bytes": 9.0, "running": false},
	}, got)
	require.Equal(t, map[string]any{
		"name": "db1", "state": "primary", "healthy": true, "mysql": "db1:3306", "http": "db1:3308", "lag_seconds": 0.0, "ack_member": true,
		"gtid_executed": "aaaaaaaa-0000-0000-0000-000000000001:1-9", "pids": map[string]any{"guard": 1.0, "agent": 2.0, "mysqld": 3.0},
		"datadir": "", "reason": "open for writes",
	}, first)
}

func TestOneEntryForEachNode(t *testing.T) {
	v := well()
	old := v.Nodes[inc("db2")]
	old.Inc, old.Session = roles.NewInc("db2", 1, "later"), ""
	v.Nodes[old.Inc] = old // a dead record that sorts after the living one
	d := Build("shop", v, Extra{}, "", "")
	var names []string
	for _, n := range d.Nodes {
		names = append(names, n.Name+" "+n.State)
	}
	require.Equal(t, []string{"db1 primary", "db2 standby", "db10 standby"}, names, "in the order of their numbers")
	require.Equal(t, map[string]int{"primary": 1, "standby": 2}, CountStates(v))
}

// TestSnapshotTroubleIsShownAndMakesNobodyUnwell: the store may be down, the database is not.
func TestSnapshotTroubleIsShownAndMakesNobodyUnwell(t *testing.T) {
	d := Doc{Snapshot: SnapshotDoc{Trouble: &SnapshotTrouble{Node: "db2", Why: "refused", Store: true}, Verified: &SnapshotVerified{ID: "s1", Why: "bad page"}}}
	found := snapshotProblems(d.Snapshot)
	require.Len(t, found, 2)
	require.Contains(t, found[0].What, "the snapshot store cannot be used since")
	require.Contains(t, found[0].What, "refused")
	require.Contains(t, found[1].What, "snapshot s1 is damaged: bad page")
	require.Empty(t, snapshotProblems(SnapshotDoc{Verified: &SnapshotVerified{OK: true}}))

	v, x := well(), Extra{}
	before := Build("shop", v, x, "", "")
	x.SnapshotTrouble = d.Snapshot.Trouble
	after := Build("shop", v, x, "", "")
	require.Equal(t, before.Health, after.Health)
	require.Equal(t, before.Summary, after.Summary)
	require.Len(t, after.Problems, len(before.Problems)+1)
}

func TestVerifiedNowRemembersTheLastGoodOne(t *testing.T) {
	t1, t2 := time.Unix(100, 0), time.Unix(200, 0)
	x := Extra{}
	note := func(id string, taken time.Time, ok bool) SnapshotVerified {
		r := x.VerifiedNow(id, taken, snapshot.Verification{OK: ok})
		x.SnapshotVerified = &r
		return r
	}
	require.Equal(t, "a", note("a", t1, true).OKID)
	require.Equal(t, "a", note("b", t2, false).OKID, "a bad one does not make the good one forgotten")
	require.Equal(t, "b", note("b", t2, true).OKID)
	require.Equal(t, "b", note("a", t1, true).OKID, "an older one does not take the place of a newer one")
	require.Empty(t, note("b", t2, false).OKID, "it was good once")
}

// TestADocumentThatIsOld says so first, is not called well, and leaves the one it was made of alone.
func TestADocumentThatIsOld(t *testing.T) {
	d := Doc{Cluster: "shop", Primary: "db1", Term: 3, Health: Well, Problems: []Problem{}}
	old := d.Unread("no route")
	require.Equal(t, Degraded, old.Health)
	require.Contains(t, old.Summary, "1 thing is wrong")
	require.Equal(t, "this command cannot read Consul; what follows is as it was when it last could: no route", old.Problems[0].What)
	require.Empty(t, d.Problems)
	d.Primary, d.Health, d.Summary = "", Broken, "there is no primary"
	require.Equal(t, Broken, d.Unread("x").Health)
	require.Equal(t, "there is no primary", d.Unread("x").Summary)
}
