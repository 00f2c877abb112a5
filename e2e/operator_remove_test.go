package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// orderTime bounds a playground command whose outcome does not matter.
const orderTime = 2 * time.Minute

func removeOrder(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	dead, living := d.Others()[0], d.Others()[1]
	accounts := func() int {
		n, err := strconv.Atoi(c.RootValue(d.Primary, "SELECT COUNT(*) FROM mysql.user WHERE User REGEXP '^repl_[0-9a-f]{8}$'"))
		require.NoError(t, err)
		return n
	}
	before := accounts() // one for each node that has ever followed
	require.GreaterOrEqual(t, before, 2)
	w := load.Start(t, c)
	c.Stop(dead.Name)
	c.Wait(dead.Name+" is down", harness.FailoverLimit, func(d harness.Document) bool { return d.Node(dead.Name).State == "down" })
	out := 0
	for _, s := range sameMoment(t, d, 2, "remove", dead.Name) { // two operators
		switch {
		case s.code == 0 && strings.Contains(s.out, "out of the cluster"):
			out++
		case s.code == 2: // the other was done already
			require.Contains(t, s.err, "no node "+dead.Name)
		default:
			refusedOrder(t, s, "another-request")
		}
	}
	require.Equal(t, 1, out)
	require.Equal(t, before-1, accounts())
	require.NotContains(t, works(t, d, "status", "--output", "json"), `"name": "`+dead.Name+`"`, "no record of it is left")
	w.WaitAcks(20)

	// The same data never joins again; an empty directory may.
	_, _ = c.Command(orderTime, "playground", "start", dead.Name, "--dir", c.Dir)
	waitFor(t, "the removed node to end", func() bool {
		return strings.Contains(c.Log(dead.Name), "an operator removed it from cluster "+d.Cluster)
	})
	_, _ = c.Command(orderTime, "playground", "stop", dead.Name, "--dir", c.Dir)
	entries, err := os.ReadDir(filepath.Join(dead.Datadir, "data"))
	require.NoError(t, err)
	require.NotEmpty(t, entries, "its data is left as it is")

	says(t, d, 3, []string{"guard node-lives"}, "remove", living.Name)
	id := killedTerminal(t, d, "remove", living.Name, "--force")
	require.Contains(t, works(t, d, "history", "--request", id), "out of the cluster")
	c.Wait("a primary alone", harness.FailoverLimit, func(d harness.Document) bool { return len(d.AckSet.Members) == 1 && d.AckSet.Acks == 0 })
	waitFor(t, "the living node to end", func() bool {
		return strings.Contains(c.Log(living.Name), "an operator removed it from cluster "+d.Cluster)
	})
	_, _ = c.Command(orderTime, "playground", "stop", living.Name, "--dir", c.Dir)
	require.Equal(t, before-2, accounts())
	w.WaitAcks(20)
	w.Stop()
}
