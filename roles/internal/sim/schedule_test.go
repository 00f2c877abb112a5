package sim

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// kind is a thing that may happen next.
type kind uint8

const (
	run kind = iota
	write
	deliver
	ack
	dropStream
	connect
	applyNext
	finish
	watch
	expire
	pass
	guard
	revive
	land
	// from here on: faults
	killMysqld
	killAgent
	powerOff
	freeze
	thaw
	cutConsul
	breakLink
	expireEarly
	deleteLock
	pauseFailover
	graceful
	landLost
	heal
	switchover // an operator's wish, not a fault
)

// action is one thing that may happen, to whom.
type action struct {
	kind kind
	a, b int
	p    *proc
}

// enabled lists everything that may happen now; what is more likely is listed more often.
func (w *world) enabled(buf []action) []action {
	out := buf[:0]
	add := func(k kind, a, b int) { out = append(out, action{kind: k, a: a, b: b}) }
	for i, n := range w.nodes {
		if n.ag != nil && !n.frozenAgent {
			for _, p := range n.ag.procs {
				out = append(out, action{kind: run, a: i, p: p})
				if p == n.ag.procs[0] {
					out = append(out, action{kind: run, a: i, p: p}, action{kind: run, a: i, p: p})
				}
			}
			if n.cut == 0 {
				add(watch, i, 0)
			}
		}
		s := n.srv
		if n.on && !n.frozenServer && s.up {
			if s.open() && !s.closing && w.mayWrite(s) && n.full == 0 && !(s.throttled && w.now/(10*time.Millisecond)%4 != 0) {
				add(write, i, 0)
			}
			if s.free != 0 {
				add(finish, i, 0)
			}
			if s.receiver == roles.Connecting && w.mayConnect(n) {
				add(connect, i, 0)
			}
			if s.applier == roles.On && len(s.relay) > 0 && !(s.srcOn && s.wait != 0) {
				add(applyNext, i, 0)
			}
		}
		if n.ag == nil && !n.off {
			add(revive, i, 0)
		}
		if n.fed != 0 && n.now() >= n.fed && s.up && (w.guarded || w.fair) {
			add(guard, i, 0)
		}
	}
	for i, x := range w.streams {
		s, d := w.nodes[x.src], w.nodes[x.dst]
		if !s.frozenServer && len(x.acks) > 0 && w.linked(s, d) {
			add(ack, i, 0)
		}
		if x.closed {
			if len(x.acks) == 0 || !w.fair {
				add(dropStream, i, 0)
			}
		} else if !s.frozenServer && !d.frozenServer && d.full == 0 && !(w.stalled[x.dst] && !w.fair) && w.linked(s, d) && (!x.began || x.next < len(s.srv.binlog)) {
			add(deliver, i, 0)
		}
	}
	for i := range w.nodes {
		for _, s := range w.consul.sessions { // a node has one at most
			if s.node == i && w.now >= s.deadline {
				add(expire, i, 0)
			}
		}
	}
	for i := range w.flight {
		add(land, i, 0)
	}
	add(pass, 0, 0)
	if w.lagging {
		add(pass, 0, 0)
	}
	return out
}

// mayWrite keeps a run's writes few: a run can tell 64 apart, and some are kept for the time when all is well again.
func (w *world) mayWrite(s *server) bool {
	if w.fair {
		return w.made < 52+4*w.again && s.wait == 0
	}
	return !w.full() && s.wait.count() < 3
}

func (w *world) mayConnect(n *node) bool {
	src := w.nodes[n.srv.source]
	return src.srv.up && !src.frozenServer && w.linked(n, src) && src.srv.accounts[n.id] == unlocked
}

