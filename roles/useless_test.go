package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// stuckPrimary is an open primary with one standby that follows; its commits hang.
func stuckPrimary() roles.Facts {
	sync := roles.Sync{Ver: 5, Term: 3, Primary: self, Members: []roles.Inc{self, peer}, Acks: 1}
	follower := roles.Node{Inc: peer, Name: "b", Session: peerSession, Healthy: true, Follows: self, FollowTerm: 3, ArmedWanted: true, Armed: true, Receiver: "r1", Caught: true}
	return roles.Facts{
		Self: roles.Self{Inc: self, Name: "a"}, Leading: sync,
		Disk:  roles.Disk{Data: roles.DataOurs, LastSync: sync, Promised: 3},
		Lease: roles.Lease{Session: ownSession, Held: true, Provable: true},
		Set:   roles.Settings{Acks: 1, MaxAckers: 2, GoOnAlone: true, C: 3 * time.Second, H: 2 * time.Second, Heartbeat: time.Second},
		MySQL: roles.MySQL{Running: true, Ready: true, K: 1, Streams: map[string]bool{"b": true}, Unlocked: map[string]bool{"b": true}},
		View: roles.View{OK: true, Cluster: &roles.Cluster{}, Sync: sync, Leader: roles.Leader{Holder: self, Session: ownSession},
			Nodes: map[roles.Inc]roles.Node{self: {Inc: self, Name: "a", Session: ownSession, Open: 3}, peer: follower}},
	}
}

// TestUselessPrimary: when a primary that answers and does not commit gives the lead away, and what it says when not.
func TestUselessPrimary(t *testing.T) {
	node := func(f *roles.Facts, change func(*roles.Node)) {
		n := f.View.Nodes[peer]
		change(&n)
		f.View.Nodes[peer] = n
	}
	for _, c := range []struct {
		name   string
		change func(*roles.Facts)
		leaves bool
		says   string
	}{
		{"a stall as long as a lease is no death", func(f *roles.Facts) { f.MySQL.Stuck = 3 * time.Second }, false, "open for writes"},
		{"a commit that hangs for two leases is", func(f *roles.Facts) { f.MySQL.Stuck = 7 * time.Second }, true, "has not committed for 7s"},
		{"mysqld names the reason", func(f *roles.Facts) {
			f.MySQL.Stuck, f.MySQL.StuckWhy = 3*time.Second, "the table is full"
		}, true, "the table is full"},
		{"a full disk", func(f *roles.Facts) { f.MySQL.Stuck, f.Disk.Unfit = 3*time.Second, "no space is left on /d" }, true, "no space is left on /d"},
		{"a full disk that still commits", func(f *roles.Facts) { f.Disk.Unfit = "no space is left on /d" }, false, "open for writes"},
		{"the standby is gone", func(f *roles.Facts) {
			f.MySQL.Stuck, f.Disk.Unfit = time.Minute, "no space is left on /d"
			node(f, func(n *roles.Node) { n.Session = "" })
		}, false, "b (not running)"},
		{"the standby's disk is full as well", func(f *roles.Facts) {
			f.MySQL.Stuck, f.Disk.Unfit = time.Minute, "no space is left on /d"
			node(f, func(n *roles.Node) { n.Unfit = "no space is left on /e" })
		}, false, "b (no space is left on /e)"},
		{"the standby is void", func(f *roles.Facts) {
			f.MySQL.Stuck = time.Minute
			node(f, func(n *roles.Node) { n.Void = true })
		}, false, "b (its acknowledgements may not have survived its restart)"},
		{"nobody holds the newest writes", func(f *roles.Facts) { f.MySQL.Stuck, f.View.Sync.Acks, f.Leading.Acks = time.Minute, 0, 0 }, false, "no standby holds every acknowledged write"},
		{"paused", func(f *roles.Facts) { f.MySQL.Stuck, f.View.Paused = time.Minute, true }, false, "resume"},
		{"cooling down", func(f *roles.Facts) {
			f.MySQL.Stuck, f.Set.Cooldown, f.Recent = time.Minute, time.Minute, []time.Duration{10 * time.Second}
		}, false, "held back for another 50s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := stuckPrimary()
			c.change(&f)
			d := roles.Decide(roles.Primary, f)
			require.Contains(t, d.Why, c.says)
			if c.leaves {
				require.Equal(t, roles.MysqldLost, d.Event)
			} else {
				require.Empty(t, d.Event)
			}
		})
	}
}

