package explore

import (
	"unsafe"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// The operations that may be waiting to be done. The last ones are second halves.
var ops = []roles.Op{"", roles.StartMysqld, roles.StopMysqld, roles.Restore, roles.Fence, roles.SealReceive, roles.PublishSeal, roles.Acquire, roles.Drain,
	roles.Promote, roles.Release, roles.Expect, roles.FollowOp, roles.Confirm, roles.Unlock, roles.Lock, roles.LockAll, roles.WriteSync, roles.SetK, roles.Ask, roles.Marker,
	roles.TakeBack, recordPromotion, receiveFrom, letClientsIn,
	roles.PlanHandover, roles.DropHandover, roles.MoveRequest, roles.Throttle, roles.Prepare, roles.Unprepare, roles.Chain, roles.MakeOffer,
	roles.TakeWritesBack, roles.TakeOver, reopen, takeLock, remember}

const (
	reopen          roles.Op = "reopen"
	takeLock        roles.Op = "take-lock"
	remember        roles.Op = "remember"
	recordPromotion roles.Op = "record-promotion"
	receiveFrom     roles.Op = "receive"
	letClientsIn    roles.Op = "let-clients-in"
)

func opNumber(op roles.Op) uint8 {
	for i, o := range ops {
		if o == op {
			return uint8(i)
		}
	}
	panic("step " + string(op) + " is not known here")
}

var table = roles.Table()

// seenBy is everything that a decision of a node depends on.
type seenBy struct {
	lock    int8
	holder  session
	lastHad inc
	sync    record
	cards   [nodes]card
	seals   [nodes]seal
	n       uint8
	node    node
	streams [nodes]bool
	request uint8
	target  int8
	g       guess
}

// reply is what was decided: an event, if its guard allows it, or a step.
type reply struct {
	act   act
	to    role
	event uint8 // 0 none, 1 a change of state, 2 OPEN, 3 no rule
	k     uint8
}

// memo keeps decisions, so that the real code is asked once only for the same facts.
type memo map[uint64]reply

// decide lets node n look and decide. What cannot be decided anew when it is done is done later, in perform.
func (s *state) decide(n int, g guess, e *explorer) {
	x := &s.node[n]
	if x.session == 0 { // it notices, and gets another one
		x.session = sessionNow
	}
	q := seenBy{s.lock, s.holder, s.lastHad, s.sync, s.cards, s.seals, uint8(n), *x, [nodes]bool{}, s.request, s.target, g}
	for i := range nodes {
		q.streams[i] = s.in[i].there && int(s.in[i].src) == n || s.late[i].there && int(s.late[i].src) == n
	}
	id := fingerprint(unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q)))
	r, ok := e.memo[id]
	if !ok {
		r = s.ask(n, g, e.m)
		e.memo[id] = r
		e.asked++
	}
	s.publish(n)
	switch r.event {
	case 1:
		s.become(n, r.to)
	case 2:
		s.open(n, r.k, e.m)
	case 3:
		s.fail(noRule)
	}
	if r.act.op != 0 {
		x.agent.act = r.act
		if !slowly[r.act.op] {
			s.perform(n, g, e.m)
		}
	}
}

// slowly are the operations whose effect may come long after the decision. The others look again themselves when they begin.
var slowly = func() (out [64]bool) {
	for _, o := range []roles.Op{roles.Unlock, roles.SetK, roles.WriteSync, roles.TakeBack, roles.Expect, roles.FollowOp, recordPromotion, receiveFrom, letClientsIn,
		roles.Chain, roles.MakeOffer, roles.TakeWritesBack, reopen, takeLock, remember} {
		out[opNumber(o)] = true
	}
	return out
}()

