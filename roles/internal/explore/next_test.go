package explore

import (
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// atWork is a cluster at work: a leads, b and c acknowledge, and each write is on so many of them.
func atWork(l left, acks uint8) state {
	s := state{lock: 0, holder: sessionNow, lastHad: mkInc(0, 0), sync: record{ver: 1, term: 1, primary: mkInc(0, 0), acks: acks}, openTerm: 1, left: l, flight: act{from: -1}, sender: -1, target: -1}
	for n := range nodes {
		s.sync.members |= 1 << mkInc(n, 0)
	}
	for n := range nodes {
		x := &s.node[n]
		x.disk = disk{promised: 1, lastTerm: 1}
		x.session, x.agent.act.from = sessionNow, -1
		x.agent.alive = true
		v := &x.srv
		*v = server{up: true, ro: true, source: -1}
		if n == 0 {
			x.agent.state, x.agent.leading, x.agent.openTerm = roleOf(roles.Primary), s.sync, 1
			v.ro, v.srcOn, v.k, v.unlocked = false, true, acks, [nodes]bool{true, true, true}
			continue
		}
		x.agent.state, x.agent.follow, x.agent.checked = roleOf(roles.Standby), follow{mkInc(0, 0), 1, true}, follow{primary: mkInc(0, 0), term: 1}
		v.source, v.armedWanted, v.rid = 0, true, ridNow
		s.connect(n)
		s.deliver(n)
	}
	for n := range nodes {
		s.publish(n)
	}
	s.tidy()
	return s
}

// visit calls yield for everything that may happen next; calm leaves out the faults and all that only chance brings.
func (s *state) visit(e *explorer, calm bool, yield func(to *state, what string)) {
	var t state
	try := func(what string, do func(*state)) {
		t = *s
		do(&t)
		if t != *s {
			t.tidy()
			t.check()
			yield(&t, what)
		}
	}
	for n := range nodes {
		s.visitNode(n, e, calm, try)
		if !calm {
			s.visitFaults(n, e.m, try)
		}
	}
	for d := range nodes {
		s.visitStreams(d, try)
	}
	if s.sender >= 0 && !calm {
		try("a request of "+nodeNames[s.sender]+", which is dead, arrives", func(t *state) {
			a, n := t.flight, int(t.sender)
			t.flight, t.sender = act{from: -1}, -1
			t.land(a, n)
		})
		try("a request of "+nodeNames[s.sender]+" is lost", func(t *state) { t.flight, t.sender = act{from: -1}, -1 })
	}
}

func (s *state) visitNode(n int, e *explorer, calm bool, try func(string, func(*state))) {
	x, name := &s.node[n], nodeNames[n]
	switch {
	case !x.agent.alive:
		try(name+" starts", func(t *state) { t.revive(n) })
	case x.agent.act.op == 0:
		leads := roleNames[x.agent.state] == roles.Primary
		for _, g := range []guess{{silent: true}, {lease: true, silent: true}, {}, {lease: true}} {
			switch {
			case calm && g.lease != leads, !calm && g.lease && (s.holds(n) || !leads && x.agent.promoted == 0), !g.silent && !leads, calm && leads && g.silent != s.waited:
				continue
			}
			try(name+" looks", func(t *state) { t.decide(n, g, e) })
		}
		if leads && x.agent.plan.to != 0 {
			for _, g := range []guess{{time: 1}, {time: 2}} {
				if calm && (g.time != 2 || !s.waited) {
					continue
				}
				try(name+" looks, after some time", func(t *state) { t.decide(n, g, e) })
			}
		}
	default:
		op := ops[x.agent.act.op]
		try(fmt.Sprintf("%s: %s", name, op), func(t *state) { t.perform(n, guess{}, e.m) })
		if (op == letClientsIn || op == reopen) && !s.holds(n) && !calm {
			try(name+": lets clients in, and does not know that the lock is gone", func(t *state) { t.perform(n, guess{lease: true}, e.m) })
		}
	}
	if v := &x.srv; v.open() && v.wait.count() < 2 && s.left.writes > 0 {
		try("a client writes at "+name, func(t *state) { t.left.writes--; t.commit(n) })
	}
	if v := &x.srv; v.up && v.relay.n > 0 && !v.srcOn && v.source >= 0 {
		try(name+" applies", func(t *state) { t.node[n].srv.apply() })
	}
}

func (s *state) visitStreams(d int, try func(string, func(*state))) {
	name := nodeNames[d]
	v := &s.node[d].srv
	if v.up && v.receiver == connecting && v.source >= 0 {
		if src := &s.node[v.source].srv; src.up && src.unlocked[d] {
			try(name+" connects", func(t *state) { t.connect(d) })
		}
	}
	if x := &s.in[d]; x.there {
		if !x.began || x.next < s.node[x.src].srv.binlog.n {
			try(name+" receives", func(t *state) { t.deliver(d) })
		}
		if x.ack != 0 {
			try("an acknowledgement of "+name+" arrives", func(t *state) { t.arrive(&t.in[d], d) })
		}
	}
	if x := &s.late[d]; x.there {
		if x.ack != 0 {
			try("a late acknowledgement of "+name+" arrives", func(t *state) { t.arrive(&t.late[d], d) })
		} else {
			try("an old stream to "+name+" ends", func(t *state) { t.late[d] = stream{} })
		}
	}
}

func (s *state) visitFaults(n int, m mutation, try func(string, func(*state))) {
	x, name := &s.node[n], nodeNames[n]
	if s.left.ends > 0 && x.session != 0 {
		try("FAULT the session of "+name+" ends", func(t *state) { t.left.ends--; t.endSession(n) })
	}
	if s.left.powers > 0 && (x.agent.alive || x.srv.up) {
		for _, loses := range []bool{false, true} {
			if !loses && x.srv.relay.n == 0 || loses && x.srv.relay.n == 0 && x.disk.void {
				continue
			}
			try(fmt.Sprintf("FAULT power cut at %s, relay log lost: %t", name, loses), func(t *state) {
				t.left.powers--
				t.dieAgent(n)
				t.kill(n)
				t.node[n].disk.void = !m.rebootVoidsNothing
				if loses {
					t.node[n].srv.loseRelay()
				}
			})
		}
	}
	if s.left.kills > 0 && x.srv.up {
		try("FAULT kill -9 mysqld of "+name, func(t *state) { t.left.kills--; t.kill(n) })
	}
	if s.left.agents > 0 && x.agent.alive {
		try("FAULT kill -9 agent of "+name, func(t *state) { t.left.agents--; t.dieAgent(n) })
	}
	if s.left.orders > 0 && s.request == 0 && s.lock >= 0 && int(s.lock) != n {
		try("an operator asks for a switchover to "+name, func(t *state) { t.left.orders--; t.request, t.target = 1, int8(n) })
	}
	if s.left.cuts > 0 && s.in[n].there {
		try("FAULT the stream to "+name+" breaks", func(t *state) { t.left.cuts--; t.sever(n) })
	}
}

func (s *state) endSession(n int) {
	x := &s.node[n]
	if s.holds(n) {
		s.lock, s.holder = -1, 0
	}
	x.session = 0
	s.cards[n].alive = false
}

// dieAgent ends the agent and, some time, its session; what it was about to send may still arrive.
func (s *state) dieAgent(n int) {
	x := &s.node[n]
	if x.agent.act.sendable() && s.sender < 0 {
		s.flight, s.sender = x.agent.act, int8(n)
	}
	x.agent = agent{act: act{from: -1}}
}

// revive starts the agent, which ends the session before it and closes the server.
func (s *state) revive(n int) {
	x := &s.node[n]
	s.endSession(n)
	x.agent.alive = true
	x.agent.state = roleOf(roles.Init)
	if v := &x.srv; v.up {
		v.offline, v.client = true, 0
		if v.wait != 0 {
			s.kill(n)
		} else {
			v.ro = true
		}
	}
}

// tidy forgets what nobody can see any more, so that states which differ in nothing else are one.
func (s *state) tidy() {
	_, open := s.validPrimary()
	for n := range nodes {
		x := &s.node[n]
		if !s.cards[n].alive { // a dead record is looked at for nothing but its incarnation
			s.cards[n] = card{inc: s.cards[n].inc, void: s.cards[n].void}
		}
		if p := s.seals[n].promise; p < s.sync.term || p == s.sync.term && open { // while a term opens, its seals say who is let in
			s.seals[n] = seal{}
		}
		if roleNames[x.agent.state] != roles.Primary {
			x.agent.leading, x.agent.checkpoints = record{}, [3]question{}
		}
		if x.agent.spareTerm < s.sync.term || roleNames[x.agent.state] == roles.Primary {
			x.agent.spare, x.agent.spareTerm = 0, 0
		}
		x.agent.took = x.agent.took && s.request != 0
		if s.late[n].there && !s.node[s.late[n].src].srv.srcOn {
			s.late[n].ack = 0
		}
		if v := &x.srv; !v.srcOn {
			v.acked = [nodes]uint8{}
		}
	}
	if s.sender >= 0 && (s.flight.sync.ver != s.sync.ver || s.flight.session != s.node[s.sender].session) {
		s.flight, s.sender = act{from: -1}, -1 // it is refused whenever it comes
	}
	s.rename()
}

// check looks at what must hold at every instant.
func (s *state) check() {
	able := 0
	for n := range nodes {
		if v := &s.node[n].srv; v.open() && (!v.srcOn || s.armedAt(n) >= v.k) {
			able++
		}
	}
	if able > 1 {
		s.fail(twoPrimaries)
	}
	have := uint8(0)
	for i := range inc(len(incNames)) {
		if i == 0 || i == s.sync.primary || !s.sync.members.has(i) {
			continue
		}
		x := &s.node[i.node()]
		if int(x.disk.rebuilds) != i.rebuilds() || x.disk.void || s.acked.in(x.srv.has()) {
			have++
		}
	}
	if have < s.sync.acks {
		s.fail(overPromised)
	}
}

func (s *state) armedAt(n int) (c uint8) {
	for d := range nodes {
		if x := s.in[d]; x.there && x.armed && int(x.src) == n {
			c++
		}
	}
	return c
}

// well says what is not as it should be once nothing goes wrong any more; "" if all is.
func (s *state) well() string {
	p := s.sync.primary.node()
	x := &s.node[p]
	switch {
	case roleNames[x.agent.state] != roles.Primary || s.incOf(p) != s.sync.primary || !x.srv.open() || !s.holds(p):
		return "no primary is open"
	case s.request != 0:
		return "the operator is told nothing"
	case int(s.sync.acks) != settings.Acks || !x.srv.srcOn || int(x.srv.k) != settings.Acks || x.srv.wait != 0:
		return "the ack set is not in force: " + s.sync.real().String()
	}
	for n := range nodes {
		if n != p && (roleNames[s.node[n].agent.state] != roles.Standby || s.node[n].srv.has() != x.srv.exec || !s.sync.members.has(s.incOf(n))) {
			return nodeNames[n] + " is not a standby with everything"
		}
	}
	if !s.acked.in(x.srv.exec) {
		return "an acknowledged write is missing"
	}
	return ""
}
