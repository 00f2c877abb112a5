package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestTwoNodesOfOneName: a second data directory under the name of a living node is refused with one line and status 3,
// and the living one notices nothing.
func TestTwoNodesOfOneName(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease})
	d := c.WaitWhole(3)
	for _, n := range []harness.Node{primary(d), standby(d)} {
		t.Run(n.State, func(t *testing.T) {
			c := c.On(t)
			before, record := c.WaitWhole(3), c.Record(n.Name)
			w := load.StartPatient(t, c)
			dir, err := os.MkdirTemp("", "twin")
			require.NoError(t, err)
			defer os.RemoveAll(dir)
			code, said := twin(t, c, n.Name, dir)
			require.Equal(t, 3, code, said)
			last := harness.Tail(said, 1)
			require.Contains(t, last, "node "+n.Name)
			require.Contains(t, last, "is alive under this name")
			require.Contains(t, last, n.MySQL, "it says where the other one is")
			_, err = os.Stat(filepath.Join(dir, "data"))
			require.ErrorIs(t, err, os.ErrNotExist, "nothing was restored")

			after := c.WaitWhole(3)
			require.Equal(t, before.Term, after.Term)
			require.Equal(t, before.Node(n.Name).Pids, after.Node(n.Name).Pids)
			require.Equal(t, record.Session, c.Record(n.Name).Session, "its session was not touched")
			require.Zero(t, w.Verify(c).Failures)
		})
	}
	if !t.Failed() {
		c.Down()
	}
}

// twin starts a node of that name with another data directory, and returns how it ended and what it said.
func twin(t *testing.T, c *harness.Cluster, name, dir string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.FailoverLimit)
	defer cancel()
	ports := harness.FreePorts(t, 2)
	d := c.Doc()
	args := []string{"run", "--name", name, "--cluster", d.Cluster, "--consul", d.Consul, "--datadir", dir, "--mysqld", harness.Mysqld(t), "--small",
		"--port", fmt.Sprint(ports[0]), "--http", fmt.Sprintf("127.0.0.1:%d", ports[1]), "--bind", "127.0.0.1", "--advertise", "127.0.0.1"}
	if os.Geteuid() == 0 {
		args = append(args, "--run-as", "root")
	}
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Env = append(os.Environ(), "MYSQL_REPL_PASSWORD="+c.ReplPassword())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	_ = cmd.Run()
	t.Logf("ended after %v: %s", time.Since(began), harness.Tail(out.String(), 3))
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(out.String())
}
