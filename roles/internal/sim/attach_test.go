package sim

import (
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// memory is what an agent leaves with the guard for the next one.
type memory struct {
	boot int // which start of the server it is about
	inc  roles.Inc
	led  led
	kept kept
}

// led is the open term of a primary.
type led struct {
	term    uint64 // 0: none
	session string
	lease   time.Duration
}

// kept is what a follower has confirmed, and for which start of its receiver.
type kept struct {
	follow  roles.Follow
	checked [2]any
	rid     string // "": none
}

// adoptFound goes on with a server that a previous agent left running, if it still is what that one said.
func (a *agent) adoptFound(p *proc) bool {
	m, d := a.mem, a.disk
	if m.boot != a.srv.boot || m.inc != a.inc() || !d.hasData || d.founding || d.condemned {
		return false
	}
	switch {
	case m.led.term != 0:
		a.w.note("%s: the guard remembers that term %d is open here", a.name, m.led.term)
		a.attach = m.led.term
		a.keeper.adopt(m.led)
		_, _ = p.refresh()
		return true
	case m.kept.rid != "":
		p.pause("status")
		s := a.srv
		if !s.up || a.frozenServer || !s.ro || s.srcOn || s.wait != 0 || s.receiver != roles.On || s.rid != m.kept.rid ||
			s.armed != m.kept.follow.Armed || s.armedWanted != m.kept.follow.Armed || m.kept.follow.Term < a.disk.promised {
			return false
		}
		a.w.note("%s: goes on following %s", a.name, m.kept.follow.Primary.Name())
		a.follow, a.checked = m.kept.follow, m.kept.checked
		return true
	}
	return false
}

// goOn is ATTACH.
func (a *agent) goOn(p *proc, f roles.Facts) error {
	if !a.keeper.held() {
		return fmt.Errorf("go on: the lease ran out")
	}
	next, id := f.View.Sync, a.session
	next.Rev++
	if a.w.is("attached without a new version") {
		a.leading = f.View.Sync
	} else {
		ok, err := p.consulCall("attach", func() bool { return a.w.consul.holds(id) && a.w.consul.cas(next) })
		if err := a.adoptSync(p, next, ok, err); err != nil {
			return err
		}
	}
	if !a.keeper.held() {
		return fmt.Errorf("go on: the lease ran out meanwhile")
	}
	a.w.opened(a, a.leading.Term)
	a.attach, a.openTerm, a.checkpoints, a.follow = 0, a.leading.Term, nil, roles.Follow{}
	a.throttle = 1
	clear(a.silent)
	a.keeper.opened(a.openTerm)
	return nil
}

func (a *agent) giveUpAttach() {
	if a.attach != 0 {
		a.attach, a.session = 0, ""
	}
}

// remember leaves with the guard what a follower is.
func (a *agent) remember(f roles.Facts) {
	if a.keeper.armed {
		return
	}
	a.mem = memory{}
	if (a.state == roles.Replica || a.state == roles.Standby) && a.follow.Primary != "" && f.MySQL.Receiver == roles.On && a.diskFacts().Data == roles.DataOurs {
		a.mem = memory{boot: a.srv.boot, inc: a.inc(), kept: kept{a.follow, a.checked, f.MySQL.ReceiverID}}
	}
}

// opened is told when the server is open for a term.
func (k *keeper) opened(term uint64) {
	k.term = term
	k.feed()
}

func (k *keeper) remembered() memory {
	if !k.armed || k.term == 0 || k.lease == nil {
		return memory{}
	}
	d, _ := k.lease.Deadline()
	return memory{boot: k.a.srv.boot, inc: k.value, led: led{k.term, k.bound, d}}
}

// adopt takes over session and lease; the deadline stays what it was.
func (k *keeper) adopt(l led) {
	k.a.session = l.session
	k.value, k.bound, k.term, k.armed = k.a.inc(), l.session, l.term, true
	k.lease, k.quorum = election.NewLease(k.a.w.h), election.NewLease(k.a.w.h)
	k.lease.Renewed(l.lease - k.a.w.h)
	k.healthy = k.a.now()
}
