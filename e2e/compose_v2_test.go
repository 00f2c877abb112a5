package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/compose"
)

// composeV2 runs the compose file with Compose v2, whatever Compose is installed: up from nothing, scaled, down without
// -v, and up again.
func composeV2(t *testing.T, rounds int) []string {
	program := os.Getenv("AUTOPILOT_TEST_COMPOSE")
	if program == "" {
		t.Skip("make soak NAME=compose-v2 builds Compose v2 and runs this")
	}
	compose.Need(t)
	version, err := exec.Command(program, "version").Output()
	require.NoError(t, err)
	lines := []string{strings.TrimSpace(string(version))}
	for range rounds {
		checkComposeFiles(t, []string{program})
		lines = append(lines, "`config` takes the files, alone and together, and warns about nothing")
		p := compose.New(t)
		p.By(program)
		p.Up(3)
		p.WaitWhole(3)
		p.WaitWriting()
		lines = append(lines, containersScaled(t, p)...)
		containersFromSnapshot(t, p)
		lines = append(lines, "`down` without -v, and `up`: the data of the last snapshot is on all three")
	}
	return lines
}
