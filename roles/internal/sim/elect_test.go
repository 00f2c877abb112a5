package sim

import (
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const markerEvery = 500 * time.Millisecond

// seal is SEAL.
func (a *agent) seal(p *proc, f roles.Facts) error {
	v, err := p.refresh()
	if err != nil {
		return err
	}
	if !v.Leader.Free() {
		return errNotNow
	}
	if f.MySQL.Receiver != roles.Off && !a.w.is("seal before the receiver stopped") {
		if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
			return err
		}
		if a.srv.receiver != roles.Off {
			return fmt.Errorf("the receiver did not stop")
		}
	}
	a.follow = roles.Follow{}
	term := v.Sync.Term + 1
	if a.disk.promised == term {
		return nil
	}
	return p.save(func(d *disk) { d.promised, d.lastSync = term, newer(d.lastSync, v.Sync) })
}

func newer(a, b roles.Sync) roles.Sync {
	if b.Term > a.Term || b.Term == a.Term && b.Ver > a.Ver {
		return b
	}
	return a
}

// publishSeal is PUBLISH: the position is read now.
func (a *agent) publishSeal(p *proc) error {
	v, err := p.refresh()
	if err != nil {
		return err
	}
	if !v.Leader.Free() || v.Sync.Term+1 != a.disk.promised {
		return errNotNow
	}
	f, err := a.sealedFacts(p, v)
	if err != nil {
		return err
	}
	me, mine, c := a.inc(), roles.OwnSeal(f), a.w.consul
	ok, err := p.consulCall("publish seal", func() bool {
		if c.v.Sync.Ver != v.Sync.Ver {
			return false
		}
		c.write().Seals[me] = mine
		return true
	})
	if err != nil {
		return err
	}
	if !ok {
		return errNotNow
	}
	_, err = p.refresh()
	return err
}

func (a *agent) sealedFacts(p *proc, v roles.View) (roles.Facts, error) {
	p.pause("status")
	if !a.srv.up || a.frozenServer {
		return roles.Facts{}, fmt.Errorf("mysqld does not answer")
	}
	m := a.render()
	if a.w.is("seal before the receiver stopped") {
		m.Receiver = roles.Off
	}
	if a.w.is("received alone is the position") {
		m = receivedAlone(m)
	}
	if a.w.is("fence leaves clients and waiters") {
		m.WaitSessions = 0
	}
	if m.Receiver != roles.Off || !m.ReadOnly || m.WaitSessions > 0 {
		return roles.Facts{}, fmt.Errorf("not sealed: %w", errNotNow)
	}
	d := a.diskFacts()
	if a.full != 0 {
		d.Unfit = "no space is left"
	}
	return roles.Facts{Self: a.self(), Disk: d, MySQL: m, View: v, CannotDrain: a.noDrain, Stop: a.stop}, nil
}

func (a *agent) acquire(p *proc, f roles.Facts) error {
	v, err := p.refresh()
	if err != nil {
		return err
	}
	if !v.Leader.Free() {
		return errNotNow
	}
	if a.state == roles.Failover {
		if e := a.w.elect(f.Self.Inc, v); !e.Win {
			return fmt.Errorf("%s: %w", e.Why, errNotNow)
		}
	}
	a.promoted = 0
	got, err := a.keeper.acquire(p, f.Self.Inc)
	if err != nil {
		return err
	}
	if !got {
		return errNotNow
	}
	_, err = p.refresh()
	return err
}

func (a *agent) drain(p *proc, f roles.Facts) error {
	err := p.sql("start applier", func(s *server) { s.applier = roles.On })
	for range 8 {
		if err != nil || a.srv.undrained() == 0 {
			break
		}
		p.pause("wait until drained")
		if !a.srv.up {
			err = fmt.Errorf("mysqld is gone")
		}
	}
	if err != nil || a.srv.undrained() != 0 {
		if a.w.fault() {
			a.noDrain = f.Disk.Promised
		}
		return fmt.Errorf("not drained: %v", err)
	}
	return nil
}

// promote is PROMOTE.
func (a *agent) promote(p *proc) error {
	v, err := p.refresh()
	if err != nil {
		return err
	}
	id := a.session
	f, err := a.sealedFacts(p, v)
	if err != nil {
		return err
	}
	e := a.w.elect(f.Self.Inc, v)
	same := v.Seals[f.Self.Inc].Position.Equal(f.MySQL.Position())
	if !e.Win || v.Leader.Session != id || !same || !f.MySQL.Undrained().IsEmpty() && !a.w.is("reset before drained") {
		return fmt.Errorf("%s: %w", e.Why, errNotNow)
	}
	if err := p.save(func(d *disk) {
		if a.w.is("a promotion is remembered before it is recorded") {
			d.lastSync = e.Next
		}
	}); err != nil {
		return err
	}
	ok, err := p.consulCall("promote", func() bool {
		if a.w.is("promote without lock and version") {
			a.w.consul.put(e.Next)
			return true
		}
		if !a.w.consul.holds(id) || !a.w.consul.cas(e.Next) {
			return false
		}
		if v.Automatic(e.Next) {
			a.w.promotedAt = append(a.w.promotedAt, a.w.now)
		}
		return true
	})
	if err == errUnreachable {
		return err
	}
	if err == nil && !ok {
		_ = a.keeper.release(p)
		return fmt.Errorf("promote: refused")
	}
	after, rerr := p.refresh()
	if rerr != nil || !after.Sync.Equal(e.Next) || after.Leader.Session != id {
		a.keeper.destroy(p)
		return fmt.Errorf("promote: outcome unknown")
	}
	if err := p.save(func(d *disk) { d.lastSync = after.Sync }); err != nil {
		return err
	}
	a.promoted = e.Next.Term
	return nil
}
