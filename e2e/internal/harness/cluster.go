package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Limits are generous: two cores run up to six servers, and nothing here measures speed.
const (
	ReadyLimit    = 6 * time.Minute
	FailoverLimit = 90 * time.Second
	DownLimit     = 4 * time.Minute
	orderLimit    = 2 * time.Minute
)

// Options of a playground; zero values are its defaults.
type Options struct {
	Nodes        int
	Lease        time.Duration
	RestartAfter string // a duration; "" is the default
	Store        string
	Mysqld       string
	Consul       string // address of one that is there; "" has the playground start one
	Env          []string
	NodeArgs     []string // for every node's run
	MysqldArgs   []string // for every node's mysqld
}

// Cluster is a running playground. It is used by one goroutine.
type Cluster struct {
	Dir    string
	t      testing.TB
	bin    string
	env    []string
	via    string // the Consul asked by Consul and Keys; "" is the playground's
	closed *sync.Once
}

// Up starts a playground and returns when it is ready. However the test ends, it is taken down; after a failure the
// files stay and the ends of the logs are shown.
func Up(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := New(t, o.Env)
	require.NoError(t, c.Begin(o))
	return c
}

// New prepares a playground that is not started yet; Begin starts it.
func New(t testing.TB, env []string) *Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e") // t.TempDir is too long for a unix socket
	require.NoError(t, err)
	c := &Cluster{Dir: dir, t: t, bin: Binary(t), env: env, closed: &sync.Once{}}
	t.Cleanup(c.Close)
	return c
}

// Begin is `playground up`. It fails no test, so it may run beside one.
func (c *Cluster) Begin(o Options) error {
	args := []string{"playground", "up", "--detach", "--dir", c.Dir, "--timeout", ReadyLimit.String()}
	for flag, value := range map[string]string{"--store": o.Store, "--mysqld": o.Mysqld, "--consul": o.Consul, "--restart-after": o.RestartAfter} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	if o.Nodes != 0 {
		args = append(args, "--nodes", strconv.Itoa(o.Nodes))
	}
	if o.Lease != 0 {
		args = append(args, "--lease", o.Lease.String())
	}
	// Tests let a cluster fail over far more often than anybody wants; what holds that back has tests of its own.
	args = append(append(args, "--", "--cooldown", "0s", "--failovers-per-hour", "0"), o.NodeArgs...)
	if len(o.MysqldArgs) > 0 {
		args = append(append(args, "--"), o.MysqldArgs...)
	}
	_, err := Run(ReadyLimit+30*time.Second, c.env, c.bin, args...)
	return err
}

// On is the same cluster for another (sub)test.
func (c *Cluster) On(t testing.TB) *Cluster {
	other := *c
	other.t = t
	return &other
}

// Command runs one of the program's commands.
func (c *Cluster) Command(limit time.Duration, args ...string) (string, error) {
	return Run(limit, c.env, c.bin, args...)
}

func (c *Cluster) order(args ...string) {
	c.t.Helper()
	_, err := c.Command(orderLimit, append(append([]string{"playground"}, args...), "--dir", c.Dir)...)
	require.NoError(c.t, err)
}

// Kill ends a whole node as a power cut would.
func (c *Cluster) Kill(node string) { c.t.Helper(); c.order("kill", node) }

// Stop ends a node gracefully; it stays down.
func (c *Cluster) Stop(node string) { c.t.Helper(); c.order("stop", node) }

// Start starts a node that is down.
func (c *Cluster) Start(node string) { c.t.Helper(); c.order("start", node) }

// Add starts fresh nodes and returns when they follow.
func (c *Cluster) Add(count int) {
	c.t.Helper()
	_, err := c.Command(ReadyLimit+time.Minute, "playground", "add", strconv.Itoa(count), "--timeout", ReadyLimit.String(), "--dir", c.Dir)
	require.NoError(c.t, err)
}

// KillAll kills several nodes at the same time.
func (c *Cluster) KillAll(nodes ...string) {
	c.t.Helper()
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			_, err := c.Command(orderLimit, "playground", "kill", n, "--dir", c.Dir)
			errs <- err
		}()
	}
	for range nodes {
		require.NoError(c.t, <-errs)
	}
}

// Doc reads playground.json.
func (c *Cluster) Doc() Document {
	c.t.Helper()
	d, err := c.read()
	require.NoError(c.t, err)
	return d
}

func (c *Cluster) read() (Document, error) {
	var d Document
	b, err := os.ReadFile(filepath.Join(c.Dir, "playground.json"))
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}

