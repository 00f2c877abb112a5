package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// died is a primary whose server died a moment ago and who has let go of the lock; two others acknowledged for it.
func died() roles.Facts {
	f := leading()
	f.MySQL, f.Lease = roles.MySQL{Down: 100 * time.Millisecond}, roles.Lease{Session: ownSession}
	f.View.Leader = roles.Leader{}
	f.View.Sync.Members = []roles.Inc{self, peer, stranger}
	f.View.Nodes[stranger] = roles.Node{Inc: stranger, Name: "c", Session: "session-c"}
	return f
}

// Crash recovery takes processor and disk from the election, where they share a machine.
func TestADeadServerIsNotStartedWhileTheOthersElect(t *testing.T) {
	d := roles.Decide(roles.Failover, died())
	require.Empty(t, d.Steps)
	require.Contains(t, d.Why, "the others elect a primary")
	change := func(f *roles.Facts, i roles.Inc, do func(*roles.Node)) {
		n := f.View.Nodes[i]
		do(&n)
		f.View.Nodes[i] = n
	}
	elected := func(f *roles.Facts) {
		f.View.Sync.Term, f.View.Sync.Primary, f.View.Leader = 4, peer, roles.Leader{Holder: peer, Session: peerSession}
		f.View.Sync.Members = []roles.Inc{peer, stranger}
		change(f, peer, func(n *roles.Node) { n.Open = 4 })
	}
	for name, tc := range map[string]func(*roles.Facts){
		"they had their time":      func(f *roles.Facts) { f.MySQL.Down = time.Second },
		"nobody knows since when":  func(f *roles.Facts) { f.MySQL.Down = 0 },
		"Consul does not answer":   func(f *roles.Facts) { f.View.OK = false },
		"paused":                   func(f *roles.Facts) { f.View.Paused = true },
		"only the old primary can": func(f *roles.Facts) { f.View.Sync.Acks = 0 },
		"they are too few":         func(f *roles.Facts) { change(f, stranger, func(n *roles.Node) { n.Session = "" }) },
		"one of them is void":      func(f *roles.Facts) { change(f, stranger, func(n *roles.Node) { n.Void = true }) },
		"one of them cannot write": func(f *roles.Facts) { change(f, peer, func(n *roles.Node) { n.Unfit = "full" }) },
		"it is one of the ackers":  func(f *roles.Facts) { f.View.Sync.Primary, f.View.Sync.Members = stranger, []roles.Inc{self, stranger} },
		"somebody acknowledges again": func(f *roles.Facts) {
			elected(f)
			change(f, stranger, func(n *roles.Node) { n.Follows, n.FollowTerm, n.Armed = peer, 4, true })
		},
		"nobody is to acknowledge": func(f *roles.Facts) {
			elected(f)
			f.View.Sync.Members = []roles.Inc{peer}
		},
		"who is to acknowledge died": func(f *roles.Facts) {
			elected(f)
			change(f, stranger, func(n *roles.Node) { n.Session = "" })
		},
	} {
		f := died()
		tc(&f)
		require.True(t, does(roles.Decide(roles.Failover, f), roles.StartMysqld), name)
	}
	f := died()
	elected(&f)
	require.Empty(t, roles.Decide(roles.Failover, f).Steps, "the first commit waits for whoever is to acknowledge it")
	change(&f, stranger, func(n *roles.Node) { n.Follows, n.FollowTerm, n.Armed = peer, 3, true })
	require.Empty(t, roles.Decide(roles.Failover, f).Steps, "that was another term")
	f = died()
	f.View.Sync.Acks = 2
	change(&f, stranger, func(n *roles.Node) { n.Session = "" })
	require.Empty(t, roles.Decide(roles.Failover, f).Steps, "each of them holds every acknowledged write")
}

func TestTheWinnersSealStandsForItsHistory(t *testing.T) {
	h := roles.Node{Inc: peer, Name: "b", Session: peerSession, Open: 4}
	follower := func() roles.Facts {
		f := leading()
		f.View.Sync.Term, f.View.Sync.Primary = 4, peer
		f.View.Seals = map[roles.Inc]roles.Seal{peer: {Promise: 4, Position: upTo(9)}, self: {Promise: 4, Position: upTo(9)}}
		f.MySQL = roles.MySQL{Running: true, Ready: true, ReadOnly: true, Receiver: roles.Off, Executed: upTo(7), Received: upTo(9)}
		return f
	}
	require.True(t, roles.WinnerHolds(follower(), h))
	for name, change := range map[string]func(*roles.Facts){
		"more is here":               func(f *roles.Facts) { f.MySQL.Received = upTo(10) },
		"more is executed here":      func(f *roles.Facts) { f.MySQL.Executed = upTo(10) },
		"it receives":                func(f *roles.Facts) { f.MySQL.Receiver = roles.On },
		"it can be written to":       func(f *roles.Facts) { f.MySQL.ReadOnly = false },
		"commits wait":               func(f *roles.Facts) { f.MySQL.WaitSessions = 1 },
		"mysqld does not answer":     func(f *roles.Facts) { f.MySQL = roles.MySQL{Running: true} },
		"a seal of an earlier term":  func(f *roles.Facts) { f.View.Seals[peer] = roles.Seal{Promise: 3, Position: upTo(9)} },
		"the term was handed over":   func(f *roles.Facts) { delete(f.View.Seals, peer) },
		"a term after the election":  func(f *roles.Facts) { f.View.Sync.Term = 5 },
		"somebody else's seal would": func(f *roles.Facts) { f.View.Seals[peer] = roles.Seal{Promise: 4, Position: upTo(8)} },
	} {
		f := follower()
		change(&f)
		require.False(t, roles.WinnerHolds(f, h), name)
	}
}