// TestUnfitIsLast: a node with a full disk that holds one unacknowledged write more neither wins nor stands in the way,
// as long as the others are a quorum; without them it is named.
func TestUnfitIsLast(t *testing.T) {
	all := incs(3)
	v := roles.View{OK: true, Sync: roles.Sync{Ver: 7, Term: 3, Primary: all[0], Members: all, Acks: 1}, Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}}
	for n, i := range all {
		v.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: "s" + i.Name()}
		v.Seals[i] = roles.Seal{Promise: 4, Position: upTo(5)}
		if n == 0 {
			v.Seals[i] = roles.Seal{Promise: 4, Position: upTo(6), Unfit: true}
		}
	}
	e := roles.Elect(all[1], v, 1)
	require.True(t, e.Win, e.Why)
	require.NotContains(t, e.Next.Members, all[0])

	delete(v.Seals, all[2]) // one acker of two is no quorum: the old primary is needed, and holds the most
	for _, me := range all {
		e = roles.Elect(me, v, 1)
		require.False(t, e.Win)
		require.Contains(t, e.Why, "n0 there is no quorum for term 4, and it cannot write")
	}
	s := v.Seals[all[0]] // its disk is free again
	s.Unfit = false
	v.Seals[all[0]] = s
	require.True(t, roles.Elect(all[0], v, 1).Win)
}

// TestHeldBack: the first failover never waits, the next one does, and what is no failover never does.
func TestHeldBack(t *testing.T) {
	f := roles.Facts{
		Self: roles.Self{Inc: peer}, Set: roles.Settings{Cooldown: 10 * time.Second, FailoversPerHour: 3},
		View: roles.View{Sync: roles.Sync{Term: 3, Primary: self, Members: []roles.Inc{self, peer}}, Seals: map[roles.Inc]roles.Seal{}},
	}
	require.Empty(t, roles.HeldBack(f), "the first one")
	f.Recent = []time.Duration{50 * time.Minute, 4 * time.Second}
	require.Contains(t, roles.HeldBack(f), "4s ago; the next one is held back for another 6s")
	require.Contains(t, roles.HeldBack(f), "autopilot-mysql failover", "the override is named")
	f.Recent = []time.Duration{10 * time.Second}
	require.Empty(t, roles.HeldBack(f), "the cooldown is over")
	f.Recent = []time.Duration{2 * time.Hour, 50 * time.Minute, 20 * time.Minute, time.Minute}
	require.Contains(t, roles.HeldBack(f), "3 automatic failovers within an hour")
	require.Contains(t, roles.HeldBack(f), "may begin in 10m0s")
	f.View.Seals[self] = roles.Seal{Promise: 4, Leaving: true}
	require.Empty(t, roles.HeldBack(f), "a clean stop is no failover")
	f.View.Seals[self] = roles.Seal{}
	f.View.Nodes = map[roles.Inc]roles.Node{self: {Inc: self, Leaving: true}}
	require.Empty(t, roles.HeldBack(f), "also of one that could not seal any more")
	f.View.Nodes = nil
	f.View.Seals[self] = roles.Seal{Promise: 3, Leaving: true}
	require.NotEmpty(t, roles.HeldBack(f), "a clean stop of an earlier term says nothing")
	f.Self.Inc = self
	require.Empty(t, roles.HeldBack(f), "the primary coming back to itself is no failover")
	f.Self.Inc, f.Set = peer, roles.Settings{}
	require.Empty(t, roles.HeldBack(f), "switched off")
}

// TestKilledButNotReaped: a process that waits for a frozen disk cannot be reaped, but executes nothing any more: the lock
// is let go of, and nothing is started beside it.
func TestKilledButNotReaped(t *testing.T) {
	f := stuckPrimary()
	f.MySQL = roles.MySQL{Running: true, Killed: true}
	d := roles.Decide(roles.Failover, f)
	require.Len(t, d.Steps, 1)
	require.Equal(t, roles.Release, d.Steps[0].Op)
	f.View.Leader = roles.Leader{}
	d = roles.Decide(roles.Failover, f)
	require.Empty(t, d.Steps)
	require.Contains(t, d.Why, "the disk does not answer")
}
