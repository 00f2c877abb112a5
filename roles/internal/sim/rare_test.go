package sim

import (
	"maps"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// rare says which unusual things happen in a run, beside the usual faults.
type rare struct {
	wipes    bool // Consul loses the cluster's keys, or everything
	backups  bool // an old backup of Consul is put back
	copies   bool // binary logs are purged, snapshots are taken and restored
	disks    bool // one node loses its disk
	settings bool // acks and max-ackers change at run time; nodes are tagged nofailover and get priorities
	clocks   bool // the nodes' clocks run at different speeds, up to 1 % apart
}

// unusual is the state of all that.
type unusual struct {
	snapshots []copied
	backup    *consul
	lost      bool // a disk has been lost: only one is
	tags      []tag
	speed     []int      // per mille
	aged      uint64     // the term Consul was put back to; 0: it was not, or has been overtaken
	forgotten roles.Sync // the record Consul had when it lost it
}

// tag is what an operator has configured for one node; it counts from the next start of its agent.
type tag struct {
	noFailover bool
	priority   int
}

// copied is a snapshot: what it holds, and the accounts it brings along.
type copied struct {
	data     set
	accounts []account
}

func (w *world) prepareRare() {
	w.x.tags, w.x.speed = make([]tag, len(w.nodes)), make([]int, len(w.nodes))
	if w.rare.clocks {
		for i := range w.x.speed {
			w.x.speed[i] = w.c.pick(21) - 10
		}
	}
}

// now is the node's own clock.
func (n *node) now() time.Duration {
	if n.w.x.speed == nil {
		return n.w.now
	}
	return n.w.now + n.w.now*time.Duration(n.w.x.speed[n.id])/1000
}

// unusually does one of the rare things, if this run has any and it is their turn.
func (w *world) unusually(n *node) bool {
	var may []func(*node)
	for _, r := range []struct {
		on bool
		do func(*node)
	}{
		{w.rare.wipes, w.wipe}, {w.rare.backups, w.backUp}, {w.rare.backups, w.putBackup}, {w.rare.copies, w.purge}, {w.rare.copies, w.snapshot},
		{w.rare.disks, w.loseDisk}, {w.rare.settings, w.changeSettings}, {w.rare.settings, w.tagNode},
	} {
		if r.on {
			may = append(may, r.do)
		}
	}
	if len(may) == 0 || w.c.pick(3) != 0 {
		return false
	}
	may[w.c.pick(len(may))](n)
	return true
}

// wipe is a Consul whose keys were deleted, or only the record of the ack set, or that came back without its data: then the
// sessions are gone as well.
func (w *world) wipe(*node) {
	how := []string{"the cluster's keys", "its data, the sessions too", "the record of the ack set"}[w.c.pick(3)]
	w.note("FAULT Consul loses %s", how)
	w.forgetAckSet()
	if how == "the record of the ack set" {
		return
	}
	c := w.consul
	v := c.write()
	*v = roles.View{OK: true, Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}, Removed: map[roles.Inc]bool{}}
	if how != "the cluster's keys" {
		clear(c.sessions)
	}
}

func (w *world) forgetAckSet() {
	v := w.consul.write()
	if v.Sync.Exists() {
		w.x.forgotten = v.Sync
	}
	v.Sync = roles.Sync{}
}

// backUp keeps what Consul holds.
func (w *world) backUp(*node) {
	w.note("a backup of Consul is taken: %s", w.consul.v.Sync)
	w.x.backup = &consul{v: w.consul.read(), sessions: map[string]*session{}}
	for id, s := range w.consul.sessions {
		one := *s
		w.x.backup.sessions[id] = &one
	}
}

// putBackup replaces everything by the backup; sessions in it run out unless their nodes still pass them.
func (w *world) putBackup(*node) {
	b, c := w.x.backup, w.consul
	if b == nil {
		return
	}
	w.note("FAULT an old backup of Consul is put back: %s instead of %s", b.v.Sync, c.v.Sync)
	c.write()
	c.v = b.v
	c.v.Seals, c.v.Nodes = maps.Clone(b.v.Seals), maps.Clone(b.v.Nodes)
	c.shared = false
	clear(c.sessions)
	for id, s := range b.sessions {
		one := *s
		one.deadline = w.now + w.ttl
		c.sessions[id] = &one
	}
	w.x.aged = max(1, c.v.Sync.Term)
}

// refusesBackup reports whether somebody waits for a person because the record in Consul is an old one, and says so.
func (w *world) refusesBackup() bool {
	for _, n := range w.nodes {
		if w.rare.backups && n.ag != nil && (strings.Contains(n.ag.why, "is older than what") || strings.Contains(n.ag.why, "positions contradict each other")) {
			return true
		}
	}
	return false
}

// changeSettings is `config set`: every agent follows when it sees it.
func (w *world) changeSettings(*node) {
	w.set.Acks = 1 + w.c.pick(min(2, max(1, len(w.nodes)-1)))
	w.set.MaxAckers = max(w.set.Acks, 1+w.c.pick(3))
	w.note("OPERATOR sets acks to %d and max-ackers to %d", w.set.Acks, w.set.MaxAckers)
}

// tagNode changes a node's own settings; its agent is started anew with them.
func (w *world) tagNode(n *node) {
	t := &w.x.tags[n.id]
	*t = tag{noFailover: w.c.pick(2) == 0, priority: w.c.pick(3)}
	w.note("OPERATOR tags %s: nofailover %t, priority %d", n.name, t.noFailover, t.priority)
	n.killAgent()
}

// self is who an agent is.
func (a *agent) self() roles.Self {
	return roles.Self{Inc: a.inc(), Name: a.name, NoFailover: a.w.x.tags[a.id].noFailover, Priority: a.w.x.tags[a.id].priority}
}

// eligible counts the nodes beside p that may be in the ack set.
func (w *world) eligible(p *node) (n int) {
	for _, o := range w.nodes {
		if o != p && !w.x.tags[o.id].noFailover {
			n++
		}
	}
	return n
}
