package sim

import (
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// node is one machine: its disk, its server, and its agent while that runs.
type node struct {
	w    *world
	id   int
	name string
	disk disk
	boot int // which boot of the machine
	srv  *server
	ag   *agent
	on   bool // the machine has power
	off  bool // and stays off until all is well

	frozenAgent, frozenServer bool
	cut                       time.Duration // cut off from Consul since; 0: not
	broken                    map[int]bool  // links to these nodes are down
	fed                       time.Duration // the guard's deadline; 0: none
	full                      time.Duration // since when its disk has been full; 0: it is not
	mem                       memory        // what it keeps for the next agent
}

// disk is state.json.
type disk struct {
	hasData, condemned, founding bool
	uuid, cluster                string
	rebuilds                     int
	promised                     uint64
	void                         bool
	lastSync                     roles.Sync
	boot                         int
}

func (n *node) inc() roles.Inc {
	uuid := n.disk.uuid
	if !n.disk.hasData {
		uuid = "none"
	}
	return roles.NewInc(n.name, n.disk.rebuilds, uuid)
}

func (n *node) addr() string { return n.name + ":3306" }

// agent is one run of the agent: everything in it is forgotten when it dies.
type agent struct {
	*node
	state roles.State
	procs []*proc

	view      roles.View
	set       roles.Settings // as seen last
	freeSince time.Duration
	session   string
	keeper    keeper

	follow   roles.Follow
	checked  [2]any
	promoted uint64
	founded  bool
	attach   uint64
	// foundingSession demanded the lock for the records of a new cluster.
	foundingSession string
	leading         roles.Sync
	checkpoints     []roles.Checkpoint
	seq             uint64
	silent          map[roles.Inc]time.Duration
	waitSince       time.Duration
	waitAcked       set
	noDrain         uint64
	markerAt        time.Duration
	openTerm        uint64
	admits          uint64
	confirms        []roles.Confirmation
	seen            map[string]time.Duration // since when each request is known
	handover        *roles.Handover          // this primary works on it
	handSince       time.Duration
	heldSince       time.Duration
	readySince      time.Duration // 0: the candidate is not prepared
	drainedSince    time.Duration // 0: it never was drained
	slowSince       time.Duration // since this hand-over first slowed the writes down; 0: it has not
	throttle        time.Duration
	handLimit       time.Duration
	tried           bool
	tookOver        *roles.TookOver
	spare           []roles.Inc
	spareTerm       uint64
	ready           uint64
	chained         *roles.Chained
	expected        expected
	connected       bool
	failing         time.Duration
	down            time.Duration // since when its server has been seen dead
	lastPos         set
	stop            bool
	stopAt          time.Duration
	job             *job

	wanted  *roles.Node
	written bool
	recKey  roles.Inc
	why     string
}

// job runs beside the loop.
type job struct {
	say       string
	p         *proc
	done      bool
	apply     func() error
	err       error
	cancelled bool
}

// proc is a goroutine of the agent. It runs until its next external call.
type proc struct {
	a     *agent
	name  string
	at    string // the call it is about to make
	next  func() (string, bool)
	stop  func()
	yield func(string) bool
	over  bool
	sent  *flight // the request it is making; it may get there although the agent does not live to hear of it
}

// ended unwinds a proc whose agent is dead.
type ended struct{}

func (a *agent) begin(name string, run func(*proc)) *proc {
	p := &proc{a: a, name: name, at: "start"}
	p.next, p.stop = iter.Pull(func(yield func(string) bool) {
		defer func() {
			if r := recover(); r != nil && r != (ended{}) {
				panic(fmt.Sprintf("%v\n%s", r, debug.Stack())) // the stack of this side
			}
		}()
		p.yield = yield
		run(p)
	})
	a.procs = append(a.procs, p)
	return p
}

// resume runs the proc up to its next call.
func (p *proc) resume() {
	at, ok := p.next()
	p.at = at
	if !ok {
		p.over = true
		for i, o := range p.a.procs {
			if o == p {
				p.a.procs = append(p.a.procs[:i:i], p.a.procs[i+1:]...)
				break
			}
		}
	}
}

// pause is a point where anything may happen.
func (p *proc) pause(at string) {
	if !p.yield(at) {
		panic(ended{})
	}
}

// startAgent begins a new run.
func (n *node) startAgent() {
	a := &agent{node: n, state: roles.Init, silent: map[roles.Inc]time.Duration{}, seq: uint64(n.w.now)}
	a.keeper.a = a
	n.ag = a
	a.view, a.set = roles.View{}, n.w.set
	a.begin("loop", func(p *proc) { a.adopt(p); a.spawn(p) })
}

// spawn runs the parts of the agent side by side.
func (a *agent) spawn(p *proc) {
	a.begin("keeper", a.keeper.run)
	a.begin("record", a.writeRecords)
	a.loop(p)
}

// killAgent ends the agent at once; its server lives on.
func (n *node) killAgent() {
	if n.ag == nil {
		return
	}
	a := n.ag
	n.ag = nil
	for _, p := range a.procs {
		if w := n.w; p.sent != nil && n.cut == 0 && w.fault() && w.c.one(4) {
			w.note("%s: %s is on its way", n.name, p.sent.what)
			w.flight = append(w.flight, *p.sent)
		}
		p.stop()
	}
	a.procs = nil
}

// consulCall is one request: it may not get there, its answer may get lost, or it may arrive late.
func (p *proc) consulCall(what string, apply func() bool) (bool, error) {
	p.sent = &flight{p.a.name + " " + what, apply}
	p.pause(what)
	p.sent = nil
	w := p.a.w
	if p.a.cut != 0 {
		return false, errUnreachable
	}
	chosen := false
	if len(w.consul.v.Requests) > 0 {
		w.calls++
		chosen = w.calls == w.lose.at
	}
	if chosen || w.fault() && w.c.one(w.lossy) {
		how := w.lose.how
		if !chosen {
			how = w.c.pick(3)
		}
		switch how {
		case 0:
			w.note("%s: answer to %s lost (applied)", p.a.name, what)
			apply()
		case 1:
			w.note("%s: answer to %s lost (on its way)", p.a.name, what)
			w.flight = append(w.flight, flight{p.a.name + " " + what, apply})
		default:
			w.note("%s: %s lost", p.a.name, what)
		}
		p.pause("time-out of " + what)
		return false, errUnknown
	}
	ok := apply()
	p.pause("answer to " + what)
	return ok, nil
}

// refresh reads consistently.
func (p *proc) refresh() (roles.View, error) {
	p.pause("read")
	if p.a.cut != 0 || p.a.w.fault() && p.a.w.c.one(p.a.w.lossy) {
		return roles.View{}, errUnreachable
	}
	p.a.take(p.a.w.consul.read())
	v := p.a.view
	p.pause("answer to read")
	return v, nil
}

// take adopts what was read.
func (a *agent) take(v roles.View) {
	a.view, a.set = v, a.w.set
	switch {
	case !v.Leader.Free():
		a.freeSince = -1
	case a.freeSince < 0:
		a.freeSince = a.now()
	}
}

// sql is one statement: the server may be gone, or hang so that nobody knows whether it had its effect.
func (p *proc) sql(what string, do func(*server)) error {
	p.pause(what)
	s, w := p.a.srv, p.a.w
	if !s.up {
		return fmt.Errorf("%s: mysqld is gone", what)
	}
	if p.a.frozenServer {
		return fmt.Errorf("%s: no answer", what)
	}
	if w.fault() && w.c.one(w.hang) {
		if w.c.pick(2) == 1 {
			do(s)
		}
		w.note("%s: %s did not answer", p.a.name, what)
		return fmt.Errorf("%s: no answer", what)
	}
	do(s)
	return nil
}

// save makes the state durable, then counts.
func (p *proc) save(change func(*disk)) error {
	p.pause("write state.json")
	if p.a.full != 0 && p.a.w.c.one(2) { // a few blocks may be left
		return fmt.Errorf("write state.json: no space left on device")
	}
	change(&p.a.disk)
	return nil
}