// ask is the real code.
func (s *state) ask(n int, g guess, m mutation) (r reply) {
	x := &s.node[n]
	f := s.facts(n, g)
	if m.tamper != nil {
		m.tamper(roleNames[x.agent.state], &f)
	}
	d := roles.Decide(roleNames[x.agent.state], f)
	if m.decision != nil {
		d = m.decision(roleNames[x.agent.state], f, d)
	}
	if d.Event != "" {
		rule, _ := table.Find(roleNames[x.agent.state], d.Event)
		switch {
		case rule == nil:
			r.event = 3
		case rule.If != nil && rule.If(f) != nil:
		case d.Event == roles.Won:
			r.event, r.k = 2, uint8(min(settings.Acks, len(f.View.Sync.Ackers())))
		default:
			r.event, r.to = 1, roleOf(rule.To)
		}
		return r
	}
	if len(d.Steps) == 0 {
		return r
	}
	st := d.Steps[0]
	a := act{op: opNumber(st.Op), k: uint8(st.K), session: x.session, from: -1}
	if st.Node != "" {
		switch st.Op {
		case roles.Lock: // a bare name
			a.node = inc(1 + nameNumber(st.Node.Name()))
		default:
			a.node = incNumber(st.Node)
		}
	}
	switch st.Op {
	case roles.WriteSync, roles.TakeBack, roles.TakeWritesBack:
		a.sync = recordOf(st.Sync)
	case roles.PlanHandover:
		a.plan = planOf(st.Handing.Handover)
	case roles.Chain:
		a.plan = planOf(*f.View.Nodes[f.View.Sync.Primary].Handover)
	case roles.MoveRequest:
		a.k = 2
		if st.Request.Final() {
			a.k = 0
		}
	case roles.Ask:
		a.what = textNumber(st.For)
	case roles.Expect, roles.FollowOp:
		a.term, a.armed = uint8(f.View.Sync.Term), f.View.Sync.Has(f.Self.Inc)
		a.sync.ver = uint8(f.View.Sync.Ver)
	}
	r.act = a
	return r
}

// open is OPEN, up to letting clients in.
func (s *state) open(n int, k uint8, m mutation) {
	x := &s.node[n]
	v := &x.srv
	v.offline, v.client, v.ro = true, 0, false
	if v.receiver != off {
		s.stopReceiver(n)
	}
	s.lockOutAll(n, m)
	s.setK(n, k)
	if x.agent.spareTerm != s.sync.term {
		for _, i := range roles.Sealed(s.facts(n, guess{})) {
			v.unlocked[incNumber(i).node()] = true
			x.agent.admits = s.sync.term
		}
		s.publish(n)
	}
	if m.letsAllIn {
		v.unlocked = [nodes]bool{true, true, true}
	}
	x.agent.act = act{op: opNumber(letClientsIn), sync: s.sync, from: -1}
}

func (s *state) become(n int, to role) {
	x := &s.node[n]
	from := roleNames[x.agent.state]
	x.agent.state, x.agent.act, x.agent.admits = to, act{from: -1}, 0
	if from == roles.Primary {
		x.agent.openTerm, x.agent.promoted, x.agent.checkpoints, x.agent.leading, x.agent.plan, x.agent.took = 0, 0, [3]question{}, record{}, plan{}, false
		s.fence(n)
	}
	if r := roleNames[to]; r != roles.Replica && r != roles.Standby {
		x.agent.ready, x.agent.chain = 0, chain{}
	}
	switch roleNames[to] {
	case roles.Failover, roles.RestoreSnapshot:
		x.agent.follow, x.agent.checked, x.agent.expected = follow{}, follow{}, false
	}
}

// fence lets nobody in any more; a commit that waits means SIGKILL.
func (s *state) fence(n int) {
	v := &s.node[n].srv
	s.node[n].agent.promoted, s.node[n].agent.admits = 0, 0
	if !v.up {
		return
	}
	v.offline, v.client = true, 0
	if v.wait != 0 {
		s.kill(n)
		return
	}
	v.ro = true
}

// opened is told when a term begins to serve. One that comes late, when a newer term is open already, because its node has
// not noticed that its session ended, serves nobody but readers: what it acknowledges is checked like anything else.
func (s *state) opened(n int, term uint8) {
	switch {
	case term < s.openTerm:
		return
	case term == s.openTerm && n != int(s.opener):
		s.fail(termTwice)
	}
	v := &s.node[n].srv
	if !s.acked.in(v.exec | v.wait) {
		s.fail(lostAtOpening)
	}
	s.openTerm, s.opener, s.openHist = term, int8(n), v.exec|v.wait
}

// cas writes sync if nobody else has since.
func (s *state) cas(next record) bool {
	if s.sync.ver != next.ver {
		return false
	}
	next.ver++
	s.sync = next
	return true
}

// adopt is what a primary remembers of a record it wrote.
func (s *state) adopt(n int) {
	s.node[n].agent.leading, s.node[n].disk.lastTerm = s.sync, s.sync.term
}

// land applies the part of an act that takes effect in Consul, for an agent that may be dead.
func (s *state) land(a act, n int) {
	mine := s.lock == int8(n) && s.holder == a.session && a.session != 0
	switch ops[a.op] {
	case roles.WriteSync, recordPromotion, roles.TakeWritesBack:
		if mine {
			s.cas(a.sync)
		}
	case roles.TakeBack:
		s.takeBack(a, n)
	case takeLock:
		s.takeLock(a, n)
	}
}

