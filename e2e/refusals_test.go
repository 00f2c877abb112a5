package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// refusalLimit bounds a `run` that ought to refuse at once.
const refusalLimit = 60 * time.Second

// node is one `run` outside a playground: its flags and environment, to be spoilt by a test.
type node struct {
	dir  string // for files of the test
	args map[string]string
	env  map[string]string
	rest []string
}

// newNode is a node in which nothing is wrong but that its Consul does not exist: whoever refuses, refuses before that.
func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{dir: dir, args: map[string]string{
		"--name": "lone", "--cluster": "refusals", "--consul": freeAddr(t), "--datadir": filepath.Join(dir, "volume"), "--bind": "127.0.0.1",
		"--advertise": "127.0.0.1", "--port": portOf(freeAddr(t)), "--http": freeAddr(t), "--mysqld": harness.Mysqld(t),
		"--store": "file://" + filepath.Join(dir, "store"), "--lease": "3s", "--log-format": "text",
	}, env: map[string]string{"MYSQL_REPL_PASSWORD": "e2e-secret"}}
	require.NoError(t, os.Mkdir(n.args["--datadir"], 0o755))
	if os.Geteuid() == 0 {
		n.args["--run-as"] = "root"
	}
	return n
}

func (n *node) command(ctx context.Context, bin string) *exec.Cmd {
	args := []string{"run"}
	for k, v := range n.args {
		args = append(args, k+"="+v)
	}
	args = append(args, n.rest...)
	cmd := exec.CommandContext(ctx, bin, args...)
	for _, kv := range os.Environ() { // a clean environment but for what programs need
		if name, _, _ := strings.Cut(kv, "="); name == "PATH" || name == "HOME" || name == "TMPDIR" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	for k, v := range n.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	// A guard that is terminated ends its children; one that is killed takes them along.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// refusal is one way to start a node wrongly.
type refusal struct {
	name  string
	spoil func(t *testing.T, n *node)
	code  int
	says  []string // what the line has to name: the cause, and the next step
}

func refusals() []refusal {
	return []refusal{
		{"mysqld is missing", func(_ *testing.T, n *node) { n.args["--mysqld"] = "/nowhere/mysqld" }, 2, []string{"/nowhere/mysqld", "--mysqld"}},
		{"mysqld is too old", func(t *testing.T, n *node) {
			n.args["--mysqld"] = script(t, n.dir, "echo 'mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)'")
		}, 3, []string{"8.0.36", "8.4"}},
		{"mysqld is MariaDB", func(t *testing.T, n *node) {
			n.args["--mysqld"] = script(t, n.dir, "echo 'mariadbd  Ver 11.4.2-MariaDB for debian-linux-gnu on x86_64'")
		}, 2, []string{"MariaDB", "--mysqld"}},
		{"mysqld does not run", func(t *testing.T, n *node) {
			n.args["--mysqld"] = script(t, n.dir, "echo broken library >&2; exit 127")
		}, 2,
			[]string{"broken library"}},
		{"Consul's address cannot be one", func(_ *testing.T, n *node) { n.args["--consul"] = "http://one two:8500" }, 2, []string{"onsul", "address"}},
		{"Consul's address has no port number", func(_ *testing.T, n *node) { n.args["--consul"] = "127.0.0.1:port" }, 2, []string{"127.0.0.1:port"}},
		{"MySQL's port is occupied", func(t *testing.T, n *node) {
			n.args["--port"] = portOf(occupied(t))
		}, 2, []string{"address already in use", "--port"}},
		{"the HTTP port is occupied", func(t *testing.T, n *node) { n.args["--http"] = occupied(t) }, 2, []string{"address already in use", "--http"}},
		{"the data directory is foreign", func(t *testing.T, n *node) {
			require.NoError(t, os.WriteFile(filepath.Join(n.args["--datadir"], "ibdata1"), []byte("somebody's data"), 0o644))
		}, 3, []string{"ibdata1", "--datadir"}},
		{"the data directory holds a database of another program", func(t *testing.T, n *node) {
			require.NoError(t, os.MkdirAll(filepath.Join(n.args["--datadir"], "data", "mysql"), 0o755))
		}, 3, []string{`"data"`, "--datadir"}},
		{"the data directory is of another cluster", state(`{"format":1,"cluster":"other","node":"lone","has_data":true}`), 3,
			[]string{`"other"`, `"refusals"`, "--cluster"}},
		{"the data directory is of another node", state(`{"format":1,"cluster":"refusals","node":"somebody","has_data":true}`), 3,
			[]string{`"somebody"`, `"lone"`, "--name"}},
		{"the data directory is of a newer version", state(`{"format":99,"cluster":"refusals","node":"lone"}`), 3, []string{"99", "newer"}},
		{"the node's state is garbage", state(`{"format":`), 3, []string{"state.json"}},
		{"the data directory is a file", func(t *testing.T, n *node) {
			n.args["--datadir"] = filepath.Join(n.dir, "file")
			require.NoError(t, os.WriteFile(n.args["--datadir"], nil, 0o644))
		}, 2, []string{"not a directory", "--datadir"}},
		{"the data directory cannot be written", unwritable, 2, []string{"--datadir"}},
		{"the data directory's path is too long", func(_ *testing.T, n *node) {
			n.args["--datadir"] = filepath.Join(n.dir, strings.Repeat("d", 100))
		}, 2, []string{"too long", "shorter"}},
		{"no password for replication", func(_ *testing.T, n *node) { delete(n.env, "MYSQL_REPL_PASSWORD") }, 2, []string{"MYSQL_REPL_PASSWORD"}},
		{"two settings contradict each other", func(_ *testing.T, n *node) {
			n.env["CONSUL_HTTP_ADDR"], n.env["CONSUL"] = "one:8500", "two:8500"
			delete(n.args, "--consul")
		}, 2, []string{"one:8500", "two:8500", "contradict"}},
		{"two settings that cannot go together", func(_ *testing.T, n *node) { n.args["--nofailover"], n.args["--priority"] = "true", "7" }, 2,
			[]string{"nofailover", "priority", "contradict"}},
		{"more acknowledgements than ackers", func(_ *testing.T, n *node) { n.args["--acks"], n.args["--max-ackers"] = "3", "2" }, 2, []string{"acks", "max-ackers"}},
		{"an unknown variable", func(_ *testing.T, n *node) { n.env["AUTOPILOT_LAESE"] = "3s" }, 2, []string{"AUTOPILOT_LAESE", "AUTOPILOT_LEASE"}},
		{"an unknown flag", func(_ *testing.T, n *node) { n.args["--laese"] = "3s" }, 2, []string{"--laese", "--help"}},
		{"a lease that is too short", func(_ *testing.T, n *node) { n.args["--lease"] = "10ms" }, 2, []string{"--lease", "1s"}},
		{"a store nobody knows", func(_ *testing.T, n *node) { n.args["--store"] = "ftp://here/there" }, 2, []string{"ftp://", "s3://"}},
		{"a mysqld argument that is ours", func(_ *testing.T, n *node) { n.rest = []string{"--", "--gtid-mode=OFF"} }, 2, []string{"gtid"}},
		{"a secret's file that is not there", func(_ *testing.T, n *node) {
			n.env["MYSQL_REPL_PASSWORD_FILE"] = "/nowhere/secret"
			delete(n.env, "MYSQL_REPL_PASSWORD")
		}, 2, []string{"/nowhere/secret"}},
	}
}

// TestRefusals: a node that is started wrongly says in one line what is wrong and what to do, with the right exit code,
// and touches nothing.
func TestRefusals(t *testing.T) {
	bin := harness.Binary(t)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			n := newNode(t)
			r.spoil(t, n)
			before := tree(t, n.dir)
			ctx, cancel := context.WithTimeout(context.Background(), refusalLimit)
			defer cancel()
			out, err := n.command(ctx, bin).CombinedOutput()
			require.NoErrorf(t, ctx.Err(), "it runs on: %s", out)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s", out)
			require.Equalf(t, r.code, exit.ExitCode(), "%s", out)
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			require.Lenf(t, lines, 1, "one line says it all: %s", out)
			for _, s := range r.says {
				require.Contains(t, lines[0], s)
			}
			require.NotContains(t, lines[0], "e2e-secret")
			require.NotContains(t, lines[0], "goroutine")
			require.Equal(t, before, tree(t, n.dir), "the files are as they were")
		})
	}
}

