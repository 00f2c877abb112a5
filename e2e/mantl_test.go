package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/compose"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/pki"
)

// TestHostNetworkWithACLsAndTLS is the story that broke the predecessor: containers on the host's network, each with the
// ports a scheduler gave it, a Consul that denies by default and wants certificates of a private CA, all started in the
// same instant; then the primary is removed.
func TestHostNetworkWithACLsAndTLS(t *testing.T) {
	compose.Need(t)
	h := newHost(t)
	var ids []string
	for i := range 3 {
		ids = append(ids, h.start(fmt.Sprintf("task-%d", i)))
	}
	first := h.wait("a whole cluster of three", func(d hostCluster) bool { return d.count("primary") == 1 && d.count("standby") == 2 })
	require.Eventually(t, func() bool { return h.services("mysql-primary") == 1 && h.services("mysql") == 2 }, time.Minute, 200*time.Millisecond)

	for i, id := range ids {
		if h.names[i] == first.Primary {
			docker(t, "rm", "-f", id)
		}
	}
	h.wait("another primary, followed by the replica that is left", func(d hostCluster) bool {
		return d.Primary != first.Primary && d.count("primary") == 1 && d.count("standby") == 1
	})
	for i, id := range ids {
		if h.names[i] == first.Primary {
			continue
		}
		logs := docker(t, "logs", id)
		require.NotContains(t, logs, h.token)
		require.NotContains(t, logs, "repl-secret")
		require.NotContains(t, docker(t, "exec", id, "cat", "/proc/1/cmdline"), "repl-secret")
	}
}

// host is this machine as a scheduler's worker: a Consul and containers on its loopback interface.
type host struct {
	t      testing.TB
	prefix string
	certs  string
	consul string // host:port, https
	token  string // with the documented policy only
	client *http.Client
	names  []string
	http   []string
	admin  string
}

func newHost(t *testing.T) *host {
	ca := pki.New(t)
	ca.Issue("server")
	ca.Issue("client")
	h := &host{t: t, prefix: fmt.Sprintf("mantl%d", time.Now().UnixNano()), certs: ca.Dir(), admin: "11111111-2222-4333-8444-555555555555"}
	t.Cleanup(func() {
		ids := strings.Fields(docker(t, "ps", "-aq", "--filter", "name="+h.prefix))
		for _, id := range ids {
			if t.Failed() {
				t.Log(docker(t, "logs", "--tail", "40", id))
			}
		}
		if len(ids) > 0 {
			docker(t, append([]string{"rm", "-f", "-v"}, ids...)...)
		}
	})
	cert, err := tls.LoadX509KeyPair(ca.File("client.pem"), ca.File("client-key.pem"))
	require.NoError(t, err)
	root, err := os.ReadFile(ca.File("ca.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(root))
	h.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}}
	h.startConsul()
	return h
}

func (h *host) startConsul() {
	p := harness.FreePorts(h.t, 5)
	h.consul = fmt.Sprintf("127.0.0.1:%d", p[0])
	conf, err := json.Marshal(map[string]any{
		"server": true, "bootstrap_expect": 1, "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "data_dir": "/tmp/consul", "disable_host_node_id": true,
		"ports":   map[string]int{"http": -1, "https": p[0], "dns": -1, "grpc": -1, "server": p[1], "serf_lan": p[2], "serf_wan": p[3]},
		"ca_file": "/certs/ca.pem", "cert_file": "/certs/server.pem", "key_file": "/certs/server-key.pem", "verify_incoming": true,
		"acl": map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]string{"master": h.admin, "agent": h.admin}},
	})
	require.NoError(h.t, err)
	require.NoError(h.t, os.WriteFile(filepath.Join(h.certs, "consul.json"), conf, 0o644))
	docker(h.t, "run", "-d", "--name", h.prefix+"-consul", "--network", "host", "-v", h.certs+":/certs:ro", "autopilot-mysql-consul:local",
		"agent", "-config-file", "/certs/consul.json")
	rules, err := os.ReadFile("../docker/consul-policy.hcl")
	require.NoError(h.t, err)
	policy, err := json.Marshal(map[string]string{"Name": "autopilot", "Rules": string(rules)})
	require.NoError(h.t, err)
	require.Eventually(h.t, func() bool { _, err := h.ask(http.MethodPut, "/v1/acl/policy", string(policy)); return err == nil }, time.Minute, 200*time.Millisecond)
	out, err := h.ask(http.MethodPut, "/v1/acl/token", `{"Policies":[{"Name":"autopilot"}]}`)
	require.NoError(h.t, err)
	var made struct{ SecretID string }
	require.NoError(h.t, json.Unmarshal(out, &made))
	h.token = made.SecretID
	require.NoError(h.t, os.WriteFile(filepath.Join(h.certs, "token"), []byte(h.token+"\n"), 0o644))
	require.NoError(h.t, os.WriteFile(filepath.Join(h.certs, "repl"), []byte("repl-secret\n"), 0o644))
}

