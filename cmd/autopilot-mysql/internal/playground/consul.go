package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// consulTimeout bounds the start of our Consul until it leads; it needs two to four seconds.
const consulTimeout = 45 * time.Second

// consulServer is our own Consul: one server with its state on disk, on loopback, started again when it dies.
type consulServer struct {
	p *Playground

	mu     sync.Mutex
	proc   *child
	wanted bool
}

// consulConfig is the server's configuration. All ports are given, so that several playgrounds run side by side.
func consulConfig(pl plan, dir, version string) map[string]any {
	ports := map[string]any{
		"http": pl.ConsulPorts.HTTP, "server": pl.ConsulPorts.Server, "serf_lan": pl.ConsulPorts.Serf,
		"https": -1, "dns": -1, "grpc": -1, "serf_wan": -1,
	}
	if atLeast(version, 1, 14) {
		ports["grpc_tls"] = -1 // older ones refuse the word
	}
	return map[string]any{
		"server": true, "bootstrap_expect": 1, "node_name": "playground", "data_dir": filepath.Join(dir, "data"),
		"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "ports": ports,
		"performance": map[string]any{"raft_multiplier": 1},
		// The only server must not leave its own cluster, it could not come back.
		"leave_on_terminate": false, "skip_leave_on_interrupt": true,
		"disable_update_check": true,
	}
}

// atLeast compares a version like 1.22.0; an unreadable one is old.
func atLeast(version string, major, minor int) bool {
	f := strings.SplitN(version, ".", 3)
	if len(f) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(f[0])
	b, err2 := strconv.Atoi(f[1])
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}

// startConsul starts our Consul, or checks the one of the user, and returns when it has a leader.
func (p *Playground) startConsul(ctx context.Context) error {
	if p.plan.Consul != "" {
		if err := waitConsul(ctx, p.plan.Consul, nil); err != nil {
			return fmt.Errorf("reach Consul at %s: %w", p.plan.Consul, err)
		}
		return nil
	}
	if err := os.MkdirAll(p.lay.consulDir(), 0o755); err != nil {
		return fmt.Errorf("create Consul's directory: %w", err)
	}
	cfg := consulConfig(p.plan, p.lay.consulDir(), p.consulVersion)
	if err := writeJSON(filepath.Join(p.lay.consulDir(), "config.json"), cfg); err != nil {
		return err
	}
	c := &consulServer{p: p}
	p.mu.Lock()
	p.consul = c
	p.mu.Unlock()
	began := time.Now()
	ch, err := c.start()
	if err != nil {
		return err
	}
	if err := waitConsul(ctx, p.plan.consulAddr(), ch); err != nil {
		return fmt.Errorf("start Consul: %w; see %s", err, c.logFile())
	}
	p.log.printf("consul started at %s in %.1fs", p.plan.consulAddr(), time.Since(began).Seconds())
	return nil
}

func (c *consulServer) logFile() string { return filepath.Join(c.p.lay.consulDir(), "log") }

func (c *consulServer) start() (*child, error) {
	ch, err := c.p.spawn.start(command{what: "consul", dir: c.p.lay.dir, log: c.logFile(), env: os.Environ(),
		argv: []string{c.p.plan.ConsulBin, "agent", "-ui", "-config-file=" + filepath.Join(c.p.lay.consulDir(), "config.json")}})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.proc, c.wanted = ch, true
	c.mu.Unlock()
	c.p.background(func(ctx context.Context) { c.watch(ctx, ch) })
	return ch, nil
}

// watch starts Consul again when it dies.
func (c *consulServer) watch(ctx context.Context, ch *child) {
	select {
	case <-ch.done:
	case <-ctx.Done():
		return
	}
	after := c.p.restartAfter()
	c.mu.Lock()
	wanted := c.wanted
	c.mu.Unlock()
	if !wanted || after <= 0 {
		return
	}
	c.p.log.printf("consul is down: its process %s; starting it again in %v", ch.how, after)
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return
	}
	if c.p.goingDown() {
		return
	}
	if _, err := c.start(); err != nil {
		c.p.log.printf("consul stays down: %v", err)
	}
}

func (c *consulServer) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc == nil || !c.proc.running() {
		return 0
	}
	return c.proc.id.Pid
}

// stop ends Consul gracefully, by force after ten seconds.
func (c *consulServer) stop(ctx context.Context) error {
	c.mu.Lock()
	ch := c.proc
	c.wanted = false
	c.mu.Unlock()
	if ch == nil || !ch.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if graceful, err := ch.terminate(ctx, unix.SIGTERM); err != nil || graceful {
		return err
	}
	kill, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	if _, err := ch.terminate(kill, unix.SIGKILL); err != nil {
		return fmt.Errorf("stop consul: %w", err)
	}
	return nil
}

// waitConsul waits until the Consul at addr has a leader; ch, if given, is its process.
func waitConsul(ctx context.Context, addr string, ch *child) error {
	ctx, cancel := context.WithTimeoutCause(ctx, consulTimeout, errors.New("no leader within "+consulTimeout.String()))
	defer cancel()
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	cl := client()
	var last error
	for {
		var leader string
		if err := ask(ctx, cl, addr+"/v1/status/leader", &leader); err != nil {
			last = err
		} else if leader != "" {
			return nil
		}
		var done <-chan struct{}
		if ch != nil {
			done = ch.done
		}
		select {
		case <-done:
			return fmt.Errorf("its process %s", ch.how)
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
