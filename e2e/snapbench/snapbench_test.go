// Package snapbench measures snapshots beside what an operator would do by hand: the same bytes, the same compression, the
// same S3 server, in one run.
package snapbench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/s3server"
)

const (
	// defaultMiB is how much data there is; BENCH_MIB says otherwise, and 5120 is what the target is about.
	defaultMiB = 1024
	// stepLimit bounds one step.
	stepLimit = 15 * time.Minute
	// quiet is how long the writers are watched alone.
	quiet = 10 * time.Second
	// memoryLimit is the most an agent may have resident, ever.
	memoryLimit = 200 << 20
)

// TestBench measures and writes ../reports/snapshot-bench.md; `make bench NAME=snapshot` runs it.
func TestBench(t *testing.T) {
	if os.Getenv("AUTOPILOT_TEST_BENCH") == "" {
		t.Skip("make bench runs it")
	}
	t.Run("snapshot", func(t *testing.T) { measure(t) })
}

func measure(t testing.TB) {
	mib := defaultMiB
	if v := os.Getenv("BENCH_MIB"); v != "" {
		var err error
		mib, err = strconv.Atoi(v)
		require.NoError(t, err, "BENCH_MIB")
	}
	r := &report{began: time.Now(), asked: mib, source: harness.Commit(t)}
	s3 := s3server.Start(t)
	c := harness.Up(t, harness.Options{Nodes: 1, Store: s3server.URL(s3.Addr, "bench"), Env: s3server.Env(),
		// What else is copied to the store would be measured along.
		NodeArgs: []string{"--archive-interval", "0s", "--snapshot-keep", "9"}})
	c.Wait("the first snapshot", harness.ReadyLimit, func(d harness.Document) bool { return d.Snapshot.ID != "" })
	w := load.Start(t, c)
	r.loaded = fill(t, c, mib)
	m := &meter{t: t, w: w, r: r}

	m.step("writers alone", func() { time.Sleep(quiet) }) // the measurement itself
	h := &hand{t: t, c: c, s3: newClient(t, s3.Addr)}
	h.program(t)
	m.step("by hand: clone | tar | zstd | upload, on the primary", func() { h.take() })
	m.step("snapshot create, on the primary", func() { create(t, c) })
	r.ours, r.hands = newest(t, c), h.stored
	r.ratio("snapshot create beside clone | tar | zstd | upload by hand", m.took(2), m.took(1))

	byHand, ours := filepath.Join(c.Dir, "by-hand"), filepath.Join(c.Dir, "ours")
	m.step("by hand: download | zstd -d | tar -x, sync", func() { h.restore(byHand) })
	require.NoError(t, os.RemoveAll(byHand))
	var peak int
	m.step("snapshot restore", func() { peak = restore(t, c, ours) })
	r.peaks = append(r.peaks, fmt.Sprintf("the restore command: %d MiB", peak>>20))
	require.Less(t, peak, memoryLimit, "bytes of the restore command")
	require.NoError(t, os.RemoveAll(ours))
	r.ratio("snapshot restore beside copying the same by hand (target 1.30)", m.took(4), m.took(3))

	m.step("CLONE INSTANCE into a directory", func() { h.clone() })
	m.step("a new standby from the snapshot, until it follows", func() { c.Add(1) })
	r.ratio("a new standby from the snapshot beside CLONE INSTANCE alone", m.took(6), m.took(5))
	r.ratio("snapshot create (compressed and uploaded) beside CLONE INSTANCE into a directory (neither)", m.took(2), m.took(5))
	r.ratio("snapshot restore beside CLONE INSTANCE into a directory", m.took(4), m.took(5))
	m.step("snapshot create, on the standby", func() { create(t, c) })
	for _, n := range c.Doc().Nodes {
		peak := harness.PeakMemory(t, n.Pids.Agent)
		r.peaks = append(r.peaks, fmt.Sprintf("agent of %s: %d MiB", n.Name, peak>>20))
		require.Less(t, peak, memoryLimit, "bytes of the agent of %s", n.Name)
	}
	v := w.Verify(c)
	r.acks = v.Acknowledged
	r.write(t)
}

// create is `snapshot create`, waited for.
func create(t testing.TB, c *harness.Cluster) {
	t.Helper()
	d := c.Doc()
	_, err := c.Command(stepLimit, "snapshot", "create", "--cluster", d.Cluster, "--consul", d.Consul, "--store", d.Store, "--timeout", stepLimit.String())
	require.NoError(t, err)
}

// restore is `snapshot restore`; it returns the most memory that was resident, in bytes.
func restore(t testing.TB, c *harness.Cluster, into string) int {
	t.Helper()
	d := c.Doc()
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), "snapshot", "restore", "--cluster", d.Cluster, "--store", d.Store, "--into", into)
	cmd.Env = append(os.Environ(), s3server.Env()...)
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	require.True(t, ok)
	return int(usage.Maxrss) << 10 // Linux counts in KiB
}
