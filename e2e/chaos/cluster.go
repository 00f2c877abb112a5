package chaos

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

const (
	clusterName = "chaos"
	nodeCount   = 3
	appUser     = "app"
	database    = "app"
	s3Port      = "7070"
	s3Access    = "chaos-access"
	s3Secret    = "chaos-secret-key"
	s3Region    = "us-east-1"
)

// programs are the real parts a campaign runs.
type programs struct{ binary, mysqld, consul, s3 string }

// cluster is everything under test, each part on a host of its own.
type cluster struct {
	dir     string
	net     *netns.Net
	parts   programs
	args    []string // further ones for every node
	secrets struct{ repl, root, app string }

	consul  *consulServer // the first of its servers
	reboots bool          // nodes have boots of their own
	store   *service
	nodes   []*node // those that belong to the cluster
	spare   *node   // the fourth one, which comes and goes
	clients *netns.Host
	note    func(format string, args ...any)
}

// build lays everything out; nothing runs yet.
func build(dir string, network *netns.Net, parts programs, consuls int, args []string, note func(string, ...any)) (*cluster, error) {
	c := &cluster{dir: dir, net: network, parts: parts, args: args, note: note}
	c.secrets.repl, c.secrets.root, c.secrets.app = rand.Text(), rand.Text(), rand.Text()
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	var err error
	host := func(name string, number int) *netns.Host {
		h, herr := network.Host(name, number)
		err = errors.Join(err, herr)
		return h
	}
	storeHost := host("store", 3)
	var consulHosts []*netns.Host
	for i := range consuls {
		consulHosts = append(consulHosts, host([]string{"consul", "consul2", "consul3"}[i], []int{2, 5, 6}[i]))
	}
	c.clients = host("clients", 4)
	var nodeHosts []*netns.Host
	for i := range nodeCount + 1 {
		nodeHosts = append(nodeHosts, host(fmt.Sprintf("node%d", i+1), 11+i))
	}
	if err != nil {
		return nil, err
	}
	c.reboots = !network.IsOff() && canReboot(dir, c.clients)
	if err := c.layConsul(consulHosts); err != nil {
		return nil, err
	}
	store := c.service("store", storeHost)
	c.store = &store
	data, meta := filepath.Join(store.dir, "data"), filepath.Join(store.dir, "meta")
	c.store.argv = []string{parts.s3, "--port", storeHost.Addr + ":" + s3Port, "--access", s3Access, "--secret", s3Secret,
		"--region", s3Region, "--quiet", "posix", "--sidecar", meta, data}
	for _, d := range []string{data, meta} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make store: %w", err)
		}
	}
	for i, h := range nodeHosts {
		n, err := c.newNode(fmt.Sprintf("node%d", i+1), h)
		if err != nil {
			return nil, err
		}
		if err := n.makeVolume(network.IsOff()); err != nil {
			return nil, err
		}
		if i == nodeCount {
			c.spare = n
		} else {
			c.nodes = append(c.nodes, n)
		}
	}
	return c, nil
}

func (c *cluster) service(name string, h *netns.Host) service {
	return service{name: name, host: h, dir: filepath.Join(c.dir, name), log: filepath.Join(c.dir, "logs", name+".log"), note: c.note}
}

func (c *cluster) newNode(name string, h *netns.Host) (*node, error) {
	n := &node{service: c.service(h.Name, h), name: name, root: c.secrets.root}
	store := fmt.Sprintf("s3://chaos/c?endpoint=%s&region=%s&path-style=true", url.QueryEscape("http://"+c.store.host.Addr+":"+s3Port), s3Region)
	n.argv = []string{c.parts.binary, "run", "--name", name, "--cluster", clusterName, "--service", "mysql", "--consul", c.consul.addrs(),
		"--store", store, "--datadir", n.dir, "--port", mysqlPort, "--bind", h.Addr, "--advertise", h.Addr, "--http", h.Addr + ":3308",
		"--mysqld", c.parts.mysqld, "--small", "--failovers-per-hour", "0", "--log-level", "debug", "--log-format", "text"}
	n.argv = append(n.argv, c.args...)
	if os.Geteuid() == 0 {
		n.argv = append(n.argv, "--run-as", "root")
	}
	if c.reboots {
		b, err := newBoots(c.dir, h.Name)
		if err != nil {
			return nil, err
		}
		n.boots, n.argv = &b, b.command(n.argv...)
	}
	n.env = []string{"MYSQL_REPL_PASSWORD=" + c.secrets.repl, "MYSQL_ROOT_PASSWORD=" + c.secrets.root, "MYSQL_USER=" + appUser,
		"MYSQL_PASSWORD=" + c.secrets.app, "MYSQL_DATABASE=" + database, "AWS_ACCESS_KEY_ID=" + s3Access,
		"AWS_SECRET_ACCESS_KEY=" + s3Secret, "AWS_EC2_METADATA_DISABLED=true"}
	return n, nil
}

