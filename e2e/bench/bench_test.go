package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// scenario measures something. Each is bounded in time: a few minutes.
type scenario struct {
	name string
	says string
	run  func(t *testing.T, r *result)
	set  string // which variables change it, with what they are otherwise
}

// guide says what every scenario is, and how to run it.
func guide() *grid {
	g := &grid{Head: []string{"command", "what it measures", "settings"}}
	for _, s := range scenarios() {
		g.Rows = append(g.Rows, []string{"`make bench NAME='" + s.name + "$$'`", s.says, s.set})
	}
	return g
}

// TestBench measures and writes ../reports/bench; `make bench NAME=…` picks scenarios.
func TestBench(t *testing.T) {
	if os.Getenv("AUTOPILOT_TEST_BENCH") == "" {
		t.Skip("make bench runs it")
	}
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			r := &result{Name: s.name, Says: s.says, At: time.Now().UTC(), Commit: harness.Commit(t, "docs"), Machine: describe(harness.Mysqld(t), harness.Consul(t))}
			quiet := readPressure()
			s.run(t, r)
			r.Foreign = quiet.since()
			if t.Failed() {
				return
			}
			r.Took = time.Since(r.At).Round(time.Second).String()
			for _, x := range r.Series {
				t.Log(x.row())
			}
			require.NoError(t, r.save(dir()))
			write(t, names)
		})
	}
	write(t, names) // also when nothing was measured: NAME=nothing only writes the report anew
}

// write makes the report of all results there are.
func write(t *testing.T, names []string) {
	t.Helper()
	require.NoError(t, report(dir(), names))
	if os.Getenv("BENCH_DIR") == "" {
		require.NoError(t, digest(filepath.Join("..", "..", "docs", "benchmarks.md"), dir(), names, guide()))
	}
}

func dir() string {
	if d := os.Getenv("BENCH_DIR"); d != "" {
		return d
	}
	return filepath.Join("..", "reports", "bench")
}
