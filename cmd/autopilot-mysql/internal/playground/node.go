package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout bounds the end of a node after SIGKILL: a mysqld with dirty pages may take the kernel a while.
const killTimeout = 20 * time.Second

// node is one node: a guard process that we start, and the agent and mysqld below it.
type node struct {
	p    *Playground
	spec nodeSpec
	env  []string

	op sync.Mutex // one kill, stop or start at a time

	mu       sync.Mutex
	proc     *child    // nil: down
	began    time.Time // start of proc
	wanted   bool      // a dead node is started again
	why      string    // why it is down
	code     int       // exit code of the last process
	deaths   int       // unexpected ends
	lived    bool      // it has answered at least once
	status   Node      // its last answer
	answered time.Time // when; zero since proc began
	askErr   string    // why it does not answer
}

func (p *Playground) newNode(spec nodeSpec) (*node, error) {
	if err := os.MkdirAll(p.lay.volume(spec.Name), 0o755); err != nil {
		return nil, fmt.Errorf("create volume of %s: %w", spec.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &node{p: p, spec: spec, env: p.plan.env(os.Environ()), why: "not started yet"}, nil
}

// argv is the node's entrypoint with its settings; the secrets are in the environment.
func (n *node) argv() []string {
	n.p.mu.Lock()
	pl := n.p.plan
	n.p.mu.Unlock()
	argv := append([]string(nil), n.p.command...)
	argv = append(argv,
		"--name", n.spec.Name, "--cluster", pl.Cluster, "--service", pl.Service, "--consul", pl.consulAddr(), "--store", pl.Store,
		"--datadir", n.p.lay.volume(n.spec.Name), "--port", fmt.Sprint(n.spec.MySQLPort), "--bind", "127.0.0.1",
		"--advertise", "127.0.0.1", "--http", n.spec.http(), "--mysqld", pl.Mysqld, "--small", "--lease", pl.Lease.String())
	argv = append(argv, "--acks", fmt.Sprint(pl.Acks))
	if os.Geteuid() == 0 {
		// The user mysql, if there is one, may not enter a directory of root's.
		argv = append(argv, "--run-as", "root")
	}
	return append(argv, n.p.args...)
}

// start runs the node's entrypoint, if it is down.
func (n *node) start() error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.startLocked()
}

func (n *node) startLocked() error {
	if n.running() {
		return fmt.Errorf("start %s: it is running already", n.spec.Name)
	}
	if n.p.goingDown() {
		return fmt.Errorf("start %s: the playground is going down", n.spec.Name)
	}
	ch, err := n.p.spawn.start(command{what: n.spec.Name, argv: n.argv(), env: n.env, dir: n.p.lay.dir,
		log: n.p.lay.nodeLog(n.spec.Name)})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.proc, n.began, n.wanted, n.answered, n.status, n.askErr = ch, time.Now(), true, time.Time{}, Node{}, ""
	n.mu.Unlock()
	n.p.changed()
	n.p.background(func(ctx context.Context) { n.watch(ctx, ch) })
	return nil
}

// watch waits for the end of the process and starts the node again, as a container runtime does.
func (n *node) watch(ctx context.Context, ch *child) {
	select {
	case <-ch.done:
	case <-ctx.Done():
		return
	}
	n.mu.Lock()
	pids := n.status.Pids
	wanted := n.wanted
	if n.proc == ch {
		n.proc = nil
	}
	how := ch.how
	if last := n.logTail(); wanted && ch.code > 0 && last != "" {
		how += ": " + last
	}
	n.why, n.code = "the node's process "+how, ch.code
	if wanted {
		n.deaths++
	}
	n.mu.Unlock()
	reapPids(pids)
	n.p.changed()
	if !wanted {
		return
	}
	after := n.p.restartAfter()
	if after <= 0 {
		n.p.log.printf("%s is down: its process %s; `playground start %s` starts it", n.spec.Name, how, n.spec.Name)
		return
	}
	n.p.log.printf("%s is down: its process %s; starting it again in %v", n.spec.Name, how, after)
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return
	}
	n.op.Lock()
	defer n.op.Unlock()
	if n.running() || !n.isWanted() || ctx.Err() != nil {
		return // somebody was quicker, or has stopped it
	}
	if err := n.startLocked(); err != nil {
		n.p.log.printf("%s stays down: %v", n.spec.Name, err)
		return
	}
	n.p.log.printf("%s started again", n.spec.Name)
}

// kill ends everything of the node in one instant.
func (n *node) kill(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	n.mu.Lock()
	ch := n.proc
	n.mu.Unlock()
	if ch == nil || !ch.running() {
		return fmt.Errorf("kill %s: it is down already", n.spec.Name)
	}
	return n.killTree(ctx, ch)
}

// killTree freezes the guard first: what it would do when the others die, start them again, it must not do.
func (n *node) killTree(ctx context.Context, guard *child) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := guard.id.signal(unix.SIGSTOP); err != nil {
		return fmt.Errorf("kill %s: %w", n.spec.Name, err)
	}
	ids := []procID{guard.id}
	all, err := scan()
	if err != nil {
		return fmt.Errorf("kill %s: %w", n.spec.Name, err)
	}
	below := tree(all, guard.id.Pid)
	ids = append(ids, below...)
	volume := n.p.lay.volume(n.spec.Name)
	for _, s := range all {
		// A mysqld that lost its guard is somebody else's child by now.
		if !contains(ids, s.id) && !s.gone() && s.id.Pid != os.Getpid() && s.id.runsIn(volume) {
			ids, below = append(ids, s.id), append(below, s.id)
		}
	}
	if err := killAll(ctx, ids); err != nil {
		return fmt.Errorf("kill %s: %w", n.spec.Name, err)
	}
	reap(below)
	select {
	case <-guard.done:
	case <-ctx.Done():
		return fmt.Errorf("kill %s: process %d is not reaped", n.spec.Name, guard.id.Pid)
	}
	n.p.changed()
	return nil
}

// stop ends the node gracefully, and by force when it takes longer than stopTimeout. It stays down.
func (n *node) stop(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	n.mu.Lock()
	ch := n.proc
	n.wanted = false
	n.mu.Unlock()
	if ch == nil || !ch.running() {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, errStopTimeout)
	defer cancel()
	graceful, err := ch.terminate(ctx, unix.SIGTERM)
	if err != nil {
		return fmt.Errorf("stop %s: %w", n.spec.Name, err)
	}
	if !graceful {
		cause := context.Cause(ctx)
		if err := n.killTree(context.WithoutCancel(ctx), ch); err != nil {
			return err
		}
		return fmt.Errorf("stop %s: %w; killed it", n.spec.Name, cause)
	}
	// Whatever the guard left behind would hold the volume.
	return n.p.sweep(ctx, n.p.lay.volume(n.spec.Name))
}

var errStopTimeout = errors.New("not stopped within " + stopTimeout.String())

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc != nil && n.proc.running()
}

func (n *node) isWanted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wanted
}

// maxLine bounds what is quoted of a log line.
const maxLine = 500

// logTail is the end of what the node said, for an error message.
func (n *node) logTail() string {
	b, err := os.ReadFile(n.p.lay.nodeLog(n.spec.Name))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := lines[len(lines)-1]
	return last[:min(len(last), maxLine)]
}

func contains(ids []procID, id procID) bool {
	for _, have := range ids {
		if have == id {
			return true
		}
	}
	return false
}

func reapPids(p Pids) {
	for _, pid := range []int{p.Agent, p.MySQL} {
		if s, ok := readStat(pid); ok && s.gone() {
			reap([]procID{s.id})
		}
	}
}
