package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Trap 6 of docs/traps.md: commits that wait before anybody can acknowledge freeze the cluster. A cluster that grows from
// one node becomes: member, then acknowledging, and only then something commits wait for.
func TestTrap06_commits_wait_only_when_somebody_acknowledges(t *testing.T) {
	f := leading()
	f.View.Sync.Acks, f.Leading.Acks, f.MySQL.K = 0, 0, 0
	for name, away := range map[string]func(*roles.Node){
		"not connected":         func(*roles.Node) { f.MySQL.Streams = nil },
		"not acknowledging yet": func(n *roles.Node) { n.Armed = false },
		"of an earlier term":    func(n *roles.Node) { n.FollowTerm-- },
	} {
		streams, n := f.MySQL.Streams, f.View.Nodes[peer]
		away(&n)
		was := f.View.Nodes[peer]
		f.View.Nodes[peer] = n
		require.False(t, does(roles.Decide(roles.Primary, f), roles.SetK), name)
		f.MySQL.Streams, f.View.Nodes[peer] = streams, was
	}
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.SetK), d.Why)
	require.Equal(t, 1, d.Steps[0].K)
}

// Trap 16: a lowered K tells those who wait "committed". It falls only to what the record already promises.
func TestTrap16_K_falls_only_to_what_the_record_says(t *testing.T) {
	f := leading()
	f.MySQL.K, f.Set.Acks, f.View.Sync.Acks, f.Leading.Acks = 2, 1, 2, 2
	third := roles.Inc("c~1~uuid-c")
	n := f.View.Nodes[peer]
	n.Inc, n.Name = third, "c"
	f.View.Nodes[third] = n
	f.View.Sync.Members = append(f.View.Sync.Members, third)
	f.MySQL.Streams["c"], f.MySQL.Unlocked["c"] = true, true
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.WriteSync), d.Why)
	require.Equal(t, 1, d.Steps[0].Sync.Acks)

	f.View.Sync.Acks, f.Leading.Acks = 1, 1
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.SetK), d.Why)
	require.Equal(t, 1, d.Steps[0].K)
}