// turn lets one thing happen.
func (w *world) turn(buf []action) []action {
	w.now += 2 * time.Millisecond
	if w.disks && !w.fair && w.c.one(40) {
		w.fill(w.nodes[w.c.pick(len(w.nodes))])
	}
	switch {
	case !w.fair && w.hand && len(w.consul.v.Requests) == 0 && w.c.one(30):
		w.strike(switchover, w.nodes[w.c.pick(len(w.nodes))])
	case !w.fair && (w.wishes != wishes{}) && len(w.consul.v.Requests) == 0 && w.c.one(25):
		w.wish()
	case !w.fair && w.budget > 0 && w.c.one(12) && !(w.hand && (w.calm() || w.c.pick(4) != 0)):
		w.budget--
		w.disturb()
	default:
		buf = w.enabled(buf)
		w.perform(w.choose(buf))
	}
	for _, n := range w.gone {
		n.killAgent()
		n.fed = 0
	}
	w.gone = w.gone[:0]
	if len(w.script) > 0 && !w.fair && w.script[0].when(w) {
		w.note("SCRIPT line, %d left", len(w.script)-1)
		w.script[0].do(w)
		w.script = w.script[1:]
	}
	w.check()
	return buf
}

// slow is something that hardly gets on for a while: a process, a stream, a view of the records.
type slow struct {
	kind kind
	a    int
}

// choose picks what happens next. While there are faults, a few things are slow, others in turn.
func (w *world) choose(from []action) action {
	x := from[w.c.pick(len(from))]
	if w.fair {
		return x
	}
	if w.lagging && (x.kind == deliver || x.kind == finish || x.kind == ack) && !w.c.one(6) {
		return from[w.c.pick(len(from))]
	}
	if w.calm() {
		return x
	}
	if w.c.one(40) {
		kinds := []kind{run, run, deliver, ack, watch, write, applyNext, connect, guard, expire}
		w.slow[w.c.pick(len(w.slow))] = slow{kinds[w.c.pick(len(kinds))], w.c.pick(len(w.nodes))}
	}
	for _, s := range w.slow {
		if s == (slow{x.kind, x.a}) && !w.c.one(12) {
			return from[w.c.pick(len(from))]
		}
	}
	return x
}

func (w *world) perform(x action) {
	switch x.kind {
	case run:
		x.p.resume()
	case write:
		s := w.nodes[x.a].srv
		w.note("client: writes w%d at %s", w.made, w.nodes[x.a].name)
		w.commit(s, true)
	case deliver:
		x := w.streams[x.a]
		w.deliver(x)
		w.note("%s -> %s: %s holds %s", w.nodes[x.src].name, w.nodes[x.dst].name, w.nodes[x.dst].name, w.nodes[x.dst].srv.position())
	case ack:
		x := w.streams[x.a]
		w.note("%s -> %s: ACK up to %d", w.nodes[x.dst].name, w.nodes[x.src].name, x.acks[0])
		w.arrive(x)
	case dropStream:
		w.sever(w.streams[x.a])
	case connect:
		n := w.nodes[x.a]
		w.connect(n.srv)
		w.note("%s: connected to %s, armed %t", n.name, w.nodes[n.srv.source].name, n.srv.armed)
	case applyNext:
		w.apply(w.nodes[x.a].srv)
	case finish:
		s := w.nodes[x.a].srv
		s.free &^= s.free & -s.free
		w.settle(s)
	case watch:
		w.nodes[x.a].ag.take(w.consul.read())
	case expire, expireEarly:
		for id, s := range w.consul.sessions {
			if s.node == x.a {
				w.note("session of %s ends", w.nodes[x.a].name)
				w.consul.end(id)
			}
		}
	case pass:
		if w.fair || w.calm() {
			w.now += time.Duration([]int{5, 10, 20, 40}[w.c.pick(4)]) * time.Millisecond
		} else {
			w.now += time.Duration([]int{10, 10, 20, 20, 50, 50, 100, 100, 250, 400, 1200}[w.c.pick(11)]) * time.Millisecond
		}
	case guard:
		w.note("guard of %s: the deadline has passed, SIGKILL", w.nodes[x.a].name)
		w.kill(w.nodes[x.a].srv)
		w.nodes[x.a].fed = 0
	case revive:
		n := w.nodes[x.a]
		if !n.on {
			n.on = true
			n.boot++
		}
		w.note("%s: agent starts (mysqld up %t)", n.name, n.srv.up)
		n.startAgent()
	case land, landLost:
		f := w.flight[x.a]
		w.flight = append(w.flight[:x.a:x.a], w.flight[x.a+1:]...)
		if x.kind == land {
			w.note("arrives late: %s: %t", f.what, f.apply())
		}
	}
}

