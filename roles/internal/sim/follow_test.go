package sim

import (
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// followPrimary is FOLLOW.
func (a *agent) followPrimary(p *proc, f roles.Facts) error {
	h, ok := f.View.Admitting()
	if !ok {
		return errNotNow
	}
	sync := f.View.Sync
	armed := sync.Has(f.Self.Inc) && !f.Self.NoFailover
	if a.w.is("armed before the record") {
		armed = true
	}
	purged := a.srv.receiver == roles.Off && a.srv.ioErr && f.MySQL.Source == h.MySQL
	switch {
	case !purged && a.checked == [2]any{h.Inc, sync.Term}:
	case !purged && roles.WinnerHolds(f, h):
		a.checked = [2]any{h.Inc, sync.Term}
	default:
		if s := a.srv; f.MySQL.Receiver != roles.Off && (f.MySQL.Source != h.MySQL || s.posUUID != h.Inc.UUID()) && !a.w.is("histories compared while receiving") {
			if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
				return err
			}
		}
		diverged, err := a.compare(p, h)
		if err != nil || diverged {
			return err
		}
		a.checked = [2]any{h.Inc, sync.Term}
	}
	noteFollowed(p, f)
	m := f.MySQL
	next := roles.Follow{Primary: h.Inc, Term: sync.Term, Armed: armed}
	if m.Source == h.MySQL && m.Receiver != roles.Off && m.Applier == roles.On && m.ArmedWanted == armed && m.Armed == armed && !m.Offline {
		a.follow, a.chained = next, nil
		return nil
	}
	return a.repoint(p, f, h, next)
}

func noteFollowed(p *proc, f roles.Facts) {
	sync := f.View.Sync
	_ = p.save(func(d *disk) {
		d.lastSync, d.promised = newer(refused(d.lastSync, sync, f.Self.Inc), sync), max(d.promised, sync.Term)
	})
}

// expected is what was confirmed before the primary was open.
type expected struct {
	roles.Follow
	ver uint64
}

func (a *agent) expectPrimary(p *proc, f roles.Facts) error {
	h, ok := f.View.Promoted()
	if !ok || !roles.WinnerHolds(f, h) {
		return errNotNow
	}
	next := roles.Following(f, h)
	a.checked = [2]any{h.Inc, next.Term}
	noteFollowed(p, f)
	if err := a.confirmAs(p, f, next); err != nil {
		return err
	}
	a.expected = expected{next, f.View.Sync.Ver}
	return nil
}

func (a *agent) confirmAs(p *proc, f roles.Facts, next roles.Follow) error {
	if s := a.srv; s.srcOn {
		if s.wait != 0 {
			return errNotNow
		}
		if err := p.sql("source off", func(s *server) { a.w.setSource(s, 0) }); err != nil {
			return err
		}
	}
	if f.MySQL.Receiver != roles.Off {
		if err := p.sql("stop receiver", a.w.stopReceiver); err != nil {
			return err
		}
	}
	a.follow, a.chained = next, nil
	n := a.ownRecord(f)
	n.Receiver, n.Armed, n.Confirms, n.Caught = "", false, nil, false
	if err := a.publishFollow(p, n, f.View.Sync.Ver); err != nil {
		a.follow = roles.Follow{}
		return err
	}
	return nil
}

func (a *agent) repoint(p *proc, f roles.Facts, h roles.Node, next roles.Follow) error {
	back := a.chained != nil
	done := a.expected == expected{next, f.View.Sync.Ver} && a.follow == next && f.MySQL.Receiver == roles.Off
	a.expected = expected{}
	if !done {
		if err := a.confirmAs(p, f, next); err != nil {
			return err
		}
	}
	src := a.w.byAddr(h.MySQL)
	armed := next.Armed || back && a.w.is("a chained node goes back without disarming")
	if err := a.receive(p, src, armed); err != nil {
		return err
	}
	return p.sql("offline_mode=OFF", func(s *server) { s.offline, s.throttled = false, false }) // events have been switched off before
}

// publishFollow says that it will acknowledge only while the record that names it a member stands.
func (a *agent) publishFollow(p *proc, n roles.Node, ver uint64) error {
	if !n.ArmedWanted {
		a.want(n)
		return a.putRecord(p, n)
	}
	a.wanted = nil
	return a.putRecordIf(p, n, func() bool { return a.w.consul.v.Sync.Ver == ver })
}

// compare reads the own position first, then the primary's whole history.
func (a *agent) compare(p *proc, h roles.Node) (bool, error) {
	p.pause("status")
	mine := a.srv.position()
	p.pause("history of " + h.Name)
	src := a.w.nodes[a.w.byAddr(h.MySQL)]
	if !a.srv.up || !src.srv.up || src.frozenServer || !a.w.linked(a.node, src) {
		return false, fmt.Errorf("history of %s: no answer", h.Name)
	}
	history := src.srv.exec | src.srv.wait
	missing := src.srv.gonePart() &^ mine
	if mine.in(history) && missing == 0 || a.w.is("no errant check") || mine.in(history) && a.w.is("purged binary logs are not noticed") {
		return false, nil
	}
	v, err := p.refresh()
	if err != nil {
		return false, err
	}
	if o, ok := v.ValidPrimary(); !ok || o.Inc != h.Inc {
		return false, errNotNow
	}
	a.w.note("%s: diverged, it alone holds %s, and cannot get %s", a.name, mine&^history, missing)
	return true, p.save(func(d *disk) { d.condemned = true })
}

func (a *agent) confirm(p *proc, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok {
		return errNotNow
	}
	var kept []roles.Confirmation
	for _, g := range a.confirms {
		for _, c := range h.Checkpoints {
			if c.Seq == g.Seq {
				kept = append(kept, g)
			}
		}
	}
	a.confirms = kept
	for _, c := range roles.Answers(f, h) {
		if f.Disk.Void && c.For == roles.ReadmitQuestion(f.Self.Inc, f.MySQL.ReceiverID) {
			_ = p.save(func(d *disk) { d.void = false })
		}
		a.confirms = append(a.confirms, roles.Confirmation{Seq: c.Seq, Receiver: f.MySQL.ReceiverID})
	}
	n := a.ownRecord(f)
	a.want(n)
	if err := a.putRecord(p, n); err != nil {
		return err
	}
	_, err := p.refresh()
	return err
}
