package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
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
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netfault"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/s3server"
)

// snapshotLimit bounds taking one of a small database on a busy machine.
const snapshotLimit = 3 * time.Minute

// TestStoreConformance runs the suite of package snapshot on versitygw, an S3 server of other makers than the one the
// suite runs on by itself.
func TestStoreConformance(t *testing.T) {
	s3 := s3server.Start(t)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "^TestConformance$/^named$", "-v", "./snapshot")
	cmd.Dir = ".."
	cmd.Env = append(append(os.Environ(), s3server.Env()...), "AUTOPILOT_TEST_STORE="+s3server.URL(s3.Addr, "conformance"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestConformance/named/OneWinner")
}

// TestSnapshots takes, lists, proves, restores and removes snapshots of a running cluster by command, encrypted, on an
// S3 server, and lets that fail in between.
func TestSnapshots(t *testing.T) {
	s3 := s3server.Start(t)
	proxy := netfault.New(t, s3.Addr)
	env := append(s3server.Env(), "AUTOPILOT_SNAPSHOT_PASSPHRASE=correct horse battery staple")
	scratch := newScratch(t)
	c := harness.Up(t, harness.Options{Nodes: 2, Lease: patientLease, Store: s3server.URL(proxy.Addr(), "snapshots"), Env: env,
		NodeArgs: []string{"--snapshot-verify", "1h", "--snapshot-scratch", scratch.dir, "--snapshot-after-binlog", fmt.Sprintf("%dM", growthMiB)}})
	t.Cleanup(c.Close) // before the scratch directory goes
	s := snapshotsOf(t, c)
	w := load.Start(t, c)
	w.WaitAcks(20)

	waitWithin(t, harness.ReadyLimit, "the first snapshot is verified by itself", func() bool { return strings.Contains(s.status(), `"ok_id": "2`) })
	waitFor(t, "the metrics to say so", func() bool { return strings.Contains(s.metrics(), "autopilot_mysql_snapshot_verified_age_seconds") })
	list := s.list()
	for try := 1; ; try++ { // a standby that a busy machine makes look unhealthy at that moment is passed over
		d := c.WaitWhole(2)
		had := len(list)
		s.create()
		list = s.list()
		require.Greater(t, len(list), had)
		if list[0].Node == d.Others()[0].Name {
			break
		}
		require.Less(t, try, 4, "a standby takes it, the primary is spared")
	}
	require.True(t, list[0].Encryption.Passphrase)

	out := s.must("verify", "--mysqld", harness.Mysqld(t))
	require.Contains(t, out, list[0].ID+" is good")
	require.True(t, s.list()[0].Verified.OK)
	require.Contains(t, s.status(), `"ok_id": "`+list[0].ID+`"`, "the cluster has been told")

	into := filepath.Join(t.TempDir(), "data")
	s.must("restore", "--into", into)
	require.FileExists(t, filepath.Join(into, "ibdata1"))
	s.must("prune", "--snapshot-keep", "1")
	require.Len(t, s.list(), 1)

	// The store goes away: a request fails with its reason, the database does not notice.
	proxy.Set(netfault.Refuse)
	out, err := s.run("create", "--timeout", snapshotLimit.String())
	require.Error(t, err, out)
	require.Contains(t, out, "take snapshot")
	waitFor(t, "the store's trouble is known", func() bool { return strings.Contains(s.status(), "the snapshot store cannot be used") })
	waitFor(t, "the database is well without the store", func() bool { return strings.Contains(s.status(), `"health": "well"`) })
	waitFor(t, "the metrics to say so", func() bool { return strings.Contains(s.metrics(), "autopilot_mysql_snapshot_store_up 0") })
	w.WaitAcks(20)
	proxy.Set(netfault.Pass)
	s.create()
	waitFor(t, "the trouble is forgotten", func() bool {
		return !strings.Contains(s.status(), "the snapshot store") && strings.Contains(s.metrics(), "autopilot_mysql_snapshot_store_up 1")
	})
	require.GreaterOrEqual(t, len(s.list()), 2)
	for _, n := range c.Doc().Nodes {
		require.Less(t, harness.PeakMemory(t, n.Pids.Agent), 200<<20, "bytes of the agent of %s, encryption with a passphrase included", n.Name)
	}
	w.Verify(c)
	takenAfterBinlog(t, c, s)
	scratch.runsShort(c, s)
}

// TestSnapshotRaces: nodes without data start while snapshots come and go.
func TestSnapshotRaces(t *testing.T) { snapshotRaces(t, 2) }

// TestSnapshotKills: what takes or restores a snapshot is killed.
func TestSnapshotKills(t *testing.T) { snapshotKills(t, 2) }

// snapshots are the commands about the snapshots of a cluster.
type snapshots struct {
	t    *testing.T
	c    *harness.Cluster
	args []string
}

func snapshotsOf(t *testing.T, c *harness.Cluster) snapshots {
	d := c.Doc()
	return snapshots{t: t, c: c, args: []string{"--cluster", d.Cluster, "--consul", d.Consul, "--store", d.Store}}
}

func (s snapshots) run(what string, args ...string) (string, error) {
	return s.c.Command(snapshotLimit+time.Minute, slices.Concat([]string{"snapshot", what}, s.args, args)...)
}

func (s snapshots) must(what string, args ...string) string {
	s.t.Helper()
	out, err := s.run(what, args...)
	require.NoError(s.t, err)
	return out
}

// create takes one, trying again while a node is on its way back.
func (s snapshots) create() {
	s.t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(time.Second) {
		out, err := s.run("create", "--timeout", snapshotLimit.String())
		if err == nil {
			return
		}
		require.Truef(s.t, time.Now().Before(deadline), "no snapshot by command within %v: %s\nthe servers are at:\n%s",
			harness.FailoverLimit, harness.Tail(out, 2), s.c.Threads())
	}
}

// listed is one snapshot of `snapshot list --output json`.
type listed struct {
	ID, Node   string
	Encryption struct{ Passphrase bool }
	Verified   struct{ OK bool }
}

// list demands that nothing unusable is listed.
func (s snapshots) list() []listed {
	s.t.Helper()
	var doc struct {
		Snapshots []listed
		Unusable  []string
	}
	out := s.must("list", "--output", "json")
	require.NoError(s.t, json.Unmarshal([]byte(out), &doc), out)
	require.Empty(s.t, doc.Unusable)
	return doc.Snapshots
}

func (s snapshots) status() string {
	s.t.Helper()
	out, err := s.c.Command(time.Minute, append([]string{"status", "--output", "json"}, s.args...)...)
	require.NoError(s.t, err)
	return out
}

func (s snapshots) metrics() string {
	s.t.Helper()
	d := s.c.Led()
	resp, err := http.Get("http://" + d.Node(d.Primary).HTTP + "/metrics")
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return string(b)
}

// loseDisk stops a node and removes all it has; start is what `playground start` is, and may be called beside the test.
func loseDisk(t *testing.T, c *harness.Cluster, name string) (start func()) {
	t.Helper()
	dir := c.Doc().Node(name).Datadir
	c.Stop(name)
	emptyDir(t, dir)
	return func() { c.Start(name) }
}

// snapshotRaces lets one of three nodes lose its disk again and again, while the snapshot it would start from is missing,
// half written, being retired, or older than the primary's binary logs. It always ends as a good replica.
func snapshotRaces(t *testing.T, rounds int) []string {
	// Slow enough that a node meets a snapshot in the middle.
	c := harness.Up(t, harness.Options{Nodes: 3, NodeArgs: []string{"--snapshot-rate", "2M"}})
	s := snapshotsOf(t, c)
	store := strings.TrimPrefix(c.Doc().Store, "file://")
	w := load.Start(t, c)
	modes := []struct {
		name string
		do   func(start func())
	}{
		{"half written", func(start func()) {
			waitFor(t, "the store is empty", func() bool { return os.RemoveAll(store) == nil }) // the archiver may just be writing there
			seen, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for { // one more, if a busy machine has missed it
					_, _ = s.run("create")
					select {
					case <-seen:
						return
					default:
					}
				}
			}()
			end := sync.OnceFunc(func() { close(seen); <-done })
			defer end()
			waitWithin(t, harness.ReadyLimit, "a half-written snapshot", func() bool {
				parts, _ := filepath.Glob(filepath.Join(store, "*/snapshots/*/.tmp-*"))
				return len(parts) > 0
			})
			start()
			end()
		}},
		{"older than the binary logs", func(start func()) {
			purgeBinaryLogs(t, c, c.Led().Primary)
			start()
		}},
		{"being retired", func(start func()) {
			s.create()
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = s.run("create")
						_, _ = s.run("prune", "--snapshot-keep", "1")
					}
				}
			}()
			start()
			c.WaitWhole(3)
			close(stop)
			<-done
		}},
		{"missing", func(start func()) {
			waitFor(t, "the store is empty", func() bool { return os.RemoveAll(store) == nil }) // the archiver may just be writing there
			start()
		}},
	}
	var lines []string
	for i := range rounds {
		m := modes[i%len(modes)]
		began := time.Now()
		d := c.WaitWhole(3)
		victim := d.Others()[rand.IntN(2)].Name
		said := len(c.Log(victim))
		m.do(loseDisk(t, c, victim))
		c.WaitWhole(3)
		w.WaitAcks(20)
		s.list()
		lines = append(lines, fmt.Sprintf("round %d: the snapshot was %s when %s started without data; %s; a whole cluster %v later", i+1, m.name, victim,
			dataCame(t, c.Log(victim)[said:]), time.Since(began).Round(time.Second)))
	}
	v := w.Verify(c)
	return append(lines, fmt.Sprintf("%d acknowledged writes on all nodes", v.Acknowledged))
}

