// Package playground runs a whole cluster on the loopback interface of one machine: real mysqld processes under real
// agents, a real Consul, a snapshot store. It is what a container runtime would be: it starts the nodes' entrypoints,
// starts them again when they die, and knows nothing about replication.
//
// Everything lives below one directory D:
//
//	D/playground.json     what runs, for people and tools (a stable interface), true within a second
//	D/plan.json           what shall run: ports, secrets, nodes; this makes a playground resumable
//	D/processes.json      processes with their start times, so that `down` works without the supervisor
//	D/control.sock        the supervisor's HTTP interface (in a temporary folder if D's path is too long for a socket)
//	D/lock                held by the supervisor
//	D/supervisor.log      what a detached supervisor says
//	D/nodes/NAME          the node's volume (--datadir)
//	D/nodes/NAME.log      what the node says
//	D/consul, D/store     Consul's state and log; the snapshots
//
// A supervisor that is killed takes its processes with it (PDEATHSIG), like a machine that loses power; `up` on the same
// directory brings the same cluster back.
package playground

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// DefaultNodes is the smallest cluster that survives a loss and still has a standby.
	DefaultNodes = 3
	// DefaultRestartAfter is how long a dead node stays dead.
	DefaultRestartAfter = 5 * time.Second
	// DefaultLease is the product's default.
	DefaultLease = 3 * time.Second
	// DefaultTimeout bounds the wait until a cluster is ready: three servers are initialised, copied and started on
	// two cores that may be busy otherwise.
	DefaultTimeout = 3 * time.Minute

	// stopTimeout bounds a graceful stop: more than a node's own limit for it (--stop-timeout, 60 s), after which it kills
	// mysqld itself and says so. mysqld needs 3–11 s, fencing before it at most the lease.
	stopTimeout = 75 * time.Second
	// pollInterval is how often nodes are asked for their status.
	pollInterval = 400 * time.Millisecond
	// maxNodes keeps names, sockets and ports within what was thought of.
	maxNodes = 99
)

// Options of a playground. Zero values mean: as before, or the default for a new directory.
type Options struct {
	Dir           string         // D; made if missing
	Nodes         int            // at least so many nodes
	Consul        string         // address of a running Consul; "" starts one
	Store         string         // snapshot store; "" is file://D/store
	Cluster       string         // name of the cluster; "" is playground
	Service       string         // name of the Consul service; "" is mysql
	Lease         time.Duration  // 0 is DefaultLease
	Acks          int            // wanted acknowledging replicas; 0 is 1
	RestartAfter  *time.Duration // nil is DefaultRestartAfter, zero is never
	Mysqld        string         // path of the server, as found by package parts
	ConsulBin     string         // path of Consul; unused with Consul
	ConsulVersion string         // its version; its configuration depends on it
	Command       []string       // the node's entrypoint, e.g. /usr/bin/autopilot-mysql run
	NodeArgs      []string       // further arguments of every entrypoint
	// Log gets every line for people; nil is silent. It is called from several goroutines, one at a time.
	Log func(line string)
}

// UsageError is a request that cannot be: a wrong name, a path too long. Its exit code is 2.
type UsageError struct{ msg string }

func (e *UsageError) Error() string { return e.msg }

// ExitCode is the process's exit code for it.
func (e *UsageError) ExitCode() int { return 2 }

func usagef(format string, args ...any) error { return &UsageError{msg: fmt.Sprintf(format, args...)} }

// Playground is a running cluster. All methods are safe for concurrent use.
type Playground struct {
	lay     layout
	command []string
	args    []string

	consulVersion string
	log           *lineLog
	spawn         *spawner
	ctx           context.Context // ends everything that runs in the background
	cancel        context.CancelFunc
	bg            sync.Mutex // guards wg against an Add after its Wait
	ended         bool
	wg            sync.WaitGroup
	unlock        func()
	kick          chan struct{} // something changed: compose playground.json now

	mu      sync.Mutex
	plan    plan
	nodes   []*node
	consul  *consulServer
	cluster Document // what a node last said about the cluster
	doc     Document // what playground.json says
	down    bool
}

// Start begins a playground, or brings back the one in Options.Dir: Consul first, then all nodes at the same instant. It
// returns when they are started; WaitReady waits until they are a cluster. On an error nothing is left running. The
// playground lives until Down, whatever becomes of ctx.
func Start(ctx context.Context, o Options) (*Playground, error) {
	p, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := p.begin(ctx); err != nil {
		p.abort()
		return nil, err
	}
	return p, nil
}