// TestWaitsForConsul: a Consul that is down is no reason to give up; the node says that it waits, once, and a graceful
// stop ends it.
func TestWaitsForConsul(t *testing.T) {
	n := newNode(t)
	addr := n.args["--consul"]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &buffer{}
	cmd := n.command(ctx, harness.Binary(t))
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	waitFor(t, "a word about Consul", func() bool {
		select {
		case err := <-ended:
			require.Failf(t, "it gave up", "%v: %s", err, out)
		default:
		}
		return strings.Contains(out.String(), addr)
	})
	time.Sleep(5 * time.Second) // many attempts
	select {
	case err := <-ended:
		require.Failf(t, "it gave up", "%v: %s", err, out)
	default:
	}
	require.LessOrEqualf(t, strings.Count(out.String(), addr), 3, "it says so once per change, not at every attempt:\n%s", out)
	cancel()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			require.Containsf(t, []int{0, 128 + int(syscall.SIGTERM)}, exit.ExitCode(), "%s", out)
		}
	case <-time.After(harness.FailoverLimit):
		require.Failf(t, "it does not stop", "%s", out)
	}
	entries, err := os.ReadDir(filepath.Join(n.args["--datadir"]))
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, []string{"data", "init.tmp"}, e.Name(), "no database without a cluster")
	}
}

