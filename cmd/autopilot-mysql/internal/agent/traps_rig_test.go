package agent

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// trapLimit is how long a test waits for what must happen; a loaded machine is slow, not wrong.
const trapLimit = 2 * time.Minute

var trapCreds = mysql.Credentials{Prefix: "repl", Password: "a password"}

// trapLab makes small real servers, copies of one bootstrapped data directory.
type trapLab struct {
	t        *testing.T
	mysqld   string
	template string
}

// trapNode is one real server and its agent, which is not running: a test calls the parts of it that it is about.
type trapNode struct {
	*Agent
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
	app    *sql.DB
}

func newTrapLab(t *testing.T) *trapLab {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real mysqld")
	}
	mysqld, _, err := mysql.FindMysqld(t.Context(), os.Getenv("AUTOPILOT_TEST_MYSQLD"))
	require.NoError(t, err, "set AUTOPILOT_TEST_MYSQLD or put mysqld on PATH")
	lab := &trapLab{t: t, mysqld: mysqld}
	n := lab.node(t, "template", "")
	require.NoError(t, mysql.Initialise(n.ctx(), n.mycfg))
	n.boot()
	spec := mysql.BootstrapSpec{Creds: trapCreds, Database: "app", User: "app", Password: "app"}
	require.NoError(t, mysql.Bootstrap(n.ctx(), n.mycfg, spec))
	n.connect()
	n.ok(func(ctx context.Context) error { return n.srv.ReadOnlyOff(ctx) })
	admin := n.db(trapCreds.Admin(), trapCreds.Password)
	n.exec(admin, "SET sql_log_bin=0; CREATE TABLE app.t (i INT PRIMARY KEY) ENGINE=InnoDB; SHUTDOWN")
	<-n.exited
	lab.template = n.mycfg.DataDir()
	return lab
}

// node is a server that is not started yet, with the template's data and an identity of its own.
func (l *trapLab) node(t *testing.T, name, data string) *trapNode {
	t.Helper()
	dir, err := os.MkdirTemp("", "apa") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	port, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer port.Close()
	p, err := election.ParamsFor(3 * time.Second)
	require.NoError(t, err)
	s := &config.Settings{Name: name, Datadir: dir, Mysqld: l.mysqld, Bind: "127.0.0.1", Port: port.Addr().(*net.TCPAddr).Port, BufferPool: 32 << 20, Small: true}
	s.Cluster = "main"
	n := &trapNode{t: t, Agent: &Agent{
		Deps: Deps{Settings: s, Params: p, Log: slog.New(slog.DiscardHandler)}, keys: cluster.KeysOf("main"), creds: trapCreds,
		mycfg: mysqlConfig(s, p), disk: &disk{dir: dir, s: diskState{Node: name, Cluster: "main", HasData: true, Rebuilds: 1}},
	}}
	n.attic = newAttic(dir, "main", nil, nil, n.Log)
	n.rotation = newRotation(s)
	n.wakeup = make(chan struct{}, 1)
	n.machine, err = engine.New(roles.Table(), roles.Actor(n.Agent), engine.Options[roles.State, roles.Event]{})
	require.NoError(t, err)
	if data != "" {
		out, err := exec.Command("cp", "-a", data, n.mycfg.DataDir()).CombinedOutput()
		require.NoError(t, err, "%s", out)
		n.disk.s.UUID, err = mysql.NewServerUUID(n.mycfg)
		require.NoError(t, err)
	}
	return n
}

// start makes a node with the template's data and starts it, closed.
func (l *trapLab) start(t *testing.T, name string) *trapNode {
	t.Helper()
	n := l.node(t, name, l.template)
	n.boot()
	n.connect()
	return n
}

func (n *trapNode) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), trapLimit)
	n.t.Cleanup(cancel)
	return ctx
}

// ok runs one operation that must succeed.
func (n *trapNode) ok(do func(context.Context) error) {
	n.t.Helper()
	require.NoError(n.t, do(n.ctx()))
}