func (s *state) takeBack(a act, n int) bool {
	alive := s.node[n].session == a.session && a.session != 0
	free := s.lock < 0 || s.lock == int8(n) && s.holder == a.session
	if !alive || !free || s.sync.ver != a.sync.ver {
		return false
	}
	s.opened(n, a.sync.term)
	s.lock, s.holder, s.lastHad = int8(n), a.session, s.incOf(n)
	return s.cas(a.sync)
}

// sendable says whether an act may still take effect after its agent's death.
func (a act) sendable() bool {
	switch ops[a.op] {
	case roles.WriteSync, recordPromotion, roles.TakeBack, roles.TakeWritesBack, takeLock:
		return true
	}
	return false
}

// perform does what node n is about to do.
func (s *state) perform(n int, g guess, m mutation) {
	x := &s.node[n]
	a, v := x.agent.act, &x.srv
	x.agent.act = act{from: -1}
	switch ops[a.op] {
	case roles.StartMysqld:
		if !v.up {
			v.start()
		}
	case roles.StopMysqld:
		s.kill(n)
	case roles.Restore:
		s.restore(n)
	case roles.Fence:
		s.fence(n)
	case roles.SealReceive:
		s.seal(n, m)
	case roles.PublishSeal:
		s.publishSeal(n, m)
	case roles.Acquire:
		s.acquire(n, m)
	case roles.Drain:
		if v.up {
			v.apply()
		}
	case roles.Promote:
		s.promote(n, m)
	case recordPromotion:
		s.recordPromotion(n, a)
	case roles.Release:
		if s.lock == int8(n) && s.holder == a.session {
			s.lock, s.holder, s.lastHad = -1, 0, 0
		}
	case roles.Expect:
		s.expect(n, a, m)
	case roles.FollowOp:
		s.follow(n, a, m)
	case receiveFrom:
		if v.up {
			v.armedWanted, v.source, v.posOf, v.pos = a.armed, int8(a.node.node()), 0, 0
			v.receiver, v.rid, v.offline = connecting, ridNext, false
		}
	case roles.Confirm:
		s.confirm(n, g)
	case letClientsIn:
		s.letClientsIn(n, a, g)
	case roles.WriteSync:
		mine := s.lock == int8(n) && s.holder == a.session
		if mine && s.cas(a.sync) {
			s.adopt(n)
		}
	case roles.TakeBack:
		if s.takeBack(a, n) {
			s.adopt(n)
			x.agent.openTerm = s.sync.term
			s.publish(n)
		}
	default:
		if !s.handOver(n, a, g) {
			s.serve(n, a, v)
		}
	}
}

// serve are the steps of an open primary at its own server.
func (s *state) serve(n int, a act, v *server) {
	if !v.up {
		return
	}
	x := &s.node[n]
	switch ops[a.op] {
	case roles.Unlock:
		var qs [3]question
		i := 0
		for _, c := range roles.AfterUnlock(realQuestions(x.agent.checkpoints), incNames[a.node]) {
			for _, q := range x.agent.checkpoints {
				if uint64(q.seq) == c.Seq {
					qs[i] = q
					i++
				}
			}
		}
		x.agent.checkpoints = qs
		v.unlocked[a.node.node()] = true
	case roles.Lock:
		v.unlocked[a.node.node()] = false
		s.killDumps(n, a.node.node())
	case roles.LockAll:
		v.unlocked = [nodes]bool{}
		s.killDumps(n, -1)
	case roles.SetK:
		s.setK(n, a.k)
	case roles.Ask:
		qs, seq := x.agent.checkpoints, s.freshSeq()
		if qs[2].seq != 0 {
			qs[0], qs[1], qs[2] = qs[1], qs[2], question{}
		}
		for i := range qs {
			if qs[i].seq == 0 {
				qs[i] = question{seq, a.what, s.incOf(n), v.binlog.n}
				break
			}
		}
		x.agent.checkpoints = qs
	case roles.Marker:
		if !v.ro && s.left.writes > 0 {
			s.left.writes--
			s.commit(n)
		}
	}
}

func (s *state) letClientsIn(n int, a act, g guess) {
	x := &s.node[n]
	if !x.srv.up || !(s.holds(n) || g.lease) {
		s.fence(n)
		return
	}
	s.opened(n, a.sync.term)
	x.srv.offline = false
	x.agent.leading, x.agent.openTerm, x.agent.admits, x.agent.checkpoints, x.agent.follow = a.sync, a.sync.term, 0, [3]question{}, follow{}
	x.agent.took, x.agent.ready, x.agent.chain = x.agent.spareTerm == a.sync.term, 0, chain{}
	x.agent.state = roleOf(roles.Primary)
	s.publish(n)
}
