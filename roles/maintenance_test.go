package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestMaintenance: who is in maintenance is not admitted, leaves the ack set in order, is no target of a hand-over, and as
// the last acker lets the primary go on at once.
func TestMaintenance(t *testing.T) {
	v := three()
	v.Maintenance = map[string]roles.Pause{"b": {By: "ann", Reason: "disk"}}
	no := roles.Refuse(roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, v)
	require.NotNil(t, no)
	require.Equal(t, roles.GuardTarget, no.Guard)
	require.Contains(t, no.Why, "in maintenance by ann (disk)")
	to, guard, _ := roles.SwitchoverTarget("", v)
	require.Empty(t, guard)
	require.Equal(t, "c", to.Name(), "the other one")

	f := leading()
	f.View.Sync.Members, f.View.Sync.Acks, f.MySQL.K = []roles.Inc{self}, 0, 0
	f.Leading, f.Disk.LastSync = f.View.Sync, f.View.Sync
	edit(f.View, peer, func(n *roles.Node) { n.ArmedWanted, n.Armed = false, false })
	f.View.Maintenance = v.Maintenance
	require.False(t, does(roles.Decide(roles.Primary, f), roles.WriteSync), "a follower in maintenance is not admitted")
	f.View.Maintenance = nil
	require.True(t, does(roles.Decide(roles.Primary, f), roles.WriteSync), "without it it is")

	f = leading()
	f.View = v
	f.Leading, f.Disk.LastSync = v.Sync, v.Sync
	f.MySQL.Streams, f.MySQL.Unlocked = map[string]bool{"b": true, "c": true}, map[string]bool{"b": true, "c": true}
	for _, i := range []roles.Inc{peer, stranger} {
		edit(f.View, i, func(n *roles.Node) { n.ArmedWanted, n.Armed, n.Receiver, n.Healthy = true, true, "r", true })
	}
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Ask), d.Why)
	answer(&f, d, stranger)
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Lock), d.Why)
	require.Contains(t, d.Why, "b leaves the ack set")

	f.View.Sync.Members = []roles.Inc{self, peer}
	f.MySQL.Streams, f.MySQL.Unlocked = map[string]bool{"b": true}, map[string]bool{"b": true}
	require.False(t, does(roles.Decide(roles.Primary, f), roles.WriteSync), "the last acker stays as long as it acknowledges")
	f.View.Maintenance["b"] = roles.Pause{Force: true}
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.WriteSync), d.Why)
	require.Equal(t, []roles.Inc{self}, d.Steps[0].Sync.Members, "the last acker: an operator knows what this costs")
}
