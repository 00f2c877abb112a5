package sim

import (
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// restore copies the primary's data, or a follower's.
func (a *agent) restore(f roles.Facts) {
	h, ok := f.View.ValidPrimary()
	if !ok {
		return
	}
	a.work("copying", func(p *proc, j *job) (func() error, error) {
		p.pause("clear data")
		a.w.kill(a.srv)
		p.pause("copy")
		from, err := a.origin(f.View, h)
		if err != nil || j.cancelled {
			return nil, fmt.Errorf("no donor: %v", err)
		}
		data, accounts := from.data, from.accounts
		id := f.View.Cluster.ID
		return func() error {
			_ = p.a.replaceData(data, accounts, id, false)
			return nil
		}, nil
	})
}

func (a *agent) replaceData(data set, accounts []account, id string, founding bool) error {
	a.w.kill(a.srv)
	uuid := a.w.newUUID()
	s := newServer(a.id, len(a.w.nodes), uuid)
	s.exec = data
	for id := range a.w.made {
		if data.has(id) {
			s.binlog = append(s.binlog, id)
		}
	}
	if a.w.rare.copies {
		s.purged = len(s.binlog) // a copy has no binary logs
	}
	copy(s.accounts, accounts)
	a.srv = s
	d := &a.disk
	d.cluster, d.uuid, d.rebuilds = id, uuid, d.rebuilds+1
	d.hasData, d.condemned, d.founding, d.void, d.boot = true, false, founding, !founding, a.boot
	a.lastPos, a.confirms, a.connected = 0, nil, false
	return nil
}

// found creates the cluster's first database and records.
func (a *agent) found() {
	a.work("creating the first database", func(p *proc, j *job) (func() error, error) {
		for _, at := range []string{"initialise", "create accounts"} {
			p.pause(at)
			if !a.keeper.held() || j.cancelled {
				return nil, fmt.Errorf("the lock is lost")
			}
		}
		loop := a.procs[0]
		return func() error { return a.recordFounding(loop) }, nil
	})
}

func (a *agent) recordFounding(p *proc) error {
	id := a.w.newUUID()
	_ = a.replaceData(0, nil, id, true)
	a.srv.start()
	me, session, c := a.inc(), a.session, a.w.consul
	a.foundingSession = session
	sync := roles.Sync{Term: 1, Primary: me, Members: []roles.Inc{me}}
	ok, err := p.consulCall("create records", func() bool {
		if !c.holds(session) || c.v.Cluster != nil || c.v.Sync.Exists() {
			return false
		}
		c.lock(session, me)
		c.write().Cluster = &roles.Cluster{ID: id, CreatedBy: me}
		c.put(sync)
		return true
	})
	if err == errUnreachable || err == nil && !ok {
		_ = p.save(func(d *disk) { d.founding, d.hasData, d.cluster = false, false, "" })
		a.w.kill(a.srv)
		return fmt.Errorf("create records: refused")
	}
	v, rerr := p.refresh()
	if rerr != nil || v.Cluster == nil || v.Cluster.ID != id {
		a.keeper.destroy(p)
		return fmt.Errorf("create records: outcome unknown")
	}
	a.keeper.value, a.founded = me, true
	return p.save(func(d *disk) { d.founding, d.lastSync, d.promised = false, v.Sync, v.Sync.Term })
}
