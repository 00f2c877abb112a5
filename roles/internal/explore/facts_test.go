package explore

import (
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

var roleNames = roles.States()

func roleOf(s roles.State) role {
	for i, r := range roleNames {
		if r == s {
			return role(i)
		}
	}
	panic("unknown state " + s)
}

// Everything that the decisions see as text or as a set is made once.
var (
	incNames     [7]roles.Inc
	sessionNames [nodes][16]string
	ridNames     [nodes][64]string
	gtids        [256]gtid.Set
	nodeNames    = [nodes]string{"a", "b", "c"}
	texts        = []string{""}
	textNumbers  = map[string]text{"": {}}
)

func init() { //nolint:gochecknoinits // tables that every fact is looked up in
	for i := 1; i < len(incNames); i++ {
		n := inc(i)
		incNames[i] = roles.NewInc(nodeNames[n.node()], n.rebuilds(), fmt.Sprintf("%08x-0000-0000-0000-000000000000", i))
	}
	for n := range nodes {
		for i := 1; i < 16; i++ {
			sessionNames[n][i] = fmt.Sprintf("s%s.%d", nodeNames[n], i)
		}
		for i := 1; i < 64; i++ {
			ridNames[n][i] = fmt.Sprintf("%s.%d", nodeNames[n], i)
		}
	}
	for s := range gtids {
		for w := range 8 {
			if set(s).has(w) {
				gtids[s] = gtids[s].Union(gtid.MustParse(fmt.Sprintf("%08x-0000-0000-0000-000000000001:1", w+1)))
			}
		}
	}
}

func textNumber(s string) text {
	if i, ok := textNumbers[s]; ok {
		return i
	}
	texts = append(texts, s)
	names = append(names, namesIn(s))
	n := len(texts) - 1
	textNumbers[s] = text{uint8(n), uint8(n >> 8)}
	return textNumbers[s]
}

func (t text) index() int     { return int(t[0]) | int(t[1])<<8 }
func (t text) String() string { return texts[t.index()] }

func incNumber(i roles.Inc) inc {
	if i == "" {
		return 0
	}
	for n := range incNames {
		if incNames[n] == i {
			return inc(n)
		}
	}
	panic("unknown incarnation " + i)
}

func nameNumber(name string) int { return int(name[0] - 'a') }

func (r record) real() roles.Sync {
	out := roles.Sync{Ver: uint64(r.ver), Term: uint64(r.term), Primary: incNames[r.primary], Acks: int(r.acks)}
	for i := range incNames {
		if r.members.has(inc(i)) {
			out.Members = append(out.Members, incNames[i])
		}
	}
	return out
}

func recordOf(x roles.Sync) record {
	r := record{ver: uint8(x.Ver), term: uint8(x.Term), primary: incNumber(x.Primary), acks: uint8(x.Acks)}
	for _, m := range x.Members {
		r.members |= 1 << incNumber(m)
	}
	return r
}

var (
	theCluster = &roles.Cluster{ID: "c"}
	settings   = roles.Settings{Acks: 1, MaxAckers: 2, GoOnAlone: true, C: 3 * time.Second, H: 2200 * time.Millisecond, Heartbeat: 500 * time.Millisecond}
)

func (c card) real() roles.Node {
	n := roles.Node{
		Inc: incNames[c.inc], Name: nodeNames[c.inc.node()], Cluster: "c", MySQL: nodeNames[c.inc.node()] + ":3306", State: roleNames[c.state],
		Healthy: c.healthy, Promised: uint64(c.promised), Void: c.void, Follows: incNames[c.follow.primary], FollowTerm: uint64(c.follow.term),
		ArmedWanted: c.follow.armed, Armed: c.armed, Caught: c.caught, Admits: uint64(c.admits), Open: uint64(c.open), Receiver: ridNames[c.inc.node()][c.rid],
	}
	for _, a := range c.answers {
		if a.seq != 0 {
			n.Confirms = append(n.Confirms, roles.Confirmation{Seq: uint64(a.seq), Receiver: ridNames[c.inc.node()][a.rid]})
		}
	}
	n.Checkpoints, n.Handover, n.Ready, n.Drained, n.Chained = realQuestions(c.checkpoints), c.plan.real(), uint64(c.ready), uint64(c.drained), c.chain.real()
	if c.alive {
		n.Session = "s"
	}
	return n
}

func realQuestions(qs [3]question) (out []roles.Checkpoint) {
	for _, q := range qs {
		if q.seq != 0 {
			out = append(out, roles.Checkpoint{Seq: uint64(q.seq), For: q.what.String(), End: end(q.of, q.end)})
		}
	}
	return out
}

func end(of inc, at uint8) roles.BinlogPos {
	if of == 0 {
		return roles.BinlogPos{}
	}
	return roles.BinlogPos{SourceUUID: incNames[of].UUID(), File: "binlog.000001", Pos: uint64(at)}
}

// view is one consistent read.
func (s *state) view() roles.View {
	v := roles.View{OK: true, Cluster: theCluster, Sync: s.sync.real(), Seals: make(map[roles.Inc]roles.Seal, nodes), Nodes: make(map[roles.Inc]roles.Node, nodes)}
	v.Leader.Holder = incNames[s.lastHad]
	if s.request != 0 {
		state := []roles.RequestState{1: roles.RequestOpen, 2: roles.RequestRunning}[s.request]
		v.Requests = []roles.Request{{ID: theRequest, Kind: roles.RequestSwitchover, Node: nodeNames[s.target], State: state, Ver: 1}}
	}
	if s.lock >= 0 {
		v.Leader.Session = sessionNames[s.lock][s.holder]
	}
	for n := range nodes {
		if c := s.cards[n]; c.inc != 0 {
			v.Nodes[incNames[c.inc]] = c.real()
		}
		if c := s.seals[n]; c.inc != 0 {
			v.Seals[incNames[c.inc]] = roles.Seal{Promise: uint64(c.promise), Position: gtids[c.pos], Undrained: uint64(c.undrained), Void: c.void}
		}
	}
	return v
}

// mysql is the status of node n's server.
func (s *state) mysql(n int) roles.MySQL {
	v := &s.node[n].srv
	if !v.up {
		return roles.MySQL{}
	}
	m := roles.MySQL{Running: true, Ready: true, ReadOnly: v.ro, Offline: v.offline, Executed: gtids[v.exec], WaitSessions: v.wait.count(),
		Receiver: roles.Off, Applier: roles.Off, PacketAge: time.Hour}
	if v.srcOn {
		m.K = int(v.k)
	}
	if roleNames[s.node[n].agent.state] == roles.Primary {
		m.Unlocked, m.Streams = map[string]bool{}, map[string]bool{}
		for i, name := range nodeNames {
			if v.unlocked[i] {
				m.Unlocked[name] = true
			}
			if s.in[i].there && int(s.in[i].src) == n || s.late[i].there && int(s.late[i].src) == n {
				m.Streams[name] = true
			}
		}
	}
	if v.source < 0 {
		return m
	}
	m.Received, m.Source, m.Applier = gtids[v.recv], nodeNames[v.source]+":3306", roles.On
	m.Receiver = []roles.ThreadState{roles.Off, roles.Connecting, roles.On}[v.receiver]
	m.ReceiverID, m.ArmedWanted = ridNames[n][v.rid], v.armedWanted
	m.Armed = v.receiver == on && v.armed
	m.Pos = end(v.posOf, v.pos)
	m.Caught = v.receiver == on
	return m
}

// guess is what a decision takes time for: whether a lease that cannot be renewed any more still seems to hold, and
// whether ackers that do not stream have been silent for long.
//
// time is how long a hand-over has taken: 0 little, 1 longer than it waits for followers, 2 longer than it may.
type guess struct {
	lease, silent bool
	time          uint8
}

// facts are what node n sees now.
func (s *state) facts(n int, g guess) roles.Facts {
	x := &s.node[n]
	f := roles.Facts{
		Self: roles.Self{Inc: incNames[s.incOf(n)], Name: nodeNames[n]}, View: s.view(), Set: settings, MySQL: s.mysql(n),
		Disk:     roles.Disk{Data: roles.DataOurs, ClusterID: "c", Promised: uint64(x.disk.promised), Void: x.disk.void, LastSync: roles.Sync{Ver: 1, Term: uint64(x.disk.lastTerm), Primary: incNames[1]}},
		Follow:   roles.Follow{Primary: incNames[x.agent.follow.primary], Term: uint64(x.agent.follow.term), Armed: x.agent.follow.armed},
		Promoted: uint64(x.agent.promoted), Leading: x.agent.leading.real(), Checkpoints: realQuestions(x.agent.checkpoints), LeaderFree: time.Hour,
	}
	if x.disk.condemned {
		f.Disk.Data = roles.DataCondemned
	}
	f.Ready, f.Chained, f.Handing = uint64(x.agent.ready), x.agent.chain.real(), s.handing(n, g)
	if x.agent.took {
		f.TookOver = &roles.TookOver{Request: theRequest}
	}
	mine := s.holds(n)
	f.Lease = roles.Lease{Held: mine || g.lease, Provable: mine || g.lease, Session: sessionNames[n][x.session]}
	if roleNames[x.agent.state] == roles.Primary {
		f.Silent = map[roles.Inc]time.Duration{}
		for _, a := range f.View.Sync.Ackers() {
			if !roles.Streaming(f, a) {
				f.Silent[a] = 0
				if g.silent {
					f.Silent[a] = time.Hour
				}
			}
		}
		if f.MySQL.WaitSessions > 0 && g.silent {
			f.Waiting = time.Hour
		}
	}
	return f
}

func (s *state) incOf(n int) inc { return mkInc(n, int(s.node[n].disk.rebuilds)) }

// holds reports whether node n's session holds the lock.
func (s *state) holds(n int) bool {
	return s.lock == int8(n) && s.holder == s.node[n].session && s.holder != 0
}

// publish writes node n's record as it is now.
func (s *state) publish(n int) {
	x := &s.node[n]
	if x.session == 0 {
		return
	}
	v := &x.srv
	c := card{inc: s.incOf(n), alive: true, state: x.agent.state, promised: x.disk.promised, void: x.disk.void, follow: x.agent.follow,
		answers: x.agent.answers, open: x.agent.openTerm, admits: x.agent.admits, checkpoints: x.agent.checkpoints}
	if v.up && v.source >= 0 && v.receiver == on {
		c.armed, c.rid, c.caught = v.armed, v.rid, true
	}
	switch roleNames[c.state] {
	case roles.Primary:
		c.healthy = v.up && c.open != 0
	case roles.Replica, roles.Standby:
		c.healthy = v.up && v.source >= 0 && v.receiver == on
	}
	c.plan, c.ready, c.chain = x.agent.plan, x.agent.ready, x.agent.chain
	s.cards[n] = c
	if c.ready != 0 || c.chain.to != 0 {
		s.cards[n].drained = uint8(roles.DrainedFor(s.facts(n, guess{})))
	}
}

// publishStopped writes it before another receiver is begun.
func (s *state) publishStopped(n int) {
	s.publish(n)
	s.cards[n].rid, s.cards[n].armed, s.cards[n].answers, s.cards[n].caught = 0, false, [3]answer{}, false
}
