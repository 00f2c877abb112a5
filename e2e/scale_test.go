package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/s3server"
)

// clonedLine is what a node logs when its data came from a member and not from a snapshot.
const clonedLine = `"cloned a member"`

// TestScale: one node, killed and back; then 1→3→5→3 under writers. New nodes come out of the snapshot store, and from
// a living member once the snapshot no longer connects to the binary logs.
func TestScale(t *testing.T) {
	s3 := s3server.Start(t)
	c := harness.Up(t, harness.Options{Nodes: 1, RestartAfter: "1s", Store: s3server.URL(s3.Addr, "scale"), Env: s3server.Env()})
	d := c.WaitWhole(1)
	w := load.Start(t, c)

	// A single node that dies comes back with everything it has acknowledged.
	at := time.Now()
	only := d.Node(d.Primary)
	c.Kill(only.Name)
	c.WaitRestarted(only, harness.Guard)
	c.WaitWhole(1)
	w.WaitAcksSince(time.Now(), 50)
	t.Logf("a single node killed: gap %v", w.Gap(at))

	c.Wait("a snapshot", harness.ReadyLimit, func(d harness.Document) bool { return d.Snapshot.ID != "" })
	parts, bytes := 0, int64(0)
	grow := func(count, whole int) {
		t.Helper()
		c.Add(count)
		c.WaitWhole(whole)
		w.WaitAcks(50)
		p, b := s3.PartsRead()
		require.GreaterOrEqual(t, p-parts, count, "each new node has read a snapshot")
		require.Greater(t, b, bytes)
		t.Logf("%d new nodes read %d parts, %d bytes", count, p-parts, b-bytes)
		parts, bytes = p, b
	}
	grow(2, 3)
	grow(2, 5)
	for _, n := range c.Doc().Nodes {
		require.NotContains(t, c.Log(n.Name), clonedLine, "a usable snapshot was there")
	}

	// 5 → 3, one of those that acknowledge among those that go.
	var gone []string
	five := c.WaitWhole(5)
	for _, state := range []string{"standby", "replica"} {
		for _, n := range five.Nodes {
			if n.State == state && len(gone) < map[string]int{"standby": 1, "replica": 2}[state] {
				gone = append(gone, n.Name)
			}
		}
	}
	require.Len(t, gone, 2)
	for _, name := range gone {
		c.Stop(name)
	}
	shrunk := c.Wait("three of five nodes", harness.ReadyLimit, func(d harness.Document) bool {
		return d.Count("primary") == 1 && d.Count("standby") == 2
	})
	w.WaitAcks(50)

	// The snapshot no longer connects: what it lacks is in no binary log any more.
	purgeBinaryLogs(t, c, shrunk.Primary)
	before := len(c.Doc().Nodes)
	c.Add(1)
	after := c.Doc()
	require.Len(t, after.Nodes, before+1)
	fresh := after.Nodes[before]
	require.Contains(t, c.Log(fresh.Name), clonedLine, "no snapshot connects to the binary logs")
	p, _ := s3.PartsRead()
	require.Equal(t, parts, p, "a snapshot that cannot be used is not read")

	w.WaitAcks(50)
	for _, name := range gone {
		c.Start(name)
	}
	c.WaitWhole(6)
	w.Verify(c)
	c.Down()
}

// purgeBinaryLogs leaves the primary with nothing but its newest binary log.
func purgeBinaryLogs(t *testing.T, c *harness.Cluster, node string) {
	t.Helper()
	c.Root(node, "FLUSH BINARY LOGS")
	// Files that are still being sent are not purged.
	waitFor(t, "the binary logs purged", func() bool {
		name := strings.Fields(c.RootValue(node, "SELECT log_file FROM (SELECT CONCAT(SUBSTRING_INDEX(FILE_NAME, '/', -1)) AS log_file, "+
			"EVENT_NAME FROM performance_schema.file_instances WHERE EVENT_NAME = 'wait/io/file/sql/binlog' ORDER BY FILE_NAME DESC LIMIT 1) AS f"))[0]
		c.Root(node, "PURGE BINARY LOGS TO '"+name+"'")
		return c.RootValue(node, "SELECT @@GLOBAL.gtid_purged") != ""
	})
}
