package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// TestMonitoring shows what people and monitoring see: the page in a real browser, every alert and the dashboard's queries
// in a real Prometheus. When all of it has passed it leaves reports/monitoring.md.
func TestMonitoring(t *testing.T) {
	programs := []string{version(t, "chromium"), version(t, "prometheus")}
	began, source := time.Now(), harness.Commit(t, "docs/images")
	var parts strings.Builder
	whole := true
	for _, part := range []struct {
		title string
		run   func(*testing.T) []string
	}{{"page", page}, {"alerts", alerts}} {
		ran := false
		whole = t.Run(part.title, func(t *testing.T) {
			lines := part.run(t)
			ran = true
			fmt.Fprintf(&parts, "\n## %s\n\n", part.title)
			for _, l := range lines {
				fmt.Fprintf(&parts, "- %s\n", l)
			}
		}) && ran && whole
	}
	if !whole {
		return // it failed, or only a part was asked for
	}
	report := fmt.Sprintf("# monitoring\n\nThe page for people in a real browser, every published alert and the dashboard's queries in a real Prometheus, on real clusters.\n\n"+
		"- date: %s\n- commit: %s\n- with: %s\n- all passed, in %v\n- command: `make monitoring`\n%s", began.UTC().Format("2006-01-02 15:04 MST"), source,
		strings.Join(programs, "; "), time.Since(began).Round(time.Second), &parts)
	require.NoError(t, os.MkdirAll("reports", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("reports", "monitoring.md"), []byte(report), 0o644))
}

// version is the first line of what a program says about itself.
func version(t *testing.T, program string) string {
	t.Helper()
	out, err := harness.Output(time.Minute, harness.MonitoringTool(t, program), "--version")
	require.NoError(t, err)
	first, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return strings.TrimSpace(first)
}

// dashboard asks every query of the published dashboard: each is understood, and shows something.
func (a *alarms) dashboard() string {
	a.t.Helper()
	queries := harness.DashboardQueries(a.t)
	require.Greater(a.t, len(queries), 20)
	panels := map[string]bool{}
	for _, q := range queries {
		panels[q.Panel] = true
		waitFor(a.t, q.Panel+": "+q.Expr+" shows something", func() bool {
			series, err := a.p.Ask(q.Expr)
			require.NoErrorf(a.t, err, "%s: %s", q.Panel, q.Expr)
			for _, s := range series {
				for _, label := range q.Labels {
					require.Containsf(a.t, s.Labels, label, "%s: its legend names what is not there", q.Panel)
				}
			}
			return slices.ContainsFunc(series, func(s harness.Series) bool { return !math.IsNaN(s.Value) })
		})
	}
	return fmt.Sprintf("dashboard: each of the %d queries of its %d panels is understood and shows something", len(queries), len(panels))
}
