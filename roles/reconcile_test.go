package roles_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// drawPrimary draws any situation of an open primary with a proven lease: records, accounts, streams and answers of the
// others in every combination, also those that should never come about.
func drawPrimary(t *rapid.T) roles.Facts {
	nodes := incs(rapid.IntRange(1, 5).Draw(t, "nodes"))
	me := nodes[0]
	sync := roles.Sync{Ver: 9, Term: 4, Primary: me, Members: []roles.Inc{me}}
	for _, i := range nodes[1:] {
		if rapid.Bool().Draw(t, "member") {
			sync.Members = append(sync.Members, i)
		}
	}
	sync.Acks = rapid.IntRange(0, len(sync.Ackers())).Draw(t, "acks")
	f := roles.Facts{
		Self: roles.Self{Inc: me, Name: me.Name()}, Disk: roles.Disk{Data: roles.DataOurs, LastSync: sync, Promised: sync.Term}, Leading: sync,
		Lease: roles.Lease{Held: true, Provable: true, Session: ownSession}, Silent: map[roles.Inc]time.Duration{},
		Set: roles.Settings{Acks: rapid.IntRange(0, 2).Draw(t, "k"), MaxAckers: rapid.IntRange(2, 4).Draw(t, "max"), GoOnAlone: rapid.Bool().Draw(t, "alone"),
			C: 3 * time.Second, H: 2 * time.Second, Heartbeat: time.Second},
		MySQL: roles.MySQL{Running: true, Ready: true, K: rapid.IntRange(sync.Acks, max(sync.Acks, 3)).Draw(t, "K"), Streams: map[string]bool{}, Unlocked: map[string]bool{}},
		View: roles.View{OK: true, Cluster: &roles.Cluster{}, Sync: sync, Leader: roles.Leader{Holder: me, Session: ownSession},
			Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}},
	}
	f.Waiting = time.Duration(rapid.IntRange(0, 1).Draw(t, "waiting")) * time.Second
	for _, i := range nodes[1:] {
		drawFollower(t, &f, i)
	}
	if rapid.Bool().Draw(t, "asked") { // answer a question that this very situation asks
		if d := roles.Decide(roles.Primary, f); does(d, roles.Ask) {
			f.Checkpoints = []roles.Checkpoint{{Seq: 1, For: d.Steps[0].For}}
		}
	}
	return f
}

func drawFollower(t *rapid.T, f *roles.Facts, i roles.Inc) {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	n := roles.Node{Inc: i, Name: i.Name(), Session: "s" + i.Name(), Healthy: flag("healthy"), Void: flag("void"), NoFailover: rapid.IntRange(0, 3).Draw(t, "nofailover") == 0,
		ArmedWanted: flag("armed wanted"), Armed: flag("armed"), Caught: flag("caught"), Receiver: "r"}
	if flag("follows") {
		n.Follows, n.FollowTerm = f.Self.Inc, f.View.Sync.Term-uint64(rapid.IntRange(0, 1).Draw(t, "old term"))
	}
	if flag("confirmed") {
		n.Confirms = []roles.Confirmation{{Seq: 1, Receiver: rapid.SampledFrom([]string{"r", "former"}).Draw(t, "receiver")}}
	}
	if rapid.IntRange(0, 4).Draw(t, "dead") == 0 {
		n.Session = ""
	}
	if rapid.IntRange(0, 9).Draw(t, "rebuilt") == 0 { // a later incarnation of the same node is alive
		later := roles.NewInc(i.Name(), 2, "00000000-1111-0000-0000-000000000000")
		f.View.Nodes[later] = roles.Node{Inc: later, Name: i.Name(), Session: "s2" + i.Name(), Follows: f.Self.Inc, FollowTerm: f.View.Sync.Term, Caught: flag("caught2"), Healthy: true}
		n.Session = ""
	}
	f.View.Nodes[i] = n
	if flag("account") {
		f.MySQL.Unlocked[n.Name] = flag("unlocked")
	}
	if rapid.IntRange(0, 3).Draw(t, "maintenance") == 0 {
		if f.View.Maintenance == nil {
			f.View.Maintenance = map[string]roles.Pause{}
		}
		f.View.Maintenance[n.Name] = roles.Pause{Force: flag("force")}
	}
	f.MySQL.Streams[n.Name] = flag("streams")
	f.Silent[i] = time.Duration(rapid.IntRange(0, 5).Draw(t, "silent")) * time.Second
}

