package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestConsulAgentsDieInTurn: a Consul server and two client agents that the nodes know. Whichever the nodes use dies, or
// hangs, for longer than the lease: the lock goes on at the other one, in the same term, and no write fails.
func TestConsulAgentsDieInTurn(t *testing.T) {
	server := harness.NewConsul(t, nil)
	one, two := harness.NewConsul(t, server), harness.NewConsul(t, server)
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, Consul: one.Addr, NodeArgs: []string{"--consul", two.Addr}})
	for _, step := range []struct {
		name string
		lose func()
		back func()
	}{
		{"the first is killed", one.Kill, one.Start},
		{"the second is killed", two.Kill, two.Start},
		{"the first hangs", one.Freeze, one.Thaw},
	} {
		t.Run(step.name, func(t *testing.T) {
			c := c.On(t)
			before := c.WaitWhole(3)
			w := load.StartPatient(t, c)
			lock := c.Via(server.Addr).Keys()["leader"]
			step.lose()
			waitFor(t, "the lock has moved", func() bool {
				now := c.Via(server.Addr).Keys()["leader"]
				require.NotEmpty(t, now.Session, "never free")
				require.Equal(t, lock.Value, now.Value)
				return now.Session != lock.Session
			})
			time.Sleep(2 * patientLease) // long enough for everything that would run out
			step.back()
			w.WaitAcksSince(time.Now(), 50)
			after := c.WaitWhole(3)
			require.Equal(t, before.Primary, after.Primary)
			require.Equal(t, before.Term, after.Term)
			require.Equal(t, before.Node(before.Primary).Pids, after.Node(after.Primary).Pids)
			require.Zero(t, w.Verify(c).Failures, "no write fails")
		})
	}
	if !t.Failed() {
		c.Down()
	}
}
