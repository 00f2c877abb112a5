package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestGettingStarted runs every command of docs/getting-started.md as it stands there, one after the other in one shell;
// only the directory is another one.
func TestGettingStarted(t *testing.T) {
	page, err := os.ReadFile("../docs/getting-started.md")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "e2e")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	pg := filepath.Join(dir, "pg")
	require.NoError(t, os.Symlink(harness.Binary(t), filepath.Join(dir, "autopilot-mysql")))
	var script strings.Builder
	// A hand-over that a starved machine does not get done in time changes nothing, and is asked for again; for a moment
	// after one there is no primary to be killed by that name. It also takes longer to start servers than a reader would wait.
	script.WriteString("set -eu\nautopilot-mysql() { case \"$1 ${2-}\" in \"playground add\"|\"playground up\"|\"playground --\"*) set -- \"$@\" --timeout 6m;; esac; for i in 1 2 3 4 5 6 7 8; do command autopilot-mysql \"$@\" && return 0; r=$?; case \"$1 ${2-}\" in \"switchover \"*|\"playground kill\") sleep 2;; *) return $r;; esac; done; return $r; }\n")
	blocks := shellBlock.FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(blocks), 4)
	for _, b := range blocks {
		script.WriteString(strings.ReplaceAll(b[1], "/tmp/pg", pg))
	}
	ctx, cancel := context.WithTimeout(context.Background(), harness.ReadyLimit+2*commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "MYSQLD="+os.Getenv("AUTOPILOT_TEST_MYSQLD"), "CONSUL_BIN="+os.Getenv("AUTOPILOT_TEST_CONSUL"))
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil { // whatever it left is ended
		_, derr := harness.Run(harness.DownLimit, nil, harness.Binary(t), "playground", "down", "--dir", pg)
		require.NoError(t, err, "%s\n%v", out, derr)
	}
	require.Contains(t, string(out), "primary")
}
