package sim

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// adopt closes a server that a previous run left behind, and voids what a reboot may have lost.
func (a *agent) adopt(p *proc) {
	if a.disk.hasData && a.disk.boot != a.boot {
		_ = p.save(func(d *disk) { d.boot, d.void = a.boot, d.void || !a.w.is("a reboot voids nothing") })
	}
	if !a.srv.up {
		return
	}
	if a.adoptFound(p) {
		return
	}
	if a.fenceServer(p) != nil || !a.disk.hasData {
		a.w.kill(a.srv)
	}
	a.fed, a.mem = 0, memory{}
}

// loop is observe, decide, act, publish, for ever.
func (a *agent) loop(p *proc) {
	for {
		if a.removed(p) {
			a.w.gone = append(a.w.gone, a.node)
			for {
				p.pause("gone")
			}
		}
		a.turn(p)
		p.pause("turn")
		if a.stop && a.stopped(p) {
			a.w.note("%s: stops", a.name)
			a.w.gone = append(a.w.gone, a.node)
			for {
				p.pause("gone")
			}
		}
	}
}

func (a *agent) turn(p *proc) {
	a.settle(p)
	f := a.observe(p)
	d := a.w.decide(a.state, f)
	a.why = d.Why
	if d.Event != "" {
		a.fire(p, d, f)
	}
	for _, s := range d.Steps {
		if err := a.step(p, s, f); err != nil {
			a.w.note("%s: %s: %v", a.name, s.Op, err)
		} else {
			a.w.note("%s: %s %s%s (%s)", a.name, s.Op, s.Node.Name(), syncText(s.Sync), s.Why)
		}
	}
	a.serveRequests(p, f)
	if a.attach == 0 {
		a.want(a.ownRecord(f))
		a.remember(f)
	}
}

func syncText(s roles.Sync) string {
	if !s.Exists() {
		return ""
	}
	return "[" + s.String() + "]"
}

// observe reads the records from memory and then asks the server.
func (a *agent) observe(p *proc) roles.Facts {
	a.giveUpCreation(p)
	view := a.view
	if a.cut != 0 && a.w.now-a.cut > a.w.h {
		view.OK = false
	}
	free := time.Duration(0)
	if a.freeSince >= 0 {
		free = a.now() - a.freeSince
	}
	a.checkIdentity(view)
	f := roles.Facts{
		Self:  a.self(),
		Lease: roles.Lease{Held: a.keeper.held(), Provable: a.keeper.provable(), Session: a.session},
		View:  view, Set: a.set, Follow: a.follow, Promoted: a.promoted, Founded: a.founded, Attach: a.attach, Leading: a.leading, Checkpoints: a.checkpoints,
		LeaderFree: free, CannotDrain: a.noDrain, Stop: a.stop, Disk: a.diskFacts(),
		Handing: a.handing(), TriedToHandOver: a.tried, TookOver: a.tookOver, Ready: a.ready, Chained: a.chained,
	}
	f.RequestAge = a.ages(view)
	for _, at := range a.w.promotedAt {
		f.Recent = append(f.Recent, a.w.now-at)
	}
	f.MySQL = a.look(p)
	if a.full != 0 {
		f.Disk.Unfit = "no space is left"
		if a.state == roles.Primary && f.MySQL.Ready {
			f.MySQL.Stuck = a.w.now - a.full
		}
	}
	if a.job != nil {
		f.Busy = a.job.say
	}
	f.Silent = a.listen(f)
	if s := a.srv; !f.MySQL.Ready || f.MySQL.WaitSessions == 0 || s.exec != a.waitAcked {
		a.waitSince, a.waitAcked = a.now(), s.exec
	}
	f.Waiting = a.now() - a.waitSince
	f.Throttle, f.Applying = a.throttle, a.applying(f.MySQL)
	if f.MySQL.Ready {
		a.keeper.healthy = a.now()
	}
	a.keeper.alone = f.View.Sync.Primary == f.Self.Inc && len(f.View.Sync.Members) == 1
	a.w.tamper(a.state, &f)
	return f
}

