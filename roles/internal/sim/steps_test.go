package sim

import (
	"fmt"
	"slices"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// step performs one step as the agent does, one external call after the other.
func (a *agent) step(p *proc, s roles.Step, f roles.Facts) error {
	switch s.Op {
	case roles.StartMysqld:
		p.pause("start mysqld")
		if !a.disk.hasData {
			return fmt.Errorf("there is nothing to start")
		}
		a.srv.start()
		if a.w.is("relay_log_recovery=ON") {
			a.srv.loseRelay(0)
		}
		return nil
	case roles.StopMysqld:
		p.pause("kill mysqld")
		a.w.kill(a.srv)
		return nil
	case roles.Found:
		a.found()
		return nil
	case roles.Restore:
		a.restore(f)
		return nil
	case roles.PutBack:
		return a.putBack(p, s)
	case roles.Fence:
		a.fence(p)
		return nil
	case roles.SealReceive:
		return a.seal(p, f)
	case roles.PublishSeal:
		return a.publishSeal(p)
	case roles.Acquire:
		return a.acquire(p, f)
	case roles.Drain:
		return a.drain(p, f)
	case roles.Promote:
		return a.promote(p)
	case roles.Release:
		return a.keeper.release(p)
	case roles.Close:
		return p.sql("read-only", func(s *server) { s.ro = true })
	case roles.Expect:
		return a.expectPrimary(p, f)
	case roles.FollowOp:
		return a.followPrimary(p, f)
	case roles.Confirm:
		return a.confirm(p, f)
	case roles.GiveUp:
		return a.surrender(p, s)
	case roles.Force:
		return a.force(p, s)
	case roles.TakeBack:
		return a.takeBack(p, s.Sync)
	case roles.WriteSync:
		return a.writeSync(p, s.Sync)
	}
	if run := a.handoverStep(s.Op); run != nil {
		return run(p, s, f)
	}
	return a.primaryStep(p, s, f)
}

func (a *agent) primaryStep(p *proc, s roles.Step, f roles.Facts) error {
	i := a.w.byName(s.Node.Name())
	switch s.Op {
	case roles.Unlock:
		if !a.w.is("an old answer lets an acker go") {
			a.checkpoints = roles.AfterUnlock(a.checkpoints, s.Node)
		}
		if err := p.sql("create account", func(s *server) { s.accounts[i] = max(s.accounts[i], locked) }); err != nil {
			return err
		}
		return p.sql("unlock account", func(s *server) { s.accounts[i] = unlocked })
	case roles.Lock:
		if err := p.sql("lock account", func(s *server) { s.accounts[i] = locked }); err != nil {
			return err
		}
		return p.sql("kill dump thread", func(s *server) { a.w.killDumps(s, i) })
	case roles.LockAll:
		return a.lockEverybody(p, true)
	case roles.Dismiss:
		return a.dismiss(p, s, f)
	case roles.Forget:
		return a.forget(p, s.Node)
	case roles.SetK:
		return p.sql("set K", func(srv *server) { a.w.setSource(srv, s.K) })
	case roles.Ask:
		return a.ask(p, s.For)
	case roles.Marker:
		if a.now()-a.markerAt < markerEvery || a.w.full() {
			return errNotNow
		}
		a.markerAt = a.now()
		a.begin("marker", func(p *proc) {
			_ = p.sql("commit marker", func(s *server) {
				if !s.ro {
					a.w.commit(s, false)
				}
			})
		})
		return nil
	}
	return fmt.Errorf("step %q is not known", s.Op)
}

// killDumps ends one node's streams, or all with -1.
func (w *world) killDumps(s *server, dst int) {
	for _, x := range append([]*stream{}, w.streams...) {
		if x.src == s.node && (dst < 0 || x.dst == dst) {
			w.sever(x)
		}
	}
}

func (w *world) setSource(s *server, k int) {
	if s.srcOn != (k > 0) {
		clear(s.acked)
	}
	s.srcOn = k > 0
	if k > 0 {
		s.k = k
	}
	w.settle(s)
}

func (a *agent) ask(p *proc, what string) error {
	end := 0
	if err := p.sql("end of binary log", func(s *server) { end = a.w.endOfBinlog(s) }); err != nil {
		return err
	}
	a.seq++
	c := roles.Checkpoint{Seq: a.seq, For: what, End: roles.BinlogPos{SourceUUID: a.srv.uuid, File: "binlog.000001", Pos: uint64(end)}}
	a.checkpoints = append(append([]roles.Checkpoint{}, a.checkpoints[max(0, len(a.checkpoints)-7):]...), c)
	return nil
}

// openWrites is OPEN.
func (a *agent) openWrites(p *proc, f roles.Facts) error {
	if !a.keeper.held() {
		return fmt.Errorf("open writes: the lease ran out")
	}
	sync := f.View.Sync
	a.keeper.armed, a.keeper.term = true, 0
	a.keeper.feed()
	k := min(a.set.Acks, len(sync.Ackers()))
	if !a.w.is("open to writes before K is in force") {
		if err := p.sql("offline_mode=ON", func(s *server) { s.offline, s.client = true, 0 }); err != nil {
			return err
		}
	}
	if err := p.sql("read_only=OFF", func(s *server) { s.ro, s.throttled = false, false }); err != nil {
		return err
	}
	if a.w.is("reset before drained") || a.w.is("candidate not drained") {
		a.srv.loseRelay(0)
	}
	handed := a.spareTerm == sync.Term // its receiver ends beside all this: the last moment is modelled
	if f.MySQL.Receiver != roles.Off && !handed {
		if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
			return err
		}
	}
	if err := a.lockEverybody(p, false, a.spared(sync)...); err != nil && !a.w.is("strangers are not locked out") {
		return err
	}
	if err := p.sql("set K", func(s *server) { a.w.setSource(s, k) }); err != nil {
		return err
	}
	if sealed := roles.Sealed(f); !handed && len(sealed) > 0 {
		if err := p.sql("let in", func(s *server) {
			for _, i := range sealed {
				s.accounts[a.w.byName(i.Name())] = unlocked
			}
		}); err != nil {
			return err
		}
		a.admits = sync.Term
		a.want(a.ownRecord(f))
	}
	if f.MySQL.Receiver != roles.Off && handed {
		if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
			return err
		}
	}
	p.pause("check lease")
	if !a.keeper.held() {
		return fmt.Errorf("open writes: the lease ran out while opening")
	}
	if err := p.sql("offline_mode=OFF", func(s *server) { a.w.opened(a, sync.Term); s.offline = false }); err != nil {
		return err
	}
	a.leading, a.openTerm, a.admits, a.checkpoints, a.follow = sync, sync.Term, 0, nil, roles.Follow{}
	clear(a.silent)
	a.keeper.opened(sync.Term)
	return nil
}

