package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// plan is what a run is about.
type plan struct {
	nodes, k int
	empty    bool          // begin with empty directories instead of a cluster at work
	leader   bool          // most faults meet the leader, and requests get lost more often
	lagging  bool          // data travels slowly, time passes fast, and requests get lost often
	alone    bool          // the first primary is cut off from the others from the beginning
	hand     bool          // operators ask for switchovers all the time
	quiet    bool          // nothing fails by chance, and time passes evenly
	steps    int           // actions with faults, before everything is well again
	disks    bool          // disks get full, and are freed again
	cooldown time.Duration // how long a failover is held back after the one before
	mutation string        // which rule is taken away; "" for none
	script   func() []line // things to happen in this order
	ask      int           // a switchover is asked for at that step; 0: none
	// lose, when its at is not 0, is the only request of the run whose answer gets lost: the n-th after ask, and how.
	lose   struct{ at, how int }
	wishes wishes // what operators ask for
	rare   rare   // what happens beside the usual faults
	// single, when its kind is not 0, is the only fault of the run: at that step, at that node.
	single struct {
		at   int
		kind kind
		node int
	}
}

// world is all of it.
type world struct {
	plan
	c      *chance
	now    time.Duration
	consul *consul
	nodes  []*node
	table  roles.Spec
	set    roles.Settings

	streams []*stream
	flight  []flight
	gone    []*node // agents that have ended by themselves

	h, f, ttl   time.Duration
	lossy, hang int

	made   int // writes
	calls  int // requests to Consul since a switchover was asked for
	ids    []gtid.Set
	cache  map[set]gtid.Set
	uuids  int
	ackedW set // told to a client
	fair   bool

	openTerm uint64
	openNode int
	openHist set

	again      int             // times that all has been made well once more
	promotedAt []time.Duration // when somebody else became primary

	slow    [3]slow
	stalled map[int]bool // nothing is delivered to these servers
	x       unusual
	given   given
	script  []line // what is left of it
	guarded bool   // the guard is there; without it the ack quorum has to be enough
	budget  int    // faults left
	broken  *violation
	trace   []string
	tell    bool
}

// flight is a request that has been sent and will arrive, or not.
type flight struct {
	what  string
	apply func() bool
}

func newWorld(p plan, c *chance, tell bool) *world {
	w := &world{plan: p, c: c, tell: tell, consul: newConsul(), table: roles.Table(), cache: map[set]gtid.Set{0: {}}, stalled: map[int]bool{}, openNode: -1, lossy: 60, hang: 80}
	w.h, w.f, w.ttl = 2200*time.Millisecond, 700*time.Millisecond, 3*time.Second
	if p.leader {
		w.lossy = 20
	}
	if p.lagging {
		w.lossy = 10
	}
	if p.quiet {
		w.lossy, w.hang = 1<<15, 1<<15
	}
	w.budget = p.steps / 25
	if p.hand {
		w.budget, w.lossy, w.hang = c.pick(4), 300, 600
	}
	if p.single.kind != 0 || p.ask != 0 {
		w.budget, w.lossy, w.hang = 0, 1<<15, 1<<15
	}
	w.guarded = c.pick(2) == 0
	w.set = roles.Settings{Acks: p.k, MaxAckers: max(2, 2*p.k), GoOnAlone: true, C: w.ttl, H: w.h, Heartbeat: 500 * time.Millisecond, Cooldown: p.cooldown}
	for i := range p.nodes {
		n := &node{w: w, id: i, name: string(rune('a' + i)), on: true, broken: map[int]bool{}, boot: 1}
		n.srv = newServer(i, p.nodes, w.newUUID())
		w.nodes = append(w.nodes, n)
	}
	w.prepareRare()
	if p.empty {
		for _, n := range w.nodes {
			n.startAgent()
		}
	} else {
		w.atWork()
	}
	if p.script != nil {
		w.script, w.budget = p.script(), 0
	}
	if p.alone {
		w.isolate(w.nodes[0])
	}
	return w
}

