package playground

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// plan is what shall run. It is kept in D/plan.json, so that a playground started again is the same one.
type plan struct {
	Cluster      string
	Service      string
	Store        string
	Consul       string // address of a Consul that is not ours; "" runs our own
	ConsulPorts  consulPorts
	ConsulBin    string
	Mysqld       string
	Lease        time.Duration
	Acks         int
	RestartAfter time.Duration
	Secrets      secrets
	Nodes        []nodeSpec
}

// secrets are drawn once, and reach the nodes through their environment only.
type secrets struct {
	Repl, Root               string
	User, Password, Database string
}

// nodeSpec is one planned node.
type nodeSpec struct {
	Name      string
	MySQLPort int
	HTTPPort  int
}

func (s nodeSpec) mysql() string { return loopback(s.MySQLPort) }
func (s nodeSpec) http() string  { return loopback(s.HTTPPort) }

// consulPorts are those of our own Consul.
type consulPorts struct{ HTTP, Server, Serf int }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// apply changes the plan to what the options ask for. What identifies a cluster that has data cannot change.
func (p *plan) apply(o Options, lay layout) error {
	isNew := len(p.Nodes) == 0
	if isNew {
		store := url.URL{Scheme: "file", Path: lay.file("store")}
		*p = plan{
			Cluster: "playground", Service: "mysql", Store: store.String(), Lease: DefaultLease, Acks: 1,
			RestartAfter: DefaultRestartAfter,
			Secrets:      secrets{Repl: secret(), Root: secret(), User: "app", Password: secret(), Database: "app"},
		}
	}
	for _, fixed := range []struct {
		name      string
		have      *string
		want      string
		emptyHave string
	}{
		{"cluster", &p.Cluster, o.Cluster, ""}, {"service", &p.Service, o.Service, ""},
		{"store", &p.Store, o.Store, ""}, {"consul", &p.Consul, o.Consul, "its own"},
	} {
		if fixed.want == "" || fixed.want == *fixed.have {
			continue
		}
		if !isNew {
			have := *fixed.have
			if have == "" {
				have = fixed.emptyHave
			}
			return usagef("resume playground in %s: --%s %s contradicts the one it was made with, %s; choose another --dir",
				lay.dir, fixed.name, fixed.want, have)
		}
		*fixed.have = fixed.want
	}
	if o.Lease != 0 {
		p.Lease = o.Lease
	}
	if o.Acks != 0 {
		p.Acks = o.Acks
	}
	if o.RestartAfter != nil {
		p.RestartAfter = *o.RestartAfter
	}
	p.Mysqld, p.ConsulBin = o.Mysqld, o.ConsulBin
	if p.Consul == "" && p.ConsulPorts.HTTP == 0 {
		ports, err := p.freePorts(3)
		if err != nil {
			return err
		}
		p.ConsulPorts = consulPorts{HTTP: ports[0], Server: ports[1], Serf: ports[2]}
	}
	want := o.Nodes
	if want == 0 && isNew {
		want = DefaultNodes
	}
	if more := want - len(p.Nodes); more > 0 {
		if _, err := p.addNodes(more); err != nil {
			return err
		}
	}
	return nil
}

// addNodes plans count more nodes.
func (p *plan) addNodes(count int) ([]nodeSpec, error) {
	if len(p.Nodes)+count > maxNodes {
		return nil, usagef("add nodes: a playground has at most %d", maxNodes)
	}
	ports, err := p.freePorts(2 * count)
	if err != nil {
		return nil, err
	}
	var added []nodeSpec
	for i := range count {
		added = append(added, nodeSpec{Name: nodeName(len(p.Nodes) + i + 1), MySQLPort: ports[2*i], HTTPPort: ports[2*i+1]})
	}
	p.Nodes = append(p.Nodes, added...)
	return added, nil
}

// consulAddr is where the nodes find Consul.
func (p *plan) consulAddr() string {
	if p.Consul != "" {
		return p.Consul
	}
	return loopback(p.ConsulPorts.HTTP)
}

// standbys is how many of n nodes become standbys: what the nodes' arguments say, else the product's default of
// max-ackers: at most twice the acknowledging ones, at least two.
func (p *plan) standbys(n int, args []string) int {
	most := max(2*p.Acks, 2)
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--max-ackers=")
		if arg == "--max-ackers" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if given, err := strconv.Atoi(value); ok && err == nil && given > 0 {
			most = given
		}
	}
	return max(0, min(n-1, most))
}

// env is a node's environment: the caller's, without what would configure a node behind our back, and the secrets.
func (p *plan) env(environ []string) []string {
	var env []string
	for _, kv := range environ {
		if !p.foreignSetting(kv) {
			env = append(env, kv)
		}
	}
	return append(env, "MYSQL_REPL_PASSWORD="+p.Secrets.Repl, "MYSQL_ROOT_PASSWORD="+p.Secrets.Root,
		"MYSQL_USER="+p.Secrets.User, "MYSQL_PASSWORD="+p.Secrets.Password, "MYSQL_DATABASE="+p.Secrets.Database)
}

// foreignSetting says whether an environment variable would give a node another identity, or secrets that are not the
// playground's. Other AUTOPILOT_ settings pass: that is how to try one in a playground.
func (p *plan) foreignSetting(kv string) bool {
	name, _, _ := strings.Cut(kv, "=")
	switch name {
	case "CONSUL", "CONSUL_AGENT", "CONSUL_HTTP_ADDR", "SERVICE_NAME", "CONTAINERPILOT", SupervisedEnv:
		return true
	}
	own := strings.TrimPrefix(name, "AUTOPILOT_")
	if strings.HasPrefix(own, "CONSUL_") {
		return p.Consul == "" // tokens and certificates are for a Consul that is not ours
	}
	for _, prefix := range []string{"MYSQL", "REPL_", "GUARD", "AGENT", "TEST_", "CONFIG", "CONSUL"} {
		if strings.HasPrefix(own, prefix) {
			return true
		}
	}
	for _, prefix := range []string{"SNAPSHOT_", "BACKUP_", "INNODB_", "MANTA_", "MINIO_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// freePorts draws ports that nobody listens on and that are in nobody's plan here. They lie below the range from which
// the kernel takes the local ports of outgoing connections, so that they are still free when a node comes back.
func (p *plan) freePorts(count int) ([]int, error) {
	const low, high, tries = 15000, 32000, 2000
	taken := map[int]bool{p.ConsulPorts.HTTP: true, p.ConsulPorts.Server: true, p.ConsulPorts.Serf: true}
	for _, n := range p.Nodes {
		taken[n.MySQLPort], taken[n.HTTPPort] = true, true
	}
	var ports []int
	for range tries {
		if len(ports) == count {
			return ports, nil
		}
		r, err := rand.Int(rand.Reader, big.NewInt(high-low))
		if err != nil {
			return nil, fmt.Errorf("draw port: %w", err)
		}
		port := low + int(r.Int64())
		if taken[port] || !portFree(port) {
			continue
		}
		taken[port] = true
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("find %d free ports on 127.0.0.1: none left between %d and %d", count, low, high)
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// secret draws 128 bits, in letters and digits that need no quoting anywhere.
func secret() string { return rand.Text() }

// resumeHint is the command that brings the playground in dir back.
func resumeHint(dir string) string {
	return fmt.Sprintf("%s playground up --dir %s", filepath.Base(os.Args[0]), dir)
}
