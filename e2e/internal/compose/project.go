// Package compose runs the shipped compose file on this machine's Docker Engine, as a project of its own per test, and
// does to its containers what the real world does.
package compose

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Limits of waiting, generous: the machine may be busy with other things.
const (
	ReadyLimit    = 3 * time.Minute
	FailoverLimit = 90 * time.Second
	commandLimit  = 5 * time.Minute
)

// Project is one `docker compose` project.
type Project struct {
	t    testing.TB
	name string
	file string
	env  []string
	argv []string // docker compose, in the version there is
}

// Container is one container of the project.
type Container struct {
	ID, Name, Service, IP string
	Number                int
	Running, Paused       bool
	ExitCode, Restarts    int
	Pid                   int
}

// Check is what the example application says about its writes.
type Check struct {
	Primary      string
	Acknowledged int
	Missing      []int64
	Unknown      int
	LongestGapMS int64 `json:"longest_gap_ms"`
}

// Need skips the test where there is no Docker Engine, and otherwise makes the images, once per run.
func Need(t testing.TB) {
	t.Helper()
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("there is no Docker Engine here: %s", bytes.TrimSpace(lastLine(out)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "-s", "-C", root(t), "image-local")
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "make image-local: %s", out)
}

func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	require.NoError(t, err)
	return dir
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}

// New prepares a project under a name of its own; everything of it is removed when the test ends.
func New(t testing.TB, env ...string) *Project {
	t.Helper()
	id := make([]byte, 4)
	_, err := rand.Read(id)
	require.NoError(t, err)
	p := &Project{t: t, name: "am" + hex.EncodeToString(id), file: filepath.Join(root(t), "docker", "compose.yaml"), argv: []string{"docker", "compose"}}
	if exec.Command("docker", "compose", "version").Run() != nil {
		p.argv = []string{"docker-compose"}
	}
	p.env = append(os.Environ(), "MYSQL_IMAGE=autopilot-mysql:local", "APP_IMAGE=autopilot-mysql-example:local", "CONSUL_IMAGE=autopilot-mysql-consul:local",
		"S3_IMAGE=autopilot-mysql-s3:local", "BUFFER_POOL=64M", "COMPOSE_PROJECT_NAME="+p.name)
	p.env = append(p.env, env...)
	t.Cleanup(func() {
		if t.Failed() {
			p.tell()
		}
		for _, c := range p.all() { // one that is paused cannot be removed
			if c.Paused {
				_, _ = run(nil, "docker", "unpause", c.ID)
			}
		}
		_, _ = run(p.env, append(slices.Clone(p.argv), "-f", p.file, "down", "-v", "-t", "1", "--remove-orphans")...)
	})
	return p
}

// On is the project for a subtest.
func (p *Project) On(t testing.TB) *Project {
	q := *p
	q.t = t
	return &q
}

// Env adds to the environment the compose file is read with.
func (p *Project) Env(env ...string) { p.env = append(p.env, env...) }

// By makes another program than the one that is installed do what Compose does.
func (p *Project) By(program string) { p.argv = []string{program} }

// Compose runs docker compose with the project's file.
func (p *Project) Compose(args ...string) string {
	p.t.Helper()
	out, err := run(p.env, append(append(slices.Clone(p.argv), "-f", p.file), args...)...)
	require.NoErrorf(p.t, err, "compose %v: %s", args, out)
	return out
}

// Up brings the project to that many database containers.
func (p *Project) Up(mysql int) {
	p.t.Helper()
	p.Compose("up", "-d", "--no-recreate", "--scale", "mysql="+strconv.Itoa(mysql))
}

// Down is `compose down`, which keeps volumes. Those that have no name, which nobody would find again, are removed.
func (p *Project) Down() {
	p.t.Helper()
	var nameless []string
	for _, c := range p.all() {
		for _, name := range strings.Fields(p.Docker("inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", c.ID)) {
			if !strings.HasPrefix(name, p.name) {
				nameless = append(nameless, name)
			}
		}
	}
	p.Compose("down", "-t", "1")
	p.Docker(append([]string{"volume", "rm", "-f"}, nameless...)...)
}

// Docker runs one docker command.
func (p *Project) Docker(args ...string) string {
	p.t.Helper()
	out, err := run(nil, append([]string{"docker"}, args...)...)
	require.NoErrorf(p.t, err, "docker %v: %s", args, out)
	return out
}

// In runs a program of this machine in the container's network.
func (p *Project) In(c Container, args ...string) string {
	p.t.Helper()
	out, err := run(nil, append([]string{"nsenter", "-t", strconv.Itoa(c.Pid), "-n"}, args...)...)
	require.NoErrorf(p.t, err, "in the network of %s: %v: %s", c.Name, args, out)
	return out
}

