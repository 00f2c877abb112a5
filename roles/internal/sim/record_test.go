package sim

import "github.com/autopilot-mysql/autopilot-mysql/roles"

// ownRecord is what the node says about itself.
func (a *agent) ownRecord(f roles.Facts) roles.Node {
	m := f.MySQL
	n := roles.Node{
		Inc: a.inc(), Name: a.name, Cluster: a.disk.cluster, MySQL: a.addr(), State: a.state, Promised: a.disk.promised, Void: a.disk.void,
		NoFailover: a.self().NoFailover, Priority: a.self().Priority,
		Follows: a.follow.Primary, FollowTerm: a.follow.Term, ArmedWanted: a.follow.Armed, Armed: m.Armed && m.Receiver == roles.On,
		Caught: m.Caught, Confirms: a.confirms, Admits: a.admits, Open: a.openTerm, Checkpoints: a.checkpoints,
		Handover: a.handover, Ready: a.ready, Drained: roles.DrainedFor(f), Chained: a.chained,
	}
	if m.Receiver == roles.On {
		n.Receiver = m.ReceiverID
	}
	if a.w.is("armed before the record") && !f.View.Sync.Has(n.Inc) {
		n.ArmedWanted, n.Armed = false, false
	}
	if a.disk.hasData && a.disk.lastSync.Exists() {
		last := a.disk.lastSync
		n.LastSync = &last
	}
	n.Misses = f.View.OK && f.View.RecordLost()
	switch n.State {
	case roles.Primary:
		n.Healthy = m.Ready && n.Open != 0
	case roles.Replica, roles.Standby:
		n.Healthy = m.Ready && m.Receiver == roles.On && m.Applier == roles.On && f.Disk.Unfit == ""
	}
	n.Unfit = f.Disk.Unfit
	return n
}

func (a *agent) want(n roles.Node) { a.wanted, a.written = &n, false }

// writeRecords writes what is wanted, whenever it gets round to it.
func (a *agent) writeRecords(p *proc) {
	for {
		if a.wanted != nil && !a.written {
			n := *a.wanted
			if a.putRecord(p, n) == nil && a.wanted != nil && a.wanted.Inc == n.Inc {
				a.written = true
			}
		}
		p.pause("record")
	}
}

func (a *agent) putRecord(p *proc, n roles.Node) error {
	return a.putRecordIf(p, n, func() bool { return true })
}

// putRecordIf writes the record if may says so in the same transaction.
func (a *agent) putRecordIf(p *proc, n roles.Node, may func() bool) error {
	id, old := a.session, a.recKey
	if id == "" {
		return errUnreachable
	}
	ok, err := p.consulCall("write record", func() bool { return may() && a.w.consul.record(n, id) })
	if err != nil {
		return err
	}
	if !ok {
		return errNotNow
	}
	a.recKey = n.Inc
	if old != "" && old != n.Inc {
		_, err = p.consulCall("delete former record", func() bool { delete(a.w.consul.write().Nodes, old); return true })
	}
	return err
}
