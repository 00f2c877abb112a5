package sim

import (
	"fmt"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// violation is what must never be.
type violation struct{ kind, text string }

// fail notes the first violation.
func (w *world) fail(kind, format string, args ...any) {
	if w.broken == nil {
		w.broken = &violation{kind, fmt.Sprintf(format, args...)}
		w.note("VIOLATION %s: %s", kind, w.broken.text)
	}
}

// acknowledged is told when a client is told.
func (w *world) acknowledged(s *server, id int) {
	if w.givenUp(s) {
		w.note("client: w%d is committed, says %s; it was given up", id, w.nodes[s.node].name)
		return
	}
	w.ackedW |= one(id)
	w.note("client: w%d is committed, says %s", id, w.nodes[s.node].name)
	if w.openNode >= 0 && s.node != w.openNode && !w.openHist.has(id) {
		w.fail("lost", "w%d acknowledged by %s after %s opened term %d without it", id, w.nodes[s.node].name, w.nodes[w.openNode].name, w.openTerm)
	}
}

// opened is told when a term begins to serve.
func (w *world) opened(a *agent, term uint64) {
	// Who loses Consul's data may open the number of a term again whose opening nobody had time to remember: the writes of
	// both terms count all the same, and nobody tells terms by their numbers alone.
	forgets := w.rare.wipes || w.rare.backups
	if !forgets && !w.is("taken back in the same term") && term <= w.openTerm && !(term == w.openTerm && a.id == w.openNode) {
		w.fail("terms", "%s opens term %d, but term %d has been open", a.name, term, w.openTerm)
	}
	has := a.srv.exec | a.srv.wait
	if !w.ackedW.in(has) {
		w.fail("lost", "%s opens term %d without acknowledged %s", a.name, term, w.ackedW&^has)
	}
	w.openTerm, w.openNode, w.openHist = term, a.id, has
	w.note("%s: OPEN in term %d with %s", a.name, term, has)
}

// check looks at what must hold at every instant.
func (w *world) check() {
	able := ""
	for _, n := range w.nodes {
		if s := n.srv; s.open() && (!s.srcOn || w.armedAt(n) >= s.k) {
			able += n.name
		}
	}
	if len(able) > 1 && w.given.term == 0 { // what a deposed primary still acknowledges is part of an accepted loss
		w.fail("two primaries", "%s can both acknowledge a write", strings.Join(strings.Split(able, ""), " and "))
	}
	sync := w.consul.v.Sync
	if w.x.aged != 0 {
		if sync.Term <= w.x.aged { // an old backup says nothing about now
			return
		}
		w.x.aged = 0
	}
	have := 0
	for _, a := range sync.Ackers() {
		n := w.nodes[w.byName(a.Name())]
		if n.disk.void || !n.on || n.boot != n.disk.boot || w.ackedW.in(n.srv.has()) {
			have++
		}
	}
	if have < sync.Acks {
		w.fail("promise", "%s, but only %d ackers hold the acknowledged %s", sync, have, w.ackedW)
	}
}

// armedAt counts the streams from which an acknowledgement can still come.
func (w *world) armedAt(n *node) (c int) {
	for _, x := range w.streams {
		if x.src == n.id && !x.closed && x.armed {
			c++
		}
	}
	return c
}

// well reports whether everything is as it should be, or what is not.
func (w *world) well() string {
	sync := w.consul.v.Sync
	if !sync.Exists() {
		return "no term"
	}
	p := w.nodes[w.byName(sync.Primary.Name())]
	switch {
	case p.ag == nil || p.ag.state != roles.Primary || p.inc() != sync.Primary || !p.srv.open():
		return "no primary is open"
	case !w.consul.holds(p.ag.session):
		return "the primary does not hold the lock"
	case sync.Acks != min(w.set.Acks, w.set.MaxAckers, w.eligible(p)) || p.srv.k != sync.Acks && p.srv.srcOn || p.srv.srcOn != (sync.Acks > 0):
		return fmt.Sprintf("acks %d, K %d", sync.Acks, p.srv.k)
	case len(w.consul.v.Requests) > 0:
		return fmt.Sprintf("requests are left: %+v", w.consul.v.Requests)
	case p.srv.wait != 0:
		return "commits wait"
	case len(sync.Ackers()) != min(w.eligible(p), w.set.MaxAckers):
		return "members are missing: " + sync.String()
	}
	for _, n := range w.nodes {
		want := roles.Replica
		if sync.Has(n.inc()) {
			want = roles.Standby
		}
		if n != p && (n.ag == nil || n.ag.state != want) {
			return n.name + " is not a " + string(want)
		}
		if n.srv.throttled {
			return n.name + " slows commits down"
		}
		if n.srv.has() != p.srv.exec {
			return fmt.Sprintf("%s and %s differ: %s, %s", n.name, p.name, n.srv.has(), p.srv.exec)
		}
	}
	if !w.ackedW.in(p.srv.exec) {
		return "an acknowledged write is missing"
	}
	return ""
}
