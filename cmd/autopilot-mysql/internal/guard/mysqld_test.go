package guard

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRealMysqld runs a real server under the guard: graceful stop, and death with the guard.
func TestRealMysqld(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real mysqld")
	}
	mysqld := os.Getenv("AUTOPILOT_TEST_MYSQLD")
	if mysqld == "" {
		var err error
		mysqld, err = exec.LookPath("mysqld")
		require.NoError(t, err, "set AUTOPILOT_TEST_MYSQLD to a mysqld, or have one in PATH")
	}
	dir, err := os.MkdirTemp("", "guard") // short: the socket's path is limited
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(dir, "data"), "--socket=" + socket, "--skip-networking",
		"--mysqlx=OFF", "--secure-file-priv=NULL", "--pid-file=" + filepath.Join(dir, "pid"), "--innodb-buffer-pool-size=32M", "--innodb-redo-log-capacity=8M",
		"--innodb-flush-method=fsync", "--performance-schema=OFF", "--log-error-verbosity=1"}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // no change of user: the parent-death signal stays
	}
	out, err := exec.Command(mysqld, append(args, "--initialize-insecure")...).CombinedOutput()
	require.NoError(t, err, string(out))
	start := "start exec " + mysqld + " " + strings.Join(args, " ") + "\n"
	up := func(r *rig) { r.until("the socket", func() bool { _, err := os.Stat(socket); return err == nil }) }

	r := launch(t, limit, "connect\n"+start+"await-stop\nsignal 15\nawait-exit\nexit -1")
	up(r)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.status())
	r.event(fmt.Sprintf(`1 exit pid=%d status=0 .*`, r.pid(`1 started (\d+) err=<nil>`)))

	r = launch(t, limit, "connect\n"+start+"feed 1h\nhang")
	up(r)
	pid := r.pid(`1 started (\d+) err=<nil>`)
	r.alive(pid)
	r.signal(syscall.SIGKILL)
	r.dead(pid)
}
