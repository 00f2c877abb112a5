package sim

import (
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// purge removes a server's binary logs up to somewhere.
func (w *world) purge(n *node) {
	s := n.srv
	most := 0
	for most < len(s.binlog) && !s.wait.has(s.binlog[most]) {
		most++
	}
	s.purged = max(s.purged, w.c.pick(most+1))
	w.note("%s purges its binary logs: %d of %d are gone", n.name, s.purged, len(s.binlog))
}

// gonePart is what is in no binary log of the server any more.
func (s *server) gonePart() (gone set) {
	for _, id := range s.binlog[:s.purged] {
		gone |= one(id)
	}
	return gone
}

// snapshot is taken of whatever a server has executed; whether it was acknowledged plays no part.
func (w *world) snapshot(n *node) {
	if !n.srv.up || n.frozenServer || n.disk.condemned {
		return
	}
	w.x.snapshots = append(w.x.snapshots, copied{n.srv.exec, append([]account{}, n.srv.accounts...)})
	w.note("%s takes a snapshot with %s", n.name, n.srv.exec)
}

// loseDisk is a node that comes back with an empty directory. One per run, and nothing else goes wrong until it is back:
// two copies of a write with one acknowledgement do not survive more.
func (w *world) loseDisk(n *node) {
	sync := w.consul.v.Sync
	if w.x.lost || sync.Acks == 0 || n.frozenAgent || n.frozenServer {
		return
	}
	for _, o := range w.nodes {
		if o != n && (!o.on || o.disk.void || o.boot != o.disk.boot || !sync.Has(o.inc())) {
			return
		}
	}
	w.note("FAULT %s loses its disk", n.name)
	w.x.lost = true
	w.budget = 0
	n.killAgent()
	w.kill(n.srv)
	n.disk = disk{}
	n.srv = newServer(n.id, len(w.nodes), w.newUUID())
	n.fed = 0
}

// usableSnapshot is the newest whose data the primary's binary logs continue.
func (w *world) usableSnapshot(h *server) (copied, bool) {
	history := h.exec | h.wait
	for i := len(w.x.snapshots) - 1; i >= 0; i-- {
		c := w.x.snapshots[i]
		if h.gonePart().in(c.data) && c.data.in(history) || w.is("any snapshot is used") {
			return c, true
		}
	}
	return copied{}, false
}

// origin is where a node without data gets it from: a snapshot, else a member, a follower rather than the primary.
func (a *agent) origin(v roles.View, h roles.Node) (copied, error) {
	w := a.w
	p := w.nodes[w.byAddr(h.MySQL)]
	reach := func(o *node) bool { return o.srv.up && !o.frozenServer && w.linked(a.node, o) && o != a.node }
	if !reach(p) {
		return copied{}, fmt.Errorf("the history of %s is not known", h.Name)
	}
	if c, ok := w.usableSnapshot(p.srv); ok {
		w.note("%s: restores a snapshot with %s", a.name, c.data)
		return c, nil
	}
	if w.rare.copies {
		for _, i := range v.Incs() {
			n := v.Nodes[i]
			o := w.nodes[w.byName(n.Name)]
			if n.Alive() && n.Healthy && n.Caught && (n.State == roles.Standby || n.State == roles.Replica) && reach(o) && o.disk.hasData && !o.disk.condemned {
				w.note("%s: clones %s", a.name, o.name)
				return copied{o.srv.exec, append([]account{}, o.srv.accounts...)}, nil
			}
		}
	}
	return copied{p.srv.exec, append([]account{}, p.srv.accounts...)}, nil
}
