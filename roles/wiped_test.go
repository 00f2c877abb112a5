package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// wipedWithout is a node of three whose record Consul has lost, while a member that counts says nothing.
func wipedWithout() (f roles.Facts, last roles.Sync) {
	last = roles.Sync{Term: 3, Primary: self, Members: []roles.Inc{self, peer, stranger}, Acks: 1}
	f = sealedWith(last, roles.Sync{})
	delete(f.View.Nodes, stranger)
	f.View.Nodes[self] = roles.Node{Inc: self, Name: self.Name(), Session: ownSession, LastSync: &last, Misses: true}
	f.View.Nodes[peer] = roles.Node{Inc: peer, Name: peer.Name(), Session: peerSession, LastSync: &last, Misses: true}
	return f, last
}

// misses lets a node say that it sees that the record is lost.
func misses(f *roles.Facts, i roles.Inc) {
	n := f.View.Nodes[i]
	n.Misses = true
	f.View.Nodes[i] = n
}

func forced(node string) roles.Request {
	return roles.Request{ID: "o1", Kind: roles.RequestFailover, State: roles.RequestOpen, Node: node, By: "dba@host", Timeout: time.Minute,
		Options: roles.RequestOptions{Force: true, AcceptDataLoss: true}}
}

// Consul has lost the record and a member's disk is gone: nobody but a person can say that it will never report.
func TestALostRecordIsPutBackWithoutAMemberAtAnOperatorsWord(t *testing.T) {
	for name, lose := range map[string]func(*roles.View){ // each takes the record away
		"the record": func(v *roles.View) { v.Sync = roles.Sync{} },
		"everything": func(v *roles.View) { v.Cluster, v.Sync = nil, roles.Sync{} },
		"by garbage": func(v *roles.View) { v.Garbled = []roles.Garbled{{Key: roles.KeySync, Why: "no JSON", Ver: 8}} },
		"an identity": func(v *roles.View) {
			v.Cluster, v.Sync = nil, roles.Sync{Ver: 7, Term: 3, Primary: self, Members: []roles.Inc{self, peer, stranger}, Acks: 1}
		},
	} {
		f, last := wipedWithout()
		lose(&f.View)
		d := roles.Decide(roles.Failover, f)
		require.Empty(t, d.Steps, "%s: %s", name, d.Why)
		require.Contains(t, d.Why, "missing: "+stranger.Name(), name)

		free := forced("")
		free.Options = roles.RequestOptions{}
		no := roles.Refuse(free, f.View)
		require.NotNil(t, no, name)
		require.Equal(t, roles.GuardDataLoss, no.Guard)
		require.Contains(t, no.Why, "missing: "+stranger.Name())
		require.Contains(t, no.Why, "autopilot-mysql failover --to NODE --force --accept-data-loss")

		require.Nil(t, roles.Refuse(forced(self.Name()), f.View), name)
		require.Equal(t, []string{stranger.Name()}, roles.LossOf(f.View, self.Name()).Silent, name)
		f.View.Requests = []roles.Request{forced(self.Name())}
		d = roles.Decide(roles.Failover, f)
		require.True(t, does(d, roles.PutBack), "%s: %s", name, d.Why)
		require.True(t, d.Steps[0].Sync.Equal(last), name)
		require.Equal(t, []string{stranger.Name()}, d.Steps[0].Sync.Absent)
		require.Equal(t, "o1", d.Steps[0].For)
	}
}