func run(env []string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// SQL runs statements in the application's name, in the container itself.
func (p *Project) SQL(c Container, statements string) string {
	p.t.Helper()
	return p.Docker("exec", "-e", "MYSQL_PWD="+password, c.ID, "mysql", "-h127.0.0.1", "-uapp", "-BN", "-e", statements)
}

// password is the compose file's default.
const password = "only-to-try-it-out"

// Replace makes a container anew, with another host name, on the volume of the former one, as an upgrade of the image does. The label marks it.
func (p *Project) Replace(c Container, label string) {
	p.t.Helper()
	volume := p.VolumeOf(c)
	network := p.Docker("inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}", c.ID)
	image := p.Docker("inspect", "-f", "{{.Config.Image}}", c.ID)
	env := p.Docker("inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", c.ID)
	p.Docker("stop", "-t", "75", c.ID)
	p.Docker("rm", c.ID)
	args := []string{"run", "-d", "--name", c.Name, "--network", network, "-v", volume + ":/var/lib/mysql", "--restart", "unless-stopped", "--stop-timeout", "75",
		"--label", "com.docker.compose.project=" + p.name, "--label", "com.docker.compose.service=" + c.Service,
		"--label", "com.docker.compose.container-number=" + strconv.Itoa(c.Number), "--label", "com.docker.compose.oneoff=False", "--label", label}
	for _, e := range strings.Split(env, "\n") {
		if e != "" {
			args = append(args, "-e", e)
		}
	}
	p.Docker(append(args, image)...)
}

// Label is a label of a container.
func (p *Project) Label(c Container, name string) string {
	p.t.Helper()
	return p.Docker("inspect", "-f", `{{index .Config.Labels "`+name+`"}}`, c.ID)
}

// Containers lists the containers of a service in order, stopped ones included.
func (p *Project) Containers(service string) []Container {
	p.t.Helper()
	return slices.DeleteFunc(p.all(), func(c Container) bool { return c.Service != service })
}

// One is the only container of a service.
func (p *Project) One(service string) Container {
	p.t.Helper()
	list := p.Containers(service)
	require.Len(p.t, list, 1, service)
	return list[0]
}

func (p *Project) all() []Container {
	ids, err := run(nil, "docker", "ps", "-aq", "--no-trunc", "--filter", "label=com.docker.compose.project="+p.name)
	if err != nil || ids == "" {
		return nil
	}
	out, err := run(nil, append([]string{"docker", "inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil // one of them has just been removed: the caller asks again
	}
	var docs []struct {
		ID           string `json:"Id"`
		Name         string
		RestartCount int
		State        struct {
			Running, Paused bool
			ExitCode, Pid   int
		}
		Config          struct{ Labels map[string]string }
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	if json.Unmarshal([]byte(out), &docs) != nil {
		return nil
	}
	var list []Container
	for _, d := range docs {
		c := Container{ID: d.ID, Name: strings.TrimPrefix(d.Name, "/"), Service: d.Config.Labels["com.docker.compose.service"], Running: d.State.Running,
			Paused: d.State.Paused, ExitCode: d.State.ExitCode, Pid: d.State.Pid, Restarts: d.RestartCount}
		c.Number, _ = strconv.Atoi(d.Config.Labels["com.docker.compose.container-number"])
		for _, n := range d.NetworkSettings.Networks {
			c.IP = n.IPAddress
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Container) int { return strings.Compare(a.Service, b.Service)*1000 + a.Number - b.Number })
	return list
}

var client = http.Client{Timeout: 3 * time.Second}

// get reads a JSON document.
func get(url string, into any) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// Check asks the application; it reads every acknowledged write back from the primary.
func (p *Project) Check() (Check, error) {
	p.t.Helper()
	var c Check
	err := get("http://"+p.One("app").IP+":8080/check", &c)
	return c, err
}

// WaitWriting waits until the application writes, and returns its view.
func (p *Project) WaitWriting() Check {
	p.t.Helper()
	var first, now Check
	var err error
	for deadline := time.Now().Add(FailoverLimit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if now, err = p.Check(); err != nil {
			continue
		}
		if first.Acknowledged == 0 {
			first = now
		}
		if now.Acknowledged > first.Acknowledged {
			return now
		}
	}
	require.Failf(p.t, "nobody writes", "after %v: %v %+v", FailoverLimit, err, now)
	return now
}

// tell leaves what is needed to understand a failure in the test's log.
func (p *Project) tell() {
	if d, err := p.Cluster(); err == nil {
		p.t.Log(d.Line())
	}
	for _, c := range p.all() {
		out, _ := run(nil, "docker", "logs", "--tail", "40", c.ID)
		p.t.Logf("%s (running %t, paused %t, exit %d, restarts %d) said:\n%s", c.Name, c.Running, c.Paused, c.ExitCode, c.Restarts, out)
	}
}
