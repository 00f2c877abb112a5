package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestAllocations bounds what a standby allocates each time somebody's record changes: the records are read anew, something
// is decided, its own record is written down. It was 103 when this was written; the race detector adds some, but allocations
// do not depend on the machine's speed.
func TestAllocations(t *testing.T) {
	keys := cluster.KeysOf("main")
	me := roles.NewInc("n1", 1, "11111111-1111-4111-8111-111111111111")
	p := roles.NewInc("n2", 1, "22222222-2222-4222-8222-222222222222")
	c := roles.NewInc("n3", 1, "33333333-3333-4333-8333-333333333333")
	position, err := gtid.Parse("22222222-2222-4222-8222-222222222222:1-100000,33333333-3333-4333-8333-333333333333:1-77")
	require.NoError(t, err)
	sync := roles.Sync{Term: 7, Primary: p, Members: []roles.Inc{me, p, c}, Acks: 1}
	own := roles.Node{Inc: me, Name: "n1", State: roles.Standby, Healthy: true, Follows: p, FollowTerm: 7, Armed: true, Executed: position.String(), LastSync: &sync}
	records := map[string]any{
		keys.Sync(): sync, keys.Cluster(): roles.Cluster{ID: "c", Name: "main"}, keys.Node(me): own,
		keys.Node(p): roles.Node{Inc: p, Name: "n2", State: roles.Primary, MySQL: "127.0.0.1:3307", Open: 7, LastSync: &sync, Executed: position.String()},
		keys.Node(c): roles.Node{Inc: c, Name: "n3", State: roles.Standby, Healthy: true, Follows: p, FollowTerm: 7, Armed: true, Executed: position.String(), LastSync: &sync},
	}
	view := func() election.View {
		v := election.View{Index: 9, KVs: map[string]election.KV{keys.Leader(): {Key: keys.Leader(), Value: []byte(p), Session: "s2"}}}
		for k, r := range records {
			v.KVs[k] = election.KV{Key: k, Value: cluster.Encode(r), ModifyIndex: 3, Session: "s"}
		}
		return v
	}
	turn := func(v election.View) func() {
		return func() {
			seen, _, err := keys.Parse(v)
			require.NoError(t, err)
			f := roles.Facts{
				Self: roles.Self{Inc: me, Name: "n1"}, Disk: roles.Disk{Data: roles.DataOurs, Promised: 7, LastSync: sync}, View: seen,
				Follow: roles.Follow{Primary: p, Term: 7, Armed: true}, Lease: roles.Lease{Session: "s"},
				MySQL: roles.MySQL{Running: true, Ready: true, ReadOnly: true, Executed: position, Source: "127.0.0.1:3307", Receiver: roles.On, Applier: roles.On,
					Armed: true, ArmedWanted: true, Caught: true},
				Set: roles.Settings{Acks: 1, MaxAckers: 2, C: 3 * time.Second, H: 2 * time.Second, Heartbeat: heartbeat},
			}
			d := roles.Decide(roles.Standby, f)
			require.Equal(t, "following n2", d.Why)
			_ = material(own)
		}
	}
	few := testing.AllocsPerRun(100, turn(view()))
	t.Logf("%.0f allocations", few)
	require.LessOrEqual(t, few, 160.0)
}