// TestReconcileKeepsThePromise: whatever a primary meets, no single step of its upkeep breaks what must hold at every
// instant, and the record never promises what has not been proven.
func TestReconcileKeepsThePromise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawPrimary(t)
		d := roles.Decide(roles.Primary, f)
		require.Empty(t, d.Event, d.Why)
		require.NotEmpty(t, d.Why)
		require.LessOrEqual(t, len(d.Steps), 1)
		for _, s := range d.Steps {
			switch s.Op {
			case roles.WriteSync:
				checkWriteSync(t, f, s)
			case roles.SetK:
				require.GreaterOrEqual(t, s.K, f.View.Sync.Acks, "K never below the promise")
				require.LessOrEqual(t, s.K, max(f.Set.Acks, f.View.Sync.Acks))
				if s.K == 0 && f.MySQL.K > 0 {
					require.Zero(t, f.View.Sync.Acks)
					if len(f.View.Sync.Ackers()) == 0 {
						requireNobodyArmed(t, f)
					}
				}
			case roles.Unlock:
				n := f.View.Nodes[s.Node]
				require.True(t, n.Alive() && n.Follows == f.Self.Inc && n.FollowTerm == f.View.Sync.Term, "let in without having confirmed this term")
				require.True(t, f.View.Sync.IsAcker(n.Inc) || !n.ArmedWanted && !n.Armed, "an armed stranger is let in")
			case roles.Marker:
				require.Positive(t, f.MySQL.K)
			case roles.Ask:
				require.NotEmpty(t, s.For)
			case roles.Lock, roles.LockAll:
			default:
				require.Fail(t, "not an upkeep", "%s", s.Op)
			}
		}
	})
}

// requireNobodyArmed: with nobody else in the record, nobody let in may acknowledge.
func requireNobodyArmed(t *rapid.T, f roles.Facts) {
	for name, open := range f.MySQL.Unlocked {
		if !open {
			continue
		}
		for _, n := range f.View.Nodes {
			if n.Name == name && n.Alive() {
				require.False(t, n.ArmedWanted || n.Armed, "%s could acknowledge", name)
			}
		}
	}
}

func checkWriteSync(t *rapid.T, f roles.Facts, s roles.Step) {
	now, next := f.View.Sync, s.Sync
	require.Equal(t, now.Ver, next.Ver, "compare-and-set on what was read")
	require.Equal(t, now.Term, next.Term)
	require.Equal(t, now.Primary, next.Primary)
	require.True(t, next.Has(f.Self.Inc))
	require.LessOrEqual(t, next.Acks, len(next.Ackers()))
	var in, out []roles.Inc
	for _, i := range next.Members {
		if !now.Has(i) {
			in = append(in, i)
		}
	}
	for _, i := range now.Members {
		if !next.Has(i) {
			out = append(out, i)
		}
	}
	switch {
	case len(in) > 0:
		require.Len(t, in, 1)
		require.Empty(t, out)
		require.Equal(t, now.Acks, next.Acks, "members and acks never change together upwards")
		n := f.View.Nodes[in[0]]
		require.True(t, n.Alive() && n.Caught && n.Healthy && !n.Void && !n.NoFailover && !n.Armed && !n.ArmedWanted && !f.View.InMaintenance(n.Name))
		require.Equal(t, f.Self.Inc, n.Follows)
		require.LessOrEqual(t, len(next.Ackers()), f.Set.MaxAckers)
	case len(out) > 0 && len(next.Members) == 1 && len(now.Ackers()) > 1 || len(out) == 1 && len(now.Ackers()) == 1:
		require.Zero(t, next.Acks)
		for _, a := range now.Ackers() {
			if f.View.Maintenance[a.Name()].Force {
				continue // an operator knows what this costs
			}
			require.True(t, f.Set.GoOnAlone)
			require.Greater(t, f.Silent[a], 2*f.Set.H, "%s is not silent", a)
		}
	case len(out) > 0:
		require.Len(t, out, 1)
		n := f.View.Nodes[out[0]]
		gone := !f.MySQL.Unlocked[n.Name] || n.Alive() && !n.Armed && !n.ArmedWanted || !n.Alive() && slices.ContainsFunc(f.View.Incs(), func(i roles.Inc) bool {
			return i != n.Inc && i.Name() == n.Name && f.View.Nodes[i].Alive()
		})
		require.True(t, gone, "%s could still acknowledge", n.Inc)
		require.GreaterOrEqual(t, answered(f, next.Ackers()), next.Acks, "too few of the others hold everything")
	case next.Acks > now.Acks:
		require.Equal(t, now.Acks+1, next.Acks)
		require.Less(t, now.Acks, f.MySQL.K, "promised before it is in force")
		require.GreaterOrEqual(t, answered(f, next.Ackers()), next.Acks, "too few hold everything")
	default:
		require.Less(t, next.Acks, now.Acks, "a write that changes nothing")
	}
}

