package snapbench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// meter takes the time of steps, and looks at the writers meanwhile.
type meter struct {
	t testing.TB
	w *load.Writers
	r *report
}

// step is something that was measured.
type step struct {
	name      string
	took      time.Duration
	writes    float64       // acknowledged per second
	p99, most time.Duration // pauses between two acknowledgements of anybody
}

func (m *meter) step(name string, do func()) {
	m.t.Helper()
	before := len(m.w.Acks())
	began := time.Now()
	do()
	s := step{name: name, took: time.Since(began)}
	during := m.w.Acks()[before:]
	s.writes = float64(len(during)) / s.took.Seconds()
	var gaps []time.Duration
	last := began
	for _, a := range during {
		gaps = append(gaps, a.At.Sub(last))
		last = a.At
	}
	gaps = append(gaps, began.Add(s.took).Sub(last))
	slices.Sort(gaps)
	s.p99, s.most = gaps[len(gaps)*99/100], gaps[len(gaps)-1]
	m.r.steps = append(m.r.steps, s)
	m.t.Logf("%s: %.1f s; %.0f writes/s, pauses between them %v (p99), %v (most)", name, s.took.Seconds(), s.writes, ms(s.p99), ms(s.most))
}

func (m *meter) took(i int) time.Duration { return m.r.steps[i].took }

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }

// report is what a run leaves.
type report struct {
	began  time.Time
	source string
	asked  int // MiB
	loaded int64
	ours   stored
	hands  int64
	steps  []step
	ratios []string
	peaks  []string
	acks   int
}

func (r *report) ratio(what string, a, b time.Duration) {
	r.ratios = append(r.ratios, fmt.Sprintf("%s: %.2f", what, a.Seconds()/b.Seconds()))
}

func (r *report) write(t testing.TB) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# snapshot-bench\n\nSnapshots beside the same work by hand, in one run, on one S3 server (versitygw on this machine's disk), under writers.\n\n")
	fmt.Fprintf(&b, "- date: %s\n- commit: %s\n- machine: %d cores; loopback, so the network costs nothing\n", r.began.UTC().Format("2006-01-02 15:04 MST"), r.source, runtime.NumCPU())
	fmt.Fprintf(&b, "- command: `make bench NAME=snapshot BENCH_MIB=%d`\n", r.asked)
	fmt.Fprintf(&b, "- data: %d MiB of sysbench's tables; the snapshot has %d MiB in %d files, stored as %d MiB (by hand %d MiB)\n\n",
		r.loaded>>20, r.ours.Bytes>>20, r.ours.Files, r.ours.StoredBytes>>20, r.hands>>20)
	b.WriteString("| step | seconds | MiB/s | writes/s | pause p99 | longest pause |\n|---|---|---|---|---|---|\n")
	for i, s := range r.steps {
		name := strings.ReplaceAll(s.name, "|", `\|`)
		rate := fmt.Sprintf("%.0f", float64(r.ours.Bytes>>20)/s.took.Seconds())
		if i == 0 {
			rate = "–"
		}
		fmt.Fprintf(&b, "| %s | %.1f | %s | %.0f | %s | %s |\n", name, s.took.Seconds(), rate, s.writes, ms(s.p99), ms(s.most))
	}
	b.WriteString("\nRatios of time (1.00 is equal, less is faster):\n\n")
	for _, x := range r.ratios {
		fmt.Fprintf(&b, "- %s\n", x)
	}
	fmt.Fprintf(&b, "\nMost memory resident, ever: %s (target below %d MiB). %d acknowledged writes, none missing.\n", strings.Join(r.peaks, "; "), memoryLimit>>20, r.acks)
	t.Log("\n" + b.String())
	dir := filepath.Join("..", "reports")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "snapshot-bench.md"), []byte(b.String()), 0o644))
}

// stored is what `snapshot list` says of one.
type stored struct {
	ID          string `json:"id"`
	Files       int    `json:"files"`
	Bytes       int64  `json:"bytes"`
	StoredBytes int64  `json:"stored_bytes"`
}

func newest(t testing.TB, c *harness.Cluster) stored {
	t.Helper()
	d := c.Doc()
	out, err := c.Command(time.Minute, "snapshot", "list", "--cluster", d.Cluster, "--store", d.Store, "--output", "json")
	require.NoError(t, err)
	var doc struct {
		Snapshots []stored `json:"snapshots"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &doc), out)
	require.NotEmpty(t, doc.Snapshots)
	return doc.Snapshots[0]
}
