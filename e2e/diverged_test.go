package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestOldPrimaryReturns: a primary that dies with a write that nobody else got comes back without a person, with what only
// it had kept: in the store, or, without one or while it is down, in its own directory.
func TestOldPrimaryReturns(t *testing.T) {
	t.Run("the store is down for a while", func(t *testing.T) {
		c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "0s"})
		store := filepath.Join(c.Dir, "store")
		require.NoError(t, os.Rename(store, store+".away"))
		require.NoError(t, os.WriteFile(store, []byte("no directory"), 0o600))
		old := divergeAndReturn(t, c)
		kept := filepath.Join(c.Dir, "nodes", old, "diverged")
		require.NotEmpty(t, logsBelow(t, kept), "kept while the store is down")
		status := c.Status()
		require.Contains(t, status, "is kept in "+kept)
		require.NoError(t, os.Remove(store))
		require.NoError(t, os.Rename(store+".away", store))
		waitFor(t, "the difference is archived in the store", func() bool {
			found, err := filepath.Glob(filepath.Join(store, "*", "archive", "*.json"))
			require.NoError(t, err)
			return len(found) == 1 && len(logsBelow(t, kept)) == 0
		})
		c.Down()
	})
	t.Run("no store", func(t *testing.T) {
		c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "0s", NodeArgs: []string{"--store="}})
		old := divergeAndReturn(t, c)
		kept := filepath.Join(c.Dir, "nodes", old, "diverged")
		require.NotEmpty(t, logsBelow(t, kept))
		require.Contains(t, c.Status(), "there is no store to archive it in")
		c.Down()
	})
}

// logsBelow are the logs that are kept below dir.
func logsBelow(t *testing.T, dir string) []string {
	found, err := filepath.Glob(filepath.Join(dir, "*", "binlog.*"))
	require.NoError(t, err)
	return found
}

// divergeAndReturn kills the primary with a write in its binary log that no standby got, lets another one take over, and
// brings it back. It returns its name when it is a standby again.
func divergeAndReturn(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	w := load.Start(t, c)
	for attempt := 1; ; attempt++ {
		before := c.WaitWhole(3)
		old := before.Node(before.Primary)
		uuid := c.RootValue(old.Name, "SELECT @@server_uuid")
		// Nobody is let in, and nobody stays: what is written now waits here for ever. The agent opens the accounts again within
		// a moment, and the receivers come back within a second, so this may have to be repeated.
		c.CutReceivers(old.Name)
		time.Sleep(50 * time.Millisecond) // the writers' commits of this moment
		c.KillNow(old)
		c.WaitNewPrimary(old.Name, before.Term)
		w.WaitAcksSince(time.Now(), 50)
		c.Start(old.Name)
		d := c.WaitWhole(3)
		require.Equal(t, "standby", d.Node(old.Name).State, d.Line())
		if strings.Contains(c.Log(old.Name), `"msg":"kept the difference"`) {
			require.NotEqual(t, uuid, c.RootValue(old.Name, "SELECT @@server_uuid"), "it is a new incarnation")
			w.WaitAcks(20)
			w.Verify(c)
			return old.Name
		}
		require.Less(t, attempt, 5, "every write reached a standby in time, five times in a row")
	}
}

// TestErrantWrite: somebody with SUPER writes on a standby. It is found while it follows, and by default archived and
// rebuilt; with errant=report it is left alone, out of the ack set, until somebody settles it.
func TestErrantWrite(t *testing.T) {
	write := func(c *harness.Cluster, node string) {
		waitFor(t, "the write to come through before the node is closed again", func() bool {
			return c.TryRoot(node, "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF", "CREATE DATABASE oops") == nil
		})
	}
	t.Run("rebuild", func(t *testing.T) {
		c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, RestartAfter: "1s"})
		w := load.Start(t, c)
		before := c.WaitWhole(3)
		node := before.Others()[0].Name
		uuid := c.RootValue(node, "SELECT @@server_uuid")
		write(c, node)
		c.WaitRestarted(before.Node(node), harness.MysqldPid)
		waitFor(t, "the errant write is found and archived", func() bool {
			log := c.Log(node)
			return strings.Contains(log, "this node holds transactions that its primary lacks") && strings.Contains(log, `"msg":"archived the difference"`)
		})
		c.Wait("it is a standby again", harness.ReadyLimit, func(d harness.Document) bool { return d.Whole(3) && d.Term == before.Term })
		require.NotEqual(t, uuid, c.RootValue(node, "SELECT @@server_uuid"))
		require.Equal(t, "0", c.RootValue(node, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'oops'"))
		w.Verify(c)
		c.Down()
	})
	t.Run("report", func(t *testing.T) {
		c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, RestartAfter: "1s", NodeArgs: []string{"--errant", "report"}})
		before := c.WaitWhole(3)
		node := before.Others()[0].Name
		uuid := c.RootValue(node, "SELECT @@server_uuid")
		write(c, node)
		d := c.Wait("it left the ack set", harness.FailoverLimit, func(d harness.Document) bool {
			return len(d.AckSet.Members) == 2 && d.Node(node).State == "replica"
		})
		require.NotContains(t, d.AckSet.Members, node)
		waitFor(t, "the status to say what to do", func() bool { return strings.Contains(c.Status(), "autopilot-mysql rebuild "+node) })
		waitFor(t, node+" to be closed again", func() bool { return c.RootValue(node, "SELECT @@super_read_only") == "1" })

		// As an operator settles it: the primary gets an empty transaction of that name.
		held := c.RootValue(node, "SELECT @@gtid_executed") // first: the primary goes on
		errant := c.RootValue(before.Primary, fmt.Sprintf("SELECT GTID_SUBTRACT('%s', @@gtid_executed)", held))
		require.True(t, strings.HasPrefix(errant, uuid+":"), errant)
		c.Root(before.Primary, "SET GTID_NEXT='"+errant+"'", "BEGIN", "COMMIT", "SET GTID_NEXT='AUTOMATIC'")
		d = c.WaitWhole(3)
		require.Equal(t, "standby", d.Node(node).State)
		require.Equal(t, uuid, c.RootValue(node, "SELECT @@server_uuid"), "it was not rebuilt")
		c.Down()
	})
}