// answered counts those who follow and whose present receiver start has answered the question.
func answered(f roles.Facts, of []roles.Inc) (c int) {
	for _, i := range of {
		n := f.View.Nodes[i]
		if n.Alive() && n.Follows == f.Self.Inc && n.FollowTerm == f.View.Sync.Term && n.Confirmed(1) {
			c++
		}
	}
	return c
}

// TestAFormerIncarnationIsNobody: the record of a former incarnation that was never deleted, and lives as long as its
// node, neither replaces the present one nor speaks for it.
func TestAFormerIncarnationIsNobody(t *testing.T) {
	nodes := incs(3)
	me, member, other := nodes[0], nodes[1], nodes[2]
	former := roles.NewInc(member.Name(), 0, "none")
	sync := roles.Sync{Ver: 9, Term: 4, Primary: me, Members: nodes, Acks: 1}
	f := roles.Facts{
		Self: roles.Self{Inc: me, Name: me.Name()}, Leading: sync, Lease: roles.Lease{Held: true, Provable: true, Session: ownSession},
		Set:   roles.Settings{Acks: 1, MaxAckers: 2, H: time.Second},
		MySQL: roles.MySQL{Running: true, Ready: true, K: 1, Streams: map[string]bool{"n1": true, "n2": true}, Unlocked: map[string]bool{"n1": true, "n2": true}},
		View: roles.View{OK: true, Cluster: &roles.Cluster{}, Sync: sync, Leader: roles.Leader{Holder: me, Session: ownSession},
			Nodes: map[roles.Inc]roles.Node{former: {Inc: former, Name: "n1", Session: "s1"}}},
	}
	for _, i := range []roles.Inc{member, other} {
		f.View.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: "s", Healthy: true, Caught: true, Follows: me, FollowTerm: 4, ArmedWanted: true, Armed: true, Receiver: "r"}
	}
	for range 20 { // map order
		d := roles.Decide(roles.Primary, f)
		require.Empty(t, d.Steps, d.Why)
	}
}

// TestAnAckerThatIsBackIsLetIn: two of three ackers were out for long and are back; the third alone cannot keep the promise.
func TestAnAckerThatIsBackIsLetIn(t *testing.T) {
	nodes := incs(4)
	me := nodes[0]
	sync := roles.Sync{Ver: 9, Term: 4, Primary: me, Members: nodes, Acks: 2}
	f := roles.Facts{
		Self: roles.Self{Inc: me, Name: me.Name()}, Leading: sync, Lease: roles.Lease{Held: true, Provable: true, Session: ownSession},
		Set:    roles.Settings{Acks: 2, MaxAckers: 4, H: time.Second, GoOnAlone: true},
		MySQL:  roles.MySQL{Running: true, Ready: true, K: 2, Streams: map[string]bool{"n3": true}, Unlocked: map[string]bool{"n1": false, "n2": false, "n3": true}},
		View:   roles.View{OK: true, Cluster: &roles.Cluster{}, Sync: sync, Leader: roles.Leader{Holder: me, Session: ownSession}, Nodes: map[roles.Inc]roles.Node{}},
		Silent: map[roles.Inc]time.Duration{nodes[1]: time.Hour, nodes[2]: time.Hour},
	}
	for _, i := range nodes[1:] {
		f.View.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: "s", Healthy: i == nodes[3], Follows: me, FollowTerm: 4, ArmedWanted: true, Armed: i == nodes[3]}
	}
	d := roles.Decide(roles.Primary, f)
	require.Len(t, d.Steps, 1, d.Why)
	require.Equal(t, roles.Unlock, d.Steps[0].Op)
}

// answer adds what the named followers say to the question that d asks.
func answer(f *roles.Facts, d roles.Decision, by ...roles.Inc) {
	c := roles.Checkpoint{Seq: uint64(len(f.Checkpoints) + 1), For: d.Steps[0].For}
	f.Checkpoints = append(f.Checkpoints, c)
	for _, i := range by {
		edit(f.View, i, func(n *roles.Node) {
			n.Confirms = append(n.Confirms, roles.Confirmation{Seq: c.Seq, Receiver: n.Receiver})
		})
	}
}

