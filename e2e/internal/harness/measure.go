package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// PeakMemory is the most memory a process has ever had resident, in bytes.
func PeakMemory(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(b), "VmHWM:")
	require.True(t, found, "no VmHWM")
	var kib int
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	require.NoError(t, err)
	t.Logf("peak of process %d: %d MiB", pid, kib>>10)
	return kib << 10
}

// Commit names the state of the source, for reports. The reports themselves say nothing about the program, nor do the
// folders below the top that the caller writes as well.
func Commit(t testing.TB, written ...string) string {
	t.Helper()
	head, err := exec.Command("git", "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	status := []string{"status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)e2e/reports"}
	for _, dir := range written {
		status = append(status, ":(top,exclude)"+dir)
	}
	changed, err := exec.Command("git", status...).Output()
	require.NoError(t, err)
	if len(changed) > 0 {
		return strings.TrimSpace(string(head)) + " with uncommitted changes"
	}
	return strings.TrimSpace(string(head))
}