// boot starts mysqld as the agent does, and a guard that does what it is told.
func (n *trapNode) boot() {
	n.t.Helper()
	if _, err := os.Stat(filepath.Join(n.mycfg.DataDir(), "auto.cnf")); err == nil {
		_, err := n.configure()
		require.NoError(n.t, err)
	} else {
		require.NoError(n.t, mysql.WriteConfig(n.mycfg))
	}
	require.NoError(n.t, mysql.ClearStale(n.mycfg))
	n.cmd = exec.Command(n.mycfg.Mysqld, n.mycfg.Args()...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(n.t, n.cmd.Start())
	cmd, exited := n.cmd, make(chan struct{})
	n.exited = exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	n.t.Cleanup(func() { n.kill9(cmd, exited) })
	n.Guard = n.obey()
	require.Eventually(n.t, func() bool {
		c, err := net.Dial("unix", n.mycfg.Socket())
		if err == nil {
			c.Close()
		}
		return err == nil
	}, trapLimit, 20*time.Millisecond, "mysqld takes no connections")
}

func (n *trapNode) kill9(cmd *exec.Cmd, exited <-chan struct{}) {
	select {
	case <-exited:
	default:
		_ = cmd.Process.Kill()
		<-exited
	}
}

// die is SIGKILL.
func (n *trapNode) die() {
	n.kill9(n.cmd, n.exited)
	n.srv.Close()
}

// connect opens the agent's connections and does its duties on a server that has just become reachable.
func (n *trapNode) connect() {
	n.t.Helper()
	n.srv, n.connected = mysql.Open(n.mycfg, n.creds), false
	srv := n.srv
	n.t.Cleanup(srv.Close)
	n.attached()
	n.look()
}

// attached does the agent's duties on a server that has become reachable; an agent, too, tries again while that takes too long.
func (n *trapNode) attached() {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.attach(n.ctx()) == nil }, trapLimit, 50*time.Millisecond, "the agent cannot attach to its mysqld")
}

// look is what the agent knows about its server at every turn.
func (n *trapNode) look() mysql.Status {
	n.t.Helper()
	st, err := n.srv.Status(n.ctx())
	require.NoError(n.t, err)
	n.status, n.lastPos = st, n.said(st)
	return st
}

// said is what the agent remembers of a status.
func (n *trapNode) said(st mysql.Status) roles.MySQL {
	m := roles.MySQL{Executed: st.Executed}
	if st.Replica != nil {
		m.Received = st.Replica.Received
	}
	return m
}

func (n *trapNode) until(what string, ok func(mysql.Status) bool) mysql.Status {
	n.t.Helper()
	var st mysql.Status
	require.Eventually(n.t, func() bool { st = n.look(); return ok(st) }, trapLimit, 5*time.Millisecond, "%s: %s", n.Settings.Name, what)
	return st
}

// serve opens the server for clients.
func (n *trapNode) serve() {
	n.t.Helper()
	n.ok(n.srv.ReadOnlyOff)
	n.ok(n.srv.OfflineOff)
	n.app = n.db("app", "app")
}

// lead opens the server for clients whose commits wait for f's acknowledgement.
func (n *trapNode) lead(f *trapNode) {
	n.t.Helper()
	n.serve()
	n.feed(f, true)
	n.ok(func(ctx context.Context) error { return n.srv.SetSource(ctx, true, 1) })
}

// feed makes follower replicate from n.
func (n *trapNode) feed(follower *trapNode, armed bool) {
	n.t.Helper()
	user := n.creds.Node(follower.Settings.Name)
	n.ok(func(ctx context.Context) error { return n.srv.EnsureAccount(ctx, user, false) })
	src := mysql.Source{Host: "127.0.0.1", Port: n.mycfg.Port, User: user, Password: n.creds.Password, Armed: armed, Heartbeat: heartbeat, ConnectRetry: connectRetry}
	n.ok(func(ctx context.Context) error { return follower.srv.Follow(ctx, src) })
	follower.until("connected", func(st mysql.Status) bool {
		return st.Replica.Receiver == mysql.On && st.Replica.Armed == armed && st.Replica.Pos.File != ""
	})
}

func (n *trapNode) db(user, password string) *sql.DB {
	n.t.Helper()
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.MultiStatements = user, password, "unix", n.mycfg.Socket(), true
	cfg.Logger = &driver.NopLogger{}
	c, err := driver.NewConnector(cfg)
	require.NoError(n.t, err)
	db := sql.OpenDB(c)
	n.t.Cleanup(func() { db.Close() })
	return db
}

