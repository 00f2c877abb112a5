package bench

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

const (
	apartName   = "apart"
	apartMySQL  = "3306"
	apartHTTP   = "3308"
	apartConsul = "8500"
	apartUser   = "app"
)

// apart is a cluster of ours of which every part has a network of its own, so that links can be cut for real; its clients
// have one, too.
type apart struct {
	t        testing.TB
	dir      string
	lease    time.Duration
	agents   bool                   // every node talks to a Consul agent on its own host, and not to the server
	hosts    map[string]*netns.Host // of the nodes, by name
	consul   *netns.Host
	clients  *netns.Host
	http     *http.Client
	password string
	fleet    *fleet
}

// setApart starts a cluster of three and its clients.
func setApart(t testing.TB, lease time.Duration, agents bool, writers int) *apart {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench") // a short path: there are sockets in it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	network, err := netns.New(dir)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &apart{t: t, dir: dir, lease: lease, agents: agents, hosts: map[string]*netns.Host{}, password: rand.Text()}
	a.consul, err = network.Host("consul", 2)
	require.NoError(t, err)
	a.clients, err = network.Host("clients", 3)
	require.NoError(t, err)
	a.http = &http.Client{Transport: &http.Transport{DialContext: a.clients.DialContext}}
	a.startConsul()
	for i := range 3 {
		name := fmt.Sprintf("node%d", i+1)
		a.hosts[name], err = network.Host(name, 11+i)
		require.NoError(t, err)
		a.startNode(name)
	}
	d := a.until("whole", func(d harness.Document) bool { return d.Whole(3) })
	require.NoError(t, makeTable(a.open, d.Node(d.Primary).MySQL))
	ctx, cancel := context.WithCancel(context.Background())
	a.fleet = start(inConsul(ctx, a.http, a.consul.Addr+":"+apartConsul), a.open, writers)
	t.Cleanup(func() { a.fleet.stop(); cancel() })
	require.NoError(t, a.fleet.settle(time.Now(), time.Minute))
	return a
}

// begin starts a program on a host, in a session of its own. It ends with the host.
func (a *apart) begin(h *netns.Host, name string, env []string, argv ...string) {
	a.t.Helper()
	log, err := os.OpenFile(filepath.Join(a.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(a.t, err)
	defer log.Close()
	argv = h.Command(argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(a.t, cmd.Start())
	a.t.Cleanup(func() {
		if a.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			a.t.Logf("%s said:\n%s", name, harness.Tail(string(b), 30))
		}
	})
	go func() { _ = cmd.Wait() }() // ended by the network's end
}

func (a *apart) startConsul() {
	a.beginConsul(a.consul, a.consul.Addr, map[string]any{"server": true, "bootstrap_expect": 1, "performance": map[string]any{"raft_multiplier": 1}})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if b, err := a.get("/v1/status/leader"); err == nil && len(b) > 4 { // with its quotes, and not empty
			return
		}
		require.True(a.t, time.Now().Before(deadline), "Consul has no leader within a minute")
	}
}

// beginConsul starts one of Consul's agents, whose API is at an address.
func (a *apart) beginConsul(h *netns.Host, api string, settings map[string]any) {
	name := "consul-" + h.Name
	maps.Copy(settings, map[string]any{"node_name": name, "data_dir": filepath.Join(a.dir, name), "bind_addr": h.Addr, "client_addr": api,
		"disable_update_check": true, "leave_on_terminate": false, "ports": map[string]any{"https": -1, "dns": -1, "grpc": -1, "serf_wan": -1}})
	b, err := json.Marshal(settings)
	require.NoError(a.t, err)
	file := filepath.Join(a.dir, name+".json")
	require.NoError(a.t, os.WriteFile(file, b, 0o600))
	a.begin(h, name, nil, harness.Consul(a.t), "agent", "-config-file", file)
}

// startNode starts a node, and the Consul agent beside it if it has one.
func (a *apart) startNode(name string) {
	h, consul := a.hosts[name], a.consul.Addr
	if a.agents {
		consul = "127.0.0.1"
		a.beginConsul(h, consul, map[string]any{"retry_join": []string{a.consul.Addr}, "retry_interval": "1s"})
	}
	argv := []string{harness.Binary(a.t), "run", "--name", name, "--cluster", apartName, "--consul", consul + ":" + apartConsul, "--lease", a.lease.String(),
		"--store", "file://" + filepath.Join(a.dir, "store"), "--datadir", filepath.Join(a.dir, name), "--port", apartMySQL, "--bind", h.Addr, "--advertise", h.Addr,
		"--http", h.Addr + ":" + apartHTTP, "--mysqld", harness.Mysqld(a.t), "--small", "--failovers-per-hour", "0", "--run-as", "root"}
	a.begin(h, name, []string{"MYSQL_REPL_PASSWORD=" + a.password, "MYSQL_ROOT_PASSWORD=" + a.password, "MYSQL_USER=" + apartUser, "MYSQL_PASSWORD=" + a.password,
		"MYSQL_DATABASE=" + apartName}, argv...)
}

// kill ends everything on a node's host in one instant.
func (a *apart) kill(name string) {
	a.t.Helper()
	pids, err := a.hosts[name].Pids()
	require.NoError(a.t, err)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // none acts on another's death
		for _, p := range pids {
			pid, err := strconv.Atoi(p)
			require.NoError(a.t, err)
			_ = syscall.Kill(pid, sig) // it may have ended
		}
	}
}

