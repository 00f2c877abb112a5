package bench

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// failedOver is what the demo says when its cluster has failed over and everything was counted.
const failedOver = "nothing lost in the failover"

// demo measures what a newcomer waits for: everything is compiled, its modules and the servers' packages are fetched. Only
// what the module proxy and the package mirror keep is not new.
func demo(t *testing.T, r *result) {
	once, whole := r.of("from nothing until the cluster has failed over once", "s"), r.of("the whole demo", "s")
	once.Target = 180
	for range rounds(2) {
		home, err := os.MkdirTemp("", "bench")
		require.NoError(t, err)
		began := time.Now()
		cmd := exec.Command("make", "-C", filepath.Join("..", ".."), "demo", "BIN="+filepath.Join(home, "autopilot-mysql"))
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "GOPATH="+filepath.Join(home, "go"),
			"GOMODCACHE="+filepath.Join(home, "go", "mod"), "GOCACHE="+filepath.Join(home, "build"), "GOFLAGS=-modcacherw")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		cmd.Stderr = cmd.Stdout
		require.NoError(t, cmd.Start())
		limit := time.AfterFunc(15*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) })
		var said strings.Builder
		seen := time.Duration(0)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said.WriteString(lines.Text() + "\n")
			if seen == 0 && strings.Contains(lines.Text(), failedOver) {
				seen = time.Since(began)
			}
		}
		err = cmd.Wait()
		limit.Stop()
		require.NoError(t, err, said.String())
		require.NotZero(t, seen, said.String())
		once.add(seen.Seconds())
		whole.add(time.Since(began).Seconds())
		t.Logf("failed over after %v, all over after %v", seen.Round(time.Second), time.Since(began).Round(time.Second))
		require.NoError(t, os.RemoveAll(home))
	}
}
