package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// A member lost its disk while its removal was held up; it is there again, empty, and follows. Letting it in would end the
// removal of what it was, which would lock it out again, for ever.
func TestNobodyIsLetInUnderTheNameOfAMemberThatIsBeingRemoved(t *testing.T) {
	f := leading()
	fresh := roles.NewInc(stranger.Name(), 1, "00000000-0000-0000-0000-0000000000ff")
	require.NotEqual(t, stranger, fresh)
	f.View.Sync.Members = []roles.Inc{self, peer, stranger}
	f.Leading = f.View.Sync
	f.Silent = map[roles.Inc]time.Duration{stranger: time.Minute}
	f.View.Nodes[fresh] = roles.Node{Inc: fresh, Name: fresh.Name(), Session: "s", Follows: self, FollowTerm: 3, Promised: 3, Healthy: true, Receiver: "r9"}
	f.MySQL.Unlocked[fresh.Name()], f.MySQL.Streams[fresh.Name()] = false, false
	require.False(t, does(roles.Decide(roles.Primary, f), roles.Unlock), "it is let in in the middle of it")

	f.View.Sync.Members = []roles.Inc{self, peer}
	f.Leading = f.View.Sync
	require.True(t, does(roles.Decide(roles.Primary, f), roles.Unlock), "then it is")
}
