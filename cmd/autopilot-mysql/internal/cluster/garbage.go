package cluster

import (
	"fmt"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// garbled notes a record that cannot be read, and takes back what was half read of it. What holds it, and whose it is, are
// not part of its value and stay known.
func (p *parser) garbled(kv election.KV, err error) {
	rest := strings.TrimPrefix(kv.Key, p.keys.Prefix)
	p.view.Garbled = append(p.view.Garbled, roles.Garbled{Key: rest, Why: err.Error(), Ver: kv.ModifyIndex})
	switch {
	case rest == roles.KeyCluster:
		p.view.Cluster = nil
	case rest == roles.KeySync:
		p.view.Sync = roles.Sync{}
	case rest == "snapshot/last":
		p.extra.Snapshot = nil
	case strings.HasPrefix(rest, "nodes/"):
		i := roles.Inc(rest[len("nodes/"):])
		p.view.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: kv.Session}
	}
}

// nameHolder makes sure that the lock shows who holds it. The session is what counts: the value is only a name, and
// anybody can write over it. A node's record is held by the same session.
func (p *parser) nameHolder() {
	l := &p.view.Leader
	if l.Free() || p.view.Nodes[l.Holder].Session == l.Session {
		return
	}
	for _, i := range p.view.Incs() { // the last one: a node that was rebuilt may still have the record of its former data
		if p.view.Nodes[i].Session == l.Session {
			l.Holder = i
		}
	}
}

// garbageProblems names what cannot be read, and who writes it anew.
func garbageProblems(v roles.View, primary string) []Problem {
	var out []Problem
	for _, g := range v.Garbled {
		p := Problem{What: fmt.Sprintf("Consul's record %s of the cluster cannot be read: %s", g.Key, g.Why)}
		_, of, own := strings.Cut(g.Key, "/")
		switch {
		case g.Key == "snapshot/last":
			p.Next = "the next snapshot writes it anew"
		case own && v.Nodes[roles.Inc(of)].Alive():
			p.Next = roles.Inc(of).Name() + " writes it anew when it needs it"
		case own:
			p.Do = "start " + roles.Inc(of).Name() + ", which writes it anew; if it is gone for good, delete that key"
		case primary != "":
			p.Next = primary + " writes it anew"
		default:
			p.Next = "it is put back as soon as all members of the last ack set report"
			p.Do = "start the members that are down"
		}
		out = append(out, p)
	}
	return out
}
