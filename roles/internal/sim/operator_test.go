package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// wishes says what operators ask for in a run, beside switchovers.
type wishes struct {
	rebuild bool // rebuilds
	remove  bool // removals; who was removed comes back with an empty directory
	force   bool // failovers at any price, after nodes have been lost for long
}

// given is what an operator has accepted to lose.
type given struct{ term uint64 }

// wish lets an operator ask for something, as the command line does: refused at once, or written down.
func (w *world) wish() {
	n := w.nodes[w.c.pick(len(w.nodes))]
	r := roles.Request{ID: fmt.Sprint("o", w.consul.index), Node: n.name, By: "operator", Timeout: 30 * time.Second}
	var kinds []roles.RequestKind
	for _, k := range []struct {
		on   bool
		kind roles.RequestKind
	}{{w.wishes.rebuild, roles.RequestRebuild}, {w.wishes.remove, roles.RequestRemove}, {w.wishes.force, roles.RequestFailover}} {
		if k.on {
			kinds = append(kinds, k.kind)
		}
	}
	r.Kind = kinds[w.c.pick(len(kinds))]
	r.Options.Force = w.c.pick(2) == 0
	if r.Kind == roles.RequestFailover {
		r.Options = roles.RequestOptions{Force: true, AcceptDataLoss: true}
	}
	if r.Kind == roles.RequestFailover && w.c.pick(3) == 0 { // what makes somebody ask for it
		for i, o := range w.nodes {
			if o != n && w.c.pick(3) != 0 && !o.off {
				w.strike(powerOff, w.nodes[i])
				o.off = true
			}
		}
	}
	if no := roles.Refuse(r, w.consul.read()); no != nil {
		w.note("OPERATOR asks to %s %s and is refused: %s", r.Kind, r.Node, no.Why)
		return
	}
	w.note("OPERATOR asks to %s %s, %+v", r.Kind, r.Node, r.Options)
	w.consul.ask(r)
}

// ages says for how long each unfinished request has been known here.
func (a *agent) ages(v roles.View) map[string]time.Duration {
	if len(v.Requests) == 0 {
		a.seen = nil
		return nil
	}
	seen, out := map[string]time.Duration{}, map[string]time.Duration{}
	for _, r := range v.Requests {
		since, ok := a.seen[r.ID]
		if !ok {
			since = a.now()
		}
		seen[r.ID], out[r.ID] = since, a.now()-since
	}
	a.seen = seen
	return out
}

// serveRequests moves on what this node is responsible for.
func (a *agent) serveRequests(p *proc, f roles.Facts) {
	if next, ok := roles.Move(a.state, f); ok && a.moveRequest(p, next) == nil {
		a.w.note("%s: request to %s %s: %s %s%s", a.name, next.Kind, next.Node, next.State, next.Outcome, next.Progress)
	}
}

func requestOf(v roles.View, id string) (roles.Request, error) {
	for _, r := range v.Requests {
		if r.ID == id {
			return r, nil
		}
	}
	return roles.Request{}, errNotNow
}

// surrender is a node's part of its rebuild.
func (a *agent) surrender(p *proc, s roles.Step) error {
	v, err := p.refresh()
	if err != nil {
		return err
	}
	r, err := requestOf(v, s.For)
	if err != nil {
		return err
	}
	h, ok := v.ValidPrimary()
	if !ok || h.Inc == a.inc() || v.Sync.Has(a.inc()) {
		return errNotNow
	}
	r.Progress = "the data is given up"
	c := a.w.consul
	done, err := p.consulCall("give up data", func() bool { return c.v.Sync.Ver == v.Sync.Ver && c.moveRequest(r) })
	if err != nil {
		return err
	}
	if !done {
		return errNotNow
	}
	return p.save(func(d *disk) { d.condemned = true })
}

// force writes this node into the record as all that is left.
func (a *agent) force(p *proc, s roles.Step) error {
	v, err := p.refresh()
	if err != nil {
		return err
	}
	r, err := requestOf(v, s.For)
	if err != nil {
		return err
	}
	c, me := a.w.consul, a.inc()
	if roles.Refuse(r, v) != nil || !v.Leader.Free() || v.Sync.Ver != s.Sync.Ver || r.State != roles.RequestOpen {
		return errNotNow
	}
	next, taken := roles.Forced(me, v), c.taken
	r.State, r.Inc = roles.RequestRunning, me
	done, err := p.consulCall("force failover", func() bool {
		if c.taken != taken || c.v.Sync.Ver != v.Sync.Ver || !c.moveRequest(r) || !c.cas(next) {
			return false
		}
		a.w.giveUp(a.node, next.Term)
		return true
	})
	if err != nil {
		return err
	}
	if !done {
		return errNotNow
	}
	_, err = p.refresh()
	return err
}