func (a *agent) lockEverybody(p *proc, mayFree bool, spare ...int) error {
	if a.w.is("strangers are not locked out") {
		return nil
	}
	lock := func(s *server) {
		for i := range s.accounts {
			if s.accounts[i] == unlocked && !slices.Contains(spare, i) {
				s.accounts[i] = locked
			}
		}
	}
	err := p.sql("lock everybody", lock)
	if err != nil && mayFree {
		if err = p.sql("source off", func(s *server) { a.w.setSource(s, 0) }); err == nil {
			err = p.sql("lock everybody", lock)
		}
	}
	if err != nil {
		return err
	}
	return p.sql("kill dump threads", func(s *server) {
		for i := range a.w.nodes {
			if !slices.Contains(spare, i) {
				a.w.killDumps(s, i)
			}
		}
	})
}

// fence never fails: in order, or by SIGKILL.
func (a *agent) fence(p *proc) {
	if a.srv.up && a.fenceServer(p) != nil {
		p.pause("SIGKILL")
		a.w.kill(a.srv)
	}
	a.giveUpAttach()
	a.keeper.armed, a.keeper.term, a.fed, a.mem = false, 0, 0, memory{}
	a.keeper.drop()
	a.promoted, a.admits, a.founded = 0, 0, false
}

func (a *agent) fenceServer(p *proc) error {
	if !a.w.is("fence leaves clients and waiters") {
		if err := p.sql("offline_mode=ON", func(s *server) { s.offline, s.client = true, 0 }); err != nil {
			return err
		}
	} else {
		return p.sql("super_read_only=ON", func(s *server) { s.ro, s.offline = true, true })
	}
	for range 3 {
		hangs := true
		if err := p.sql("super_read_only=ON", func(s *server) {
			if s.wait == 0 {
				s.ro, hangs = true, false
			}
		}); err != nil {
			return err
		}
		if !hangs {
			return nil
		}
	}
	return fmt.Errorf("super_read_only: commits still wait")
}

