package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// sealed is a node that sealed for term 4, which peer has won and is opening.
func sealed() roles.Facts {
	f := leading()
	f.Lease, f.Leading = roles.Lease{Session: ownSession}, roles.Sync{}
	f.Disk.Promised = 4
	f.View.Leader = roles.Leader{Holder: peer, Session: peerSession}
	f.View.Sync.Term, f.View.Sync.Primary, f.View.Sync.Members = 4, peer, []roles.Inc{self, peer}
	f.View.Seals = map[roles.Inc]roles.Seal{peer: {Promise: 4, Position: upTo(9)}, self: {Promise: 4, Position: upTo(9)}}
	f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b", Session: peerSession, MySQL: "b:3306"}
	f.MySQL = roles.MySQL{Running: true, Ready: true, ReadOnly: true, Receiver: roles.Off, Applier: roles.On, Executed: upTo(7), Received: upTo(9)}
	return f
}

// The first commit of a new term waits until somebody is let in who acknowledges it.
func TestTheWinnerIsExpectedWhileItOpens(t *testing.T) {
	expects := func(f roles.Facts) bool { return does(roles.Decide(roles.Failover, f), roles.Expect) }
	require.True(t, expects(sealed()))
	f := sealed()
	f.Follow = roles.Follow{Primary: peer, Term: 4, Armed: true}
	require.False(t, expects(f), "once")
	f.Self.NoFailover = true
	require.True(t, expects(f), "as what it is now")
	f = sealed()
	f.View.Sync.Members = []roles.Inc{peer}
	f.Follow = roles.Follow{Primary: peer, Term: 4, Armed: true}
	require.True(t, expects(f), "it acknowledges only as a member")
	for name, change := range map[string]func(*roles.Facts){
		"the lock is free":            func(f *roles.Facts) { f.View.Leader.Session = "" },
		"somebody else took the lock": func(f *roles.Facts) { f.View.Leader.Holder, f.View.Leader.Session = stranger, "session-c" },
		"the winner died":             func(f *roles.Facts) { f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b"} },
		"nobody is recorded yet":      func(f *roles.Facts) { f.View.Sync.Term = 3 },
		"a later term is promised":    func(f *roles.Facts) { f.Disk.Promised = 5 },
		"more is here":                func(f *roles.Facts) { f.MySQL.Received = upTo(10) },
		"it receives":                 func(f *roles.Facts) { f.MySQL.Receiver = roles.On },
		"the term was handed over":    func(f *roles.Facts) { delete(f.View.Seals, peer) },
		"it is asked to stop":         func(f *roles.Facts) { f.Stop = true },
	} {
		f := sealed()
		change(&f)
		require.False(t, expects(f), name)
	}
	f = sealed()
	f.Follow = roles.Follow{Primary: peer, Term: 4, Armed: true}
	admits := func(term uint64) bool {
		n := f.View.Nodes[peer]
		n.Admits = term
		f.View.Nodes[peer] = n
		return does(roles.Decide(roles.Failover, f), roles.FollowOp)
	}
	require.False(t, admits(3), "an earlier term")
	require.True(t, admits(4))
	f.Follow = roles.Follow{}
	require.False(t, admits(4), "it confirms first")
	f.Follow = roles.Follow{Primary: peer, Term: 4, Armed: true}
	f.MySQL.Receiver = roles.Connecting
	require.False(t, admits(4), "it receives")
	f.MySQL.Receiver = roles.Off
	f.View.Seals[self] = roles.Seal{Promise: 3, Position: upTo(9)}
	require.False(t, admits(4), "it is not among those that are let in")
	f = sealed()
	f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b", Session: peerSession, MySQL: "b:3306", Open: 4}
	require.Equal(t, roles.PrimaryFound, roles.Decide(roles.Failover, f).Event, "an open one is followed")
}

// Whoever sealed for the term receives from nobody until it follows its primary.
func TestTheSealedAreLetInWithoutTheirWord(t *testing.T) {
	opening := func() roles.Facts {
		f := leading()
		f.View.Sync = roles.Sync{Ver: 9, Term: 4, Primary: self, Members: []roles.Inc{self, peer}, Acks: 1}
		f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b", Session: peerSession}
		f.View.Seals = map[roles.Inc]roles.Seal{self: {Promise: 4}, peer: {Promise: 4}}
		return f
	}
	require.Equal(t, []roles.Inc{peer}, roles.Sealed(opening()))
	for name, change := range map[string]func(*roles.Facts){
		"a seal for another term": func(f *roles.Facts) { f.View.Seals[peer] = roles.Seal{Promise: 3} },
		"no seal":                 func(f *roles.Facts) { delete(f.View.Seals, peer) },
		"no member":               func(f *roles.Facts) { f.View.Sync.Members = []roles.Inc{self} },
		"dead":                    func(f *roles.Facts) { f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b"} },
	} {
		f := opening()
		change(&f)
		require.Empty(t, roles.Sealed(f), name)
	}
}
