package cluster

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestFailoverAges: a clock that is ahead holds nothing back for longer than the setting says.
func TestFailoverAges(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	x := Extra{Failovers: []Failover{{At: now.Add(-time.Minute), Term: 4}, {At: now.Add(time.Hour), Term: 5}}}
	x.NoteFailovers(Extra{}, 100*time.Second)
	require.Equal(t, []time.Duration{time.Minute, 0}, x.FailoverAges(now, 100*time.Second))

	later := Extra{Failovers: x.Failovers}
	later.NoteFailovers(x, 107*time.Second)
	require.Equal(t, []time.Duration{67 * time.Second, 7 * time.Second}, later.FailoverAges(now.Add(7*time.Second), 107*time.Second))
}

// TestFailoversAreKept: the list survives in Consul, is bounded, and garbage in it stops nobody.
func TestFailoversAreKept(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	v := well()
	var x Extra
	for i := range 300 {
		v.Sync.Term++
		x.Failovers = x.WithFailover(v, roles.Sync{Term: v.Sync.Term + 1, Primary: inc("db2")}, now.Add(time.Duration(i)*time.Second))
	}
	require.Len(t, x.Failovers, failoversKept)
	require.Equal(t, Failover{At: now.Add(299 * time.Second), Term: 304, From: "db1", To: "db2"}, x.Failovers[failoversKept-1])
	x.Failovers = x.WithFailover(v, roles.Sync{Term: 400, Primary: inc("db2")}, now.Add(24*time.Hour))
	require.Len(t, x.Failovers, 1, "what is older than any setting looks back is dropped")

	k := KeysOf("shop")
	b, err := json.Marshal(x.Failovers)
	require.NoError(t, err)
	for value, want := range map[string]int{string(b): 1, "no json": 0} {
		_, got, err := k.Parse(election.View{KVs: map[string]election.KV{k.Failovers(): {Key: k.Failovers(), Value: []byte(value)}}})
		require.NoError(t, err)
		require.Len(t, got.Failovers, want)
	}
}

// TestWhatHoldsItBack: a full disk, and a cooldown, are named with what to do about them.
func TestWhatHoldsItBack(t *testing.T) {
	v := well()
	change(v, "db2", func(n *roles.Node) { n.Unfit, n.Healthy = "no space is left on /d", false })
	p := Build("shop", v, Extra{}, "", "").Problems[0]
	require.Equal(t, "db2", p.Node)
	require.Contains(t, p.Do, "free or repair its disk")

	v = well()
	headless(&v)
	for _, name := range []string{"db2", "db10"} {
		v.Seals[inc(name)] = roles.Seal{Promise: 4}
		change(v, name, func(n *roles.Node) { n.State, n.Held, n.CooldownMS = roles.Failover, "held back for another 6s", 10000 })
	}
	d := Build("shop", v, Extra{}, "", "")
	require.Contains(t, d.Problems[0].What, "held back for another 6s")
	require.Equal(t, "autopilot-mysql failover --to db10", d.Problems[0].Do)
	require.Equal(t, "held back for another 6s", d.Failovers.Held)
	require.Equal(t, int64(10000), d.Failovers.CooldownMS)
}