// open is a pool of the application's connections.
func (a *apart) open(addr string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName, cfg.Net, cfg.Addr = apartUser, a.password, apartName, "tcp", addr
	cfg.TLSConfig, cfg.Logger, cfg.Timeout, cfg.DialFunc = "skip-verify", &mysql.NopLogger{}, patience, a.clients.DialContext
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// get asks Consul.
func (a *apart) get(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.consul.Addr+":"+apartConsul+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask Consul %s: %s", path, resp.Status)
	}
	return b, err
}

// doc is what the status command says.
func (a *apart) doc() (d harness.Document, err error) {
	argv := a.clients.Command(harness.Binary(a.t), "status", "--consul", a.consul.Addr+":"+apartConsul, "--cluster", apartName, "--output", "json")
	out, err := harness.Output(20*time.Second, argv[0], argv[1:]...) // a cluster that is not well makes it fail, and still say how it is
	if jerr := json.Unmarshal([]byte(out), &d); jerr != nil {
		return d, errors.Join(jerr, err)
	}
	return d, nil
}

// until waits for a state of the cluster.
func (a *apart) until(what string, ok func(harness.Document) bool) harness.Document {
	a.t.Helper()
	for deadline := time.Now().Add(calmLimit); ; time.Sleep(100 * time.Millisecond) {
		d, err := a.doc()
		if err == nil && ok(d) {
			return d
		}
		require.True(a.t, time.Now().Before(deadline), "%s: not within %v: %v %s", what, calmLimit, err, d.Line())
	}
}

// calm is stand.calm: the clients stop until every node is healthy and has applied everything, and then write again.
func (a *apart) calm() harness.Document {
	a.t.Helper()
	d := a.rest()
	again(a.t, a.fleet)
	return d
}

func (a *apart) rest() harness.Document {
	a.t.Helper()
	a.fleet.pause()
	return a.until("whole and equal without writers", func(d harness.Document) bool { return d.Whole(3) && equal(d) })
}

// promotion is the history's entry about a term's opening.
func (a *apart) promotion(term uint64) (p harness.Promotion) {
	a.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var keys []harness.Key
		if b, err := a.get("/v1/kv/mysql/" + apartName + "~history/?recurse"); err == nil && json.Unmarshal(b, &keys) == nil {
			for _, k := range keys {
				var e harness.Promotion
				if json.Unmarshal(k.Value, &e) == nil && e.Kind == "promotion" && e.Term == term {
					return e
				}
			}
		}
		require.True(a.t, time.Now().Before(deadline), "the history says nothing about term %d", term)
	}
}

// check compares the clients' books with every node.
func (a *apart) check(r *result) {
	a.t.Helper()
	d := a.rest()
	a.fleet.stop()
	balance(a.t, r, a.fleet, d.Nodes, "on every node")
}
