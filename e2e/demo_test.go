package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// demoLimit is what is promised of the whole performance on 2 cores, without the time to fetch the parts.
const demoLimit = 4 * time.Minute

// TestDemo: what a newcomer runs first does all it announces, in the time that is promised, and leaves nothing behind.
func TestDemo(t *testing.T) {
	dir, err := os.MkdirTemp("", "e2e")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := time.Now()
	out, err := harness.Run(4*demoLimit, nil, harness.Binary(t), "demo", "--dir", filepath.Join(dir, "demo"),
		"--mysqld", harness.Mysqld(t), "--consul-bin", harness.Consul(t))
	require.NoError(t, err, "%s", out)
	took := time.Since(at)
	t.Logf("the demo took %v", took.Round(time.Second))
	for _, words := range []string{"kill -9 of the whole primary", "a standby took over", "0 of ", "the old primary rejoined", "joins from snapshot", "no process is left"} {
		require.Contains(t, out, words)
	}
	require.NotContains(t, out, "FAIL")
	if os.Getenv("AUTOPILOT_TEST_SOAK") != "" { // a machine that does other things as well takes its time
		require.Less(t, took, demoLimit)
	}
	require.Empty(t, harness.ProcessesOf(dir), "processes that are left")
}