// ask speaks to Consul as its administrator.
func (h *host) ask(method, path, body string) ([]byte, error) {
	req, err := http.NewRequest(method, "https://"+h.consul+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Consul-Token", h.admin)
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, out)
	}
	return out, err
}

// services counts the healthy instances of a service.
func (h *host) services(name string) int {
	var list []json.RawMessage
	out, err := h.ask(http.MethodGet, "/v1/health/service/"+name+"?passing=1", "")
	if err != nil || json.Unmarshal(out, &list) != nil {
		return -1
	}
	return len(list)
}

// start starts one node as a scheduler does: with two ports of its choice in variables.
func (h *host) start(name string) string {
	p := harness.FreePorts(h.t, 2)
	h.names = append(h.names, name)
	h.http = append(h.http, fmt.Sprintf("127.0.0.1:%d", p[1]))
	return docker(h.t, "run", "-d", "--name", h.prefix+"-"+name, "--network", "host", "-v", h.certs+":/certs:ro",
		"-e", fmt.Sprintf("PORT0=%d", p[0]), "-e", fmt.Sprintf("PORT1=%d", p[1]), "-e", "AUTOPILOT_PORT=env:PORT0", "-e", "AUTOPILOT_HTTP=env:PORT1",
		"-e", "AUTOPILOT_BIND=127.0.0.1", "-e", "AUTOPILOT_NAME="+name, "-e", "AUTOPILOT_CONSUL="+h.consul, "-e", "AUTOPILOT_SMALL=true",
		"-e", "CONSUL_CACERT=/certs/ca.pem", "-e", "CONSUL_CLIENT_CERT=/certs/client.pem", "-e", "CONSUL_CLIENT_KEY=/certs/client-key.pem",
		"-e", "CONSUL_HTTP_TOKEN_FILE=/certs/token", "-e", "MYSQL_REPL_PASSWORD_FILE=/certs/repl", "autopilot-mysql:local")
}

// hostCluster is what the nodes say of the cluster.
type hostCluster struct {
	Primary string
	Nodes   []struct {
		Name, State string
		Healthy     bool
	}
}

func (d hostCluster) count(state string) int {
	n := 0
	for _, x := range d.Nodes {
		if x.State == state && x.Healthy {
			n++
		}
	}
	return n
}

// wait asks the nodes until one of them shows what is wanted.
func (h *host) wait(what string, ok func(hostCluster) bool) hostCluster {
	h.t.Helper()
	var last hostCluster
	for deadline := time.Now().Add(compose.ReadyLimit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		for _, addr := range h.http {
			resp, err := h.client.Get("http://" + addr + "/cluster")
			if err != nil {
				continue
			}
			var d hostCluster
			err = json.NewDecoder(resp.Body).Decode(&d)
			resp.Body.Close()
			if err != nil {
				continue
			}
			if last = d; ok(d) {
				return d
			}
		}
	}
	require.Failf(h.t, "not in time", "%s; now %+v", what, last)
	return last
}

func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	require.NoErrorf(t, err, "docker %v: %s", args, out)
	return strings.TrimSpace(string(out))
}
