package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// sysbenchThreads is enough to keep two cores busy: what watching costs is taken from the load then, not from idle time.
	sysbenchThreads = 8
	sysbenchTables  = 4
	sysbenchRows    = 10000
)

// sysbench is Debian's load generator, at one server through its socket: the least work for the client.
type sysbench struct {
	t    testing.TB
	d    harness.Document
	file string
}

// newSysbench is nil when there is no sysbench on this machine.
func newSysbench(t testing.TB, d harness.Document) *sysbench {
	if _, err := exec.LookPath("sysbench"); err != nil {
		return nil
	}
	s := &sysbench{t: t, d: d, file: filepath.Join(t.TempDir(), "sysbench.cfg")}
	// The password is in a file, not in an argument.
	text := fmt.Sprintf("db-driver=mysql\nmysql-user=%s\nmysql-password=%s\nmysql-db=%s\ntables=%d\ntable-size=%d\n", d.User, d.Password, d.Database, sysbenchTables, sysbenchRows)
	require.NoError(t, os.WriteFile(s.file, []byte(text), 0o600))
	return s
}

func (s *sysbench) call(n harness.Node, load, what string, limit time.Duration, more ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args := append([]string{"--config-file=" + s.file, "--mysql-socket=" + filepath.Join(n.Datadir, "run", "mysql.sock")}, more...)
	out, err := exec.CommandContext(ctx, "sysbench", append(args, load, what)...).CombinedOutput()
	require.NoErrorf(s.t, err, "sysbench %s %s: %s", load, what, out)
	return string(out)
}

func (s *sysbench) prepare(n harness.Node) { s.call(n, "oltp_read_write", "prepare", 2*time.Minute) }

var (
	sysbenchRate = regexp.MustCompile(`transactions:\s+\d+\s+\(([0-9.]+) per sec`)
	sysbenchTail = regexp.MustCompile(`99th percentile:\s+([0-9.]+)`)
)

// run is how many transactions a second one load makes, and the 99th percentile of how long one takes.
func (s *sysbench) run(n harness.Node, load string, d time.Duration) (rate, p99 float64) {
	s.t.Helper()
	out := s.call(n, load, "run", d+time.Minute, "--threads="+strconv.Itoa(sysbenchThreads), "--percentile=99", fmt.Sprintf("--time=%d", max(1, int(d.Seconds()))))
	return s.number(sysbenchRate, out), s.number(sysbenchTail, out)
}

func (s *sysbench) number(of *regexp.Regexp, out string) float64 {
	s.t.Helper()
	m := of.FindStringSubmatch(out)
	require.Lenf(s.t, m, 2, "sysbench: %s", out)
	v, err := strconv.ParseFloat(m[1], 64)
	require.NoError(s.t, err)
	return v
}