// up starts everything.
func (c *cluster) up() error {
	for _, s := range c.consul.servers() {
		if err := s.start(); err != nil {
			return err
		}
	}
	if err := c.consul.ready(time.Minute); err != nil {
		return err
	}
	if err := c.store.start(); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	return nil
}

// layConsul makes Consul's servers.
func (c *cluster) layConsul(hosts []*netns.Host) error {
	var all []*consulServer
	for _, h := range hosts {
		s := &consulServer{service: c.service(h.Name, h), client: httpFrom(h)}
		s.argv = []string{c.parts.consul, "agent", "-config-file=" + filepath.Join(s.dir, "config.json")}
		all = append(all, s)
	}
	c.consul = all[0]
	c.consul.group = all
	for _, s := range all {
		if err := s.configure(all); err != nil {
			return err
		}
	}
	return nil
}

// node finds a node by its name or its server's address; nil when it is none of ours.
func (c *cluster) node(name string) *node {
	for _, n := range append(c.nodes[:len(c.nodes):len(c.nodes)], c.spare) {
		if n.name == name || n.addr() == name {
			return n
		}
	}
	return nil
}

// addrs are the network addresses of the nodes, without one.
func (c *cluster) addrs(without *node) []string {
	var list []string
	for _, n := range append(c.nodes[:len(c.nodes):len(c.nodes)], c.spare) {
		if n != without {
			list = append(list, n.host.Addr)
		}
	}
	return list
}

// status is what `status --output json` says, asked from beside Consul.
func (c *cluster) status() (harness.Document, error) {
	var d harness.Document
	argv := c.consul.host.Command(c.parts.binary, "status", "--consul", c.consul.addrs(), "--cluster", clusterName, "--output", "json")
	// A cluster that is not well makes the command fail, and still say how it is.
	out, err := harness.Output(20*time.Second, argv[0], argv[1:]...)
	if jerr := json.Unmarshal([]byte(out), &d); jerr != nil {
		return d, errors.Join(fmt.Errorf("read status: %w", jerr), err)
	}
	return d, nil
}

// whole says why the cluster is not yet as it should be; "" when it is.
func whole(d harness.Document) string {
	standbys := min(nodeCount-1, 2)
	switch {
	case d.Primary == "":
		return "no primary"
	case d.Count("primary") != 1:
		return strconv.Itoa(d.Count("primary")) + " healthy primaries"
	case d.Count("standby") != standbys:
		return fmt.Sprintf("%d healthy standbys of %d", d.Count("standby"), standbys)
	case d.AckSet.Acks < 1:
		return "writes are promised to be on the primary only"
	case len(d.AckSet.Members) != nodeCount:
		return fmt.Sprintf("the ack set is %v", d.AckSet.Members)
	}
	return ""
}

// find locates the real parts as the other end-to-end tests do.
func find(binary, mysqld, consul string) (programs, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return programs{}, fmt.Errorf("find cache: %w", err)
	}
	p := programs{binary: binary, mysqld: mysqld, consul: consul, s3: filepath.Join(cache, "autopilot-mysql", "e2e", "versitygw")}
	build := exec.Command("go", "build", "-o", p.s3, "github.com/versity/versitygw/cmd/versitygw")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build the S3 server: %w: %s", err, out)
	}
	return p, nil
}