// prepare takes the directory and plans the cluster; nothing runs yet.
func prepare(o Options) (*Playground, error) {
	lay, err := newLayout(o.Dir)
	if err != nil {
		return nil, err
	}
	unlock, err := lay.lock()
	if err != nil {
		return nil, err
	}
	pl, err := lay.loadPlan()
	if err == nil {
		err = pl.apply(o, lay)
	}
	if err == nil {
		err = lay.savePlan(pl)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	p := &Playground{lay: lay, command: o.Command, args: o.NodeArgs, consulVersion: o.ConsulVersion, log: &lineLog{f: o.Log}, unlock: unlock,
		kick: make(chan struct{}, 1), plan: pl}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

func (p *Playground) begin(ctx context.Context) error {
	// What a supervisor that was killed may have left must not hold the ports and files.
	if left, err := killRecorded(ctx, p.lay); err != nil {
		return err
	} else if left > 0 {
		p.log.printf("ended %d processes of an earlier supervisor", left)
	}
	if err := becomeSubreaper(); err != nil {
		return err
	}
	p.spawn = newSpawner()
	if err := p.startConsul(ctx); err != nil {
		return err
	}
	for _, spec := range p.plan.Nodes {
		n, err := p.newNode(spec)
		if err != nil {
			return err
		}
		p.nodes = append(p.nodes, n)
	}
	errs := make(chan error, len(p.nodes))
	for _, n := range p.nodes {
		go func() { errs <- n.start() }()
	}
	var err error
	for range p.nodes {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return err
	}
	for _, n := range p.nodes {
		p.log.printf("%s started: mysql %s, http %s", n.spec.Name, n.spec.mysql(), n.spec.http())
	}
	p.background(p.pollCluster)
	p.background(p.compose)
	for _, n := range p.nodes {
		p.background(n.poll)
	}
	return nil
}

// background runs f until the playground ends.
func (p *Playground) background(f func(context.Context)) {
	p.bg.Lock()
	defer p.bg.Unlock()
	if p.ended {
		return
	}
	p.wg.Go(func() { f(p.ctx) })
}

// Kill ends a node as a power cut would: guard, agent and mysqld by SIGKILL in the same instant. It is started again
// after RestartAfter. Instead of a name, "primary" means whoever is.
func (p *Playground) Kill(ctx context.Context, name string) error {
	n, err := p.find(name)
	if err != nil {
		return err
	}
	return n.kill(ctx)
}

// Stop ends a node gracefully and returns when it is gone. It then stays stopped.
func (p *Playground) Stop(ctx context.Context, name string) error {
	n, err := p.find(name)
	if err != nil {
		return err
	}
	return n.stop(ctx)
}

// StartNode starts a node that is down. It returns when the process runs, not when the node is healthy.
func (p *Playground) StartNode(name string) error {
	n, err := p.find(name)
	if err != nil {
		return err
	}
	return n.start()
}

// Add starts count fresh, empty nodes and returns their names.
func (p *Playground) Add(count int) ([]string, error) {
	if count < 1 {
		return nil, usagef("add nodes: the number must be at least 1, not %d", count)
	}
	p.mu.Lock()
	specs, err := p.plan.addNodes(count)
	if err == nil {
		err = p.lay.savePlan(p.plan)
	}
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, spec := range specs {
		n, err := p.newNode(spec)
		if err != nil {
			return names, err
		}
		p.mu.Lock()
		ended := p.down
		if !ended {
			p.nodes = append(p.nodes, n)
		}
		p.mu.Unlock()
		if ended {
			return names, errors.New("add nodes: the playground is going down")
		}
		if err := n.start(); err != nil {
			return names, err
		}
		p.background(n.poll)
		p.log.printf("%s started: mysql %s, http %s", spec.Name, spec.mysql(), spec.http())
		names = append(names, spec.Name)
	}
	return names, nil
}

// Document is what playground.json says now.
func (p *Playground) Document() Document {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doc.clone()
}

// Dir is D, absolute.
func (p *Playground) Dir() string { return p.lay.dir }

// find returns the node of that name, or the primary.
func (p *Playground) find(name string) (*node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == "primary" {
		if p.doc.Primary == "" {
			return nil, errors.New("find primary: there is none at the moment; name a node")
		}
		name = p.doc.Primary
	}
	var names []string
	for _, n := range p.nodes {
		if n.spec.Name == name {
			return n, nil
		}
		names = append(names, n.spec.Name)
	}
	return nil, usagef("find node: there is no %q here, only %v", name, names)
}

// all is a copy of the list of nodes.
func (p *Playground) all() []*node {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*node(nil), p.nodes...)
}

func (p *Playground) changed() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// lineLog hands lines to the caller one at a time.
type lineLog struct {
	mu sync.Mutex
	f  func(string)
}

func (l *lineLog) printf(format string, args ...any) {
	if l.f == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f(fmt.Sprintf(format, args...))
}
