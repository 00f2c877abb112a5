package sim

import "github.com/autopilot-mysql/autopilot-mysql/roles"

func askFor(n int) func(*world) {
	return func(w *world) {
		w.note("OPERATOR asks for a switchover to %s", w.nodes[n].name)
		w.consul.ask(roles.Request{ID: "scripted", Kind: roles.RequestSwitchover, Node: w.nodes[n].name})
	}
}

func stall(n ...int) func(*world) {
	return func(w *world) {
		for _, i := range n {
			w.stalled[i] = true
		}
	}
}

func unstall(n int) func(*world) { return func(w *world) { delete(w.stalled, n) } }

func planned(n int) func(*world) bool {
	return func(w *world) bool { a := w.nodes[n].ag; return a != nil && a.handover != nil }
}

func offered(n int) func(*world) bool {
	return func(w *world) bool { return planned(n)(w) && w.nodes[n].ag.handover.Offer != nil }
}

// streams is true when dst receives from src, armed or not.
func streams(src, dst int, armed bool) func(*world) bool {
	return func(w *world) bool {
		for _, x := range w.streams {
			if x.src == src && x.dst == dst && !x.closed && x.armed == armed {
				return true
			}
		}
		return false
	}
}

func and(all ...func(*world) bool) func(*world) bool {
	return func(w *world) bool {
		for _, is := range all {
			if !is(w) {
				return false
			}
		}
		return true
	}
}

// level is true when n holds everything that a has, and nobody waits there.
func level(n int) func(*world) bool {
	return func(w *world) bool { s := w.nodes[a].srv; return s.wait == 0 && s.exec.in(w.nodes[n].srv.has()) }
}

// ackedWithout is true when a client was told of something that n does not have.
func ackedWithout(n int) func(*world) bool {
	return func(w *world) bool { return w.ackedW&^w.nodes[n].srv.has() != 0 }
}

func pause(on bool) func(*world) { return func(w *world) { w.consul.write().Paused = on } }

func unplug(n int) func(*world) {
	return func(w *world) {
		w.strike(powerOff, w.nodes[n])
		w.nodes[n].off = true
		w.strike(expireEarly, w.nodes[n])
	}
}

// unchained begins a hand-over from a to b while c is away for a moment: c stays in the ack set.
func unchained(then ...line) []line {
	return append([]line{
		{begin, cutLink(a, c)},
		{not(streams(a, c, true)), askFor(b)},
		{planned(a), healLink(a, c)},
		{streams(a, c, true), func(*world) {}},
	}, then...)
}

// The takeover is on its way while the old primary takes the writes back, and somebody else acknowledges one.
func lateTakeover() []line {
	return unchained(
		line{agentAt(b, "take over"), both(stopAgent(b), stall(b))},
		line{ackedWithout(b), contAgent(b)},
	)
}

// The candidate sees the offer only when the writes have been taken back, and the offer still stands in the record.
func staleOffer() []line {
	again := func(w *world) bool { return w.consul.v.Sync.Rev > 0 }
	return unchained(
		line{offered(a), stopAgent(b)},
		line{again, both(stopAgent(a), contAgent(b), stall(b))},
		line{agentAt(b, "take over"), both(stopAgent(b), contAgent(a))},
		line{ackedWithout(b), contAgent(b)},
	)
}

// A write was acknowledged by somebody else and has not reached the candidate.
func candidateBehind() []line {
	return unchained(line{level(b), stall(b)})
}

// The old primary offers while a commit waits, which then finds its acknowledgement.
func waiterAtTheOld() []line {
	waits := func(w *world) bool { return w.nodes[a].srv.client != 0 }
	return unchained(
		line{and(agentAt(a, "super_read_only=ON"), level(b)), both(stopAgent(a), stall(b, c))},
		line{waits, contAgent(a)},
		line{offered(a), both(stopAgent(a), unstall(c))},
		line{ackedWithout(b), contAgent(a)},
	)
}

// c acknowledges for b beforehand; a steps down, and b opens by an election in which c has no part.
func chainedStranger() []line {
	down := func(w *world) bool { return w.nodes[a].ag != nil && w.nodes[a].ag.state == roles.Failover }
	return []line{
		{begin, askFor(b)},
		{and(streams(b, c, true), level(b)), both(stopAgent(c), pause(true), func(w *world) { w.strike(graceful, w.nodes[a]) })},
		{down, pause(false)},
		{openedBy(b), both(stopAgent(b), cutLink(a, b))},
		{ackedWithout(a), both(unplug(b), contAgent(c))},
	}
}

// c comes back from the chain and acknowledges for a although it is no member.
func chainedBack() []line {
	return []line{
		{begin, askFor(b)},
		{streams(b, c, true), pause(true)},
		{streams(a, c, true), both(stopAgent(a), stall(b), pause(false))},
		{ackedWithout(b), unplug(a)},
	}
}

// c is let go, comes back before the record says so, and has to go again.
func letGoTwice() []line {
	locked := func(w *world) bool { return w.nodes[a].srv.accounts[c] == locked }
	asked := func(w *world) bool { return len(w.nodes[a].ag.checkpoints) > 0 }
	return []line{
		{begin, askFor(b)},
		{and(locked, asked), pause(true)},
		{and(not(planned(a)), streams(a, c, true)), both(pause(false), askFor(b))},
		{planned(a), stall(b)},
		{not(member(c)), func(w *world) { unplug(a)(w); unstall(b)(w) }},
	}
}

// The agent of the primary dies while it slows the writes down; the next one goes on with the term and knows of nothing.
func throttledThenKilled() []line {
	throttled := func(w *world) bool { return w.nodes[a].srv.throttled }
	return []line{{begin, askFor(b)}, {throttled, func(w *world) { w.nodes[a].killAgent() }}}
}