func (a *agent) diskFacts() roles.Disk {
	f := roles.Disk{ClusterID: a.disk.cluster, Promised: a.disk.promised, Void: a.disk.void, LastSync: a.disk.lastSync}
	switch {
	case a.disk.condemned:
		f.Data = roles.DataCondemned
	case a.disk.hasData:
		f.Data = roles.DataOurs
	}
	return f
}

// giveUpCreation forgets a creation whose records were never written, once the transaction that should have written them
// cannot arrive any more.
func (a *agent) giveUpCreation(p *proc) {
	if !a.disk.founding || !a.view.OK || a.view.Cluster != nil || a.cut != 0 || a.w.is("a creation is never given up") {
		return
	}
	if a.session == "" || a.session == a.foundingSession {
		if a.session != "" {
			a.keeper.destroy(p)
		}
		return
	}
	v, err := p.refresh()
	if err != nil || v.Cluster != nil {
		return
	}
	a.w.kill(a.srv)
	_ = p.save(func(d *disk) { d.founding, d.hasData, d.cluster = false, false, "" })
}

// checkIdentity settles a creation that was interrupted.
func (a *agent) checkIdentity(v roles.View) {
	switch d := &a.disk; {
	case !v.OK || v.Cluster == nil || d.cluster == "":
	case d.cluster == v.Cluster.ID:
		d.founding = false
	case d.founding:
		d.founding, d.hasData, d.cluster, d.condemned = false, false, "", true
	case !d.hasData:
		d.cluster = ""
	default:
		a.w.fail("identity", "%s refuses: its data is of cluster %s, Consul has %s", a.name, d.cluster, v.Cluster.ID)
	}
}

func (a *agent) look(p *proc) roles.MySQL {
	p.pause("status")
	s := a.srv
	if !s.up {
		a.connected, a.failing = false, 0
		if a.down == 0 {
			a.down = a.now()
		}
		return roles.MySQL{Down: max(a.now()-a.down, 1)}
	}
	a.down = 0
	if a.failing == 0 {
		a.failing = a.now()
	}
	if a.frozenServer {
		p.pause("status time-out")
		return roles.MySQL{Running: true, Failing: a.now() - a.failing}
	}
	if !a.connected {
		if !a.lastPos.in(s.position()) {
			a.disk.void = true
		}
		a.connected = true
	}
	a.failing = 0
	m := a.render()
	a.lastPos = s.position()
	return m
}

// render turns the server's status into facts.
func (a *agent) render() roles.MySQL {
	s, w := a.srv, a.w
	m := roles.MySQL{
		Running: true, Ready: true, ReadOnly: s.ro, Offline: s.offline, Executed: w.gtids(s.exec), WaitSessions: (s.wait &^ s.begun).count(),
		Streams: map[string]bool{}, Receiver: roles.Off, Applier: roles.Off,
	}
	if s.srcOn {
		m.K = s.k
	}
	for _, x := range w.streams {
		if x.src == a.id {
			m.Streams[w.nodes[x.dst].name] = true
		}
	}
	if a.state == roles.Primary {
		m.Unlocked = map[string]bool{}
		for i, acc := range s.accounts {
			if acc != none {
				m.Unlocked[w.nodes[i].name] = acc == unlocked
			}
		}
	}
	if s.source < 0 {
		return m
	}
	m.Received, m.Source = w.gtids(s.recv), w.nodes[s.source].addr()
	m.Receiver, m.Applier, m.ReceiverID, m.ArmedWanted = s.receiver, s.applier, s.rid, s.armedWanted
	m.Armed = s.receiver == roles.On && s.armed
	m.Pos = roles.BinlogPos{SourceUUID: s.posUUID, File: "binlog.000001", Pos: uint64(s.pos)}
	m.PacketAge = w.now - s.packet
	m.Caught = s.receiver == roles.On && s.applier == roles.On && len(s.relay) < 3
	return m
}

