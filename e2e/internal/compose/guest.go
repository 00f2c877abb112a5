package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// guest is the service that containers beside the compose file are labelled with: none of the cluster's own.
const guest = "guest"

// Guest starts a container that Compose knows nothing of in the project's network. volume, if there is one, is its data
// directory. It is gone at the end of the test.
func (p *Project) Guest(image, volume string, env []string, args ...string) Container {
	p.t.Helper()
	argv := []string{"run", "-d", "--network", p.network(), "--stop-timeout", "75",
		"--label", "com.docker.compose.project=" + p.name, "--label", "com.docker.compose.service=" + guest}
	if volume != "" {
		argv = append(argv, "-v", volume+":/var/lib/mysql")
	}
	for _, e := range env {
		argv = append(argv, "-e", e)
	}
	out, err := p.output(append(append(argv, image), args...)...)
	require.NoErrorf(p.t, err, "a guest of %s", image)
	p.t.Cleanup(func() {
		if p.t.Failed() {
			log, _ := run(nil, "docker", "logs", "--tail", "40", out)
			p.t.Logf("the guest of %s said:\n%s", image, log)
		}
		_, _ = run(nil, "docker", "rm", "-f", "-v", out)
	})
	return p.now(out)
}

// Database is a Guest of the image and with the environment of the cluster's own containers; env is added and wins.
func (p *Project) Database(volume string, env ...string) Container {
	p.t.Helper()
	own := p.Containers("mysql")[0].ID
	var all []string
	for _, e := range strings.Split(p.Docker("inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", own), "\n") {
		if e != "" {
			all = append(all, e)
		}
	}
	return p.Guest(p.Docker("inspect", "-f", "{{.Config.Image}}", own), volume, append(all, env...))
}

// Volume makes a volume that is gone at the end of the test, after the guests that were started later.
func (p *Project) Volume() string {
	p.t.Helper()
	name := p.Docker("volume", "create", "--label", "com.docker.compose.project="+p.name)
	p.t.Cleanup(func() { _, _ = run(nil, "docker", "volume", "rm", "-f", name) })
	return name
}

// VolumeOf is the volume of a container's data directory.
func (p *Project) VolumeOf(c Container) string {
	p.t.Helper()
	return p.Docker("inspect", "-f", `{{range .Mounts}}{{if eq .Destination "/var/lib/mysql"}}{{.Name}}{{end}}{{end}}`, c.ID)
}

func (p *Project) network() string {
	p.t.Helper()
	return p.Docker("inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}", p.One("consul").ID)
}

// now is a container as it is at this moment.
func (p *Project) now(id string) Container {
	p.t.Helper()
	for _, c := range p.all() {
		if c.ID == id {
			return c
		}
	}
	require.Failf(p.t, "no such container", "%s is gone", id)
	return Container{}
}

// output is Docker with its standard output only: a warning is no part of an ID.
func (p *Project) output(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	return strings.TrimSpace(string(out)), err
}

// Ended waits until a container has ended, and returns its exit code and all that it said.
func (p *Project) Ended(c Container, limit time.Duration) (code int, said string) {
	p.t.Helper()
	for deadline := time.Now().Add(limit); p.now(c.ID).Running; time.Sleep(200 * time.Millisecond) {
		require.Truef(p.t, time.Now().Before(deadline), "it runs on after %v", limit)
	}
	return p.now(c.ID).ExitCode, p.Docker("logs", c.ID)
}

// Alone waits until a guest is the primary of a cluster of its own, and returns that cluster as it shows it.
func (p *Project) Alone(c Container) Cluster {
	p.t.Helper()
	var d Cluster
	var err error
	for deadline := time.Now().Add(ReadyLimit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = get("http://"+c.IP+":3308/cluster", &d); err == nil && len(d.Nodes) == 1 && d.Nodes[0].State == "primary" && d.Nodes[0].Healthy {
			return d
		}
	}
	require.Failf(p.t, "not in time", "a primary within %v: %v; now: %s", ReadyLimit, err, d.Line())
	return d
}

// Status is what the command of that name says in a container.
func (p *Project) Status(c Container) string {
	p.t.Helper()
	return p.Docker("exec", c.ID, "autopilot-mysql", "status")
}

// LastPromotion is the newest one that the command `history` knows.
func (p *Project) LastPromotion() (last harness.Promotion) {
	p.t.Helper()
	var doc struct{ History []harness.Promotion }
	out, err := p.output("exec", p.Primary().ID, "autopilot-mysql", "history", "--output", "json")
	require.NoError(p.t, err)
	require.NoErrorf(p.t, json.Unmarshal([]byte(out), &doc), "%s", out)
	for _, e := range doc.History {
		if e.Kind == "promotion" && e.Term > last.Term {
			last = e
		}
	}
	require.NotZero(p.t, last.Term, "the history knows no promotion")
	return last
}

// Consul makes one request to the project's Consul by hand.
func (p *Project) Consul(method, path string, body []byte) []byte {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.One("consul").IP+":8500"+path, bytes.NewReader(body))
	require.NoError(p.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Contains(p.t, []int{http.StatusOK, http.StatusNotFound}, resp.StatusCode, "%s %s: %s", method, path, b)
	return b
}

// Keys are the keys below a prefix and their values.
func (p *Project) Keys(prefix string) map[string]string {
	p.t.Helper()
	b := p.Consul(http.MethodGet, "/v1/kv/"+prefix+"?recurse", nil)
	keys := map[string]string{}
	if len(b) == 0 { // not found
		return keys
	}
	var list []struct {
		Key   string
		Value []byte
	}
	require.NoErrorf(p.t, json.Unmarshal(b, &list), "%s", b)
	for _, k := range list {
		keys[k.Key] = string(k.Value)
	}
	return keys
}
