package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// pausedThroughout: with a pause nobody takes over, whatever is restarted; what was acknowledged is there after resume.
func pausedThroughout(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	w := load.Start(t, c)
	w.WaitAcks(20)
	require.Contains(t, works(t, d, "pause", "--reason", "moving the rack"), "autopilot-mysql resume")
	require.Contains(t, works(t, d, "pause"), "paused already, by tester@")
	says(t, d, 3, []string{"guard paused", "moving the rack", "autopilot-mysql resume"}, "switchover")
	for _, n := range d.Others() {
		c.Signal(n.Pids.Agent, syscall.SIGKILL)
		c.WaitRestarted(n, harness.Agent)
	}
	w.WaitAcks(20)
	c.Wait("the standbys to follow again", harness.FailoverLimit, func(d harness.Document) bool { return d.AckSet.Acks == 1 && d.Count("standby") == 2 })
	old := pausedRestart(t, c, w, d)
	// The fences stay: a primary whose agent is stopped is killed by its guard when the lease is over, and nobody takes over.
	c.Signal(old.Pids.Agent, syscall.SIGSTOP)
	waitFor(t, "the guard kills the primary's mysqld", func() bool { return dead(old.Pids.Mysqld) })
	require.Equal(t, d.Term, c.Doc().Term)
	c.Kill(old.Name)
	c.Wait("no primary", harness.FailoverLimit, func(d harness.Document) bool { return d.Primary == "" })
	c.WaitRestarted(old, harness.Guard)                             // it could win at once
	waitFor(t, "the dead primary's lease to run out", func() bool { // in Consul it is the primary until then
		return !strings.Contains(operator(t, d, "failover", "--dry-run").err, "guard primary-lives")
	})
	says(t, d, 3, []string{"guard paused"}, "failover")
	for _, n := range d.Nodes { // no new agent takes over either, nor the former primary's takes back
		is := c.Wait("an agent at "+n.Name, harness.FailoverLimit, func(d harness.Document) bool { return d.Node(n.Name).Pids.Agent != 0 }).Node(n.Name)
		c.Signal(is.Pids.Agent, syscall.SIGKILL)
		c.WaitRestarted(is, harness.Agent)
	}
	// The sleep of three leases: nothing must happen in it.
	for deadline := time.Now().Add(3 * operatorLease); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		now := c.Doc()
		require.Empty(t, now.Primary, now.Line())
		require.Equal(t, d.Term, now.Term, now.Line())
	}
	status := works(t, d, "status")
	require.Contains(t, status, "paused by tester@")
	require.Contains(t, status, "moving the rack")
	require.Contains(t, status, "autopilot-mysql resume")

	works(t, d, "resume")
	c.Wait("a primary", harness.FailoverLimit, func(d harness.Document) bool { return d.Primary != "" })
	w.WaitAcks(20)
	c.WaitWhole(3)
	w.Verify(c)
	h := historyOf(t, d)
	last := h.History[len(h.History)-1]
	for i := len(h.History) - 1; i >= 0; i-- {
		if h.History[i].Kind == "promotion" {
			last = h.History[i]
			break
		}
	}
	require.Greater(t, last.Term, d.Term)
	for _, phase := range []string{"seal_ms", "elect_ms", "drain_ms", "promote_ms", "open_ms"} {
		require.GreaterOrEqual(t, last.Phases[phase], 0.0, "%s of %v", phase, last.Phases)
	}
}

// pausedRestart kills the primary's agent under a pause: the next one goes on with the open term, and takes the pause over.
// It returns the primary with its new agent.
func pausedRestart(t *testing.T, c *harness.Cluster, w *load.Writers, before harness.Document) harness.Node {
	t.Helper()
	old := before.Node(before.Primary)
	seen := len(historyOf(t, before).History)
	c.Signal(old.Pids.Agent, syscall.SIGKILL)
	c.WaitRestarted(old, harness.Agent)
	w.WaitAcksSince(time.Now(), 50)
	now := c.WaitWhole(3)
	is := now.Node(old.Name)
	require.Equal(t, before.Primary, now.Primary)
	require.Equal(t, before.Term, now.Term, "nobody has begun a term")
	require.Equal(t, []int{old.Pids.Guard, old.Pids.Mysqld}, []int{is.Pids.Guard, is.Pids.Mysqld}, "its mysqld went on")
	require.NotEqual(t, old.Pids.Agent, is.Pids.Agent)
	for _, e := range historyOf(t, before).History[seen:] {
		require.False(t, slices.Contains([]string{"promotion", "step-down", "lost", "take-back", "waiting"}, e.Kind), "%s: %s", e.Kind, e.Why)
	}
	require.Contains(t, works(t, before, "status"), "paused by tester@")
	says(t, before, 3, []string{"guard paused", "autopilot-mysql resume"}, "switchover")
	return is
}