func TestWhoMayPutALostRecordBackWithoutAMember(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*roles.Facts)
		node   string
		guard  string // "" for none: the node itself has a reason
	}{
		"another node is named":   {func(*roles.Facts) {}, peer.Name(), ""},
		"it is stopping":          {func(f *roles.Facts) { f.Stop = true }, self.Name(), ""},
		"nobody is named":         {func(*roles.Facts) {}, "", roles.GuardDataLoss},
		"the named one is down":   {func(*roles.Facts) {}, stranger.Name(), roles.GuardNodeDown},
		"the named one is empty":  {func(f *roles.Facts) { f.View.Nodes["e"] = roles.Node{Inc: "e", Name: "e", Session: "s", Misses: true} }, "e", roles.GuardTarget},
		"the named one is silent": {func(f *roles.Facts) { f.View.Nodes["e"] = roles.Node{Inc: "e", Name: "e", Session: "s"} }, "e", roles.GuardElection},
		"failover is paused":      {func(f *roles.Facts) { f.View.Paused = true }, self.Name(), roles.GuardPaused},
		"somebody holds the lock": {func(f *roles.Facts) { f.View.Leader = roles.Leader{Holder: peer, Session: peerSession} }, self.Name(), roles.GuardElection},
		"a node's record is garbage": {func(f *roles.Facts) {
			f.View.Garbled = []roles.Garbled{{Key: "nodes/x", Why: "no JSON", Ver: 8}}
		}, self.Name(), roles.GuardDataLoss},
	} {
		f, _ := wipedWithout()
		c.change(&f)
		r := forced(c.node)
		f.View.Requests = []roles.Request{r}
		require.False(t, does(roles.Decide(roles.Failover, f), roles.PutBack), name)
		no := roles.Refuse(r, f.View)
		if c.guard == "" {
			require.Nil(t, no, name)
			continue
		}
		require.NotNil(t, no, name)
		require.Equal(t, c.guard, no.Guard, "%s: %s", name, no.Why)
	}
}

// A standby goes on following while the record is lost; it takes an operator's word to stop.
func TestAStandbyLeavesALostRecordAtAnOperatorsWord(t *testing.T) {
	f, _ := wipedWithout()
	f.MySQL.Receiver = roles.On
	require.Empty(t, roles.Decide(roles.Standby, f).Event)
	f.View.Requests = []roles.Request{forced(self.Name())}
	require.Equal(t, roles.NoPrimary, roles.Decide(roles.Standby, f).Event)
}

// Who was missing is back before anybody has opened, and knows more than was put back: then nothing is given up.
func TestANewerRecordReplacesTheOneThatWasPutBackWithoutIt(t *testing.T) {
	older := roles.Sync{Ver: 9, Term: 1, Primary: peer, Members: []roles.Inc{self, peer, stranger}, Acks: 1, Absent: []string{self.Name()}}
	newer := roles.Sync{Term: 3, Primary: self, Members: []roles.Inc{self, peer}, Acks: 1}
	f := sealedWith(newer, older)
	d := roles.Decide(roles.Failover, f)
	require.True(t, does(d, roles.PutBack), d.Why)
	require.True(t, d.Steps[0].Sync.Equal(newer))
	require.Equal(t, uint64(9), d.Steps[0].Sync.Ver)
	require.Empty(t, d.Steps[0].Sync.Absent)

	delete(f.View.Nodes, peer)
	d = roles.Decide(roles.Failover, f)
	require.Empty(t, d.Steps, d.Why)
	require.Contains(t, d.Why, "missing: "+peer.Name())

	f = sealedWith(newer, older)
	f.View.Sync.Absent = nil
	require.Contains(t, roles.Decide(roles.Failover, f).Why, "an old backup was put back")
}

// The request ends with whoever takes over, or says that what is there does not suffice.
func TestARequestThatPutARecordBackEnds(t *testing.T) {
	f, last := wipedWithout()
	last.Ver, last.Primary, last.Absent = 9, stranger, []string{stranger.Name()} // both ackers are needed, one is sealed
	f.View.Sync = last
	r := forced(self.Name())
	r.State, r.Inc = roles.RequestRunning, self
	f.View.Requests = []roles.Request{r}
	f.View.Seals = map[roles.Inc]roles.Seal{self: {Promise: 4}}
	f.RequestAge = map[string]time.Duration{r.ID: time.Second}
	_, ok := roles.Move(roles.Failover, f)
	require.False(t, ok, "the others have had no time yet")
	f.RequestAge[r.ID] = 2 * time.Minute
	next, ok := roles.Move(roles.Failover, f)
	require.True(t, ok)
	require.Equal(t, roles.RequestFailed, next.State)
	require.Contains(t, next.Outcome, "autopilot-mysql failover --to "+self.Name()+" --force --accept-data-loss")
	f.View.Seals[peer] = roles.Seal{Promise: 4}
	_, ok = roles.Move(roles.Failover, f)
	require.False(t, ok, "somebody wins: the lock is about to be taken")

	led := leading()
	r.Node, r.Inc = peer.Name(), peer
	led.View.Requests = []roles.Request{r}
	next, ok = roles.Move(roles.Primary, led)
	require.True(t, ok)
	require.Equal(t, roles.RequestDone, next.State)
	require.Contains(t, next.Outcome, self.Name()+" is the primary")
}
