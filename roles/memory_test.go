package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// leading is a primary of term 3 with one acker, at ease.
func leading() roles.Facts {
	sync := roles.Sync{Ver: 5, Term: 3, Primary: self, Members: []roles.Inc{self, peer}, Acks: 1}
	return roles.Facts{
		Self: roles.Self{Inc: self, Name: self.Name()}, Disk: roles.Disk{Data: roles.DataOurs, Promised: 3, LastSync: sync},
		MySQL: roles.MySQL{Running: true, Ready: true, K: 1, Streams: map[string]bool{"b": true}, Unlocked: map[string]bool{"b": true}},
		Lease: roles.Lease{Held: true, Provable: true, Session: ownSession}, Leading: sync,
		View: roles.View{OK: true, Cluster: &roles.Cluster{ID: "c"}, Sync: sync, Leader: roles.Leader{Holder: self, Session: ownSession}, Nodes: map[roles.Inc]roles.Node{
			self: {Inc: self, Name: "a", Session: ownSession, Open: 3},
			peer: {Inc: peer, Name: "b", Session: peerSession, Follows: self, FollowTerm: 3, Promised: 3, ArmedWanted: true, Armed: true, Healthy: true, Caught: true, Receiver: "r1"},
		}},
		Set: roles.Settings{Acks: 1, MaxAckers: 2, GoOnAlone: true, C: 3 * time.Second, H: 2200 * time.Millisecond},
	}
}

// sealedWith is a follower without a leader, in failover.
func sealedWith(last, shown roles.Sync) roles.Facts {
	f := leading()
	f.Disk.LastSync, f.Disk.Promised = last, last.Term
	f.MySQL = roles.MySQL{Running: true, Ready: true, ReadOnly: true, Offline: true, Receiver: roles.Off, Applier: roles.On}
	f.Lease, f.View.Sync, f.View.Leader = roles.Lease{Session: ownSession}, shown, roles.Leader{}
	return f
}

func TestNobodySealsForARecordOlderThanWhatItKnows(t *testing.T) {
	old := roles.Sync{Ver: 9, Term: 3, Primary: peer, Members: []roles.Inc{self, peer}, Acks: 1}
	now := roles.Sync{Ver: 7, Term: 4, Primary: stranger, Members: []roles.Inc{self, stranger}, Acks: 1}
	d := roles.Decide(roles.Failover, sealedWith(now, old))
	require.Empty(t, d.Steps)
	require.Contains(t, d.Why, "older than what this node knows")

	d = roles.Decide(roles.Failover, sealedWith(old, old))
	require.True(t, does(d, roles.SealReceive))

	refused := roles.Sync{Ver: 7, Term: 4, Primary: self, Members: []roles.Inc{self}}
	d = roles.Decide(roles.Failover, sealedWith(refused, old))
	require.NotEmpty(t, d.Steps, "a promotion of our own that was refused is no news: %s", d.Why)
}

func TestAnOpenPrimaryWritesOverARecordThatWentBack(t *testing.T) {
	f := leading()
	f.View.Sync = roles.Sync{Ver: 11, Term: 2, Primary: stranger, Members: []roles.Inc{self, stranger}, Acks: 1}
	for _, l := range []roles.Leader{{}, {Holder: self, Session: ownSession}} { // lost with the rest, or still ours
		f.View.Leader = l
		d := roles.Decide(roles.Primary, f)
		require.True(t, does(d, roles.TakeBack), d.Why)
		require.Equal(t, uint64(4), d.Steps[0].Sync.Term)
		require.Equal(t, uint64(11), d.Steps[0].Sync.Ver)
		require.Equal(t, f.Leading.Members, d.Steps[0].Sync.Members)
	}
}

func TestOfSeveralCopiesOfATermThePrimarysIsPutBack(t *testing.T) {
	mine := roles.Sync{Term: 3, Primary: peer, Members: []roles.Inc{peer, self}, Acks: 1}
	theirs := roles.Sync{Term: 3, Primary: peer, Members: []roles.Inc{peer, stranger}, Acks: 1}
	f := sealedWith(mine, roles.Sync{})
	f.View.Cluster = nil
	f.View.Nodes[stranger] = roles.Node{Inc: stranger, Name: "c", Session: "session-c", LastSync: &mine, Misses: true}
	n := f.View.Nodes[peer]
	n.LastSync, n.Misses = &theirs, true
	f.View.Nodes[peer] = n
	d := roles.Decide(roles.Failover, f)
	require.True(t, does(d, roles.PutBack), d.Why)
	require.True(t, d.Steps[0].Sync.Equal(theirs), "%s", d.Steps[0].Sync)
}

