package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// patientLease lets a new agent start in time, and outlasts a pause, on a machine that does other things as well.
const patientLease = 20 * time.Second

// TestAgentRestarted: an agent that dies, or is replaced by a newer version, is followed by one that goes on with the
// running mysqld: not one write fails, no term ends, no receiver is restarted.
func TestAgentRestarted(t *testing.T) { agentRestarted(t, 3) }

func agentRestarted(t *testing.T, rounds int) []string {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease})
	var lines []string
	for i := range rounds {
		t.Run(fmt.Sprintf("of the primary, round %d", i+1), func(t *testing.T) {
			lines = append(lines, restartAgent(t, c.On(t), primary))
		})
		t.Run(fmt.Sprintf("of a standby, round %d", i+1), func(t *testing.T) {
			lines = append(lines, restartAgent(t, c.On(t), standby))
		})
	}
	if !t.Failed() {
		c.Down()
	}
	return lines
}

func restartAgent(t *testing.T, c *harness.Cluster, who func(harness.Document) harness.Node) string {
	before := c.WaitWhole(3)
	n := who(before)
	was := c.Record(n.Name)
	w := load.StartPatient(t, c)
	at := time.Now()
	c.Signal(n.Pids.Agent, syscall.SIGKILL)
	c.WaitRestarted(n, harness.Agent)
	w.WaitAcksSince(time.Now(), 50)
	after := c.WaitWhole(3)
	now := after.Node(n.Name)
	require.Equal(t, before.Primary, after.Primary)
	require.Equal(t, before.Term, after.Term, "no new term")
	require.Equal(t, n.Pids.Mysqld, now.Pids.Mysqld, "mysqld goes on")
	require.Equal(t, n.Pids.Guard, now.Pids.Guard)
	require.Equal(t, n.State, now.State)
	if n.State != "primary" {
		var is harness.Record
		waitFor(t, "the record of "+n.Name, func() bool { is = c.Record(n.Name); return is.Receiver != "" })
		require.Equal(t, was.Receiver, is.Receiver, "the receiver was not restarted")
	}
	gap := w.Gap(at)
	v := w.Verify(c)
	require.Zero(t, v.Failures, "no write fails")
	return fmt.Sprintf("agent of %s (%s) killed: gap %v; %v", n.Name, n.State, gap.Round(time.Millisecond), v)
}
