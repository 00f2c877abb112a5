package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// TestTwoClustersOfOneService: a second cluster under another name and the same service names would take the first one's
// writes, so it is never created. Where it happens all the same, the status says so.
func TestTwoClustersOfOneService(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 1, Lease: atOnceLease}) // as long does an entry in the catalog count
	d := c.Wait("a primary", harness.ReadyLimit, func(d harness.Document) bool { return d.Primary != "" })
	waitFor(t, "the first cluster to be found", func() bool { return len(consulServices(t, d, "mysql-primary")) == 1 })
	n := newNode(t)
	n.args["--consul"], n.args["--cluster"], n.args["--service"] = d.Consul, "other", "mysql"
	ctx, cancel := context.WithTimeout(context.Background(), refusalLimit)
	defer cancel()
	out, err := n.command(ctx, harness.Binary(t)).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.Equal(t, 3, exit.ExitCode(), "%s", out)
	last := harness.Tail(string(out), 1)
	for _, words := range []string{"service mysql-primary", d.Primary, `cluster "` + d.Cluster + `"`, "--service"} {
		require.Contains(t, last, words)
	}
	require.NoDirExists(t, filepath.Join(n.args["--datadir"], "data"))
	waitFor(t, "the first cluster alone in the catalog", func() bool { return slices.Equal([]string{d.Primary}, consulServices(t, d, "mysql-primary")) })
	require.NotContains(t, string(c.Consul(http.MethodGet, "/v1/kv/mysql/other/?keys", nil)), "cluster", "it was not created")

	c.Consul(http.MethodPut, "/v1/agent/service/register", []byte(`{"ID": "stranger", "Name": "mysql-primary", "Address": "127.0.0.1", "Port": 1}`))
	waitFor(t, "the status to name the stranger", func() bool {
		s := c.Status()
		return strings.Contains(s, "service mysql-primary in Consul also leads to stranger at 127.0.0.1:1") && strings.Contains(s, "--service")
	})
	c.Consul(http.MethodPut, "/v1/agent/service/deregister/stranger", nil)
	waitFor(t, "the status to forget it", func() bool { return !strings.Contains(c.Status(), "stranger") })
	c.Down()
}
