package explore

import "github.com/autopilot-mysql/autopilot-mysql/roles"

// seal is SEAL, on a fresh read.
func (s *state) seal(n int, m mutation) {
	x := &s.node[n]
	if s.lock >= 0 || !x.srv.up {
		return
	}
	if x.srv.receiver != off && !m.sealEarly {
		s.stopReceiver(n)
	}
	x.agent.follow, x.agent.expected = follow{}, false
	if x.disk.promised != s.sync.term+1 {
		x.disk.promised = s.sync.term + 1
		x.disk.lastTerm = max(x.disk.lastTerm, s.sync.term)
	}
}

// sealed says whether node n may say what it holds.
func (s *state) sealed(n int, m mutation) bool {
	v := &s.node[n].srv
	return v.up && (v.receiver == off || m.sealEarly) && v.ro && v.wait == 0
}

func (s *state) publishSeal(n int, m mutation) {
	x := &s.node[n]
	if s.lock >= 0 || s.sync.term+1 != x.disk.promised || !s.sealed(n, m) {
		return
	}
	s.seals[n] = seal{s.incOf(n), x.disk.promised, x.srv.position(), uint8(x.srv.undrained().count()), x.disk.void}
}

func (s *state) elect(n int, m mutation) roles.Verdict {
	v := s.view()
	if m.ballot != nil {
		m.ballot(&v)
	}
	return roles.Elect(incNames[s.incOf(n)], v, settings.Acks)
}

func (s *state) acquire(n int, m mutation) {
	x := &s.node[n]
	if s.lock >= 0 || x.session == 0 || !s.elect(n, m).Win {
		return
	}
	x.agent.promoted = 0
	s.lock, s.holder, s.lastHad = int8(n), x.session, s.incOf(n)
}

// promote is PROMOTE up to the transaction.
func (s *state) promote(n int, m mutation) {
	x := &s.node[n]
	if !s.sealed(n, m) {
		return
	}
	e := s.elect(n, m)
	if !e.Win || !s.holds(n) || s.seals[n].pos != x.srv.position() || x.srv.undrained() != 0 {
		return
	}
	x.agent.act = act{from: -1, op: opNumber(recordPromotion), sync: recordOf(e.Next), session: x.session}
}

func (s *state) recordPromotion(n int, a act) {
	x := &s.node[n]
	mine := s.lock == int8(n) && s.holder == a.session
	if !mine || !s.cas(a.sync) {
		if mine {
			s.lock, s.holder, s.lastHad = -1, 0, 0
		}
		return
	}
	x.disk.lastTerm, x.agent.promoted = s.sync.term, s.sync.term
}

// follow is FOLLOW up to the receiver's start.
func (s *state) follow(n int, a act, m mutation) {
	x := &s.node[n]
	h := a.node.node()
	src := &s.node[h]
	if !x.srv.up || a.node != s.incOf(h) {
		return
	}
	if want := (follow{primary: a.node, term: a.term}); x.agent.checked != want {
		if x.srv.receiver != off && (x.srv.source != int8(h) || x.srv.posOf != a.node) {
			s.stopReceiver(n)
		}
		if !src.srv.up {
			return
		}
		if !x.srv.position().in(src.srv.exec | src.srv.wait) {
			if p, ok := s.validPrimary(); ok && p == a.node {
				x.disk.condemned = true
			}
			return
		}
		x.agent.checked = want
	}
	if x.session == 0 {
		return
	}
	if s.sync.term == a.term {
		x.disk.lastTerm = max(x.disk.lastTerm, a.term)
	}
	x.disk.promised = max(x.disk.promised, a.term)
	next := follow{a.node, a.term, a.armed}
	v := &x.srv
	if v.source == int8(h) && v.receiver != off && v.armedWanted == a.armed && (v.receiver == on && v.armed) == a.armed && !v.offline {
		x.agent.follow, x.agent.chain = next, chain{}
		return
	}
	done := x.agent.expected && x.agent.follow == next && v.receiver == off
	x.agent.expected = false
	if done || s.confirmFollow(n, a, m) {
		x.agent.act = act{from: -1, op: opNumber(receiveFrom), node: a.node, armed: a.armed}
	}
}

// expect is FOLLOW up to the confirmation, before the primary is open.
func (s *state) expect(n int, a act, m mutation) {
	x := &s.node[n]
	if !x.srv.up || x.session == 0 {
		return
	}
	x.agent.checked = follow{primary: a.node, term: a.term}
	if s.sync.term == a.term {
		x.disk.lastTerm = max(x.disk.lastTerm, a.term)
	}
	x.disk.promised = max(x.disk.promised, a.term)
	x.agent.expected = s.confirmFollow(n, a, m)
}

// confirmFollow says whom node n is about to follow, with its receiver stopped.
func (s *state) confirmFollow(n int, a act, m mutation) bool {
	x := &s.node[n]
	v := &x.srv
	if v.srcOn {
		if v.wait != 0 {
			return false
		}
		s.setK(n, 0)
	}
	if v.receiver != off {
		s.stopReceiver(n)
	}
	if a.armed && a.sync.ver != s.sync.ver && !m.armsOnAnyRecord { // the confirmation is refused: what it was decided on is no more
		x.agent.follow = follow{}
		return false
	}
	x.agent.follow, x.agent.chain = follow{a.node, a.term, a.armed}, chain{}
	s.publishStopped(n)
	return true
}

// validPrimary is roles.View.ValidPrimary.
func (s *state) validPrimary() (inc, bool) {
	if s.lock < 0 || s.lastHad != s.sync.primary {
		return 0, false
	}
	c := s.cards[s.sync.primary.node()]
	return c.inc, c.inc == s.sync.primary && c.alive && c.open == s.sync.term
}

func (s *state) confirm(n int, g guess) {
	x := &s.node[n]
	p, ok := s.validPrimary()
	if !ok || !x.srv.up {
		return
	}
	f := s.facts(n, g)
	h := s.cards[p.node()]
	var kept [3]answer
	i := 0
	for _, q := range h.checkpoints {
		for _, old := range x.agent.answers {
			if q.seq != 0 && old.seq == q.seq && old.rid == x.srv.rid {
				kept[i] = old
				i++
			}
		}
	}
	for _, c := range roles.Answers(f, h.real()) {
		if f.Disk.Void && c.For == roles.ReadmitQuestion(f.Self.Inc, f.MySQL.ReceiverID) {
			x.disk.void = false
		}
		if i < len(kept) {
			kept[i] = answer{uint8(c.Seq), x.srv.rid}
			i++
		}
	}
	x.agent.answers = kept
	s.publish(n)
}

// restore replaces the node's data by the primary's: a new incarnation.
func (s *state) restore(n int) {
	p, ok := s.validPrimary()
	if !ok || !s.node[p.node()].srv.up || p.node() == n || int(mkInc(n, int(s.node[n].disk.rebuilds)+1)) >= len(incNames) {
		return
	}
	s.kill(n)
	x := &s.node[n]
	x.srv = server{ro: true, offline: true, source: -1, exec: s.node[p.node()].srv.exec}
	for w := range 8 {
		if x.srv.exec.has(w) {
			x.srv.binlog.add(uint8(w))
		}
	}
	x.disk.rebuilds++
	x.disk.condemned, x.disk.void = false, true
	x.agent.answers = [3]answer{}
	s.publish(n)
}
