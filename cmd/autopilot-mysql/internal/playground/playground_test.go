package playground

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func signalContext() context.Context { return context.Background() }

// leader stands for a Consul of the user: it only says that it has a leader.
func leader(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `"127.0.0.1:8300"`) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// shortDir is a directory whose path leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func options(t *testing.T, after time.Duration) Options {
	return Options{Dir: shortDir(t), Consul: leader(t), RestartAfter: &after, Mysqld: "unused",
		Command: []string{os.Args[0], "fake-run"}, Log: func(line string) { t.Log(line) }}
}

func start(t *testing.T, o Options) *Playground {
	t.Helper()
	p, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.Down(context.Background()))
		requireNoProcesses(t, p.Dir())
		requireNoZombies(t)
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.NoError(t, p.WaitReady(ctx))
	return p
}

// whole is the document when all nodes are well in it: one that is late with an answer is shown as down for a moment.
func whole(t *testing.T, p *Playground) (d Document) {
	t.Helper()
	eventually(t, "all nodes well", func() bool {
		d = onDisk(t, p.Dir())
		return !slices.ContainsFunc(d.Nodes, func(n Node) bool { return !n.Healthy || n.Pids.Guard == 0 || n.Pids.Agent == 0 || n.Pids.MySQL == 0 })
	})
	return d
}

func requireNoProcesses(t *testing.T, dir string) {
	t.Helper()
	all, err := scan()
	require.NoError(t, err)
	for _, s := range all {
		require.Falsef(t, s.id.mentions(dir), "process %d still works in %s", s.id.Pid, dir)
	}
}

// requireNoZombies says that a playground in this process has reaped everything.
func requireNoZombies(t *testing.T) {
	t.Helper()
	all, err := scan()
	require.NoError(t, err)
	for _, s := range all {
		require.Falsef(t, s.gone() && s.ppid == os.Getpid(), "process %d is a zombie of ours", s.id.Pid)
	}
}

func onDisk(t *testing.T, dir string) Document {
	t.Helper()
	var d Document
	require.NoError(t, readJSON(filepath.Join(dir, "playground.json"), &d))
	return d
}

func TestReadyClusterIsDescribedTruly(t *testing.T) {
	p := start(t, options(t, 0))
	d := whole(t, p)
	require.Equal(t, "node1", d.Primary)
	require.Equal(t, uint64(7), d.Term)
	require.Len(t, d.Nodes, 3)
	require.NotEmpty(t, d.MySQLPassword)
	for _, n := range d.Nodes {
		require.True(t, n.Healthy)
		require.Equal(t, filepath.Join(p.Dir(), "nodes", n.Name), n.Datadir)
		for _, pid := range []int{n.Pids.Guard, n.Pids.Agent, n.Pids.MySQL} {
			_, ok := identify(pid)
			require.True(t, ok)
		}
	}
	require.Empty(t, readDirExcept(t, filepath.Join(p.Dir(), "nodes", "node1")), "the volume belongs to the node alone")
}

func readDirExcept(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	e, err := os.ReadDir(dir)
	require.NoError(t, err)
	return e
}

// The names of the fields are a stable interface.
func TestDocumentHasExactlyTheContractsFields(t *testing.T) {
	keys := func(v any) []string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		var m map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(b, &m))
		var k []string
		for name := range m {
			k = append(k, name)
		}
		return k
	}
	require.ElementsMatch(t, strings.Fields("cluster term primary ack_set lease paused snapshot consul store nodes mysql_user mysql_password mysql_database"), keys(Document{}))
	require.ElementsMatch(t, strings.Fields("name state healthy mysql http lag_seconds gtid_executed ack_member pids datadir reason"), keys(Node{}))
	require.ElementsMatch(t, strings.Fields("guard agent mysqld"), keys(Pids{}))
	require.ElementsMatch(t, strings.Fields("members acks"), keys(AckSet{}))
	require.ElementsMatch(t, strings.Fields("holder expires_in_ms"), keys(Lease{}))
	require.ElementsMatch(t, strings.Fields("id at gtid bytes"), keys(Snapshot{}))
}