// atWork begins with a primary of term 1 and the others following it, armed as far as the ack set goes.
func (w *world) atWork() {
	v := w.consul.write()
	v.Cluster = &roles.Cluster{ID: "c"}
	sync := roles.Sync{Term: 1}
	for i, n := range w.nodes {
		n.disk = disk{hasData: true, uuid: n.srv.uuid, cluster: "c", rebuilds: 1, promised: 1, boot: 1}
		if i <= w.set.MaxAckers {
			sync.Members = append(sync.Members, n.inc())
		}
	}
	sync.Primary, sync.Acks = sync.Members[0], min(w.k, len(sync.Members)-1)
	w.consul.put(sync)
	sync = w.consul.v.Sync
	w.openTerm, w.openNode = 1, 0
	for i, n := range w.nodes {
		n.disk.lastSync = sync
		a := &agent{node: n, silent: map[roles.Inc]time.Duration{}, connected: true, freeSince: -1}
		a.keeper.a = a
		n.ag = a
		a.session = w.consul.open(i, w.now+w.ttl)
		s := n.srv
		s.start()
		s.offline = false
		if i == 0 {
			w.consul.lock(a.session, n.inc())
			a.state, a.leading, a.openTerm, a.keeper.armed = roles.Primary, sync, 1, true
			a.keeper.hold(w.now, a.session, n.inc())
			a.keeper.term = 1
			s.ro, s.srcOn, s.k = false, sync.Acks > 0, sync.Acks
			for j := range s.accounts {
				s.accounts[j] = unlocked
			}
		} else {
			armed := sync.Has(n.inc())
			a.state, a.follow = roles.Replica, roles.Follow{Primary: sync.Primary, Term: 1, Armed: armed}
			if armed {
				a.state = roles.Standby
			}
			s.source, s.receiver, s.applier, s.armedWanted, s.starts, s.rid = 0, roles.Connecting, roles.On, armed, 1, n.name+".1"
			w.connect(s)
		}
	}
	for _, n := range w.nodes {
		a := n.ag
		a.take(w.consul.read())
		r := a.ownRecord(roles.Facts{MySQL: a.render()})
		w.consul.record(r, a.session)
		a.recKey = r.Inc
	}
	for _, n := range w.nodes {
		n.ag.take(w.consul.read())
		n.ag.begin("loop", n.ag.spawn)
	}
}

// String says what kind of run it is.
func (p plan) String() string {
	return fmt.Sprintf("%d nodes, %d acks, %d steps, rare %+v, empty %t, leader %t, lagging %t, alone %t, without: %q", p.nodes, p.k, p.steps, p.rare, p.empty, p.leader, p.lagging, p.alone, p.mutation)
}

func (w *world) is(mutation string) bool { return w.mutation == mutation }

// calm reports whether nothing goes wrong for the moment, in a run about hand-overs: no hand-over is under way.
func (w *world) calm() bool {
	if w.quiet || !w.hand {
		return w.quiet
	}
	for _, n := range w.nodes {
		if n.ag != nil && n.ag.handover != nil {
			return false
		}
	}
	return true
}

// fault reports whether anything may go wrong now.
func (w *world) fault() bool { return !w.fair && !w.calm() }

// full reports whether the run has made all the writes it can tell apart; some are kept for the end.
func (w *world) full() bool {
	if w.fair {
		return w.made >= 63
	}
	return w.made >= 40
}

func (w *world) newUUID() string {
	w.uuids++
	return fmt.Sprintf("%08x-0000-0000-0000-000000000000", w.uuids)
}

func (w *world) newWrite(s *server) int {
	s.seq++
	w.made++
	w.ids = append(w.ids, gtid.MustParse(fmt.Sprintf("%s:%d", s.uuid, s.seq)))
	return w.made - 1
}

// gtids is a set as the real one.
func (w *world) gtids(s set) gtid.Set {
	if g, ok := w.cache[s]; ok {
		return g
	}
	low := s & -s
	g := w.gtids(s &^ low).Union(w.ids[trailing(low)])
	w.cache[s] = g
	return g
}

func trailing(s set) int {
	n := 0
	for ; s&1 == 0; s >>= 1 {
		n++
	}
	return n
}

func (s set) String() string {
	var out []string
	for i := range 64 {
		if s.has(i) {
			out = append(out, fmt.Sprint("w", i))
		}
	}
	return "{" + strings.Join(out, ",") + "}"
}

func (w *world) byName(name string) int {
	for i, n := range w.nodes {
		if n.name == name {
			return i
		}
	}
	return 0
}

func (w *world) byAddr(addr string) int { return w.byName(strings.TrimSuffix(addr, ":3306")) }

func (w *world) linked(a, b *node) bool { return !a.broken[b.id] && !b.broken[a.id] }

func (w *world) note(format string, args ...any) {
	if w.tell {
		w.trace = append(w.trace, fmt.Sprintf("%8s  ", w.now)+fmt.Sprintf(format, args...))
	}
}
