package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestSelfIsFinishedBeforeStrangersAreLockedOut: the former ackers are strangers once the record says that nobody is left,
// and locking one of them may hang behind the very commits that wait for them. Only the step that may free the waiters
// comes to an end then.
func TestSelfIsFinishedBeforeStrangersAreLockedOut(t *testing.T) {
	f := ledThree()
	f.View.Sync.Members, f.View.Sync.Acks = []roles.Inc{self}, 0
	f.Leading = f.View.Sync
	edit(f.View, peer, gone)
	edit(f.View, stranger, gone)
	require.Positive(t, f.MySQL.K)
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.LockAll), "%+v", d)
}
