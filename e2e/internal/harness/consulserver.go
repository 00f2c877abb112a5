package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ConsulServer is a Consul agent of the test's own, which nobody starts again when it is killed.
type ConsulServer struct {
	Addr  string // of its HTTP API
	t     testing.TB
	dir   string
	serf  string
	files int // how many it may have open; 0: as many as anybody
	cmd   *exec.Cmd
}

// NewConsul starts a server; with of it starts a client agent of that server. It ends with the test.
func NewConsul(t testing.TB, of *ConsulServer) *ConsulServer {
	t.Helper()
	return newConsul(t, of, nil, 0)
}

// NewCrowdedConsul starts a server that takes as many connections from one address as the machine lets it. By default it
// takes 200, which is few when every node of many clusters is at the same address.
func NewCrowdedConsul(t testing.TB) *ConsulServer {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	return newConsul(t, nil, nil, int(min(limit.Max, 1<<16)))
}

// spareFiles are those that Consul keeps for itself, and some.
const spareFiles = 100

// newConsul takes further settings, and how many files the server may have open; 0: as many as anybody.
func newConsul(t testing.TB, of *ConsulServer, more map[string]any, files int) *ConsulServer {
	t.Helper()
	ports := FreePorts(t, 3)
	s := &ConsulServer{t: t, files: files, dir: t.TempDir(), Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), serf: fmt.Sprintf("127.0.0.1:%d", ports[2])}
	listen := map[string]any{"http": ports[0], "server": ports[1], "serf_lan": ports[2], "serf_wan": -1, "https": -1, "dns": -1, "grpc": -1}
	if version, err := exec.Command(Consul(t), "version").Output(); err == nil && !strings.HasPrefix(string(version), "Consul v1.8.") {
		listen["grpc_tls"] = -1 // older ones refuse the word
	}
	settings := map[string]any{"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "node_name": fmt.Sprintf("consul-%d", ports[0]), "ports": listen,
		"disable_update_check": true, "leave_on_terminate": false, "skip_leave_on_interrupt": true, "log_level": "WARN",
		"performance": map[string]any{"raft_multiplier": 1}}
	if s.files > 0 {
		settings["limits"] = map[string]any{"http_max_conns_per_client": s.files - spareFiles}
	}
	if of == nil {
		settings["server"], settings["bootstrap_expect"] = true, 1
	} else {
		settings["retry_join"], settings["retry_interval"] = []string{of.serf}, "1s"
	}
	maps.Copy(settings, more)
	b, err := json.Marshal(settings)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "consul.json"), b, 0o600))
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// Start runs the process, also after a kill: its data is still there. It returns when there is a leader.
func (s *ConsulServer) Start() {
	s.t.Helper()
	logs, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer logs.Close()
	args := []string{Consul(s.t), "agent", "-config-file", filepath.Join(s.dir, "consul.json"), "-data-dir", filepath.Join(s.dir, "data")}
	if s.files > 0 { // Go gives children the limit that it was started with
		args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, s.files), "sh"}, args...)
	}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = logs, logs
	require.NoError(s.t, s.cmd.Start())
	for deadline := time.Now().Add(FailoverLimit); !s.leads(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			require.Fail(s.t, "Consul has no leader", "%s", Tail(string(text), 20))
		}
	}
}

func (s *ConsulServer) leads() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/v1/status/leader", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && len(strings.TrimSpace(string(b))) > 2
}

// Pid is the process's; 0 when it does not run.
func (s *ConsulServer) Pid() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Ask is one GET of its HTTP API.
func (s *ConsulServer) Ask(path string) []byte {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), consulLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+path, nil)
	require.NoError(s.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return b
}

// Kill ends the process at once and reaps it.
func (s *ConsulServer) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Freeze stops the process where it stands; Thaw lets it go on. A killed one needs neither.
func (s *ConsulServer) Freeze() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGSTOP))
}

// Thaw lets a frozen process go on.
func (s *ConsulServer) Thaw() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGCONT))
}

// FreePorts are TCP ports that were free a moment ago.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	// They lie below the range from which the kernel takes the local ports of outgoing connections: whoever is killed finds
	// its port free when it comes back.
	const low, high = 15000, 32000
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		require.Less(t, tries, 2000, "no free ports")
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low)))
		if err != nil {
			continue // somebody has it
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
