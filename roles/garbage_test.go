package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// spoilt is a view in which one record cannot be read.
func spoilt(f roles.Facts, key string) roles.Facts {
	f.View.Garbled = []roles.Garbled{{Key: key, Why: "it is not the JSON it should be", Ver: 9}}
	switch key {
	case roles.KeySync:
		f.View.Sync = roles.Sync{}
	case roles.KeyCluster:
		f.View.Cluster = nil
	}
	return f
}

func TestAnOpenPrimaryWritesOverGarbageWhatItKnows(t *testing.T) {
	for _, key := range []string{roles.KeySync, roles.KeyCluster} {
		f := spoilt(leading(), key)
		d := roles.Decide(roles.Primary, f)
		require.True(t, does(d, roles.PutBack), "%+v", d)
		require.True(t, d.Steps[0].Sync.Equal(f.Leading))
		require.Contains(t, d.Why, "cannot be read")

		f.View.Leader = roles.Leader{Holder: peer, Session: peerSession}
		d = roles.Decide(roles.Primary, f)
		require.False(t, key == roles.KeySync && does(d, roles.PutBack), "somebody else leads: what is known here may be old")
	}
}

func TestNobodyFoundsAClusterBesideGarbage(t *testing.T) {
	for _, key := range []string{roles.KeySync, roles.KeyCluster, "nodes/b~1~x", "seal/b~1~x"} {
		f := sealedWith(roles.Sync{}, roles.Sync{})
		f.Disk.Data, f.View.Cluster, f.View.Nodes, f.MySQL = roles.DataEmpty, nil, nil, roles.MySQL{}
		require.True(t, does(roles.Decide(roles.Init, f), roles.Acquire), "nothing there: it may")
		d := roles.Decide(roles.Init, spoilt(f, key))
		require.Empty(t, d.Steps)
		require.Contains(t, d.Why, key)
	}
}

func TestACreationIsNotGivenUpBecauseItsRecordCannotBeRead(t *testing.T) {
	f := sealedWith(roles.Sync{}, roles.Sync{})
	f.Disk.Founding, f.Disk.Data, f.View.Cluster = true, roles.DataOurs, nil
	f.View.Leader = roles.Leader{Holder: self, Session: ownSession}
	f.Lease.Held = true
	require.True(t, does(roles.Decide(roles.Init, f), roles.Found), "never recorded: it begins anew")
	d := roles.Decide(roles.Init, spoilt(f, roles.KeyCluster))
	require.Contains(t, d.Why, "no node remembers it", "it is data like any other: %+v", d)
}

func TestWithoutAPrimaryGarbageIsReplacedWhenAllReport(t *testing.T) {
	sync := roles.Sync{Ver: 5, Term: 3, Primary: peer, Members: []roles.Inc{self, peer}, Acks: 1}
	for _, s := range []roles.State{roles.Init, roles.Failover} {
		f := spoilt(sealedWith(sync, sync), roles.KeyCluster)
		misses(&f, peer)
		d := roles.Decide(s, f)
		require.True(t, does(d, roles.PutBack), "%s: %+v", s, d)
		n := f.View.Nodes[peer]
		n.Session = ""
		f.View.Nodes[peer] = n
		d = roles.Decide(s, f)
		require.Empty(t, d.Steps)
		require.Contains(t, d.Why, "missing: b")
	}
	f := spoilt(sealedWith(sync, sync), roles.KeyCluster)
	f.View.Garbled = append(f.View.Garbled, roles.Garbled{Key: "nodes/" + string(stranger), Why: "x", Ver: 3})
	d := roles.Decide(roles.Failover, f)
	require.Empty(t, d.Steps, "it may remember a newer one")
	require.Contains(t, d.Why, "delete the key")
}

func TestFollowersGoOnWhileTheRecordCannotBeRead(t *testing.T) {
	for _, s := range []roles.State{roles.Standby, roles.Replica} {
		f := spoilt(leading(), roles.KeySync)
		f.MySQL.ReadOnly, f.MySQL.Receiver = true, roles.On
		d := roles.Decide(s, f)
		require.Empty(t, d.Event)
		require.Empty(t, d.Steps)
		require.Contains(t, d.Why, "cannot be read")
	}
}
