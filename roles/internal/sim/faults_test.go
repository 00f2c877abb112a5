package sim

import (
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// disturb is one fault.
func (w *world) disturb() {
	n := w.nodes[w.c.pick(len(w.nodes))]
	if w.unusually(n) {
		return
	}
	if w.c.pick(4) == 0 || w.leader && w.c.pick(4) != 0 {
		for _, x := range w.nodes {
			if x.ag != nil && w.consul.holds(x.ag.session) {
				w.depose(x, n)
				return
			}
		}
	}
	k := killMysqld + kind(w.c.pick(int(heal-killMysqld)+4))
	w.strike(min(k, heal), n)
}

// depose takes the lock from the leader n, which may not know it, or cannot be told; or brings that nearer.
func (w *world) depose(n, other *node) {
	switch w.c.pick(6) {
	case 0:
		w.note("FAULT SIGSTOP at the agent of %s", n.name)
		n.frozenAgent = true
		w.strike(expireEarly, n)
	case 1:
		w.strike(cutConsul, n)
		w.strike(expireEarly, n)
	case 2:
		w.strike(expireEarly, n)
	case 3:
		w.isolate(n)
	case 4:
		w.strike(graceful, n)
	case 5:
		w.note("FAULT SIGSTOP at the agent of %s", other.name)
		other.frozenAgent = true
	}
}

func (w *world) strike(k kind, n *node) {
	switch k {
	case killMysqld:
		w.note("FAULT kill -9 mysqld of %s", n.name)
		w.kill(n.srv)
	case killAgent:
		w.note("FAULT kill -9 agent of %s", n.name)
		n.killAgent()
	case powerOff:
		w.note("FAULT power cut at %s", n.name)
		n.killAgent()
		w.kill(n.srv)
		n.on, n.fed, n.frozenAgent, n.frozenServer = false, 0, false, false
		n.srv.loseRelay(w.c.pick(len(n.srv.relay) + 1))
	case freeze:
		kinds := w.c.pick(4)
		n.frozenAgent, n.frozenServer = kinds != 0, kinds == 0 || kinds == 3
		w.note("FAULT SIGSTOP at %s: agent %t, mysqld %t", n.name, n.frozenAgent, n.frozenServer)
	case thaw:
		n.frozenAgent, n.frozenServer = false, false
	case cutConsul:
		w.note("FAULT %s is cut off from Consul", n.name)
		n.cut = w.now
	case breakLink:
		o := w.nodes[w.c.pick(len(w.nodes))]
		w.note("FAULT link between %s and %s", n.name, o.name)
		n.broken[o.id] = true
		w.breakStreams(n, o)
	case expireEarly:
		w.perform(action{kind: expireEarly, a: n.id})
	case deleteLock:
		if w.consul.v.Leader.Session != "" {
			w.note("FAULT the lock is deleted by hand")
			w.consul.write().Leader = roles.Leader{Missing: true}
		}
	case pauseFailover:
		w.consul.write().Paused = !w.consul.v.Paused
		w.note("FAULT pause: %t", w.consul.v.Paused)
	case graceful:
		if n.ag != nil {
			w.note("FAULT %s is asked to stop", n.name)
			n.ag.stop = true
		}
	case switchover:
		r := roles.Request{ID: fmt.Sprint("r", w.consul.index), Kind: roles.RequestSwitchover}
		if w.c.pick(2) == 0 {
			r.Node = n.name
		}
		w.note("OPERATOR asks for a switchover to %q", r.Node)
		w.consul.ask(r)
	case landLost:
		if len(w.flight) > 0 {
			w.perform(action{kind: landLost, a: w.c.pick(len(w.flight))})
		}
	case heal:
		w.healNode(n)
	}
}

// breakStreams ends the streams over a link; what was on its way is lost.
func (w *world) breakStreams(a, b *node) {
	for _, x := range append([]*stream{}, w.streams...) {
		if x.src == a.id && x.dst == b.id || x.src == b.id && x.dst == a.id {
			w.sever(x)
		}
	}
}

// isolate breaks the links of one server to all others.
func (w *world) isolate(n *node) {
	w.note("FAULT %s loses all its streams", n.name)
	for _, o := range w.nodes {
		n.broken[o.id] = true
		w.breakStreams(n, o)
	}
}

// fill makes the disk of n full, or frees it.
func (w *world) fill(n *node) {
	if n.full != 0 {
		n.full = 0
	} else {
		n.full = w.now
	}
	w.note("FAULT the disk of %s is full: %t", n.name, n.full != 0)
}

func (w *world) healNode(n *node) {
	n.full = 0
	n.cut, n.frozenAgent, n.frozenServer, n.off = 0, false, false, false
	clear(n.broken)
}