func TestKillEndsAllProcessesAtOnceAndTheNodeComesBack(t *testing.T) {
	p := start(t, options(t, 12*time.Second)) // so long it can be seen dead
	before, _ := whole(t, p).Node("node1")
	require.NoError(t, p.Kill(t.Context(), "primary"))
	for _, pid := range []int{before.Pids.Guard, before.Pids.Agent, before.Pids.MySQL} {
		_, ok := identify(pid)
		require.False(t, ok, "process %d survived", pid)
	}
	eventually(t, "node1 is down on disk", func() bool {
		d := onDisk(t, p.Dir())
		n, _ := d.Node("node1")
		return n.State == "down" && !n.Healthy && n.Reason != "" && n.Pids == (Pids{}) && d.Primary == ""
	})
	eventually(t, "node1 is back", func() bool {
		n, _ := p.Document().Node("node1")
		return n.State == "primary" && n.Pids.Guard != before.Pids.Guard
	})
}

func TestWithoutRestartADeadNodeStaysDownUntilStarted(t *testing.T) {
	p := start(t, options(t, 0))
	require.NoError(t, p.Kill(t.Context(), "node2"))
	require.ErrorContains(t, p.Kill(t.Context(), "node2"), "down already")
	time.Sleep(3 * pollInterval) // nothing may happen in this time
	n, _ := p.Document().Node("node2")
	require.Equal(t, "down", n.State)
	require.NoError(t, p.StartNode("node2"))
	require.ErrorContains(t, p.StartNode("node2"), "running already")
	eventually(t, "node2 is back", func() bool { n, _ := p.Document().Node("node2"); return n.State == "standby" })
}

func TestStoppedNodeStaysStopped(t *testing.T) {
	p := start(t, options(t, time.Millisecond))
	require.NoError(t, p.Stop(t.Context(), "node3"))
	eventually(t, "node3 is down and says why", func() bool {
		n, _ := p.Document().Node("node3")
		return n.State == "down" && strings.Contains(n.Reason, "ended with status 0")
	})
	time.Sleep(3 * pollInterval) // nothing may happen in this time
	n, _ := p.Document().Node("node3")
	require.Equal(t, "down", n.State)
}

func TestFrozenNodeIsNoPrimary(t *testing.T) {
	p := start(t, options(t, 0))
	n, _ := whole(t, p).Node("node1")
	id, ok := identify(n.Pids.Guard)
	require.True(t, ok)
	require.NoError(t, id.signal(unix.SIGSTOP))
	eventually(t, "the frozen node counts as down", func() bool {
		d := p.Document()
		n, _ := d.Node("node1")
		return n.State == "down" && strings.Contains(n.Reason, "has not answered") && d.Primary == ""
	})
	require.NoError(t, id.signal(unix.SIGCONT))
	eventually(t, "it is back", func() bool { return p.Document().Primary == "node1" })
}

func TestAddedNodesAreRememberedAndPortsKept(t *testing.T) {
	o := options(t, 0)
	p := start(t, o)
	names, err := p.Add(2)
	require.NoError(t, err)
	require.Equal(t, []string{"node4", "node5"}, names)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.NoError(t, p.WaitNodes(ctx, names...))
	require.NoError(t, p.WaitReady(ctx))
	before := whole(t, p)
	require.NoError(t, p.Down(t.Context()))
	requireNoProcesses(t, p.Dir())
	for _, n := range onDisk(t, p.Dir()).Nodes {
		require.Equal(t, "down", n.State)
	}

	p = start(t, o)
	after := whole(t, p)
	require.Len(t, after.Nodes, 5)
	require.Equal(t, before.MySQLPassword, after.MySQLPassword)
	for i := range after.Nodes {
		require.Equal(t, before.Nodes[i].MySQL, after.Nodes[i].MySQL)
		require.Equal(t, before.Nodes[i].HTTP, after.Nodes[i].HTTP)
	}
}