// giveUp is the loss an operator accepted: what this node does not hold, and whatever is acknowledged by a primary of an
// earlier term from now on.
func (w *world) giveUp(n *node, term uint64) {
	keeps := n.srv.exec // what cannot be applied is in no binary log, and a power cut may take it
	if n.ag.noDrain != n.disk.promised {
		keeps = n.srv.has()
	}
	w.note("OPERATOR has given up %s", w.ackedW&^keeps)
	w.ackedW &= keeps
	w.given.term = term
}

// goOnWith is a record that an operator had put back without all of its members. When it is the one that was lost, nothing
// is; otherwise whatever it does not promise is part of an accepted loss.
func (w *world) goOnWith(sync roles.Sync) {
	sync.Ver = w.x.forgotten.Ver
	if sync.Equal(w.x.forgotten) {
		w.note("OPERATOR goes on without somebody: with the record that was lost, %s", sync)
		return
	}
	lost := w.ackedW
	for id := range 64 {
		have := 0
		for _, a := range sync.Ackers() {
			if one(id).in(w.nodes[w.byName(a.Name())].srv.has()) {
				have++
			}
		}
		if p := w.byName(sync.Primary.Name()); have < sync.Acks || !one(id).in(w.nodes[p].srv.has()) {
			w.ackedW &^= one(id)
		}
	}
	w.note("OPERATOR goes on without somebody: with an older record, %s instead of %s; has given up %s", sync, w.x.forgotten, lost&^w.ackedW)
	w.given.term = sync.Term + 1
}

// givenUp reports whether an acknowledgement of this server is part of an accepted loss.
func (w *world) givenUp(s *server) bool {
	return w.given.term != 0 && (s.node != w.openNode || w.openTerm < w.given.term)
}

// dismiss takes a node out for good.
func (a *agent) dismiss(p *proc, s roles.Step, f roles.Facts) error {
	r, err := requestOf(f.View, s.For)
	if err != nil {
		return err
	}
	i := a.w.byName(r.Node)
	if n, ok := f.View.Living(r.Node); !ok || !n.Alive() || n.Inc == s.Node {
		if err := p.sql("lock account", func(s *server) { s.accounts[i] = min(s.accounts[i], locked) }); err != nil {
			return err
		}
		if err := p.sql("kill dump thread", func(s *server) { a.w.killDumps(s, i) }); err != nil {
			return err
		}
		if err := p.sql("drop account", func(s *server) { s.accounts[i] = none }); err != nil {
			return err
		}
	}
	r.State, r.Outcome = roles.RequestDone, r.Node+" is out of the cluster"
	c, id := a.w.consul, a.session
	done, err := p.consulCall("remove", func() bool {
		if !c.holds(id) || c.v.Sync.Ver != s.Sync.Ver || !c.moveRequest(r) {
			return false
		}
		v := c.write()
		if s.Node.HasData() {
			v.Removed[s.Node] = true
		}
		for i, n := range v.Nodes {
			if i.Name() == r.Node && !n.Alive() {
				delete(v.Nodes, i)
				delete(v.Seals, i)
			}
		}
		return true
	})
	if err == nil && !done {
		return errNotNow
	}
	return err
}

func (a *agent) forget(p *proc, i roles.Inc) error {
	_, err := p.consulCall("forget", func() bool {
		v := a.w.consul.write()
		delete(v.Nodes, i)
		delete(v.Seals, i)
		return true
	})
	return err
}

// removed ends a node that was taken out. Somebody gives it an empty directory, and it joins as a new one.
func (a *agent) removed(p *proc) bool {
	if !a.view.OK || !a.view.Removed[a.inc()] || a.state == roles.Primary {
		return false
	}
	p.pause("end mysqld")
	a.w.kill(a.srv)
	id := a.session
	_, _ = p.consulCall("close session", func() bool { a.w.consul.end(id); return true })
	a.w.note("%s: was removed; it ends, and gets an empty directory", a.name)
	n := a.node
	n.disk, n.fed, n.mem = disk{}, 0, memory{}
	n.srv = newServer(n.id, len(a.w.nodes), a.w.newUUID())
	return true
}

// TestWishesComeTrue: what operators ask for in these runs is done in many of them.
func TestWishesComeTrue(t *testing.T) {
	for name, done := range map[string]string{
		"rebuilds and removals": "has new data and follows", "removals of five": "was removed; it ends", "forced failovers": "OPERATOR has given up", "forced, Consul is wiped": "OPERATOR goes on without",
	} {
		p, times := plans()[name], 0
		for seed := range uint64(25) {
			times += strings.Count(strings.Join(play(p, seeded(seed), true).trace, "\n"), done)
		}
		require.NotZero(t, times, "%s: %s", name, done)
		t.Logf("%s: %d times %q in 25 schedules", name, times, done)
	}
}