// listen notes, at a primary, since when each acker has not been seen streaming.
func (a *agent) listen(f roles.Facts) map[roles.Inc]time.Duration {
	if a.state != roles.Primary {
		clear(a.silent)
	}
	if a.state != roles.Primary || !f.MySQL.Ready {
		return nil
	}
	out := map[roles.Inc]time.Duration{}
	for _, i := range f.View.Sync.Ackers() {
		if roles.Streaming(f, i) {
			delete(a.silent, i)
			continue
		}
		if _, ok := a.silent[i]; !ok {
			a.silent[i] = a.now()
		}
		out[i] = a.now() - a.silent[i]
	}
	for i := range a.silent {
		if !f.View.Sync.IsAcker(i) {
			delete(a.silent, i)
		}
	}
	return out
}

// fire changes the state by the real table; a failed action means a fence.
func (a *agent) fire(p *proc, d roles.Decision, f roles.Facts) {
	r, _ := a.w.table.Find(a.state, d.Event)
	if r == nil {
		a.w.fail("table", "%s: no rule for %s in %s", a.name, d.Event, a.state)
		return
	}
	if r.If != nil {
		if err := r.If(f); err != nil {
			a.w.note("%s: %s refused: %v", a.name, d.Event, err)
			return
		}
	}
	if r.Do != nil {
		open := a.openWrites
		if d.Event == roles.Attached {
			open = a.goOn
		}
		if err := open(p, f); err != nil {
			a.w.note("%s: %v", a.name, err)
			a.fence(p)
			return
		}
	}
	from := a.state
	a.state = r.To
	a.w.note("%s: %s -> %s on %s (%s)", a.name, from, r.To, d.Event, d.Why)
	if from == roles.Primary {
		a.openTerm, a.admits, a.promoted, a.founded, a.checkpoints = 0, 0, 0, false, nil
		a.handover, a.tookOver, a.throttle = nil, nil, 0
	}
	if r.To == roles.Primary || r.To == roles.Failover || r.To == roles.RestoreSnapshot {
		a.ready, a.chained = 0, nil
	}
	if r.To == roles.Failover || r.To == roles.RestoreSnapshot {
		a.follow, a.checked = roles.Follow{}, [2]any{}
	}
	if a.job != nil {
		a.job.cancelled = true
	}
	if from == roles.Primary {
		a.fence(p)
	}
}

// settle applies a finished job.
func (a *agent) settle(p *proc) {
	j := a.job
	if j == nil || !j.done {
		return
	}
	a.job = nil
	err := j.err
	if err == nil && j.apply != nil {
		err = j.apply()
	}
	if err != nil {
		a.w.note("%s: %s: %v", a.name, j.say, err)
	}
}

func (a *agent) work(say string, run func(p *proc, j *job) (func() error, error)) {
	j := &job{say: say}
	a.job = j
	j.p = a.begin(say, func(p *proc) {
		j.apply, j.err = run(p, j)
		j.done = true
	})
}

// stopped carries a graceful stop forward.
func (a *agent) stopped(p *proc) bool {
	if a.stopAt == 0 {
		a.stopAt = a.now()
	}
	v := a.view
	switch a.state {
	case roles.Primary:
		return false
	case roles.Failover:
		h, ok := v.ValidPrimary()
		possible := !(ok && h.Inc != a.inc()) && v.OK && !v.Paused && v.Sync.Primary == a.inc() && a.srv.up
		alive := false
		for _, m := range v.Sync.Ackers() {
			alive = alive || v.Nodes[m].Alive()
		}
		if a.now()-a.stopAt < 10*time.Second && possible && alive {
			return false
		}
	}
	p.pause("end mysqld")
	if s := a.srv; s.up {
		if s.ro && s.wait == 0 {
			a.w.stopReceiver(s)
		}
		a.w.kill(s) // SIGTERM when it is fenced, SIGKILL otherwise: the same to everybody else
	}
	id := a.session
	_, _ = p.consulCall("close session", func() bool { a.w.consul.end(id); return true })
	return true
}
