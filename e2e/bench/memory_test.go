package bench

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTogether: what is counted once is what a process has, however often it is named, and no more than it is told to have.
func TestTogether(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root sees page frames")
	}
	once, err := together(os.Getpid())
	require.NoError(t, err)
	twice, err := together(os.Getpid(), os.Getpid())
	require.NoError(t, err)
	require.InDelta(t, once, twice, 8)
	told := resident(os.Getpid())
	require.InDelta(t, told, once, told/3)
	parent, err := together(os.Getpid(), os.Getppid())
	require.NoError(t, err)
	require.Greater(t, parent, once, "another program shares few pages with this one")
}
