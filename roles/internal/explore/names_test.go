package explore

import (
	"regexp"
	"strconv"
)

// Versions of the record, sessions, starts of a receiver and numbers of questions are new each time they are made, and
// nothing is ever looked at but whether two are the same. So they are renamed after every step: without that no two states
// would be one, and no bound would have an end.
const (
	verOld, verNow                    uint8   = 1, 2        // of the record: as it is now, or any other, which never comes back
	sessionNow, sessionOld            session = 1, 15       // of a node
	ridShown, ridNow, ridNext, ridOld uint8   = 1, 2, 3, 63 // of a node's receiver: as its record in Consul shows it, as it is, a new one, any other
)

func (s *state) rename() {
	s.renameSessions()
	s.forgetAnswers()
	for n := range nodes {
		s.renameReceiver(n)
	}
	now := s.sync.ver
	ver := func(v *uint8) {
		switch *v {
		case 0:
		case now:
			*v = verNow
		default:
			*v = verOld
		}
	}
	ver(&s.flight.sync.ver)
	for n := range nodes {
		ver(&s.cards[n].plan.ver)
		for _, v := range []*uint8{&s.node[n].agent.act.sync.ver, &s.node[n].agent.act.plan.ver, &s.node[n].agent.leading.ver, &s.node[n].agent.plan.ver} {
			ver(v)
		}
	}
	s.eachQuestion(func(q *question) { q.what = q.what.at(now) })
	ver(&s.sync.ver)
	s.renameQuestions()
	s.renamePlans()
}

// renameSessions: the lock is held by a living session, or free.
func (s *state) renameSessions() {
	name := func(of session, it session) session {
		switch it {
		case 0:
			return 0
		case of:
			return sessionNow
		}
		return sessionOld
	}
	acts := []*act{&s.flight}
	for n := range nodes {
		acts = append(acts, &s.node[n].agent.act)
	}
	for _, a := range acts {
		if a.from >= 0 {
			a.prev = name(s.node[a.from].session, a.prev)
		}
	}
	for n := range nodes {
		x := &s.node[n]
		if s.lock == int8(n) {
			s.holder = name(x.session, s.holder)
		}
		if s.sender == int8(n) {
			s.flight.session = name(x.session, s.flight.session)
		}
		x.agent.act.session = name(x.session, x.agent.act.session)
		x.session = name(x.session, x.session)
	}
}

// renameReceiver forgets starts that are over, and names the others.
func (s *state) renameReceiver(n int) {
	v, c := &s.node[n].srv, &s.cards[n]
	now, shown := v.rid, c.rid
	name := func(rid uint8) uint8 {
		switch rid {
		case 0:
			return 0
		case now:
			return ridNow
		case shown:
			return ridShown
		}
		return ridOld
	}
	s.eachQuestion(func(q *question) { q.what = q.what.by(n, name) })
	for i := range c.answers {
		c.answers[i].rid = name(c.answers[i].rid)
	}
	for i := range s.node[n].agent.answers {
		s.node[n].agent.answers[i].rid = name(s.node[n].agent.answers[i].rid)
	}
	c.rid, v.rid = name(c.rid), name(v.rid)
}

// forgetAnswers drops answers that no question will be found for, or that were given by a start that is over.
func (s *state) forgetAnswers() {
	var asked [256]bool
	s.eachQuestion(func(q *question) { asked[q.seq] = true })
	for n := range nodes {
		now, shown := s.node[n].srv.rid, s.cards[n].rid
		for _, of := range []*[3]answer{&s.cards[n].answers, &s.node[n].agent.answers} {
			i := 0
			for _, a := range of {
				if a.seq != 0 && asked[a.seq] && (a.rid == now || a.rid == shown) {
					of[i] = a
					i++
				}
			}
			clear(of[i:])
		}
	}
}

func (s *state) eachQuestion(do func(*question)) {
	for n := range nodes {
		for i := range s.cards[n].checkpoints {
			if q := &s.cards[n].checkpoints[i]; q.seq != 0 {
				do(q)
			}
			if q := &s.node[n].agent.checkpoints[i]; q.seq != 0 {
				do(q)
			}
		}
	}
}

// renameQuestions numbers them in the order in which they lie.
func (s *state) renameQuestions() {
	var to [256]uint8
	last := uint8(0)
	s.eachQuestion(func(q *question) {
		if to[q.seq] == 0 {
			last++
			to[q.seq] = last
		}
		q.seq = to[q.seq]
	})
	for n := range nodes {
		for i := range nodes {
			s.cards[n].answers[i].seq = to[s.cards[n].answers[i].seq]
			s.node[n].agent.answers[i].seq = to[s.node[n].agent.answers[i].seq]
		}
	}
}