func (n *trapNode) exec(db *sql.DB, statement string) {
	n.t.Helper()
	_, err := db.ExecContext(n.ctx(), statement)
	require.NoError(n.t, err, statement)
}

// write is a client that may wait; its outcome comes when there is one.
func (n *trapNode) write(statement string) <-chan error {
	done, ctx := make(chan error, 1), n.ctx()
	go func() {
		_, err := n.app.ExecContext(ctx, statement)
		done <- err
	}()
	return done
}

// obey is a guard: it says which mysqld runs, and signals or kills it when it is asked to.
func (n *trapNode) obey() *guard.Client {
	n.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(n.t, err)
	own := os.NewFile(uintptr(fds[0]), "guard")
	n.t.Cleanup(func() { own.Close() })
	cmd, exited := n.cmd, n.exited
	go func() {
		in := bufio.NewScanner(own)
		for in.Scan() {
			var q struct {
				ID     uint64         `json:"id"`
				Op     string         `json:"op"`
				Signal syscall.Signal `json:"signal"`
			}
			if json.Unmarshal(in.Bytes(), &q) != nil {
				return
			}
			answer := map[string]any{"id": q.ID, "mysqld": cmd.Process.Pid}
			switch q.Op {
			case "signal":
				_ = cmd.Process.Signal(q.Signal)
			case "kill":
				n.kill9(cmd, exited)
				answer["mysqld"] = 0
			}
			if json.NewEncoder(own).Encode(answer) != nil {
				return
			}
			if q.Op == "signal" {
				<-exited
				_ = json.NewEncoder(own).Encode(map[string]any{"mysqld": 0, "exit": guard.Exit{Pid: cmd.Process.Pid}})
			}
		}
	}()
	n.t.Setenv(guard.EnvFD, strconv.Itoa(fds[1]))
	c, err := guard.Connect()
	require.NoError(n.t, err)
	c.FeedTimeout = trapLimit
	return c
}

// leads puts the records of a cluster whose open primary is n into a store of its own, for the agents of others to see.
func (n *trapNode) leads(others ...*trapNode) roles.Node {
	n.t.Helper()
	m := election.NewMemory()
	me := n.disk.inc()
	s := m.Session(n.Settings.Name, time.Hour)
	require.NoError(n.t, s.Open(n.ctx()))
	h := roles.Node{Inc: me, Name: n.Settings.Name, Cluster: "c", MySQL: net.JoinHostPort("127.0.0.1", strconv.Itoa(n.mycfg.Port)), State: roles.Primary, Open: 2}
	sync := roles.Sync{Term: 2, Primary: me, Members: []roles.Inc{me}}
	ok, why, err := m.Txn(n.ctx(), election.Set(n.keys.Sync(), cluster.Encode(sync)),
		election.Set(n.keys.Cluster(), cluster.Encode(roles.Cluster{ID: "c", Name: "main"})))
	require.NoError(n.t, err)
	require.True(n.t, ok, why)
	for key, value := range map[string][]byte{n.keys.Leader(): []byte(me), n.keys.Node(me): cluster.Encode(h)} {
		got, err := s.Acquire(n.ctx(), key, value)
		require.NoError(n.t, err)
		require.True(n.t, got)
	}
	for _, o := range others {
		o.Store = m.Node(o.Settings.Name)
		o.watch = &watch{store: o.Store, keys: o.keys, wake: func() {}, now: election.Boottime}
	}
	return h
}

// finish waits for the node's job and lets the loop's side of it happen.
func (n *trapNode) finish() {
	n.t.Helper()
	for n.job != nil {
		select {
		case <-n.wakeup:
		case <-n.ctx().Done():
			require.Fail(n.t, "the job does not end", n.job.sentence())
		}
		_, end := n.settle(n.ctx())
		require.Nil(n.t, end)
	}
}

// store is a snapshot store in a directory.
func store(t *testing.T) snapshot.Store {
	t.Helper()
	s, err := snapshot.OpenStore("file://"+t.TempDir(), snapshot.StoreOptions{})
	require.NoError(t, err)
	return s
}
