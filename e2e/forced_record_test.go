package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestForcedWithoutARecord: every node is down, Consul has lost the cluster's record, and one node's disk with what it
// remembered of it is gone. The others wait for it and say so; an operator goes on without it, and nothing is lost, because
// nothing was.
func TestForcedWithoutARecord(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: connectionsLease, RestartAfter: "0s"})
	d := c.WaitWhole(3)
	w := load.Start(t, c)
	w.WaitAcks(50)
	gone, target := d.Others()[0].Name, d.Others()[1].Name
	c.KillAll(d.Primary, gone, target)
	c.Consul(http.MethodDelete, "/v1/kv/"+c.Prefix()+"sync", nil)
	emptyDir(t, d.Node(gone).Datadir)

	for _, n := range []string{d.Primary, gone, target} {
		c.Start(n)
	}
	const command = "autopilot-mysql failover --to NODE --force --accept-data-loss"
	waitFor(t, "the others to miss it", func() bool {
		return strings.Contains(operator(t, d, "failover", "--dry-run").err, "missing: "+gone+";")
	})
	says(t, d, 3, []string{"guard data-loss", "missing: " + gone, command}, "failover")
	waitFor(t, "the empty node to be no target", func() bool { // until its former session has ended it is one that says nothing
		s := operator(t, d, "failover", "--to", gone, "--force", "--accept-data-loss", "--yes")
		return s.code == 3 && strings.Contains(s.err, "guard target")
	})
	status := works(t, d, "status")
	require.Contains(t, status, "missing: "+gone)
	require.Contains(t, status, command)
	require.Contains(t, works(t, d, "failover", "--to", target, "--force", "--accept-data-loss", "--dry-run"), "only on "+gone)
	require.Empty(t, historyOf(t, d).Open)

	require.Contains(t, works(t, d, "failover", "--to", target, "--force", "--accept-data-loss", "--yes"), "is the primary of term")
	w.WaitAcks(20)
	c.WaitWhole(3)
	w.Verify(c)
	forced := 0
	for _, e := range historyOf(t, d).History {
		if e.Kind == "forced" {
			forced++
			require.Contains(t, e.Why, "only on "+gone)
		}
	}
	require.Equal(t, 1, forced)
	c.Down()
}

// emptyDir is a disk that was replaced.
func emptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, e := range entries {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
}
