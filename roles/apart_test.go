package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// bystander is a replica outside the ack set of a and b, whose primary a has died: the lock has just become free, and b can
// elect itself.
func bystander() roles.Facts {
	f := orphan()
	f.Self = roles.Self{Inc: stranger, Name: "c"}
	f.Lease = roles.Lease{Session: "session-c"}
	f.MySQL.Receiver, f.LeaderFree = roles.Connecting, 10*time.Millisecond
	f.Follow = roles.Follow{Primary: self, Term: f.View.Sync.Term}
	f.View.Leader = roles.Leader{}
	f.View.Nodes[self] = roles.Node{Inc: self, Name: "a"}
	f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b", Session: peerSession, MySQL: "b:3306"}
	f.View.Nodes[stranger] = roles.Node{Inc: stranger, Name: "c", Session: "session-c"}
	return f
}

// Who has no vote stays out of an election while the ackers can hold it without.
func TestTheAckersElectAmongThemselvesFirst(t *testing.T) {
	taken := func(f *roles.Facts) {
		f.LeaderFree, f.View.Leader = 0, roles.Leader{Holder: peer, Session: peerSession}
	}
	for name, c := range map[string]struct {
		edit func(*roles.Facts)
		out  bool
	}{
		"the lock is free":                {func(*roles.Facts) {}, true},
		"an acker took it":                {taken, true},
		"the winner is recorded":          {func(f *roles.Facts) { taken(f); f.View.Sync.Primary, f.View.Sync.Term = peer, f.View.Sync.Term+1 }, true},
		"they have had their time":        {func(f *roles.Facts) { f.LeaderFree = time.Second }, false},
		"the old primary still sends":     {func(f *roles.Facts) { f.MySQL.Receiver = roles.On }, false},
		"the ackers do not suffice":       {func(f *roles.Facts) { f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b"} }, false},
		"it is one of them":               {func(f *roles.Facts) { f.View.Sync.Members = append(f.View.Sync.Members, stranger) }, false},
		"somebody else took it":           {func(f *roles.Facts) { taken(f); f.View.Leader.Holder = "d~1~u" }, false},
		"the old primary took it, reborn": {func(f *roles.Facts) { taken(f); f.View.Leader.Holder, f.View.Sync.Primary = self, peer }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := bystander()
			c.edit(&f)
			require.Equal(t, c.out, roles.LeavesToAckers(f))
			d := roles.Decide(roles.Replica, f)
			require.Empty(t, d.Steps)
			if c.out {
				require.Empty(t, d.Event, d.Why)
			} else {
				require.Equal(t, roles.NoPrimary, d.Event, d.Why)
			}
		})
	}
	f := bystander()
	taken(&f)
	f.View.Sync.Primary, f.View.Sync.Term = peer, f.View.Sync.Term+1
	f.View.Nodes[peer] = roles.Node{Inc: peer, Name: "b", Session: peerSession, MySQL: "b:3306", Open: f.View.Sync.Term}
	require.True(t, does(roles.Decide(roles.Replica, f), roles.FollowOp), "the winner is followed from where it is")
	require.False(t, roles.LeavesToAckers(f), "nothing is left to anybody")
}
