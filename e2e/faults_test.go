package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// fault happens to a whole cluster of three under writers.
type fault struct {
	name   string
	inject func(t *testing.T, c *harness.Cluster, w *load.Writers)
}

func faults() []fault {
	return []fault{
		{"primary frozen and resumed", primaryFrozen},
		{"agent of the primary killed", processKilled(primary, harness.Agent)},
		{"agent of a standby killed", processKilled(standby, harness.Agent)},
		{"guard of the primary killed", processKilled(primary, harness.Guard)},
		{"mysqld of a standby killed", processKilled(standby, harness.MysqldPid)},
		{"both standbys killed", func(_ *testing.T, c *harness.Cluster, _ *load.Writers) { killTogether(c, c.WaitWhole(3).Others()) }},
		{"power cut of all nodes", func(_ *testing.T, c *harness.Cluster, _ *load.Writers) { killTogether(c, c.WaitWhole(3).Nodes) }},
		{"Consul killed and started again", func(t *testing.T, c *harness.Cluster, _ *load.Writers) {
			pid := c.ConsulPid()
			require.NotZero(t, pid, "the playground has a Consul")
			c.Signal(pid, syscall.SIGKILL)
			waitFor(t, "another Consul", func() bool { now := c.ConsulPid(); return now != 0 && now != pid })
		}},
	}
}

func primary(d harness.Document) harness.Node { return d.Node(d.Primary) }
func standby(d harness.Document) harness.Node { return d.Others()[0] }

// processKilled kills one process and waits until it is replaced.
func processKilled(who func(harness.Document) harness.Node, which func(harness.Pids) int) func(*testing.T, *harness.Cluster, *load.Writers) {
	return func(_ *testing.T, c *harness.Cluster, _ *load.Writers) {
		n := who(c.WaitWhole(3))
		c.Signal(which(n.Pids), syscall.SIGKILL)
		c.WaitRestarted(n, which)
	}
}

// killTogether kills whole nodes at the same time and waits until they are started again.
func killTogether(c *harness.Cluster, nodes []harness.Node) {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	c.KillAll(names...)
	for _, n := range nodes {
		c.WaitRestarted(n, harness.Guard)
	}
}

// TestFaults: each fault once, one after another on the same cluster.
func TestFaults(t *testing.T) { manyFaults(t, 1) }

func manyFaults(t *testing.T, rounds int) []string {
	var (
		c     *harness.Cluster
		lines []string
	)
	for i := range rounds {
		for _, f := range faults() {
			if c == nil { // the first, or the last one came to harm
				c = harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "1s"})
			}
			ok := t.Run(f.name, func(t *testing.T) {
				lines = append(lines, fmt.Sprintf("round %d, %s: %s", i+1, f.name, f.inflict(t, c.On(t))))
			})
			if !ok {
				c.Close()
				c = nil
			}
		}
	}
	return lines
}

// inflict runs the fault and demands that the cluster is whole again with everything acknowledged.
func (f fault) inflict(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	c.WaitWhole(3)
	w := load.Start(t, c)
	at := time.Now()
	f.inject(t, c, w)
	w.WaitAcksSince(time.Now(), 50)
	gap := w.Gap(at)
	c.WaitWhole(3)
	w.WaitAcks(20)
	v := w.Verify(c)
	return fmt.Sprintf("gap %v; %v", gap.Round(time.Millisecond), v)
}

// primaryFrozen stops the whole primary where it stands until another one is open and has acknowledged writes. When it
// goes on, a client that was in the middle of a write there must not be told anything that the new history lacks.
func primaryFrozen(t *testing.T, c *harness.Cluster, w *load.Writers) {
	before := c.WaitWhole(3)
	old := before.Node(before.Primary)
	stale, err := harness.Open(before, old.MySQL)
	require.NoError(t, err)
	defer stale.Close()
	ctx, cancel := context.WithTimeout(context.Background(), harness.FailoverLimit)
	defer cancel()
	conn, err := stale.Conn(ctx)
	require.NoError(t, err)
	defer conn.Close()

	at := time.Now()
	c.Freeze(old)
	written := make(chan struct{})
	go func() { // waits in the frozen server, and goes on writing when it moves again
		defer close(written)
		for id := int64(1); id < 1000; id++ {
			key := at.UnixNano() + id // nobody else's
			if _, err := conn.ExecContext(ctx, load.Insert(key)); err != nil {
				return
			}
			w.Note(load.Ack{ID: key, At: time.Now(), From: old.MySQL})
		}
	}()
	c.WaitNewPrimary(old.Name, before.Term)
	w.WaitAcksSince(at.Add(time.Second), 100)
	c.Resume(old)
	select {
	case <-written:
	case <-time.After(harness.FailoverLimit):
		require.Fail(t, "a client of the old primary still writes there, or waits for ever")
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waitWithin(t, harness.FailoverLimit, what, ok)
}

func waitWithin(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		require.Truef(t, time.Now().Before(deadline), "%s: not within %v", what, limit)
	}
}
