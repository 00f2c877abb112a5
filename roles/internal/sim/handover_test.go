package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// handing is what a primary remembers of the hand-over it works on.
func (a *agent) handing() *roles.Handing {
	if a.handover == nil {
		return nil
	}
	h := &roles.Handing{Handover: *a.handover, For: a.w.now - a.handSince, Limit: a.handLimit}
	if h.Offer != nil {
		h.Held = max(a.w.now-a.heldSince, 1)
	}
	switch prepared := a.view.Nodes[h.To].Ready == h.Seq; {
	case !prepared:
		a.readySince = 0
	case a.readySince == 0:
		a.readySince = a.w.now
	}
	if a.readySince != 0 {
		h.ReadyFor = max(a.w.now-a.readySince, 1)
	}
	if a.drainedSince == 0 && a.view.Nodes[h.To].Drained == h.Seq {
		a.drainedSince = a.w.now
	}
	if a.drainedSince != 0 {
		h.DrainedFor = max(a.w.now-a.drainedSince, 1)
	}
	if a.slowSince != 0 {
		h.Throttled = max(a.w.now-a.slowSince, 1)
	}
	return h
}

// applying is for how long nothing has been applied. A run's writes are too few to be many, so two of them count as one that
// takes long.
func (a *agent) applying(m roles.MySQL) time.Duration {
	if !m.Ready || len(a.srv.relay) < 2 {
		return 0
	}
	return time.Second
}

// throttleWrites slows the writes down, or no longer.
func (a *agent) throttleWrites(p *proc, delay time.Duration) error {
	a.throttle = max(a.throttle, 1)
	if a.handover != nil && a.slowSince == 0 && delay > 0 {
		a.slowSince = a.w.now
	}
	if err := p.sql("throttle", func(s *server) { s.throttled = delay > 0 }); err != nil {
		return err
	}
	a.throttle = delay
	return nil
}

// handoverStep finds what performs a step of a hand-over; nil when it is none.
func (a *agent) handoverStep(op roles.Op) func(*proc, roles.Step, roles.Facts) error {
	switch op {
	case roles.PlanHandover:
		return func(p *proc, s roles.Step, _ roles.Facts) error { return a.planHandover(p, s) }
	case roles.DropHandover:
		return func(p *proc, s roles.Step, _ roles.Facts) error { a.endHandover(p, s.For); return nil }
	case roles.Throttle:
		return func(p *proc, s roles.Step, _ roles.Facts) error { return a.throttleWrites(p, s.Delay) }
	case roles.MakeOffer:
		return func(p *proc, _ roles.Step, _ roles.Facts) error { return a.makeOffer(p) }
	case roles.TakeWritesBack:
		return func(p *proc, s roles.Step, _ roles.Facts) error { return a.takeWritesBack(p, s) }
	case roles.Prepare:
		return func(p *proc, _ roles.Step, f roles.Facts) error { return a.prepare(p, f) }
	case roles.Unprepare:
		return func(p *proc, _ roles.Step, f roles.Facts) error { return a.unprepare(p, f) }
	case roles.Chain:
		return func(p *proc, _ roles.Step, f roles.Facts) error { return a.chain(p, f) }
	case roles.TakeOver:
		return func(p *proc, _ roles.Step, f roles.Facts) error { return a.takeOver(p, f) }
	case roles.MoveRequest:
		return func(p *proc, s roles.Step, _ roles.Facts) error { return a.moveRequest(p, *s.Request) }
	}
	return nil
}

// planHandover announces it.
func (a *agent) planHandover(p *proc, s roles.Step) error {
	a.tried = a.tried || a.stop
	if s.Request != nil {
		if err := a.moveRequest(p, *s.Request); err != nil {
			return err
		}
	}
	h := s.Handing.Handover
	a.seq++
	h.Seq = a.seq
	a.handover, a.handSince, a.handLimit, a.readySince, a.drainedSince, a.slowSince = &h, a.w.now, s.Handing.Limit, 0, 0, 0
	return nil
}

// endHandover forgets it and tells the operator.
func (a *agent) endHandover(p *proc, why string) {
	id := a.handover.Request
	a.handover = nil
	if a.throttle > 0 {
		_ = a.throttleWrites(p, 0)
	}
	for _, r := range a.view.Requests {
		if r.ID == id {
			r.State, r.Outcome = roles.RequestFailed, why
			_ = a.moveRequest(p, r)
		}
	}
}