// The candidate of a hand-over hangs, and its mysqld goes on: it cannot say that it holds what the other standby
// acknowledged, so the other stays where it is. Locked out, it would be missing for as long as the candidate says nothing.
func TestNobodyIsLockedOutBeforeTheOthersAnswer(t *testing.T) {
	f := ledThree()
	f.Handing = &roles.Handing{Handover: roles.Handover{Seq: 7, To: peer, Term: f.View.Sync.Term, Chain: []roles.Inc{stranger}}, Limit: time.Minute}
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Ask), d.Why)
	first := d
	answer(&f, d)
	require.Empty(t, roles.Decide(roles.Primary, f).Steps, "nobody answers")

	f.Handing.Seq = 8 // the candidate answers at last; that says nothing about the next hand-over
	edit(f.View, peer, func(n *roles.Node) { n.Confirms = []roles.Confirmation{{Seq: 1, Receiver: n.Receiver}} })
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Ask), d.Why)
	require.NotEqual(t, first.Steps[0].For, d.Steps[0].For)
	answer(&f, d, peer)
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Lock), d.Why)
	require.Equal(t, stranger, d.Steps[0].Node)
}

// Two of three ackers are tagged nofailover while every commit needs two: they acknowledge nothing any more, so commits
// wait, and nothing but their removal ends that. They still hold everything and can say so.
func TestAckersThatMayNotAcknowledgeAnyMoreAreRemoved(t *testing.T) {
	f := leading()
	fourth := roles.Inc("d~1~00000000-0000-0000-0000-00000000000d")
	f.Set.Acks, f.Set.MaxAckers, f.MySQL.K = 2, 3, 2
	f.View.Sync.Members, f.View.Sync.Acks = []roles.Inc{self, peer, stranger, fourth}, 2
	f.Leading = f.View.Sync
	for _, i := range []roles.Inc{stranger, fourth} {
		f.View.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: "s", Follows: self, FollowTerm: 3, Promised: 3, Receiver: "r", NoFailover: true, Healthy: true, Caught: true}
		f.MySQL.Streams[i.Name()], f.MySQL.Unlocked[i.Name()] = true, true
	}
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Ask), d.Why)
	require.Contains(t, d.Steps[0].For, "remove "+string(stranger))
	f.Checkpoints = []roles.Checkpoint{{Seq: 1, For: d.Steps[0].For}}
	for i, r := range map[roles.Inc]string{peer: "r1", fourth: "r"} {
		n := f.View.Nodes[i]
		n.Confirms = []roles.Confirmation{{Seq: 1, Receiver: r}}
		f.View.Nodes[i] = n
	}
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Lock), "it may be about to acknowledge again: %s", d.Why)
	require.Equal(t, stranger, d.Steps[0].Node)
	f.MySQL.Streams[stranger.Name()], f.MySQL.Unlocked[stranger.Name()] = false, false
	answer(&f, roles.Decide(roles.Primary, f), peer, fourth)
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.WriteSync), d.Why)
	require.Equal(t, []roles.Inc{self, peer, fourth}, d.Steps[0].Sync.Members)
}

// Consul loses its data while a member is being rebuilt: the incarnation that the record names never comes back, the node
// does, and it remembers.
func TestARebuiltMemberReportsForWhatItWas(t *testing.T) {
	last := roles.Sync{Term: 3, Primary: self, Members: []roles.Inc{self, peer, stranger}, Acks: 1}
	f := sealedWith(last, roles.Sync{})
	f.View.Cluster = nil
	delete(f.View.Nodes, stranger)
	misses(&f, peer)
	require.False(t, does(roles.Decide(roles.Failover, f), roles.PutBack), "one member is missing")

	again := roles.NewInc(stranger.Name(), 9, "00000000-0000-0000-0000-0000000000ff")
	f.View.Nodes[again] = roles.Node{Inc: again, Name: again.Name(), LastSync: &last}
	require.False(t, does(roles.Decide(roles.Failover, f), roles.PutBack), "it is not running")
	f.View.Nodes[again] = roles.Node{Inc: again, Name: again.Name(), LastSync: &last, Session: "session-c", Misses: true}
	require.True(t, does(roles.Decide(roles.Failover, f), roles.PutBack))
}