// writeSync changes the ack set under the lock.
func (a *agent) writeSync(p *proc, next roles.Sync) error {
	id := a.session
	ok, err := p.consulCall("write ack set", func() bool {
		if a.w.is("alone without lock and version") && len(next.Members) == 1 {
			a.w.consul.put(next)
			return true
		}
		return a.w.consul.holds(id) && a.w.consul.cas(next)
	})
	return a.adoptSync(p, next, ok, err)
}

func (a *agent) adoptSync(p *proc, next roles.Sync, ok bool, err error) error {
	if err == errUnreachable {
		return err
	}
	if err == nil && !ok {
		return errNotNow
	}
	v, rerr := p.refresh()
	if rerr != nil || !v.Sync.Equal(next) {
		a.keeper.destroy(p)
		return fmt.Errorf("write ack set: outcome unknown: %v %v", err, rerr)
	}
	a.leading = v.Sync
	return p.save(func(d *disk) { d.lastSync = v.Sync })
}

func (a *agent) takeBack(p *proc, next roles.Sync) error {
	id, me, t0 := a.session, a.inc(), a.now()
	if id == "" {
		return fmt.Errorf("no session")
	}
	c := a.w.consul
	ok, err := p.consulCall("take back", func() bool {
		free := c.v.Leader.Free() || c.v.Leader.Session == id
		if !c.alive(id) || !free || c.v.Sync.Ver != next.Ver {
			return false
		}
		a.w.opened(a, next.Term)
		return c.lock(id, me) && c.cas(next)
	})
	err = a.adoptSync(p, next, ok, err)
	if err != nil && !a.leading.Equal(next) {
		return err
	}
	a.keeper.hold(t0, id, me)
	a.openTerm = a.leading.Term
	a.keeper.opened(a.openTerm)
	return err
}

func (a *agent) putBack(p *proc, s roles.Step) error {
	me, id, sync := a.inc(), a.disk.cluster, s.Sync
	c := a.w.consul
	v, err := p.refresh()
	if err != nil {
		return err
	}
	var r roles.Request
	if s.For != "" {
		if r, err = requestOf(v, s.For); err != nil {
			return err
		}
		if roles.Refuse(r, v) != nil || r.State != roles.RequestOpen {
			return errNotNow
		}
		r.State, r.Inc = roles.RequestRunning, me
	}
	ok, err := p.consulCall("put back", func() bool {
		newer := sync.Ver != 0 && sync.Ver == c.v.Sync.Ver
		if !newer && c.v.Cluster != nil && c.v.Sync.Exists() || s.For != "" && !c.moveRequest(r) {
			return false
		}
		v := c.write()
		v.Cluster = &roles.Cluster{ID: id, CreatedBy: me}
		if newer || !v.Sync.Exists() {
			c.put(sync)
		}
		if s.For != "" {
			a.w.goOnWith(sync)
		}
		return true
	})
	if err != nil {
		return err
	}
	if !ok {
		return errNotNow
	}
	v, err = p.refresh()
	if err == nil && a.state == roles.Primary && v.Sync.Equal(sync) {
		a.leading = v.Sync
	}
	return err
}