// Wait waits until playground.json shows what is wanted.
func (c *Cluster) Wait(what string, limit time.Duration, ok func(Document) bool) Document {
	c.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		d := c.Doc()
		if ok(d) {
			return d
		}
		require.Truef(c.t, time.Now().Before(deadline), "%s: not within %v; now: %s", what, limit, d.Line())
	}
}

// WaitWhole waits until count nodes are one cluster, all healthy.
func (c *Cluster) WaitWhole(count int) Document {
	c.t.Helper()
	return c.Wait(fmt.Sprintf("a whole cluster of %d", count), ReadyLimit, func(d Document) bool { return d.Whole(count) })
}

// Led waits until the document names one primary, with all its processes. A single look is not enough for an order: a node
// that is late with one answer is shown as down for a moment.
func (c *Cluster) Led() Document {
	c.t.Helper()
	return c.Wait("one primary", ReadyLimit, func(d Document) bool {
		p := d.Node(d.Primary)
		return d.Primary != "" && d.Term != 0 && p.State == "primary" && p.Pids.Guard != 0 && p.Pids.Agent != 0 && p.Pids.Mysqld != 0
	})
}

// Remains waits until the document shows the same term and primary as before.
func (c *Cluster) Remains(before Document) Document {
	c.t.Helper()
	d := c.Wait("a primary to be shown", FailoverLimit, func(d Document) bool { return d.Primary != "" && d.Term != 0 })
	require.Equal(c.t, before.Term, d.Term, "another term: %s", d.Line())
	require.Equal(c.t, before.Primary, d.Primary, d.Line())
	return d
}

// WaitNewPrimary waits until another node than old is primary, in a later term.
func (c *Cluster) WaitNewPrimary(old string, term uint64) Document {
	c.t.Helper()
	return c.Wait("another primary than "+old, FailoverLimit, func(d Document) bool {
		return d.Primary != "" && d.Primary != old && d.Term > term
	})
}

// WaitRestarted waits until a process of the node has been replaced by another; old is the node before.
func (c *Cluster) WaitRestarted(old Node, which func(Pids) int) {
	c.t.Helper()
	c.Wait(old.Name+" is started again", ReadyLimit, func(d Document) bool {
		pid := which(d.Node(old.Name).Pids)
		return pid != 0 && pid != which(old.Pids)
	})
}

// Guard is the guard's pid.
func Guard(p Pids) int { return p.Guard }

// Agent is the agent's pid.
func Agent(p Pids) int { return p.Agent }

// MysqldPid is the server's pid.
func MysqldPid(p Pids) int { return p.Mysqld }

// Line is the document in one line, for messages.
func (d Document) Line() string {
	parts := []string{fmt.Sprintf("term %d, primary %q", d.Term, d.Primary)}
	for _, n := range d.Nodes {
		healthy := ""
		if !n.Healthy {
			healthy = ", not healthy"
		}
		parts = append(parts, fmt.Sprintf("%s %s%s (%s)", n.Name, n.State, healthy, n.Reason))
	}
	return strings.Join(parts, "; ")
}

// Status is what the status command prints.
func (c *Cluster) Status() string {
	c.t.Helper()
	d := c.Doc()
	out, err := c.Command(30*time.Second, "status", "--consul", d.Consul, "--cluster", d.Cluster)
	require.NoError(c.t, err)
	return out
}

// Log is what a node has said so far.
func (c *Cluster) Log(node string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, "nodes", node+".log"))
	require.NoError(c.t, err)
	return string(b)
}

// Down ends the playground and proves that nothing is left of it.
func (c *Cluster) Down() {
	c.t.Helper()
	_, err := c.Command(DownLimit, "playground", "down", "--dir", c.Dir)
	require.NoError(c.t, err)
	require.Empty(c.t, c.Processes(), "processes that still work in the playground's directory")
}

// Close takes the playground down and removes its files, or keeps them and shows the ends of the logs when the test has
// failed. It runs by itself when the test that started the cluster ends.
func (c *Cluster) Close() { c.closed.Do(c.close) }

func (c *Cluster) close() {
	c.thaw()
	var seen string
	if c.t.Failed() {
		seen = c.diagnosis() // while it is as it failed
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "plan.json")); err == nil {
		if _, err := c.Command(DownLimit, "playground", "down", "--dir", c.Dir); err != nil {
			c.t.Errorf("take the playground down: %v", err)
		}
	}
	if left := c.Processes(); len(left) > 0 {
		c.t.Errorf("processes that still work in %s: %v", c.Dir, left)
	}
	if c.t.Failed() {
		c.t.Logf("the files are kept in %s\n%s", c.Dir, seen)
		return
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.t.Errorf("remove the playground's files: %v", err)
	}
}
