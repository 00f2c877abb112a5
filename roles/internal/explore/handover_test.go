package explore

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// theRequest is the operator's.
const theRequest = "r"

func setOf(is []roles.Inc) (out incs) {
	for _, i := range is {
		out |= 1 << incNumber(i)
	}
	return out
}

// planOf is a hand-over that offers nothing yet.
func planOf(h roles.Handover) plan {
	return plan{seq: uint8(h.Seq), to: incNumber(h.To), term: uint8(h.Term), chain: setOf(h.Chain)}
}

func (p plan) real() *roles.Handover {
	if p.to == 0 {
		return nil
	}
	h := &roles.Handover{Seq: uint64(p.seq), To: incNames[p.to], Term: uint64(p.term), Request: theRequest}
	for i := range incNames {
		if p.chain.has(inc(i)) {
			h.Chain = append(h.Chain, incNames[i])
		}
	}
	if p.offered {
		h.Offer = &roles.Offer{GTID: gtids[p.gtid], Ver: uint64(p.ver)}
	}
	return h
}

func (c chain) real() *roles.Chained {
	if c.to == 0 {
		return nil
	}
	return &roles.Chained{To: incNames[c.to], Term: uint64(c.term), Seq: uint64(c.seq), Position: gtids[c.pos]}
}

// handingOver is a cluster at work whose primary a hands over to b, as far as until says.
func handingOver(l left, acks uint8, until func(*state) bool) state {
	s := atWork(left{}, acks)
	s.request, s.target = 1, 1
	e := &explorer{memo: memo{}}
	for range 60 {
		for n := range nodes {
			for range 3 {
				s.settleDown(&[]string{})
				if until(&s) {
					s.left = l
					return s
				}
				s.moves(n, e, &[]string{})
			}
		}
	}
	panic("it does not come so far")
}

// prepared is when the candidate lets the others in.
func prepared(s *state) bool { return s.cards[1].ready != 0 }

// turned is when the other one acknowledges for the candidate.
func turned(s *state) bool { return s.cards[2].chain.to != 0 && s.in[2].there && s.in[2].src == 1 }

// offered is when no write happens any more.
func offered(s *state) bool { return s.cards[0].plan.offered }

// accepted is when the candidate is about to take the lock.
func accepted(s *state) bool { return ops[s.node[1].agent.act.op] == takeLock }

// handing is the hand-over that n works on.
func (s *state) handing(n int, g guess) *roles.Handing {
	p := s.node[n].agent.plan
	if p.to == 0 {
		return nil
	}
	h := &roles.Handing{Handover: *p.real(), Limit: roles.SwitchoverLimit}
	if s.cards[p.to.node()].ready == p.seq {
		h.ReadyFor = time.Millisecond
	}
	if p.offered {
		h.Held = time.Millisecond
	}
	switch {
	case g.time == 1 && h.ReadyFor != 0:
		h.ReadyFor, h.DrainedFor = time.Minute, time.Minute // without those who are not ready, or have much to apply
	case g.time == 2:
		h.For = h.Limit + 1
		if p.offered {
			h.Held = time.Minute
		}
	}
	return h
}

