package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Prometheus is a real one that scrapes a cluster every second and evaluates the published rules.
type Prometheus struct {
	t    testing.TB
	addr string
}

// prometheusJob is the job under which it scrapes the cluster.
const prometheusJob = "autopilot-mysql-test"

// AlertsFile is the published rules.
func AlertsFile() string { return filepath.Join("..", "docs", "monitoring", "alerts.yaml") }

// AlertNames are the alerts a rules file declares.
func AlertNames(rules string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`).FindAllStringSubmatch(rules, -1) {
		names = append(names, m[1])
	}
	return names
}

// StartPrometheus runs it with these rules until the test ends.
func StartPrometheus(t testing.TB, c *Cluster, rules string) *Prometheus {
	t.Helper()
	dir := t.TempDir()
	var targets []string
	for _, n := range c.Doc().Nodes {
		targets = append(targets, fmt.Sprintf("%q", n.HTTP))
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yaml]\nscrape_configs:\n"+
		"  - {job_name: "+prometheusJob+", static_configs: [{targets: [%s]}]}\n", strings.Join(targets, ", "))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alerts.yaml"), []byte(rules), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(config), 0o600))
	p := &Prometheus{t: t, addr: fmt.Sprintf("127.0.0.1:%d", FreePorts(t, 1)[0])}
	said, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	cmd := exec.Command(MonitoringTool(t, "prometheus"), "--config.file", filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", p.addr)
	cmd.Stdout, cmd.Stderr = said, said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its data goes with the test
		_ = cmd.Wait()
		_ = said.Close()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if up, err := p.query("/api/v1/query?query=sum(up)%3D%3D" + fmt.Sprint(len(targets))); err == nil && strings.Contains(string(up), `"value"`) {
			return p
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(said.Name())
			require.Fail(t, "Prometheus does not scrape all nodes", Tail(string(b), 10))
		}
	}
}

func (p *Prometheus) query(path string) (json.RawMessage, error) {
	client := http.Client{Timeout: 10 * time.Second}
	r, err := client.Get("http://" + p.addr + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("ask Prometheus: %s", answer.Error)
	}
	return answer.Data, nil
}

// Firing are the alerts that fire now, each once, in order.
func (p *Prometheus) Firing() []string {
	p.t.Helper()
	data, err := p.query("/api/v1/alerts")
	require.NoError(p.t, err)
	var list struct {
		Alerts []struct {
			Labels map[string]string `json:"labels"`
			State  string            `json:"state"`
		} `json:"alerts"`
	}
	require.NoError(p.t, json.Unmarshal(data, &list))
	var names []string
	for _, a := range list.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Broken are rules whose last evaluation failed.
func (p *Prometheus) Broken() []string {
	p.t.Helper()
	data, err := p.query("/api/v1/rules")
	require.NoError(p.t, err)
	var all struct {
		Groups []struct {
			Rules []struct {
				Name      string `json:"name"`
				LastError string `json:"lastError"`
			} `json:"rules"`
		} `json:"groups"`
	}
	require.NoError(p.t, json.Unmarshal(data, &all))
	var broken []string
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if r.LastError != "" {
				broken = append(broken, r.Name+": "+r.LastError)
			}
		}
	}
	return broken
}
