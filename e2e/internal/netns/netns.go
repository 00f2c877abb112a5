// Package netns gives every part of a test a network namespace of its own, joined by a bridge in a further one, so that
// links can be cut for real. Nothing outside these namespaces is touched, and they end with the test, however it ends.
package netns

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted means that this process may not make namespaces; the sentence says why.
var ErrNotPermitted = errors.New("network namespaces are not permitted here")

// commandLimit bounds one call of ip, nft or tc.
const commandLimit = 20 * time.Second

// Net is a set of hosts on one network.
type Net struct {
	prefix  string
	home    *os.File // the namespace we came from
	janitor *exec.Cmd
	alive   io.Closer // closing it, or our death, lets the janitor work
	off     bool

	mu    sync.Mutex
	hosts []*Host
}

// Host is one place on the network: a namespace with one interface and one address.
type Host struct {
	Name, Addr string
	net        *Net
	ns         string
	fd         *os.File

	mu     sync.Mutex
	filter map[string][]Rule
}

// Permitted says early why New would fail: the sentence wraps ErrNotPermitted.
func Permitted() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: this is not root", ErrNotPermitted)
	}
	for _, program := range []string{"ip", "nft", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: no program %s", ErrNotPermitted, program)
		}
	}
	return nil
}

// New makes the switch. Everything mounted below dir is unmounted together with the end of the namespaces.
func New(dir string) (*Net, error) {
	if err := Permitted(); err != nil {
		return nil, err
	}
	id := make([]byte, 3)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("draw name: %w", err)
	}
	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	n := &Net{prefix: "apc" + hex.EncodeToString(id), home: home}
	if err := n.startJanitor(dir); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"netns", "add", n.sw()}, {"-n", n.sw(), "link", "set", "lo", "up"},
		{"-n", n.sw(), "link", "add", "br0", "type", "bridge"}, {"-n", n.sw(), "link", "set", "br0", "up"},
	} {
		if err := run("", args...); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrNotPermitted, err), n.Close())
		}
	}
	return n, nil
}

// Off is a network without namespaces: every host is a loopback address, nothing can be cut.
func Off() *Net { return &Net{off: true} }

// IsOff says whether links cannot be cut.
func (n *Net) IsOff() bool { return n.off }

func (n *Net) sw() string { return n.prefix + "-sw" }

// Host adds a host. number makes its address.
func (n *Net) Host(name string, number int) (*Host, error) {
	h := &Host{Name: name, Addr: fmt.Sprintf("10.77.0.%d", number), net: n, filter: map[string][]Rule{}}
	if n.off {
		h.Addr = fmt.Sprintf("127.77.%d.%d", os.Getpid()%250, number)
		return h, nil
	}
	h.ns = n.prefix + "-" + name
	port := "p" + fmt.Sprint(number)
	for _, args := range [][]string{
		{"netns", "add", h.ns},
		{"-n", n.sw(), "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.ns},
		{"-n", n.sw(), "link", "set", port, "master", "br0", "up"},
		{"-n", h.ns, "addr", "add", h.Addr + "/24", "dev", "eth0"},
		{"-n", h.ns, "link", "set", "lo", "up"},
		{"-n", h.ns, "link", "set", "eth0", "up"},
	} {
		if err := run("", args...); err != nil {
			return nil, fmt.Errorf("add host %s: %w", name, err)
		}
	}
	fd, err := os.Open("/var/run/netns/" + h.ns)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	h.fd = fd
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts = append(n.hosts, h)
	return h, nil
}

// Close ends every process in the namespaces and the namespaces.
func (n *Net) Close() error {
	if n.off {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		_ = h.fd.Close()
	}
	_ = n.home.Close()
	err := n.alive.Close()
	return errors.Join(err, n.janitor.Wait())
}

// startJanitor starts a shell that waits until we close its input or are gone, and then clears everything away. Only
// processes in our own namespaces are ended, and only mounts below our own directory.
func (n *Net) startJanitor(dir string) error {
	const script = `cat >/dev/null
for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
	for pid in $(ip netns pids "$ns"); do kill -9 "$pid"; done
done
for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do ip netns delete "$ns"; done
cut -d' ' -f2 /proc/mounts | grep "^$2/" | sort -r | while read -r m; do umount -l "$m"; done
exit 0`
	n.janitor = exec.Command("sh", "-c", script, "janitor", n.prefix, dir)
	in, err := n.janitor.StdinPipe()
	if err != nil {
		return fmt.Errorf("start janitor: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, "janitor.log"))
	if err != nil {
		return fmt.Errorf("start janitor: %w", err)
	}
	defer log.Close()
	n.janitor.Stdout, n.janitor.Stderr = log, log
	n.janitor.SysProcAttr = &unix.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	n.alive = in
	if err := n.janitor.Start(); err != nil {
		return fmt.Errorf("start janitor: %w", err)
	}
	return nil
}

// Left are the namespaces that still exist.
func (n *Net) Left() []string {
	var left []string
	paths, _ := filepath.Glob("/var/run/netns/" + n.prefix + "-*")
	for _, p := range paths {
		left = append(left, filepath.Base(p))
	}
	return left
}

// Command makes argv run on the host. The process keeps the pid it is started with.
func (h *Host) Command(argv ...string) []string {
	if h.net.off {
		return argv
	}
	return append([]string{"ip", "netns", "exec", h.ns}, argv...)
}

// DialContext connects from the host. addr must be a literal address, so that the socket is made by this very thread.
func (h *Host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second}
	if h.net.off {
		return d.DialContext(ctx, network, addr)
	}
	type answer struct {
		c   net.Conn
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // a thread that cannot go home is never given back
		if err := unix.Setns(int(h.fd.Fd()), unix.CLONE_NEWNET); err != nil {
			ch <- answer{nil, fmt.Errorf("enter namespace of %s: %w", h.Name, err)}
			return
		}
		c, err := d.DialContext(ctx, network, addr)
		if herr := unix.Setns(int(h.net.home.Fd()), unix.CLONE_NEWNET); herr == nil {
			runtime.UnlockOSThread()
		}
		ch <- answer{c, err}
	}()
	a := <-ch
	return a.c, a.err
}

// Pids are the processes on the host.
func (h *Host) Pids() ([]string, error) {
	if h.net.off {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", h.ns).Output()
	if err != nil {
		return nil, fmt.Errorf("list processes of %s: %w", h.Name, err)
	}
	return strings.Fields(string(out)), nil
}

// run has the command ip do one thing.
func run(stdin string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