func TestWrongNamesAndDirectoriesAreUsageErrors(t *testing.T) {
	o := options(t, 0)
	p := start(t, o)
	var usage *UsageError
	require.ErrorAs(t, p.Kill(t.Context(), "node9"), &usage)
	require.ErrorContains(t, p.Kill(t.Context(), "node9"), "node1 node2 node3")
	_, err := Start(t.Context(), o)
	require.ErrorIs(t, err, ErrRunning)
	_, err = p.Add(maxNodes)
	require.ErrorAs(t, err, &usage)

	_, err = Start(t.Context(), Options{Dir: filepath.Join(t.TempDir(), strings.Repeat("x", 90))})
	require.ErrorAs(t, err, &usage)
	require.ErrorContains(t, err, "shorter --dir")

	_, err = openLayout(t.TempDir())
	require.ErrorAs(t, err, &usage)
}

func TestResumeRefusesAnotherStore(t *testing.T) {
	o := options(t, 0)
	p := start(t, o)
	require.NoError(t, p.Down(t.Context()))
	o.Store = "file:///elsewhere"
	_, err := Start(t.Context(), o)
	require.ErrorContains(t, err, "--store file:///elsewhere contradicts")
	o.Store = "" // the refusal left nothing locked
	start(t, o)
}

func TestNodeThatRefusesToRunEndsTheWait(t *testing.T) {
	o := options(t, time.Hour)
	o.NodeArgs = []string{"--exit", "3"}
	p, err := Start(t.Context(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Down(context.Background())) }()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err = p.WaitReady(ctx)
	require.ErrorContains(t, err, "does not run: the node's process ended with status 3: the setting --exit is wrong")
}

func TestNodeThatNeverAnswersEndsTheWait(t *testing.T) {
	o := options(t, time.Millisecond)
	o.NodeArgs = []string{"--exit", "1"}
	p, err := Start(t.Context(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Down(context.Background())) }()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.ErrorContains(t, p.WaitReady(ctx), "does not run: the node's process ended with status 1")
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	o := options(t, 0)
	o.Command = []string{filepath.Join(t.TempDir(), "missing")}
	_, err := Start(t.Context(), o)
	require.ErrorContains(t, err, "start node1")
	requireNoProcesses(t, o.Dir)
	o.Command = []string{os.Args[0], "fake-run"}
	start(t, o)
}

// supervisor runs fakeSupervisor detached, as `up --detach` does.
func supervisor(t *testing.T, dir, consul, after string, args ...string) error {
	t.Helper()
	// An earlier test made this process a subreaper; what a supervisor leaves behind is not for us to reap.
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0))
	lay, err := newLayout(dir)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	argv := append([]string{os.Args[0], "fake-supervisor", dir, consul, after}, args...)
	return detach(ctx, lay, argv, &testWriter{t})
}

type testWriter struct{ t *testing.T }