// finish makes everything well and gives the cluster time; "" or what does not become well.
func (w *world) finish(limit int) string {
	w.fair = true
	for _, n := range w.nodes {
		w.healNode(n)
	}
	w.consul.write().Paused = false
	w.note("---- everything is well again")
	before, buf := w.ackedW, []action(nil)
	for range limit {
		buf = w.turn(buf)
		if w.broken != nil {
			return ""
		}
		if w.ackedW != before && w.well() == "" {
			return ""
		}
	}
	if why := w.well(); why != "" {
		return why
	}
	return "no write is acknowledged"
}

// loseLeader takes the primary away for as long as it takes another one to open, in a cluster where all is well otherwise:
// its disk gets full, or it is dead while failovers are held back. Then it comes back.
func (w *world) loseLeader(limit int) string {
	p := w.nodes[w.byName(w.consul.v.Sync.Primary.Name())]
	if w.disks {
		if w.c.one(2) { // with a write that nobody else gets
			w.commit(p.srv, true)
			for _, o := range w.nodes {
				w.breakStreams(p, o)
			}
			w.kill(p.srv)
		}
		w.fill(p)
	} else {
		w.strike(powerOff, p)
		p.off = true
	}
	var buf []action
	for range limit {
		buf = w.turn(buf)
		if w.broken != nil {
			return ""
		}
		if o := w.nodes[w.byName(w.consul.v.Sync.Primary.Name())]; o != p && o.ag != nil && o.ag.state == roles.Primary && o.srv.open() {
			w.again++
			return w.finish(limit)
		}
	}
	return "nobody took over from " + p.name
}

// end lets every coroutine go.
func (w *world) end() {
	for _, n := range w.nodes {
		n.killAgent()
	}
}

// result of a run.
type result struct {
	bad   *violation
	made  []uint16
	trace []string
	steps int
}

// play makes one run: faults for a while, then none.
func play(p plan, c *chance, tell bool) result {
	w := newWorld(p, c, tell)
	defer w.end()
	var buf []action
	steps := 0
	for ; steps < p.steps && w.broken == nil; steps++ {
		if p.single.kind != 0 && steps == p.single.at {
			w.strike(p.single.kind, w.nodes[p.single.node])
		}
		if p.ask != 0 && steps == p.ask {
			w.consul.ask(roles.Request{ID: "asked", Kind: roles.RequestSwitchover})
		}
		buf = w.turn(buf)
	}
	if w.broken == nil {
		limit := max(2, p.nodes) * 3000
		why := w.finish(limit)
		if why == "" && w.broken == nil && (p.disks || p.cooldown > 0) {
			why = w.loseLeader(limit)
		}
		if why != "" && !w.refusesBackup() {
			w.fail("stuck", "%s", why)
		}
	}
	if w.broken != nil && tell {
		w.trace = append(w.trace, w.states()...)
	}
	return result{w.broken, c.made, w.trace, steps}
}

func (w *world) states() (out []string) {
	w.note("leader %+v  %s  acked %s", w.consul.v.Leader, w.consul.v.Sync, w.ackedW)
	for _, n := range w.nodes {
		s := n.srv
		state, why := "-", ""
		if n.ag != nil {
			state, why = string(n.ag.state), n.ag.why
		}
		w.note("%s %s: mysqld up %t ro %t offline %t K %d/%t holds %s waits %s void %t promised %d: %s", n.inc(), state, s.up, s.ro, s.offline, s.k, s.srcOn,
			s.position(), s.wait, n.disk.void, n.disk.promised, why)
	}
	return nil
}
