package snapshot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// server is a real mysqld on a directory, reached over its socket by the
// command-line client.
type server struct {
	client, socket string
	cmd            *exec.Cmd
	exited         chan struct{}
}

// programs finds mysqld and its client.
func programs(t *testing.T) (mysqld, client string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real mysqld")
	}
	mysqld = os.Getenv("AUTOPILOT_TEST_MYSQLD")
	if mysqld == "" {
		found, err := exec.LookPath("mysqld")
		require.NoError(t, err, "no mysqld: set AUTOPILOT_TEST_MYSQLD or put one on PATH")
		mysqld = found
	}
	client = os.Getenv("AUTOPILOT_TEST_MYSQL")
	if client == "" {
		client = filepath.Join(filepath.Dir(mysqld), "mysql")
	}
	_, err := os.Stat(client)
	require.NoError(t, err, "no mysql client: set AUTOPILOT_TEST_MYSQL or put one beside mysqld")
	return mysqld, client
}

// arguments are what initialising and running have in common.
func arguments(datadir string) []string {
	args := []string{"--no-defaults", "--datadir=" + datadir, "--mysqlx=OFF", "--secure-file-priv=NULL",
		"--innodb-buffer-pool-size=16M", "--innodb-redo-log-capacity=8M", "--innodb-flush-method=fsync", "--performance-schema=OFF"}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	return args
}

// start runs mysqld and waits until it answers.
func start(t *testing.T, datadir string) *server {
	t.Helper()
	mysqld, client := programs(t)
	dir, err := os.MkdirTemp("", "ap") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{client: client, socket: filepath.Join(dir, "s"), exited: make(chan struct{})}
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	s.cmd = exec.Command(mysqld, append(arguments(datadir), "--socket="+s.socket, "--skip-networking", "--gtid-mode=ON",
		"--enforce-gtid-consistency=ON", "--plugin-load-add=mysql_clone.so", "--server-id=1", "--pid-file="+filepath.Join(dir, "pid"))...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	require.NoError(t, s.cmd.Start())
	go func() { _ = s.cmd.Wait(); close(s.exited) }()
	t.Cleanup(s.kill)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.run(t.Context(), "SELECT 1"); err == nil {
			return s
		}
		select {
		case <-s.exited:
			text, _ := os.ReadFile(log.Name())
			require.FailNow(t, "mysqld ended", "%s", text)
		default:
			require.True(t, time.Now().Before(deadline), "mysqld does not answer")
		}
	}
}

// kill ends the process, the hard way: its data is durable or of no interest.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// run executes statements and returns what they print.
func (s *server) run(ctx context.Context, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.client, "--no-defaults", "-uroot", "-S", s.socket, "-N", "-B", "--raw", "-e", sql).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ""), nil
}

// CloneLocal implements Source.
func (s *server) CloneLocal(ctx context.Context, dir string) (gtid.Set, error) {
	text, err := s.run(ctx, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return gtid.Set{}, err
	}
	before, err := gtid.Parse(text)
	if err != nil {
		return gtid.Set{}, err
	}
	_, err = s.run(ctx, "CLONE LOCAL DATA DIRECTORY = '"+dir+"'")
	return before, err
}

// query is run for tests.
func (s *server) query(t *testing.T, sql string) string {
	t.Helper()
	out, err := s.run(t.Context(), sql)
	require.NoError(t, err)
	return out
}

// TestRealServer makes a snapshot of a running server that is being written to,
// and starts another one on what was restored.
func TestRealServer(t *testing.T) {
	mysqld, _ := programs(t)
	data := filepath.Join(t.TempDir(), "data")
	out, err := exec.CommandContext(t.Context(), mysqld, append(arguments(data), "--initialize-insecure")...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	a := start(t, data)
	a.query(t, `CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(900)) COMPRESSION='zlib'; SET cte_max_recursion_depth=5000;
		INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000) SELECT i, REPEAT(SHA2(i, 256), 10) FROM n`)
	sum := "SELECT COUNT(*), SUM(CRC32(v)) FROM shop.t WHERE id <= 3000"
	want := a.query(t, sum)

	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { // writes go on during the clone
		for i := 10000; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if _, err := a.run(context.Background(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'later')", i)); err != nil {
				stopped <- err
				return
			}
		}
	}()
	s := newS3(t)
	o := options(t)
	o.PartBytes = 1 << 20
	m, err := Create(t.Context(), s, a, o)
	close(stop)
	require.NoError(t, err)
	require.NoError(t, <-stopped)
	requireEmpty(t, o.ScratchDir)
	require.False(t, m.GTIDLower.IsEmpty())
	t.Logf("%d files, %d MiB, stored %d KiB in %d parts", m.Files, m.Bytes>>20, m.StoredBytes>>10, len(m.Parts))
	uuid := a.query(t, "SELECT @@server_uuid")
	executed := gtid.MustParse(a.query(t, "SELECT @@GLOBAL.gtid_executed"))
	a.kill()

	list, bad, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Empty(t, bad)
	dest := filepath.Join(t.TempDir(), "restored")
	begun := time.Now()
	require.NoError(t, Restore(t.Context(), s, list[0], dest, RestoreOptions{}))
	t.Logf("restored in %s", time.Since(begun))
	require.NoFileExists(t, filepath.Join(dest, "auto.cnf"))

	b := start(t, dest)
	require.Equal(t, want, b.query(t, sum))
	require.NotEqual(t, uuid, b.query(t, "SELECT @@server_uuid"))
	got := gtid.MustParse(b.query(t, "SELECT @@GLOBAL.gtid_executed"))
	require.True(t, got.Contains(m.GTIDLower), "the manifest's set is a lower bound: %s, %s", m.GTIDLower, got)
	require.True(t, executed.Contains(got))
	require.NoError(t, Usable(m, gtid.Set{}, executed))
}