func TestWhoRemembersTheClusterFoundsNoSecondOne(t *testing.T) {
	f := sealedWith(roles.Sync{Term: 3, Primary: peer, Members: []roles.Inc{peer, self}}, roles.Sync{})
	f.Disk.Data, f.View.Cluster, f.View.Nodes = roles.DataCondemned, nil, nil
	d := roles.Decide(roles.Init, f)
	require.Empty(t, d.Steps, d.Why)

	f.Disk.LastSync = roles.Sync{}
	require.True(t, does(roles.Decide(roles.Init, f), roles.Acquire))
}

func TestTheTermGrowsForAnyNodeThatPromisedBeyondIt(t *testing.T) {
	f := leading()
	require.False(t, does(roles.Decide(roles.Primary, f), roles.TakeBack))
	f.View.Nodes[stranger] = roles.Node{Inc: stranger, Name: "c", Session: "session-c", Promised: 4}
	require.True(t, does(roles.Decide(roles.Primary, f), roles.TakeBack), "no member, and it follows nobody below its promise")
}

func TestOneVoidFollowerHoldsUpNoOther(t *testing.T) {
	f := leading()
	for _, i := range []roles.Inc{stranger, "d~1~00000000-0000-0000-0000-00000000000d"} {
		f.View.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: "s", Follows: self, FollowTerm: 3, Promised: 3, Void: true, Receiver: "r9", Healthy: true}
		f.MySQL.Streams[i.Name()], f.MySQL.Unlocked[i.Name()] = true, true
	}
	for seq, name := range []string{"c", "d"} {
		d := roles.Decide(roles.Primary, f)
		require.True(t, does(d, roles.Ask), d.Why)
		require.Contains(t, d.Steps[0].For, "readmit "+name)
		f.Checkpoints = append(f.Checkpoints, roles.Checkpoint{Seq: uint64(seq + 1), For: d.Steps[0].For})
	}
}

func TestACreationThatWasNeverRecordedBeginsAnew(t *testing.T) {
	f := leading()
	f.Disk = roles.Disk{Data: roles.DataOurs, Founding: true, ClusterID: "c"}
	f.Lease, f.View = roles.Lease{Session: ownSession}, roles.View{OK: true}
	require.True(t, does(roles.Decide(roles.Init, f), roles.Acquire))
	f.Lease.Held, f.View.Leader = true, roles.Leader{Holder: self, Session: ownSession}
	require.True(t, does(roles.Decide(roles.Init, f), roles.Found))

	f.View.OK = false
	require.Empty(t, roles.Decide(roles.Init, f).Steps, "as long as Consul is silent it may have been recorded")
	f.View.OK, f.View.Cluster = true, &roles.Cluster{ID: "c"}
	require.False(t, does(roles.Decide(roles.Init, f), roles.Acquire, roles.Found))
}

func TestARecordDeletedAloneIsPutBackAsWell(t *testing.T) {
	f := leading()
	f.View.Sync = roles.Sync{}
	require.True(t, does(roles.Decide(roles.Primary, f), roles.PutBack))

	last := roles.Sync{Term: 3, Primary: peer, Members: []roles.Inc{peer, self}, Acks: 1}
	f = sealedWith(last, roles.Sync{})
	d := roles.Decide(roles.Failover, f)
	require.Empty(t, d.Steps, "what a node said before the record was lost is no report: it may be dead, and have known more")
	require.Contains(t, d.Why, "missing: "+peer.Name())
	misses(&f, peer)
	require.True(t, does(roles.Decide(roles.Failover, f), roles.PutBack))
	f.View.Leader = roles.Leader{Holder: peer, Session: peerSession}
	require.Contains(t, roles.Decide(roles.Replica, f).Why, "following on", "the open primary does it")
}
