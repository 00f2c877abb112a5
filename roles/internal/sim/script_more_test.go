package sim

// others are the node that opened last and the one that is neither that nor n.
func (w *world) others(n int) (x, y int) {
	for i := range w.nodes {
		if i != n && i != w.openNode {
			y = i
		}
	}
	return w.openNode, y
}

func lastsForGood(w *world, n int) {
	w.strike(powerOff, w.nodes[n])
	w.nodes[n].off = true
	loseSession(n)(w)
}

// lacks is true when a client was told of a write that a node does not have.
func lacks(n int) func(*world) bool {
	return func(w *world) bool { return w.ackedW&^w.nodes[n].srv.has() != 0 }
}

func alone(w *world) bool { return len(w.consul.v.Sync.Members) == 1 }

// The primary goes on alone; an acker whose agent is frozen connects again, armed as it was; another one joins and is cut
// off: only the one that is no member acknowledges. Then the primary is gone.
func aloneThenJoined() []line {
	return []line{
		{begin, both(cutLink(a, b), cutLink(a, c), stopAgent(b))},
		{func(w *world) bool { return alone(w) && !w.nodes[a].srv.srcOn }, both(healLink(a, b), healLink(a, c))},
		{func(w *world) bool { return member(c)(w) && w.consul.v.Sync.Acks == 1 }, cutLink(a, c)},
		{lacks(c), func(w *world) { lastsForGood(w, a) }},
	}
}

// The primary goes on alone and dies; then Consul loses everything. Those who are left remember a record without that.
func aloneThenWiped() []line {
	return []line{
		{begin, both(cutLink(a, b), cutLink(a, c))},
		{func(w *world) bool { return alone(w) && lacks(b)(w) && lacks(c)(w) }, func(w *world) {
			lastsForGood(w, a)
			w.wipe(nil)
		}},
	}
}

// A new primary goes on alone and dies; its session lives on for a while, and with it a record from before it was alone. At
// that moment somebody deletes the record of the ack set: those who are left remember one without that.
func lastWord() []line {
	var x, y int
	return []line{
		{begin, both(stopAgent(a), loseSession(a))},
		{openedByOther(a), func(w *world) { x, y = w.others(a); cutLink(x, y)(w) }},
		{func(w *world) bool {
			said := w.consul.v.Nodes[w.nodes[x].inc()].LastSync
			return alone(w) && lacks(a)(w) && lacks(y)(w) && (said == nil || !said.Equal(w.consul.v.Sync))
		}, func(w *world) {
			w.strike(powerOff, w.nodes[x])
			w.nodes[x].off = true
			w.forgetAckSet()
			contAgent(a)(w)
		}},
	}
}

// The first primary comes back, learns of the new term but gets no data of it; then the new primary dies and the backup of
// the first term is put back.
func backupOfTheFirstTerm() []line {
	return []line{
		{begin, both(func(w *world) { w.backUp(nil) }, stopAgent(a), loseSession(a))},
		{openedByOther(a), contAgent(a)},
		{func(w *world) bool { return w.nodes[a].disk.lastSync.Term > 1 }, func(w *world) { cutLink(a, w.openNode)(w) }},
		{lacks(a), func(w *world) {
			x, y := w.others(a)
			stopAgent(y)(w)
			lastsForGood(w, x)
			w.putBackup(nil)
		}},
	}
}

// A promotion is decided and never sent, because its node is frozen; the old primary takes its lock back in that very term
// and removes the frozen one. Then it dies, and Consul loses everything: whoever almost was the primary of that term must
// not take its own plan for the record.
func plannedThenWiped() []line {
	var late, other int
	return []line{
		{begin, both(stopAgent(a), loseSession(a))},
		{func(w *world) bool {
			for n := range w.nodes {
				if agentAt(n, "promote")(w) {
					late, other = n, 3-n
					return true
				}
			}
			return false
		}, func(w *world) { both(stopAgent(late), loseSession(late), contAgent(a))(w) }},
		{func(w *world) bool {
			return !member(late)(w) && w.consul.v.Sync.Primary == w.nodes[a].inc() && lacks(late)(w)
		}, func(w *world) {
			lastsForGood(w, a)
			w.wipe(nil)
			contAgent(late)(w)
		}},
		{func(w *world) bool { return w.consul.v.Sync.Exists() && w.consul.v.Leader.Free() }, func(w *world) { stopAgent(other)(w) }},
	}
}

// A second primary writes what it never received; an acker that is about to die has it, the other one is cut off. The
// primary steps down and seals: its position is what it wrote and received.
func secondPrimarySteps() []line {
	var x, y int
	return []line{
		{begin, both(stopAgent(a), loseSession(a))},
		{openedByOther(a), func(w *world) { x, y = w.others(a); contAgent(a)(w) }},
		{func(w *world) bool {
			return w.consul.v.Sync.Acks == 1 && member(a)(w) && member(y)(w) && w.nodes[a].srv.armed && w.openNode == x
		}, func(w *world) { cutLink(x, y)(w) }},
		{func(w *world) bool { return lacks(y)(w) }, func(w *world) {
			lastsForGood(w, a)
			w.strike(graceful, w.nodes[x])
		}},
	}
}