// TestWrongPassword: a node whose replication password is not the cluster's does no harm and says what is wrong.
func TestWrongPassword(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 1})
	d := c.Led()
	n := newNode(t)
	n.args["--consul"], n.args["--cluster"], n.args["--store"] = d.Consul, d.Cluster, d.Store
	n.env["MYSQL_REPL_PASSWORD"] = "not-the-cluster's"
	n.rest = nil
	ctx, cancel := context.WithTimeout(context.Background(), harness.FailoverLimit)
	defer cancel()
	out := &buffer{}
	cmd := n.command(ctx, harness.Binary(t))
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 2, exit.ExitCode(), "%s", out)
	case <-time.After(harness.FailoverLimit):
		require.Failf(t, "it goes on", "%s", out)
	}
	last := harness.Tail(out.String(), 1)
	require.Contains(t, last, "MYSQL_REPL_PASSWORD must be the same on every node")
	require.Contains(t, last, "nothing was changed")
	require.NoDirExists(t, filepath.Join(n.args["--datadir"], "data"))
	require.NotContains(t, out.String(), "not-the-cluster's")
	c.Remains(d)
}

// script is a fake mysqld.
func script(t *testing.T, dir, body string) string {
	t.Helper()
	path := filepath.Join(dir, "mysqld")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// occupied is an address somebody listens on.
func occupied(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func state(content string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		require.NoError(t, os.WriteFile(filepath.Join(n.args["--datadir"], "state.json"), []byte(content), 0o644))
		require.NoError(t, os.MkdirAll(filepath.Join(n.args["--datadir"], "data"), 0o755))
	}
}

// unwritable gives a place where even root may not write, or takes the right away.
func unwritable(t *testing.T, n *node) {
	if os.Geteuid() == 0 {
		n.args["--datadir"] = "/proc/e2e"
		return
	}
	require.NoError(t, os.Chmod(n.args["--datadir"], 0o555))
}

// tree is everything below a directory: names, modes, contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %d %x", len(b), sha256.Sum256(b))
		}
		all[path] = what
		return nil
	}))
	return all
}