// planOld is the number of a hand-over that is no more.
const planOld uint8 = 15

// eachPlan calls with every hand-over there is, and then with every mention of one.
func (s *state) eachPlan(is, said func(*uint8)) {
	for n := range nodes {
		is(&s.node[n].agent.plan.seq)
		is(&s.cards[n].plan.seq)
	}
	for n := range nodes {
		x, c := &s.node[n], &s.cards[n]
		for _, p := range []*uint8{&x.agent.ready, &x.agent.chain.seq, &x.agent.act.plan.seq, &c.ready, &c.drained, &c.chain.seq} {
			said(p)
		}
	}
}

func (s *state) renamePlans() {
	var to [16]uint8
	last := uint8(0)
	rename := func(p *uint8) {
		switch {
		case *p == 0:
		case to[*p] == 0:
			*p = planOld
		default:
			*p = to[*p]
		}
	}
	s.eachPlan(func(p *uint8) {
		if *p != 0 && to[*p] == 0 {
			last++
			to[*p] = last
		}
		rename(p)
	}, rename)
	s.eachQuestion(func(q *question) { q.what = q.what.forPlan(rename) })
}

// freshPlan is a number that no hand-over has or had.
func (s *state) freshPlan() uint8 {
	last := uint8(0)
	seen := func(p *uint8) {
		if *p != planOld {
			last = max(last, *p)
		}
	}
	s.eachPlan(seen, seen)
	s.eachQuestion(func(q *question) { p := names[q.what.index()].plan; seen(&p) })
	return last + 1
}

// freshSeq is a number that no question has, and no answer to one that is forgotten since the last step.
func (s *state) freshSeq() uint8 {
	last := uint8(0)
	s.eachQuestion(func(q *question) { last = max(last, q.seq) })
	for n := range nodes {
		for i := range nodes {
			last = max(last, s.cards[n].answers[i].seq, s.node[n].agent.answers[i].seq)
		}
	}
	return last + 1
}

// A text may name a version of the record, a hand-over, and a start of a receiver.
var (
	versionIn  = regexp.MustCompile(` at (\d+)`)
	planIn     = regexp.MustCompile(`for hand-over (\d+)`)
	receiverIn = regexp.MustCompile(`receiver ([abc])\.(\d+)`)
)

// named is what a text names; zeros if nothing.
type named struct {
	ver, rid, plan uint8
	node           int8 // -1
}

var names = []named{{node: -1}} // by text

func namesIn(s string) named {
	x := named{node: -1}
	if m := versionIn.FindStringSubmatch(s); m != nil {
		x.ver = number(m[1])
	}
	if m := planIn.FindStringSubmatch(s); m != nil {
		x.plan = number(m[1])
	}
	if m := receiverIn.FindStringSubmatch(s); m != nil {
		x.node, x.rid = int8(nameNumber(m[1])), number(m[2])
	}
	return x
}

func number(s string) uint8 {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		panic(err)
	}
	return uint8(n)
}

type textAs struct {
	from text
	as   named
}

var textsAs = map[textAs]text{}

// as is t with other names in it.
func (t text) as(x named) text {
	i := t.index()
	if names[i] == x {
		return t
	}
	id := textAs{t, x}
	to, ok := textsAs[id]
	if !ok {
		s := versionIn.ReplaceAllString(texts[i], " at "+strconv.Itoa(int(x.ver)))
		if x.plan != 0 {
			s = planIn.ReplaceAllString(s, "for hand-over "+strconv.Itoa(int(x.plan)))
		}
		if x.node >= 0 {
			s = receiverIn.ReplaceAllString(s, "receiver ${1}."+strconv.Itoa(int(x.rid)))
		}
		to = textNumber(s)
		textsAs[id] = to
	}
	return to
}

// at renames the version in t; now is the one that counts.
func (t text) at(now uint8) text {
	x := names[t.index()]
	switch x.ver {
	case 0:
		return t
	case now:
		x.ver = verNow
	default:
		x.ver = verOld
	}
	return t.as(x)
}

// by renames the start of node n's receiver in t.
func (t text) by(n int, name func(uint8) uint8) text {
	x := names[t.index()]
	if int(x.node) != n {
		return t
	}
	x.rid = name(x.rid)
	return t.as(x)
}

// forPlan renames the hand-over in t.
func (t text) forPlan(rename func(*uint8)) text {
	x := names[t.index()]
	if x.plan == 0 {
		return t
	}
	rename(&x.plan)
	return t.as(x)
}
