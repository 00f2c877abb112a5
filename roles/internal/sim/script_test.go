package sim

import "github.com/autopilot-mysql/autopilot-mysql/roles"

// line is one line of a script: when it is true, something is done, and the next line comes. Everything between two lines
// is left to chance. Some weaknesses show only after several things in this order, which chance alone would seldom find.
type line struct {
	when func(*world) bool
	do   func(*world)
}

const a, b, c = 0, 1, 2

func begin(*world) bool { return true }

// agentAt is true when a node's loop is about to make that call.
func agentAt(n int, call string) func(*world) bool {
	return func(w *world) bool {
		ag := w.nodes[n].ag
		return ag != nil && ag.procs[0].at == call
	}
}

// openedBy is true when the newest term is that node's.
func openedBy(n int) func(*world) bool { return func(w *world) bool { return w.openNode == n } }

func stopAgent(n int) func(*world) { return func(w *world) { w.nodes[n].frozenAgent = true } }

func contAgent(n int) func(*world) { return func(w *world) { w.nodes[n].frozenAgent = false } }

func cutLink(x, y int) func(*world) {
	return func(w *world) {
		w.nodes[x].broken[y] = true
		w.breakStreams(w.nodes[x], w.nodes[y])
	}
}

func healLink(x, y int) func(*world) {
	return func(w *world) { delete(w.nodes[x].broken, y); delete(w.nodes[y].broken, x) }
}

func both(do ...func(*world)) func(*world) {
	return func(w *world) {
		for _, f := range do {
			f(w)
		}
	}
}

func loseSession(n int) func(*world) {
	return func(w *world) { w.strike(expireEarly, w.nodes[n]) }
}

// waitingAlone is true when a client waits at a for a write that nobody else has.
func waitingAlone(w *world) bool {
	return w.nodes[a].srv.client&^(w.nodes[b].srv.has()|w.nodes[c].srv.has()) != 0
}

func member(n int) func(*world) bool {
	return func(w *world) bool { return w.consul.v.Sync.Has(w.nodes[n].inc()) }
}

func not(when func(*world) bool) func(*world) bool { return func(w *world) bool { return !when(w) } }

// The acker's agent is frozen, its server is not: it goes on acknowledging while it is removed.
func frozenAcker() []line {
	return []line{{begin, stopAgent(b)}, {not(member(b)), cutLink(a, c)}}
}

// The primary steps down with a commit waiting; the one that will acknowledge it never sealed.
func lateAck() []line {
	return []line{
		{begin, stopAgent(c)},
		{waitingAlone, both(cutLink(a, b), cutLink(a, c), func(w *world) { w.strike(graceful, w.nodes[a]) })},
		{openedBy(b), healLink(a, c)},
	}
}

// The record of SELF is on its way while the primary is deposed.
func lateSelf() []line {
	return []line{
		{begin, both(cutLink(a, b), cutLink(a, c))},
		{agentAt(a, "write ack set"), both(stopAgent(a), loseSession(a))},
		{openedByOther(a), contAgent(a)},
	}
}

// The primary removes an acker and its agent dies; the next one goes on and lets the acker in again, whose
// acknowledgement then counts; and then the removal arrives.
func lateRemove() []line {
	var late flight
	return []line{
		{begin, cutLink(a, c)},
		{agentAt(a, "write ack set"), func(w *world) {
			late = *w.nodes[a].ag.procs[0].sent
			w.nodes[a].killAgent()
			w.flight = nil
			healLink(a, c)(w)
		}},
		{func(w *world) bool { return w.armedFrom(c, a) }, cutLink(a, b)},
		{func(w *world) bool { return w.ackedW&^w.nodes[b].srv.has() != 0 }, func(w *world) {
			w.note("arrives late: %s: %t", late.what, late.apply())
			w.strike(powerOff, w.nodes[a])
			w.nodes[a].off = true
			stopAgent(c)(w)
			loseSession(a)(w)
		}},
	}
}

// armedFrom is true when acknowledgements of one node reach another.
func (w *world) armedFrom(dst, src int) bool {
	for _, x := range w.streams {
		if x.src == src && x.dst == dst && !x.closed && x.armed {
			return true
		}
	}
	return false
}

func openedByOther(n int) func(*world) bool { return func(w *world) bool { return w.openNode != n } }

// The promotion of one is on its way while another is elected and opens.
func latePromotion() []line {
	var late int
	return []line{
		{begin, both(stopAgent(a), loseSession(a))},
		{func(w *world) bool {
			for n := range w.nodes {
				if agentAt(n, "promote")(w) {
					late = n
					return true
				}
			}
			return false
		}, func(w *world) { both(stopAgent(late), loseSession(late), contAgent(a))(w) }},
		{func(w *world) bool { return w.openNode != late && w.openTerm > 1 }, func(w *world) { contAgent(late)(w) }},
	}
}

// A follower seals, the primary gets its lock back, the follower goes on; then the primary dies and the other one counts
// the old seal.
func staleSeal() []line {
	sealed := func(w *world) bool { return w.consul.v.Seals[w.nodes[b].inc()].Promise == 2 }
	free := func(w *world) bool { return w.consul.v.Leader.Free() }
	return []line{
		{begin, both(stopAgent(c), stopAgent(a), func(w *world) { w.strike(deleteLock, w.nodes[a]) })},
		{sealed, contAgent(a)},
		{not(free), func(*world) {}},
		{func(w *world) bool { return w.nodes[b].srv.receiver == roles.On }, cutLink(a, c)},
		{func(w *world) bool {
			return w.ackedW&^w.nodes[c].srv.has() != 0 && w.nodes[c].srv.has()&^w.sealedPosition(b) != 0
		}, both(stopAgent(b), func(w *world) { w.strike(powerOff, w.nodes[a]); w.nodes[a].off = true }, loseSession(a), contAgent(c))},
	}
}

// sealedPosition is what a node's seal says it held.
func (w *world) sealedPosition(n int) (held set) {
	pos := w.consul.v.Seals[w.nodes[n].inc()].Position
	for id := range w.made {
		if pos.Contains(w.ids[id]) {
			held |= one(id)
		}
	}
	return held
}
