package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// quietMinutes is how long normal life is watched by `make soak NAME=quiet-hour`; QUIET_MINUTES says it otherwise.
func quietMinutes() int {
	if n, err := strconv.Atoi(os.Getenv("QUIET_MINUTES")); err == nil && n > 0 {
		return n
	}
	return 60
}

// quietHour is normal life for so many minutes: writes, planned switchovers to each node in turn, a snapshot, and the
// published alert rules as they are, under a real Prometheus, of which none may fire at any moment.
func quietHour(t *testing.T, minutes int) []string {
	harness.MonitoringTool(t, "prometheus")
	rules, err := os.ReadFile(harness.AlertsFile())
	require.NoError(t, err)
	c := harness.Up(t, harness.Options{Nodes: 3})
	w := load.Start(t, c)
	p := harness.StartPrometheus(t, c, string(rules))
	s := snapshotsOf(t, c)
	looked, moved := 0, 0
	next := time.Now().Add(20 * time.Second)
	for end := time.Now().Add(time.Duration(minutes) * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		require.Empty(t, p.Firing(), "after %d switchovers: %s", moved, c.Doc().Line())
		looked++
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(3 * time.Minute)
		d := c.WaitWhole(3)
		handsOver(t, c, "switchover")
		c.WaitNewPrimary(d.Primary, d.Term)
		if moved++; moved%5 == 1 {
			s.create()
		}
	}
	require.Empty(t, p.Broken())
	require.Positive(t, moved)
	c.WaitWhole(3)
	w.Verify(c)
	return []string{fmt.Sprintf("%d minutes under writers, %d planned switchovers, %d snapshots by command: %d looks at the alerts, none fired; %d rules, all evaluated; nothing acknowledged was lost",
		minutes, moved, (moved+4)/5, looked, len(harness.AlertNames(string(rules))))}
}
