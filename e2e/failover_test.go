package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestPrimaryKilled: the whole node dies under writers, several times in a row on the same cluster.
func TestPrimaryKilled(t *testing.T) { primaryKilled(t, 3) }

func primaryKilled(t *testing.T, rounds int) []string {
	c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "1s"})
	var lines []string
	for i := range rounds {
		w := load.Start(t, c)
		before := c.WaitWhole(3)
		old, at := before.Primary, time.Now()
		c.Kill(old)
		after := c.WaitNewPrimary(old, before.Term)
		w.WaitAcksSince(at, 50)
		d := c.WaitWhole(3)
		require.Equal(t, "standby", d.Node(old).State, "the old primary: %s", d.Line())
		w.WaitAcks(20)
		gap := w.Gap(at) // not before: writes acknowledged while the kill was under way do not end the outage
		v := w.Verify(c)
		lines = append(lines, fmt.Sprintf("round %d: %s killed, %s took over in term %d, gap %v; %v", i+1, old, after.Primary, after.Term,
			gap.Round(time.Millisecond), v))
		t.Log(lines[len(lines)-1])
	}
	c.Down()
	return lines
}

// TestReplicaLeavesTheElectionToTheAckers: two of three followers acknowledge, and they suffice. The third has no vote; it goes on
// as a replica and turns to whoever they elected.
func TestReplicaLeavesTheElectionToTheAckers(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 4, RestartAfter: "1s"})
	whole := func() harness.Document {
		return c.Wait("two standbys and a replica", harness.ReadyLimit, func(d harness.Document) bool {
			return d.Primary != "" && len(d.AckSet.Members) == 3 && d.Count("standby") == 2 && d.Count("replica") == 1
		})
	}
	const attempts = 5 // the ackers have a second, and a machine can pause for that long
	for i := range attempts {
		w := load.Start(t, c)
		before, replica := whole(), ""
		for _, n := range before.Nodes {
			if n.State == "replica" {
				replica = n.Name
			}
		}
		told, at := len(c.Log(replica)), time.Now()
		c.Kill(before.Primary)
		c.WaitNewPrimary(before.Primary, before.Term)
		w.WaitAcksSince(at, 50)
		whole()
		w.WaitAcks(20)
		w.Verify(c)
		stayed := !strings.Contains(c.Log(replica)[told:], `"to":"failover"`)
		t.Logf("attempt %d: %s went on as a replica: %t, gap %v", i+1, replica, stayed, w.Gap(at).Round(time.Millisecond))
		if stayed {
			c.Down()
			return
		}
	}
	require.Fail(t, "the replica took part in every election")
}

// atOnceLease is long enough that a hand-over which waits for it cannot be taken for one that does not; of longestLease, the
// longest there is, this is so on a machine that pauses.
const (
	atOnceLease  = 20 * time.Second
	longestLease = 30 * time.Second
)

// TestHandsOverAtOnce: with the agent alive nobody waits for the lease to run out. The lock of a holder that says
// nothing is free a lease after its last renewal, which is at most a third of it old.
func TestHandsOverAtOnce(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: longestLease, RestartAfter: "1s"})
	const tooLate = longestLease * 2 / 3

	t.Run("mysqld killed", func(t *testing.T) {
		c := c.On(t)
		w := load.Start(t, c)
		before := c.WaitWhole(3)
		at := time.Now()
		c.Signal(before.Node(before.Primary).Pids.Mysqld, syscall.SIGKILL)
		c.WaitNewPrimary(before.Primary, before.Term)
		require.Less(t, time.Since(at), tooLate, "the new term opened when the lease may have run out")
		w.WaitAcksSince(at, 50)
		t.Logf("gap %v with a lease of %v", w.Gap(at), longestLease)
		c.WaitWhole(3)
		w.Verify(c)
	})

	t.Run("primary stopped", func(t *testing.T) {
		c := c.On(t)
		w := load.Start(t, c)
		before := c.WaitWhole(3)
		at := time.Now()
		c.Stop(before.Primary)
		c.WaitNewPrimary(before.Primary, before.Term)
		w.WaitAcksSince(at, 50)
		require.Less(t, w.Gap(at), tooLate, "the new term opened when the lease may have run out")
		t.Logf("gap %v with a lease of %v", w.Gap(at), longestLease)
		c.Start(before.Primary)
		d := c.WaitWhole(3)
		require.Equal(t, "standby", d.Node(before.Primary).State)
		w.Verify(c)
	})
	if !t.Failed() {
		c.Down()
	}
}

// TestPrimaryKilledWhileItSends: the primary's server dies when its followers have received the beginning of a large
// transaction and not its end (trap 22). What they have begun to apply must not be in the way of anybody at the new primary.
func TestPrimaryKilledWhileItSends(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "1s"})
	const attempts = 5 // a kill may come a moment too late
	for i := range attempts {
		if killedWhileItSends(t, c, fmt.Sprint("large", i)) {
			c.Down()
			return
		}
	}
	require.Fail(t, "never was the winner in the middle of it")
}

// killedWhileItSends reports whether the winner had only a part of the transaction.
func killedWhileItSends(t *testing.T, c *harness.Cluster, table string) bool {
	w := load.Start(t, c)
	before := c.WaitWhole(3)
	old := before.Node(before.Primary)
	const write = "INSERT /*+ SET_VAR(cte_max_recursion_depth = 100000) */ INTO %s WITH RECURSIVE n AS " +
		"(SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i < 8000) SELECT i, REPEAT('x', 8000) FROM n" // 64 MB: long enough on its way
	c.Root(old.Name, fmt.Sprintf("CREATE TABLE %s.%s (i INT PRIMARY KEY, s TEXT)", before.Database, table))
	db, err := harness.Open(before, old.MySQL)
	require.NoError(t, err)
	defer db.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := db.Exec(fmt.Sprintf(write, table))
		sent <- err
	}()
	standby := before.Nodes[0].Name
	if standby == old.Name {
		standby = before.Nodes[1].Name
	}
	at := time.Now()
	for len(sent) == 0 && c.RootValue(standby, "SELECT COUNT(*) FROM performance_schema.data_locks WHERE OBJECT_NAME = '"+table+"'") == "0" {
		require.Less(t, time.Since(at), harness.FailoverLimit, "the large transaction does not arrive")
	}
	c.Signal(old.Pids.Mysqld, syscall.SIGKILL)
	err = <-sent
	after := c.WaitNewPrimary(old.Name, before.Term)
	w.WaitAcksSince(at, 50)
	met := err != nil && strings.Contains(c.Log(after.Primary), "its beginning is dropped") // it says so the first time it is
	if met {
		c.Root(after.Primary, "SET SESSION innodb_lock_wait_timeout = 1", fmt.Sprintf("INSERT INTO %s.%s VALUES (1, 'in the way')", before.Database, table))
	}
	c.WaitWhole(3)
	w.Verify(c)
	t.Logf("%s: the winner was in the middle of it: %t (%v)", table, met, err)
	return met
}