// dataCame is how a node says that it got its data.
func dataCame(t *testing.T, log string) string {
	t.Helper()
	way := "from nowhere"
	for _, line := range strings.Split(log, "\n") {
		switch {
		case strings.Contains(line, `"msg":"restored snapshot"`):
			way = "data from the snapshot"
		case strings.Contains(line, `"msg":"cloned a member"`):
			way = "data cloned from a member"
		}
	}
	require.NotEqual(t, "from nowhere", way, "%s", harness.Tail(log, 20))
	return way
}

// snapshotKills kills the agent, mysqld or the whole node that takes or restores a snapshot, or the store, at random
// points.
func snapshotKills(t *testing.T, rounds int) []string {
	s3 := s3server.Start(t)
	c := harness.Up(t, harness.Options{Nodes: 2, RestartAfter: "1s", Store: s3server.URL(s3.Addr, "kills"), Env: s3server.Env(),
		NodeArgs: []string{"--snapshot-rate", "2M"}})
	s := snapshotsOf(t, c)
	w := load.Start(t, c)
	kinds := []string{"agent", "mysqld", "store", "node"}
	// hurt returns what it hit. A node that restores has no mysqld yet: then it is the primary's.
	hurt := func(kind, node string) string {
		d := c.Doc()
		pids := d.Node(node).Pids
		switch kind {
		case "agent":
			if pids.Agent > 1 { // 0 while it is being started again
				_ = syscall.Kill(pids.Agent, syscall.SIGKILL)
				return "the agent of " + node + " killed"
			}
		case "mysqld":
			if pids.Mysqld <= 1 && d.Primary != "" {
				node = d.Primary
				pids = d.Node(node).Pids
			}
			if pids.Mysqld > 1 {
				_ = syscall.Kill(pids.Mysqld, syscall.SIGKILL)
				return "mysqld of " + node + " killed"
			}
		case "node":
			c.Kill(node)
			return node + " killed as a whole"
		case "store":
			s3.Kill()
			time.Sleep(3 * time.Second) // the fault itself
			s3.Restart()
			return "the store killed, and back after 3 s"
		}
		return "nobody, there was no process of that kind"
	}
	var lines []string
	for i := range rounds {
		kind := kinds[(i/2)%len(kinds)]
		d := c.WaitWhole(2)
		node := d.Others()[0].Name
		delay := time.Duration(rand.IntN(6000)) * time.Millisecond
		what, hit := "taking", "nobody, the node had not begun"
		if i%2 == 0 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = s.run("create", "--node", node, "--timeout", "1m")
			}()
			time.Sleep(delay) // where it is hit is the experiment
			hit = hurt(kind, node)
			<-done
		} else {
			what = "restoring"
			start := loseDisk(t, c, node)
			begun := make(chan struct{})
			go func() { defer close(begun); start() }()
			time.Sleep(delay)
			if c.Doc().Node(node).Pids.Agent > 1 {
				hit = hurt(kind, node)
			}
			<-begun
		}
		t.Logf("round %d: %s, %v into %s at %s", i+1, hit, delay, what, node)
		c.WaitWhole(2)
		s.list()
		noScratch(t, c)
		s.create()
		lines = append(lines, fmt.Sprintf("round %d: %s, %v into %s at %s: whole again, nothing half listed, no scratch left, the next snapshot works",
			i+1, hit, delay, what, node))
	}
	v := w.Verify(c)
	return append(lines, fmt.Sprintf("%d acknowledged writes on all nodes", v.Acknowledged))
}

// noScratch waits until nothing is left of snapshots and restores that were killed, and names what is.
func noScratch(t *testing.T, c *harness.Cluster) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(harness.FailoverLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if left = scratchOf(t, c); len(left) == 0 {
			return
		}
	}
	for i, name := range left {
		st, err := os.Stat(name)
		if err == nil {
			left[i] += ", changed " + st.ModTime().UTC().Format(time.TimeOnly)
		}
	}
	require.Empty(t, left, "scratch files after %v", harness.FailoverLimit)
}

// scratchOf finds what snapshots and restores leave when they are killed.
func scratchOf(t *testing.T, c *harness.Cluster) (found []string) {
	t.Helper()
	for _, n := range c.Doc().Nodes {
		for _, pattern := range []string{"snapshot.tmp/*", "restore.tmp*", "verify.tmp", "scratch"} {
			names, err := filepath.Glob(filepath.Join(n.Datadir, pattern))
			require.NoError(t, err)
			found = append(found, names...)
		}
	}
	return found
}
