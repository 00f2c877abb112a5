package consul_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds what is waited for; only a failure takes as long. Consul itself takes up to half a minute to end a session by
// its back-stop, and to sync a check again after one attempt failed.
const limit = 90 * time.Second

// patience is the bound of one request where the bound is not the subject, and lease the lease of a session that must
// outlast whatever the machine does between two lines of a test.
const (
	patience = 10 * time.Second
	lease    = 30 * time.Second
)

// server is a real Consul server on loopback, with its data in a directory, so that it can be restarted.
type server struct {
	dir  string
	addr string
	serf string      // where other agents join
	api  *api.Client // see raw
	cmd  *exec.Cmd
}

// binary finds Consul or ends the test with a clear line.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Consul, not run with -short")
	}
	if path := os.Getenv("AUTOPILOT_TEST_CONSUL"); path != "" {
		return path
	}
	path, err := exec.LookPath("consul")
	require.NoError(t, err, "put consul on PATH or set AUTOPILOT_TEST_CONSUL to its path")
	return path
}

// startServer starts Consul with extra settings and waits until it has a leader.
func startServer(t *testing.T, extra map[string]any) *server {
	t.Helper()
	ports := freePorts(t, 3)
	listen := map[string]any{"http": ports[0], "server": ports[1], "serf_lan": ports[2], "serf_wan": -1, "dns": -1, "grpc": -1}
	if knowsGRPCTLS(t) {
		listen["grpc_tls"] = -1
	}
	settings := map[string]any{
		"server": true, "bootstrap_expect": 1, "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
		"node_name": "consul-" + fmt.Sprint(ports[0]), "disable_update_check": true, "log_level": "WARN",
		"performance": map[string]any{"raft_multiplier": 1},
		"ports":       listen,
	}
	for k, v := range extra {
		settings[k] = v
		if v == nil {
			delete(settings, k)
		}
	}
	s := &server{dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), serf: fmt.Sprintf("127.0.0.1:%d", ports[2])}
	text, err := json.Marshal(settings)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "consul.json"), text, 0o600))
	s.start(t)
	t.Cleanup(s.kill)
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log")) // without it there is less to say
			t.Logf("Consul at %s says:\n%s", s.addr, text)
		}
	})
	return s
}

// knowsGRPCTLS: Consul 1.14 and later listen on a fixed port for gRPC with TLS unless told not to; older ones refuse the word.
func knowsGRPCTLS(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command(binary(t), "version").Output()
	require.NoError(t, err)
	var major, minor int
	_, err = fmt.Sscanf(string(out), "Consul v%d.%d", &major, &minor)
	require.NoErrorf(t, err, "%s", out)
	return major > 1 || minor >= 14
}

// startAgent starts a client agent of a server, as there is one on each host in many installations.
func startAgent(t *testing.T, of *server) *server {
	t.Helper()
	return startServer(t, map[string]any{"server": false, "bootstrap_expect": nil, "retry_join": []string{of.serf}, "retry_interval": "1s"})
}

// start runs the process, also after a kill.
func (s *server) start(t *testing.T) {
	t.Helper()
	logs, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer logs.Close()
	s.cmd = exec.Command(binary(t), "agent", "-config-file", filepath.Join(s.dir, "consul.json"), "-data-dir", filepath.Join(s.dir, "data"))
	s.cmd.Stdout, s.cmd.Stderr = logs, logs
	require.NoError(t, s.cmd.Start())
	c, err := consul.New(consul.Config{Addrs: []string{s.addr}})
	require.NoError(t, err)
	defer c.Close()
	if !waitFor(func() bool { return c.Ping(t.Context()) == nil }) {
		text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		require.Fail(t, "consul has no leader", "%s", text)
	}
}

// kill ends the process at once and reaps it.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// freeze stops the process without ending it, until the returned function is called.
func (s *server) freeze(t *testing.T) (resume func()) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	process := s.cmd.Process // a stopped one can still be killed, so nothing to clean up
	return func() { _ = process.Signal(syscall.SIGCONT) }
}

// client makes a client of the servers, a patient one unless cfg says otherwise.
func client(t *testing.T, cfg consul.Config, servers ...*server) *consul.Client {
	t.Helper()
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = patience
	}
	for _, s := range servers {
		cfg.Addrs = append(cfg.Addrs, s.addr)
	}
	c, err := consul.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// waitFor waits for a condition.
func waitFor(condition func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return false
}

// freePorts returns TCP ports that were free a moment ago.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// wipe removes the data of a server that does not run.
func (s *server) wipe(t *testing.T) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "data")))
}

// discard is where a test server's own complaints go.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
