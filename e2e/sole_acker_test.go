package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// soleAckerLease is long, so that the standby is back before the primary would go on alone: what was acknowledged is then
// on that standby only, in the relay log it had when it went away.
const soleAckerLease = 20 * time.Second

// TestSoleAcker: the only standby that acknowledges is restarted, in order or by SIGKILL, and as soon as its server runs
// again the primary dies for good. Nothing that was acknowledged is lost.
func TestSoleAcker(t *testing.T) { soleAckers(t, 1) }

func soleAckers(t *testing.T, rounds int) []string {
	var lines []string
	for i := range rounds {
		for _, nodes := range []int{2, 3} {
			for _, graceful := range []bool{false, true} {
				name := fmt.Sprintf("%d nodes, %s", nodes, map[bool]string{false: "killed", true: "stopped"}[graceful])
				t.Run(name, func(t *testing.T) {
					lines = append(lines, fmt.Sprintf("round %d, %s: %s", i+1, name, soleAcker(t, nodes, graceful)))
				})
			}
		}
	}
	return lines
}

// soleAcker uses a cluster of its own: its primary never comes back. Of three nodes one is down from the beginning.
func soleAcker(t *testing.T, nodes int, graceful bool) string {
	c := harness.Up(t, harness.Options{Nodes: nodes, Lease: soleAckerLease, RestartAfter: "0"})
	w := load.Start(t, c)
	if nodes == 3 {
		c.Stop(standby(c.WaitWhole(3)).Name)
	}
	before := c.Wait("one standby that acknowledges", harness.ReadyLimit, func(d harness.Document) bool {
		return d.Primary != "" && len(d.AckSet.Members) == 2 && d.AckSet.Acks == 1 && d.Count("standby") == 1
	})
	sole := only(t, before)
	w.WaitAcks(50)
	if graceful {
		c.Stop(sole.Name)
	} else { // it has received much that it has not executed
		c.Hold(sole.Name, "LOCK TABLES `"+before.Database+"`.`"+load.Table+"` READ")
		w.WaitAcks(200)
		c.Kill(sole.Name)
	}
	acked := len(w.Acks())
	c.Start(sole.Name)
	c.WaitRestarted(sole, harness.MysqldPid)
	at := time.Now()
	c.Kill(before.Primary)
	for try := 1; !acknowledges(t, c, sole.Name); try++ { // the machine was slow and the primary went on alone: it may die when it is not alone any more
		require.Less(t, try, 5, "it goes on alone again and again")
		c.Start(before.Primary)
		c.Wait("the standby acknowledges again", harness.ReadyLimit, func(d harness.Document) bool { return d.Primary == before.Primary && d.AckSet.Acks == 1 })
		at = time.Now()
		c.Kill(before.Primary)
	}
	after := c.WaitNewPrimary(before.Primary, before.Term)
	require.Equal(t, sole.Name, after.Primary)
	w.WaitAcksSince(at.Add(time.Second), 50)
	v := w.Verify(c)
	c.Down()
	return fmt.Sprintf("%s restarted after %d acknowledged writes and took over in term %d; %v", sole.Name, acked, after.Term, v)
}

// acknowledges reports whether the record of who holds every acknowledged write names the node. Nobody must be alive who
// could change it.
func acknowledges(t *testing.T, c *harness.Cluster, node string) bool {
	t.Helper()
	var record struct{ Members []string }
	require.NoError(t, json.Unmarshal(c.Keys()["sync"].Value, &record))
	return slices.ContainsFunc(record.Members, func(inc string) bool { return strings.HasPrefix(inc, node+"~") })
}

// only is the one standby.
func only(t *testing.T, d harness.Document) harness.Node {
	t.Helper()
	for _, n := range d.Nodes {
		if n.State == "standby" {
			return n
		}
	}
	require.Fail(t, "no standby", d.Line())
	return harness.Node{}
}
