// Package e2e tests the program as its users have it: the binary, real servers, real faults.
package e2e

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// TestSmoke is the shortest way through the product: a cluster starts, its primary is killed as a whole, another one
// takes over, the old one comes back, and nothing is left behind.
func TestSmoke(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease})
	d := c.WaitWhole(3)
	for _, n := range d.Nodes {
		require.NotZero(t, n.Pids.Guard)
		require.NotZero(t, n.Pids.Agent)
		require.NotZero(t, n.Pids.Mysqld)
		conn, err := net.DialTimeout("tcp", n.MySQL, 5*time.Second)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}

	out, err := c.Command(30*time.Second, "status", "--output", "json", "--consul", d.Consul, "--cluster", d.Cluster)
	require.NoError(t, err)
	var status harness.Document
	require.NoError(t, json.Unmarshal([]byte(out), &status), out)
	require.Equal(t, d.Primary, status.Primary)

	validate(t, c)
	c.Kill(d.Primary)
	validate(t, c)
	c.WaitNewPrimary(d.Primary, status.Term)
	validate(t, c)
	c.WaitWhole(3)
	validate(t, c)
	c.Down()
}
