package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const shippedTemplate = "../docker/consul-template/haproxy.cfg.ctmpl"

// TestConsulTemplate: consul-template itself renders the shipped template from the catalog of a real cluster, exactly
// right before a failover, after it, and when the old primary is back; HAProxy takes every version, and its writes end up
// at whoever is the primary. Only the two ports are replaced.
func TestConsulTemplate(t *testing.T) {
	bin, haproxy := os.Getenv("AUTOPILOT_TEST_CONSUL_TEMPLATE"), os.Getenv("AUTOPILOT_TEST_HAPROXY")
	require.NotEmpty(t, bin, "make e2e builds consul-template")
	require.NotEmpty(t, haproxy, "make e2e fetches HAProxy: autopilot-mysql parts --env --haproxy")
	c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "0s"})
	d := c.WaitWhole(3)
	writes, reads := freeAddr(t), freeAddr(t)
	b, err := os.ReadFile(shippedTemplate)
	require.NoError(t, err)
	text := string(b)
	for from, to := range map[string]string{"bind :3306": "bind " + writes, "bind :3307": "bind " + reads} {
		require.Contains(t, text, from, "the shipped file has changed: so must this test")
		text = strings.ReplaceAll(text, from, to)
	}
	r := &rendered{t: t, cfg: filepath.Join(c.Dir, "rendered.cfg"), log: &buffer{}}
	template := filepath.Join(c.Dir, "haproxy.ctmpl")
	require.NoError(t, os.WriteFile(template, []byte(text), 0o644))
	// Every version is checked before HAProxy is started anew with it; a version that is not valid ends consul-template.
	check := fmt.Sprintf("%s:%s:%s -c -f %s", template, r.cfg, haproxy, r.cfg)
	cmd := exec.Command(bin, "-consul-addr", d.Consul, "-template", check, "-exec", "exec "+haproxy+" -db -f "+r.cfg)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Start())
	end := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it ends its HAProxy then; other signals it only hands on
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		end()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})

	r.wait("the whole cluster", d)
	db := proxied(t, d, writes)
	at := func() string { // where a connection for writes ends up
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var port string
		if db.QueryRowContext(ctx, "SELECT @@port").Scan(&port) != nil {
			return ""
		}
		return port
	}
	waitFor(t, "writes to reach the primary", func() bool { return at() == portOf(d.Node(d.Primary).MySQL) })
	rdb := proxied(t, d, reads)
	waitFor(t, "reads to reach a reader", func() bool {
		var port string
		return rdb.QueryRow("SELECT @@port").Scan(&port) == nil && port != portOf(d.Node(d.Primary).MySQL)
	})

	c.Kill(d.Primary)
	after := c.WaitNewPrimary(d.Primary, d.Term)
	waitFor(t, "writes to reach the new primary", func() bool { return at() == portOf(after.Node(after.Primary).MySQL) })
	after.Nodes = slices.DeleteFunc(after.Nodes, func(n harness.Node) bool { return n.Name == d.Primary })
	r.wait("the failover, the dead one in no list", after)
	c.Start(d.Primary)
	r.wait("the old primary among the readers", c.WaitWhole(3))
	end()
	c.Down()
}

// rendered is the file that consul-template writes.
type rendered struct {
	t   *testing.T
	cfg string
	log *buffer
}

var serverLine = regexp.MustCompile(`^ +server (\S+) (\S+)( backup)?$`)

// servers are the lines of each section, sorted; nil while there is no file.
func (r *rendered) servers() map[string][]string {
	b, err := os.ReadFile(r.cfg)
	if err != nil {
		return nil
	}
	all, section := map[string][]string{}, ""
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "listen "); ok {
			section = s
		}
		if m := serverLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			all[section] = append(all[section], m[1]+" "+m[2]+m[3])
		} else {
			require.NotRegexp(r.t, `^ *server `, line, "a line nobody expected")
		}
	}
	for _, list := range all {
		slices.Sort(list)
	}
	return all
}

// wait waits until the file says exactly what is the case in d.
func (r *rendered) wait(what string, d harness.Document) {
	r.t.Helper()
	want := map[string][]string{}
	for _, n := range d.Nodes {
		if n.Name == d.Primary {
			entry := fmt.Sprintf("mysql-primary-%s-%s %s", d.Cluster, n.Name, n.MySQL)
			want["writes"] = append(want["writes"], entry)
			want["reads"] = append(want["reads"], entry+" backup")
		} else {
			want["reads"] = append(want["reads"], fmt.Sprintf("mysql-%s-%s %s", d.Cluster, n.Name, n.MySQL))
		}
	}
	for _, list := range want {
		slices.Sort(list)
	}
	var now map[string][]string
	for deadline := time.Now().Add(harness.FailoverLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if now = r.servers(); fmt.Sprint(now) == fmt.Sprint(want) {
			return
		}
	}
	require.Equalf(r.t, want, now, "%s: not rendered in time", what)
}
