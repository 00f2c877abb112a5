package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// procPassword holds every character that is special in an option file or a statement.
const procPassword = `p#w"d'\x$;%`

var procCreds = Credentials{Prefix: "repl", Password: procPassword}

// limit is how long a test waits for what must happen; a loaded machine is slow, not wrong.
const limit = 2 * time.Minute

func procContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// procMysqld is the real server all tests of this room run.
var procMysqld = sync.OnceValues(func() (string, error) {
	path, _, err := FindMysqld(context.Background(), os.Getenv("AUTOPILOT_TEST_MYSQLD"))
	return path, err
})

// template is an initialised, not bootstrapped data directory; made once, copied by every test.
var template struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if template.dir != "" {
		os.RemoveAll(template.dir)
	}
	os.Exit(code)
}

// procConfig is a node in a short directory (socket paths are short) with a free port.
func procConfig(t testing.TB) Config {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real mysqld")
	}
	path, err := procMysqld()
	require.NoError(t, err, "set AUTOPILOT_TEST_MYSQLD or put mysqld on PATH")
	dir, err := os.MkdirTemp("", "apm")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := procFreePort(t)
	return Config{Dir: dir, Mysqld: path, Host: "127.0.0.1", Port: port, ServerID: uint32(port), Small: true, BufferPoolBytes: 32 << 20}
}

func procFreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// procFresh is a node with an initialised data directory and its option file.
func procFresh(t testing.TB) Config {
	t.Helper()
	c := procConfig(t)
	template.once.Do(func() {
		var dir string
		if dir, template.err = os.MkdirTemp("", "apt"); template.err != nil {
			return
		}
		template.dir = dir
		tc := c
		tc.Dir = dir
		template.err = Initialise(procContext(t), tc)
	})
	require.NoError(t, template.err)
	out, err := exec.Command("cp", "-a", filepath.Join(template.dir, "data"), c.DataDir()).CombinedOutput()
	require.NoError(t, err, string(out))
	_, err = NewServerUUID(c)
	require.NoError(t, err)
	require.NoError(t, WriteConfig(c))
	return c
}

// procStart runs mysqld under c until the test ends or the returned function is called.
func procStart(t testing.TB, c Config) (stop func()) {
	t.Helper()
	server, err := startChild(exec.CommandContext(context.Background(), c.Mysqld, c.Args()...), &lineTail{})
	require.NoError(t, err)
	stop = sync.OnceFunc(server.stop)
	t.Cleanup(stop)
	for end := time.Now().Add(limit); ; {
		conn, err := net.Dial("unix", c.Socket())
		if err == nil {
			conn.Close()
			return stop
		}
		require.True(t, time.Now().Before(end), "mysqld takes no connections: %v", err)
		select {
		case <-server.done:
			require.Fail(t, "mysqld ended", "%v: %s", server.err, server.tail.why())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// procRunning is a bootstrapped, running node.
func procRunning(t testing.TB) Config {
	t.Helper()
	c := procFresh(t)
	procStart(t, c)
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds}))
	return c
}

func procDB(t testing.TB, c Config, user, password string) *sql.DB {
	t.Helper()
	db := sql.OpenDB(socketConnector(c.Socket(), user, password, true))
	t.Cleanup(func() { db.Close() })
	return db
}

func procAdmin(t testing.TB, c Config) *sql.DB {
	return procDB(t, c, procCreds.Admin(), procCreds.Password)
}

func procExec(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(procContext(t), statement)
	require.NoError(t, err, statement)
}

func procValue(t testing.TB, db *sql.DB, query string) string {
	t.Helper()
	var v sql.NullString
	require.NoError(t, db.QueryRowContext(procContext(t), query).Scan(&v), query)
	return v.String
}

func procAddr(c Config) string { return fmt.Sprintf("%s:%d", c.Host, c.Port) }