// handOver does the steps of a hand-over; false if a's is none.
func (s *state) handOver(n int, a act, g guess) bool {
	x := &s.node[n]
	v := &x.srv
	switch ops[a.op] {
	case roles.PlanHandover:
		x.agent.plan, s.request = a.plan, 2
		x.agent.plan.seq = s.freshPlan()
	case roles.DropHandover:
		s.endHandover(n)
	case roles.MoveRequest:
		s.request = a.k
		if a.k == 0 {
			s.target = -1
		}
	case roles.Throttle:
	case roles.MakeOffer:
		s.makeOffer(n)
	case roles.TakeWritesBack:
		mine := s.lock == int8(n) && s.holder == a.session
		if mine && s.cas(a.sync) {
			s.adopt(n)
			x.agent.act = act{op: opNumber(reopen), from: -1}
		}
	case reopen:
		s.endHandover(n)
		if v.up && (s.holds(n) || g.lease) {
			v.ro, v.offline = false, false
		}
	case roles.Prepare:
		p, ok := s.validPrimary()
		if !ok || s.cards[p.node()].plan.to == 0 || !v.up {
			break
		}
		plan := s.cards[p.node()].plan
		for i := range inc(len(incNames)) {
			if plan.chain.has(i) {
				v.unlocked[i.node()] = true
			}
		}
		x.agent.ready = plan.seq
		s.publish(n)
	case roles.Unprepare:
		x.agent.ready = 0
		s.publish(n)
	case roles.Chain:
		s.turn(n, a.plan)
	case roles.TakeOver:
		s.accept(n)
	case takeLock:
		if s.takeLock(a, n) {
			x.agent.act = act{op: opNumber(remember), term: s.sync.term, spare: a.spare, from: -1}
		}
	case remember: // what OPEN waits for: it is done as late as it may be
		x.agent.promoted, x.agent.spare, x.agent.spareTerm = a.term, a.spare, a.term
		x.disk.promised, x.disk.lastTerm = max(x.disk.promised, a.term), a.term
		if v.up && v.receiver != off {
			s.stopReceiver(n)
		}
	default:
		return false
	}
	return true
}

func (s *state) endHandover(n int) {
	s.node[n].agent.plan = plan{}
	if s.request == 2 {
		s.request, s.target = 0, -1
	}
}

// makeOffer ends the writes and offers the term; a commit that waits too long ends the hand-over.
func (s *state) makeOffer(n int) {
	x := &s.node[n]
	v := &x.srv
	switch {
	case x.agent.plan.to == 0 || !v.up:
		return
	case v.wait != 0:
		s.endHandover(n)
		return
	}
	v.ro = true
	p := &x.agent.plan
	p.offered, p.gtid, p.ver = true, v.exec, x.agent.leading.ver
	s.publish(n)
	v.offline, v.client = true, 0
}

// turn is what a follower does that will acknowledge for the candidate.
func (s *state) turn(n int, p plan) {
	x := &s.node[n]
	if !x.srv.up || x.srv.srcOn {
		return
	}
	if x.srv.receiver != off {
		s.stopReceiver(n)
	}
	x.agent.follow, x.agent.checked = follow{}, follow{}
	x.agent.chain = chain{to: p.to, term: p.term + 1, seq: p.seq, pos: x.srv.position()}
	s.publishStopped(n)
	x.agent.act = act{op: opNumber(receiveFrom), node: p.to, armed: true, from: -1}
}

// accept looks whether everything that is offered is here, and nothing else.
func (s *state) accept(n int) {
	x := &s.node[n]
	t, err := roles.Accept(incNames[s.incOf(n)], s.view(), settings.Acks)
	if err != nil || x.session == 0 || !x.srv.up || x.srv.undrained() != 0 || x.srv.position() != s.cards[s.sync.primary.node()].plan.gtid {
		return
	}
	x.agent.act = act{op: opNumber(takeLock), sync: recordOf(t.Next), spare: setOf(t.Spare), session: x.session, from: s.lock, prev: s.holder}
}

// takeLock is the transaction of a takeover.
func (s *state) takeLock(a act, n int) bool {
	alive := s.node[n].session == a.session && a.session != 0
	if !alive || s.lock != a.from || s.holder != a.prev || !s.cas(a.sync) {
		return false
	}
	s.lock, s.holder, s.lastHad = int8(n), a.session, s.incOf(n)
	return true
}

// lockOutAll is how a term begins: nobody streams but those whose acknowledgements were handed over with it.
func (s *state) lockOutAll(n int, m mutation) {
	x := &s.node[n]
	was := x.srv.unlocked
	x.srv.unlocked = [nodes]bool{}
	for d := range nodes {
		spared := x.agent.spareTerm == s.sync.term && x.agent.spare.has(s.incOf(d)) ||
			m.opensWithStrangers && s.cards[d].chain.to == s.incOf(n) && s.cards[d].chain.term == s.sync.term
		if spared {
			x.srv.unlocked[d] = was[d]
			continue
		}
		s.killDumps(n, d)
	}
}
