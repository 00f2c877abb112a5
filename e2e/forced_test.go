package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// TestForcedFailover: the only nodes that hold acknowledged writes are gone. Nothing is done without the operator's word,
// what is lost is named first, and whoever comes back with the lost writes is rebuilt, its difference archived.
func TestForcedFailover(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, RestartAfter: "0s"})
	d := c.WaitWhole(3)
	old, acker, target := d.Node(d.Primary), d.Others()[0], d.Others()[1]
	c.Root(old.Name, "CREATE TABLE "+d.Database+".told (id INT PRIMARY KEY)", "INSERT INTO "+d.Database+".told VALUES (1)")
	c.WaitSame()

	lost := dieWithWrites(t, c, old, acker, target)
	c.Wait("nobody leads", harness.FailoverLimit, func(d harness.Document) bool { return d.Primary == "" })
	waitFor(t, target.Name+" to have said what it holds", func() bool {
		s := operator(t, d, "failover", "--to", target.Name, "--force", "--accept-data-loss", "--dry-run")
		return s.code == 0 && strings.Contains(s.out, "this is lost")
	})

	waitFor(t, "the sessions of the dead to end", func() bool {
		return strings.Contains(operator(t, d, "failover", "--dry-run").err, "guard data-loss")
	})
	says(t, d, 3, []string{"guard data-loss", acker.Name, "--force --accept-data-loss"}, "failover")
	says(t, d, 3, []string{"guard data-loss", "failover --to " + target.Name + " --force --accept-data-loss"}, "failover", "--to", target.Name)
	says(t, d, 3, []string{"guard not-confirmed", "this is lost", "--yes"}, "failover", "--to", target.Name, "--force", "--accept-data-loss")
	says(t, d, 3, []string{"guard node-down"}, "failover", "--to", acker.Name, "--force", "--accept-data-loss", "--yes")
	status := works(t, d, "status")
	require.Contains(t, status, "failover --to NODE --force --accept-data-loss")
	require.Empty(t, historyOf(t, d).Open)

	lost.confirmed(t, c, d)
	d = c.Wait(target.Name+" leads", harness.FailoverLimit, func(d harness.Document) bool { return d.Primary == target.Name })
	require.Equal(t, "1", c.RootValue(target.Name, "SELECT GROUP_CONCAT(id) FROM "+d.Database+".told"))
	c.Root(target.Name, "INSERT INTO "+d.Database+".told VALUES (3)")
	forced := 0
	for _, e := range historyOf(t, d).History {
		if e.Kind == "forced" {
			forced++
			lost.named(t, c, e.Why)
		}
	}
	require.Equal(t, 1, forced, "the history names what was given up, once")

	c.Start(old.Name)
	c.Start(acker.Name)
	d = c.WaitWhole(3)
	require.Equal(t, target.Name, d.Primary)
	c.WaitSame()
	for _, n := range d.Nodes {
		require.Equal(t, "1,3", c.RootValue(n.Name, "SELECT GROUP_CONCAT(id ORDER BY id) FROM "+d.Database+".told"), n.Name)
	}
	waitFor(t, "the difference to be archived", func() bool { return strings.Contains(c.Log(old.Name), "archived the difference") })
	c.Down()
}