func (a *agent) moveRequest(p *proc, r roles.Request) error {
	ok, err := p.consulCall("move request", func() bool { return a.w.consul.moveRequest(r) })
	switch {
	case err != nil:
		return err
	case !ok:
		return errNotNow
	}
	_, err = p.refresh()
	return err
}

// makeOffer ends the writes and offers the term.
func (a *agent) makeOffer(p *proc) error {
	waiters := a.w.is("waiters at the old primary")
	closed, g := false, set(0)
	var err error
	tries := 12
	if a.w.calm() {
		tries = 200
	}
	for i := range tries {
		if err = p.sql("super_read_only=ON", func(s *server) {
			s.closing, s.throttled = i < tries-1, false
			if s.wait == 0 || waiters {
				s.ro, closed, s.closing = true, true, false
			}
		}); err != nil || closed {
			break
		}
	}
	if err == nil && closed {
		err = p.sql("read history", func(s *server) { closed, g = s.ro && (s.wait == 0 || waiters), s.exec })
	}
	if err != nil || !closed {
		a.srv.closing = false
		if a.keeper.provable() && p.sql("read_only=OFF", func(s *server) { s.ro = false }) == nil {
			a.endHandover(p, "writes could not be ended in time")
		}
		return fmt.Errorf("end writes: %v", err)
	}
	a.throttle = 0
	h := *a.handover
	h.Offer = &roles.Offer{GTID: a.w.gtids(g), Ver: a.leading.Ver}
	a.handover, a.heldSince = &h, a.w.now
	n := a.ownRecord(roles.Facts{MySQL: a.render(), View: a.view})
	a.want(n)
	if err := a.putRecord(p, n); err != nil {
		return err
	}
	return p.sql("offline_mode=ON", func(s *server) { s.offline, s.client = true, 0 })
}

// takeWritesBack is ABORT.
func (a *agent) takeWritesBack(p *proc, s roles.Step) error {
	if !a.w.is("abort without a new version of sync") {
		if err := a.writeSync(p, s.Sync); err != nil {
			return err
		}
	}
	why := s.For
	defer a.endHandover(p, why)
	if !a.keeper.provable() {
		return fmt.Errorf("the lease ran out")
	}
	if err := p.sql("read_only=OFF", func(s *server) { s.ro = false }); err != nil {
		return err
	}
	if !a.keeper.provable() {
		return fmt.Errorf("the lease ran out")
	}
	return p.sql("offline_mode=OFF", func(s *server) { s.offline = false })
}

// prepare lets in those who will acknowledge for this node, and says so.
func (a *agent) prepare(p *proc, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok || h.Handover == nil {
		return errNotNow
	}
	for _, i := range h.Handover.Chain {
		id := a.w.byName(i.Name())
		if err := p.sql("let in "+i.Name(), func(s *server) { s.accounts[id] = unlocked }); err != nil {
			return err
		}
	}
	a.ready = h.Handover.Seq
	n := a.ownRecord(f)
	a.want(n)
	return a.putRecord(p, n)
}

func (a *agent) unprepare(p *proc, f roles.Facts) error {
	a.ready = 0
	n := a.ownRecord(f)
	a.want(n)
	return a.putRecord(p, n)
}

// chain turns the receiver to the candidate.
func (a *agent) chain(p *proc, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok || h.Handover == nil {
		return errNotNow
	}
	plan, c := *h.Handover, f.View.Nodes[h.Handover.To]
	if f.MySQL.Receiver != roles.Off {
		if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
			return err
		}
	}
	p.pause("status")
	if !a.srv.up || a.srv.receiver != roles.Off {
		return fmt.Errorf("the receiver did not stop")
	}
	a.follow, a.checked = roles.Follow{}, [2]any{}
	a.chained = &roles.Chained{To: plan.To, Term: plan.Term + 1, Seq: plan.Seq, Position: a.w.gtids(a.srv.position())}
	n := a.ownRecord(f)
	n.Receiver, n.Armed, n.Confirms, n.Caught = "", false, nil, false
	a.want(n)
	if err := a.putRecord(p, n); err != nil {
		a.chained = nil
		return err
	}
	return a.receive(p, a.w.byAddr(c.MySQL), true)
}

