package bench

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// turn is how long a rate is measured at a time. Agents are stopped for that long: less than what a lease of 3 s, renewed
	// every half a second, has left, so that nobody notices.
	turn = 1500 * time.Millisecond
	// renewed is how long it takes until nobody has anything to make up for any more.
	renewed = time.Second
)

// inTurns measures rates in pairs, moments apart, at the very same servers under the very same clients: once with agents
// and guards running, once with all of them stopped. What is left then is semi-synchronous replication by itself. count is
// what the rates are of. It demands that nobody was deposed for it.
func inTurns(t testing.TB, c *harness.Cluster, pairs int, count func() []float64, note func(with, without []float64)) {
	t.Helper()
	nodes, before := c.Doc().Nodes, c.Keys()["leader"].Index
	rates := func() (all []float64) {
		was, began := count(), time.Now()
		time.Sleep(turn) // what is measured
		now, took := count(), time.Since(began).Seconds()
		for i, v := range now {
			all = append(all, (v-was[i])/took)
		}
		return all
	}
	for i := range pairs {
		var a, b []float64
		stopped := func() { unwatched(c, nodes, func() { b = rates() }) }
		if i%2 == 0 {
			a = rates()
			stopped()
		} else {
			stopped()
			a = rates()
		}
		note(a, b)
	}
	require.Equal(t, before, c.Keys()["leader"].Index, "stopping the agents has changed who leads, or in which term")
}

// unwatched does something while agents and guards are stopped: for less than a lease.
func unwatched(c *harness.Cluster, nodes []harness.Node, do func()) {
	for _, n := range nodes {
		c.Signal(n.Pids.Guard, syscall.SIGSTOP)
	}
	for _, n := range nodes {
		c.Signal(n.Pids.Agent, syscall.SIGSTOP)
	}
	do()
	for _, n := range nodes {
		c.Signal(n.Pids.Agent, syscall.SIGCONT)
	}
	for _, n := range nodes {
		c.Signal(n.Pids.Guard, syscall.SIGCONT)
	}
	time.Sleep(renewed) // leases are renewed
}
