package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// untended are a cluster's own servers, on their own data, with their own option files and arguments, and the same
// semi-synchronous replication between them, but nobody looks after them: no agent, no guard, no Consul.
type untended struct {
	*harness.Cluster
	t       require.TestingT
	primary harness.Node
	nodes   []harness.Node
	args    map[string][]string
	running *exec.Cmd // the leader of their session; nil: they do not run
}

// untendedOf learns how the servers of a running cluster are started.
func untendedOf(t require.TestingT, c *harness.Cluster, d harness.Document) *untended {
	u := &untended{Cluster: c, t: t, args: map[string][]string{}}
	u.keep(d)
	for _, n := range d.Nodes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n.Pids.Mysqld))
		require.NoError(t, err)
		u.args[n.Name] = strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	}
	return u
}

// keep notes who leads: that server's accounts and everybody's receivers are made for it.
func (u *untended) keep(d harness.Document) {
	u.nodes, u.primary = d.Nodes, d.Node(d.Primary)
}

// begin starts the servers, whose nodes are down and had nothing more to replicate, and returns when both followers
// acknowledge.
func (u *untended) begin() {
	u.running = u.launch()
	for _, n := range u.nodes {
		u.answers(n)
	}
	u.Root(u.primary.Name, "SET GLOBAL offline_mode=OFF", "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF", "SET GLOBAL event_scheduler=ON", sourceOn)
	for _, n := range u.nodes {
		if n.Name != u.primary.Name {
			u.Root(n.Name, "SET GLOBAL offline_mode=OFF", "SET GLOBAL rpl_semi_sync_replica_enabled=ON", "START REPLICA")
		}
	}
	u.until("both followers acknowledge", func() bool {
		return u.RootValue(u.primary.Name, "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME='Rpl_semi_sync_source_clients'") == "2"
	})
}

// launch starts all servers from one new session, as the playground's are: the kernel shares the CPUs out by session, and
// a server that has a session with the load for itself gets another share than three servers in one.
func (u *untended) launch() *exec.Cmd {
	var script strings.Builder
	for _, n := range u.nodes {
		// No argument has a quote in it: they are the playground's. A server that was killed may not have been reaped yet, and the
		// next one takes the lock of its socket for that of a living one.
		fmt.Fprintf(&script, "(cd '%s' && rm -f run/mysql.sock.lock && exec '%s') >'%s' 2>&1 &\n", n.Datadir, strings.Join(u.args[n.Name], "' '"), filepath.Join(u.Dir, n.Name+"-untended.log"))
	}
	c := exec.Command("sh", "-c", script.String()+"wait")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(u.t, c.Start())
	return c
}

func (u *untended) answers(n harness.Node) {
	db := u.RootDB(n.Name)
	defer db.Close()
	u.until(n.Name+" answers", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return db.PingContext(ctx) == nil
	})
}

// until waits, a minute at most.
func (u *untended) until(what string, ok func() bool) {
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		require.True(u.t, time.Now().Before(deadline), "not within a minute: "+what)
	}
}

// kill ends the servers at once, and returns when the last is gone.
func (u *untended) kill() {
	if u.running == nil {
		return
	}
	_ = syscall.Kill(-u.running.Process.Pid, syscall.SIGKILL)
	_ = u.running.Wait()
	u.running = nil
	u.until("the servers are gone", func() bool {
		for _, args := range u.Processes() {
			if strings.Contains(args, "--defaults-file="+u.Dir) {
				return false
			}
		}
		return true
	})
}

// end gives the servers back to the cluster, which starts them as after a power cut.
func (u *untended) end() {
	for _, n := range u.nodes {
		u.Start(n.Name)
	}
}

// settings are a server's global variables, without those that tell of its history.
func (u *untended) settings(node string) map[string]string {
	db := u.RootDB(node)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_variables WHERE VARIABLE_NAME NOT LIKE 'gtid\\_%ed'")
	require.NoError(u.t, err)
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var name, value string
		require.NoError(u.t, rows.Scan(&name, &value))
		all[name] = value
	}
	require.NoError(u.t, rows.Err())
	return all
}

// differences names the settings in which two servers differ.
func differences(a, b map[string]string) (out []string) {
	for name, v := range a {
		if b[name] != v {
			out = append(out, fmt.Sprintf("%s is %q with and %q without", name, v, b[name]))
		}
	}
	slices.Sort(out)
	return out
}

// alone stops the playground's own process, which looks at the nodes all the time and is no part of what is measured.
func alone(t testing.TB, c *harness.Cluster) (end func()) {
	t.Helper()
	var pids []int
	for pid, args := range c.Processes() {
		if words := strings.Fields(args); len(words) > 1 && words[1] == "playground" {
			pids = append(pids, pid)
			c.Signal(pid, syscall.SIGSTOP)
		}
	}
	require.NotEmpty(t, pids, "the playground's own process")
	return sync.OnceFunc(func() {
		for _, pid := range pids {
			c.Signal(pid, syscall.SIGCONT)
		}
	})
}