// receive points the receiver at another server and starts it.
func (a *agent) receive(p *proc, src int, armed bool) error {
	if err := p.sql("start applier", func(s *server) { s.applier = roles.On }); err != nil {
		return err
	}
	if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
		return err
	}
	if err := p.sql("change source", func(s *server) {
		s.armedWanted, s.source, s.posUUID, s.pos = armed, src, "", 0
		if a.w.is("a change of source deletes the relay log") {
			s.loseRelay(0)
		}
	}); err != nil {
		return err
	}
	return p.sql("start receiver", func(s *server) {
		s.starts++
		s.ioErr = false
		s.receiver, s.rid = roles.Connecting, fmt.Sprintf("%s.%d", a.name, s.starts)
	})
}

// takeOver accepts an offer: everything that was offered is executed here, and nothing else; then one transaction.
func (a *agent) takeOver(p *proc, f roles.Facts) error {
	t, err := a.w.accept(f.Self.Inc, f.View)
	if err != nil {
		return err
	}
	for range 8 {
		p.pause("wait until executed")
		if !a.srv.up || a.w.gtids(a.srv.exec).Contains(t.Offer.GTID) {
			break
		}
	}
	t0 := a.w.now
	if alive, err := a.keeper.pass(p); err != nil || !alive {
		return fmt.Errorf("no session: %v", err)
	}
	p.pause("status")
	if !a.srv.up || a.frozenServer {
		return fmt.Errorf("mysqld does not answer")
	}
	m := a.render()
	if !m.Position().Equal(t.Offer.GTID) && !a.w.is("the offered history is not checked") {
		return fmt.Errorf("holds %s, offered is %s", m.Position(), t.Offer.GTID)
	}
	if !m.Undrained().IsEmpty() && !a.w.is("candidate not drained") {
		return fmt.Errorf("not drained")
	}
	me, id, c := a.inc(), a.session, a.w.consul
	ok, err := p.consulCall("take over", func() bool {
		if !c.alive(id) || !c.holds(t.Session) || c.v.Sync.Ver != t.Next.Ver {
			return false
		}
		c.unlock(t.Session)
		return c.lock(id, me) && c.cas(t.Next)
	})
	if err == errUnreachable || err == nil && !ok {
		return errNotNow
	}
	after, rerr := p.refresh()
	if rerr != nil || !after.Sync.Equal(t.Next) || after.Leader.Session != id {
		a.keeper.destroy(p)
		return fmt.Errorf("take over: outcome unknown")
	}
	a.keeper.hold(t0, id, me)
	a.promoted, a.spare, a.spareTerm = t.Next.Term, t.Spare, t.Next.Term
	a.tookOver = &roles.TookOver{Request: t.Plan.Request, From: t.From}
	_ = p.save(func(d *disk) { d.promised, d.lastSync = after.Sync.Term, after.Sync })
	return nil
}

// spared lists those whose streams OPEN leaves alone.
func (a *agent) spared(sync roles.Sync) (out []int) {
	if a.spareTerm == sync.Term {
		for _, i := range a.spare {
			out = append(out, a.w.byName(i.Name()))
		}
	}
	if a.w.is("an ordinary OPEN spares chained nodes") {
		for i, n := range a.view.Nodes {
			if n.Chained != nil && n.Chained.To == a.inc() && n.Chained.Term == sync.Term {
				out = append(out, a.w.byName(i.Name()))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// refused forgets a takeover of this node that can never be applied any more.
func refused(last, shown roles.Sync, me roles.Inc) roles.Sync {
	if last.Primary == me && last.Term == shown.Term+1 && last.Ver != shown.Ver {
		return shown
	}
	return last
}

// accept is roles.Accept, less the line that is taken away.
func (w *world) accept(me roles.Inc, v roles.View) (roles.Takeover, error) {
	t, err := roles.Accept(me, w.unbound(v), w.set.Acks)
	if w.is("acks of a takeover counted without equality") {
		t.Next.Acks = min(w.k, len(t.Next.Ackers()))
	}
	return t, err
}

// unbound makes every offer one for the present version of sync.
func (w *world) unbound(v roles.View) roles.View {
	h, ok := v.Nodes[v.Sync.Primary]
	if !w.is("an offer is not bound to the version of sync") || !ok || h.Handover == nil || h.Handover.Offer == nil {
		return v
	}
	plan, offer := *h.Handover, *h.Handover.Offer
	offer.Ver = v.Sync.Ver
	plan.Offer = &offer
	h.Handover = &plan
	nodes := map[roles.Inc]roles.Node{}
	for i, n := range v.Nodes {
		nodes[i] = n
	}
	nodes[h.Inc] = h
	v.Nodes = nodes
	return v
}
