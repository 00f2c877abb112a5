package mysql

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// opsNode is one real, bootstrapped server under test and a direct connection to it.
type opsNode struct {
	t    testing.TB
	name string
	cfg  Config
	*Server
	stop func() // SIGKILL
	db   *sql.DB
}

var opsTemplate struct {
	once sync.Once
	dir  string
}

// opsData is a bootstrapped data directory, shut down cleanly; made once, copied by every test. It
// lies inside the directory TestMain removes.
func opsData(t testing.TB) string {
	t.Helper()
	opsTemplate.once.Do(func() {
		c := procFresh(t)
		stop := procStart(t, c)
		require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds}))
		cfg := socketConnector(c.Socket(), procCreds.Admin(), procCreds.Password, true)
		db := sql.OpenDB(cfg)
		defer db.Close()
		procExec(t, db, "SET GLOBAL read_only=OFF; SET sql_log_bin=0; CREATE DATABASE t; CREATE TABLE t.t (i INT PRIMARY KEY, s TEXT); "+
			"CREATE USER app@localhost IDENTIFIED BY 'app'; GRANT ALL ON t.* TO app@localhost; SHUTDOWN")
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(c.Dir, "run", "mysqld.pid"))
			return os.IsNotExist(err)
		}, limit, 20*time.Millisecond)
		stop()
		dir := filepath.Join(template.dir, "ops")
		copyDir(t, c.DataDir(), dir)
		opsTemplate.dir = dir
	})
	require.NotEmpty(t, opsTemplate.dir, "the template could not be made")
	return opsTemplate.dir
}

// opsStart starts a fresh node with its kept connections open. It is still closed: read-only, offline.
func opsStart(t testing.TB, name string, extra ...string) *opsNode {
	t.Helper()
	c := procConfig(t)
	c.Extra = extra
	copyDir(t, opsData(t), c.DataDir())
	_, err := NewServerUUID(c)
	require.NoError(t, err)
	require.NoError(t, WriteConfig(c))
	n := &opsNode{t: t, name: name, cfg: c}
	n.boot()
	return n
}

// boot starts mysqld (again) and opens everything anew.
func (n *opsNode) boot() {
	n.t.Helper()
	n.stop = procStart(n.t, n.cfg)
	n.Server = Open(n.cfg, procCreds)
	n.t.Cleanup(n.Server.Close)
	n.ok(n.Ready)
	n.db = procAdmin(n.t, n.cfg)
}

// restart kills mysqld and boots it again; between is called while it is dead.
func (n *opsNode) restart(between func()) {
	n.t.Helper()
	n.Close()
	n.stop()
	between()
	n.boot()
}

// copyDir copies a data directory that nothing writes to.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
	require.NoError(t, err, string(out))
}

// ok runs an operation that must succeed.
func (n *opsNode) ok(do func(context.Context) error) {
	n.t.Helper()
	require.NoError(n.t, do(procContext(n.t)))
}

func (n *opsNode) exec(statement string) { n.t.Helper(); procExec(n.t, n.db, statement) }

func (n *opsNode) value(query string) string { n.t.Helper(); return procValue(n.t, n.db, query) }

func (n *opsNode) st() Status {
	n.t.Helper()
	st, err := n.Status(procContext(n.t))
	require.NoError(n.t, err)
	return st
}

// applies waits until n has executed set.
func (n *opsNode) applies(set gtid.Set) {
	n.t.Helper()
	_, err := n.WaitExecuted(procContext(n.t), set)
	require.NoError(n.t, err)
}

// until waits for a status. One that could not be read is read again.
func (n *opsNode) until(what string, ok func(Status) bool) Status {
	n.t.Helper()
	ctx := procContext(n.t)
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		st, err := n.Status(ctx)
		if err == nil && ok(st) {
			return st
		}
		require.True(n.t, time.Now().Before(end), "%s: %s: not within %v: %v, executed %s, as a replica %+v", n.name, what, limit, err, st.Executed, st.Replica)
	}
}

// waiter waits until one commit waits for its ACK, and the status says which: it reads the latter first.
func (n *opsNode) waiter() Status {
	n.t.Helper()
	return n.until("a waiter", func(st Status) bool { return st.Source.WaitSessions == 1 && st.Owned.Count() == 1 })
}

// open makes the node a writable server for clients.
func (n *opsNode) open() {
	n.t.Helper()
	n.ok(n.ReadOnlyOff)
	n.ok(n.OfflineOff)
}

// app is a connection pool of an ordinary client.
func (n *opsNode) app() *sql.DB { return procDB(n.t, n.cfg, "app", "app") }

// source is how follower reaches n.
func (n *opsNode) source(follower *opsNode, armed bool) Source {
	return Source{Host: n.cfg.Host, Port: n.cfg.Port, User: procCreds.Node(follower.name), Password: procCreds.Password,
		Armed: armed, Heartbeat: 200 * time.Millisecond, ConnectRetry: time.Second}
}

// feed makes follower replicate from n and waits until it is connected.
func (n *opsNode) feed(follower *opsNode, armed bool) {
	n.t.Helper()
	ctx := procContext(n.t)
	require.NoError(n.t, n.EnsureAccount(ctx, procCreds.Node(follower.name), false))
	require.NoError(n.t, follower.Follow(ctx, n.source(follower, armed)))
	follower.until("connected and armed as asked", func(st Status) bool {
		return st.Replica.Receiver == On && st.Replica.Armed == armed && st.Replica.Pos.File != ""
	})
}

// opsPair is an open primary and its connected follower. With acks the primary needs one ACK.
func opsPair(t testing.TB, acks bool) (primary, follower *opsNode) {
	t.Helper()
	primary, follower = opsStart(t, "p"), opsStart(t, "f")
	primary.open()
	primary.feed(follower, acks)
	if acks {
		require.NoError(t, primary.SetSource(procContext(t), true, 1))
	}
	return primary, follower
}

// background runs a statement that may wait, and gives its result when it has one.
func background(t testing.TB, db *sql.DB, statement string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	ctx := procContext(t)
	go func() {
		_, err := db.ExecContext(ctx, statement)
		done <- err
	}()
	return done
}

// timesOut lets the time of an operation be over as soon as seen reports that it is where it cannot go on, and returns its
// error. An operation that ends by itself is not waited for.
func timesOut(t testing.TB, seen func() bool, do func(context.Context) error) error {
	t.Helper()
	ctx := &expiring{Context: procContext(t), over: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	require.Eventually(t, func() bool { return len(ended) == 1 || seen() }, limit, 5*time.Millisecond, "it does not come so far")
	close(ctx.over)
	return <-ended
}

// expiring is a context whose deadline comes when over is closed.
type expiring struct {
	context.Context
	over chan struct{}
}

func (e *expiring) Done() <-chan struct{} { return e.over }

func (e *expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// executes reports whether a session executes a statement that begins like this.
func (n *opsNode) executes(statement string) func() bool {
	return func() bool {
		return n.value("SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO LIKE '"+statement+"%'") != "0"
	}
}

// within gives an operation a short deadline, for those that are expected not to end.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
