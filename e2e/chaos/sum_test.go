package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

// TestTotals: reports/chaos.md is the sum of the reports beside it. CHAOS_TOTALS=1 (make chaos-totals) writes it.
func TestTotals(t *testing.T) {
	dir := filepath.Join("..", "reports")
	reports, err := filepath.Glob(filepath.Join(dir, "chaos-*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, reports)
	slices.Sort(reports)
	c := campaigns{made: map[string]int{}}
	for _, path := range reports {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, c.add(string(text)), path)
	}
	page := filepath.Join(dir, "chaos.md")
	if os.Getenv("CHAOS_TOTALS") != "" {
		require.NoError(t, os.WriteFile(page, []byte(c.Markdown()), 0o644))
	}
	have, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, c.Markdown(), string(have), "make chaos-totals")
}

// TestSum: what a campaign reports is what is summed up.
func TestSum(t *testing.T) {
	at := time.Now()
	r := &Result{Seed: 7, Took: 61 * time.Minute, Failovers: 3, Terms: 5, Writes: 100, Stubborn: 20, Txns: 30, Unknown: 2, Failures: 4,
		Gaps:   []history.Gap{{From: at, To: at.Add(9 * time.Second)}, {From: at, To: at.Add(time.Second)}},
		Totals: totals{Rounds: 6, Faults: map[string]int{"kill-node": 5, "ddl": 1}, NotNow: map[string]int{"ddl": 2}}}
	text := "# Fault campaign, seed 7\n" + r.Markdown("c0ffee (the program itself: beef)", "make chaos")
	r.Seed, r.Violations = 8, []string{"one"}
	c := campaigns{made: map[string]int{}}
	require.NoError(t, c.add(text+r.Markdown("c0ffee (the program itself: beef)", "make chaos")))
	require.Equal(t, campaigns{seeds: []string{"7", "8"}, programs: []string{"beef", "beef"}, took: 122 * time.Minute, gap: 9 * time.Second,
		rounds: 12, faults: 12, failovers: 6, violations: 1, writes: 200, stubborn: 40, txns: 60, unknown: 4, refused: 8,
		made: map[string]int{"kill-node": 10, "ddl": 2}}, c)
	require.Contains(t, c.Markdown(), "| of the program as of | beef |")
	require.Contains(t, c.Markdown(), "| kill-node | 10 |")
	require.ErrorContains(t, c.add("# nothing"), "no campaign")
	require.ErrorContains(t, c.add("\n## one\n- seed 9"), "nothing like")
}