func (w *testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func TestDetachedSupervisorObeysAndEnds(t *testing.T) {
	dir, consul := shortDir(t), leader(t)
	require.NoError(t, supervisor(t, dir, consul, "0s"))
	lay, err := openLayout(dir)
	require.NoError(t, err)
	var res result
	require.NoError(t, call(t.Context(), lay, "POST", "/kill?node=node2", &res))
	require.Equal(t, "killed", res.Done)
	err = call(t.Context(), lay, "POST", "/kill?node=nobody", &res)
	var coded interface{ ExitCode() int }
	require.ErrorAs(t, err, &coded)
	require.Equal(t, 2, coded.ExitCode())
	var out strings.Builder
	require.NoError(t, Remote{Dir: dir, Out: &out, JSON: true}.Start(t.Context(), "node2"))
	require.JSONEq(t, `{"subject": "node2", "done": "started", "document": "`+lay.document()+`"}`, out.String())
	out.Reset()
	require.NoError(t, copyDocument(&out, lay))
	var doc Document
	require.NoError(t, json.Unmarshal([]byte(out.String()), &doc))
	require.Len(t, doc.Nodes, 3)
	require.NoError(t, call(t.Context(), lay, "POST", "/add?count=1", &res))
	require.Equal(t, "added [node4]", res.Done)
	require.NoError(t, call(t.Context(), lay, "POST", "/stop?node=node4", &res))

	require.ErrorContains(t, supervisor(t, dir, consul, "0s"), "already running")
	said, err := downAny(t.Context(), lay)
	require.NoError(t, err)
	require.Equal(t, "down", said)
	requireNoProcesses(t, dir)
	require.ErrorIs(t, call(t.Context(), lay, "GET", "/state", &res), ErrNoSupervisor)
}

func TestNodesGetOnlySettingsThatAreTheirs(t *testing.T) {
	pl := plan{Secrets: secrets{Repl: "r"}}
	env := pl.env([]string{"PATH=/bin", "HOME=/h", "AUTOPILOT_ALONE=refuse", "AWS_ACCESS_KEY_ID=k", "CONSUL_HTTP_ADDR=c", "CONSUL_HTTP_TOKEN=t",
		"MYSQL_PASSWORD=x", "AUTOPILOT_MYSQL_PASSWORD=x", "AUTOPILOT_REPL_PASSWORD=x", "AUTOPILOT_GUARD_FD=3", "SNAPSHOT_BACKEND=manta", SupervisedEnv + "=1"})
	require.Equal(t, []string{"PATH=/bin", "HOME=/h", "AUTOPILOT_ALONE=refuse", "AWS_ACCESS_KEY_ID=k"}, env[:4])
	require.Equal(t, []string{"MYSQL_REPL_PASSWORD=r", "MYSQL_ROOT_PASSWORD=", "MYSQL_USER=", "MYSQL_PASSWORD=", "MYSQL_DATABASE="}, env[4:])
	pl.Consul = "elsewhere:8500"
	require.Contains(t, pl.env([]string{"CONSUL_HTTP_TOKEN=t"}), "CONSUL_HTTP_TOKEN=t")
}

func TestDetachReportsWhyItFailed(t *testing.T) {
	dir := shortDir(t)
	err := supervisor(t, dir, leader(t), "1h", "--exit", "2")
	require.ErrorContains(t, err, "ended with status 2: the setting --exit is wrong")
	requireNoProcesses(t, dir)
}

// A dying process closes its socket before its lock; `down` must not take it for one that runs and does not answer.
func TestDownWaitsForADyingSupervisor(t *testing.T) {
	lay, err := newLayout(shortDir(t))
	require.NoError(t, err)
	unlock, err := lay.lock()
	require.NoError(t, err)
	gone := time.AfterFunc(300*time.Millisecond, unlock)
	defer gone.Stop()
	said, err := downAny(t.Context(), lay)
	require.NoError(t, err)
	require.Contains(t, said, "was gone already")
}

// A power cut for the playground: the nodes go with their supervisor, and `down` and `up` work afterwards.
func TestKilledSupervisorTakesItsNodesAlong(t *testing.T) {
	dir, consul := shortDir(t), leader(t)
	require.NoError(t, supervisor(t, dir, consul, "0s"))
	lay, err := openLayout(dir)
	require.NoError(t, err)
	var s supervisorState
	require.NoError(t, call(t.Context(), lay, "GET", "/state", &s))
	guards := []int{}
	eventually(t, "three guards", func() bool {
		guards = guards[:0]
		for _, n := range onDisk(t, dir).Nodes {
			if n.Pids.Guard != 0 {
				guards = append(guards, n.Pids.Guard)
			}
		}
		return len(guards) == 3
	})
	// An innocent process whose arguments show the directory must live.
	innocent := exec.Command("sleep", "1000", dir+"/nodes")
	innocent.Args = []string{"sleep", "1000"}
	innocent.Dir = dir
	require.NoError(t, innocent.Start())
	defer func() { _ = innocent.Process.Kill(); _ = innocent.Wait() }()

	require.NoError(t, s.Supervisor.signal(unix.SIGKILL))
	for _, pid := range guards {
		eventually(t, "guard gone", func() bool { _, ok := identify(pid); return !ok })
	}
	said, err := downAny(t.Context(), lay)
	require.NoError(t, err)
	require.Contains(t, said, "ended 6 processes", "two workers of each of the three nodes have no parent-death signal")
	requireNoProcesses(t, dir)
	for _, n := range onDisk(t, dir).Nodes {
		require.Equal(t, "down", n.State)
	}
	id, ok := identify(innocent.Process.Pid)
	require.True(t, ok)
	require.True(t, id.alive())

	require.NoError(t, supervisor(t, dir, consul, "0s"))
	_, err = downAny(t.Context(), lay)
	require.NoError(t, err)
}
