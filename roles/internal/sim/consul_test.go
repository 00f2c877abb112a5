package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// The outcomes of a call that did not answer.
var (
	errUnknown     = errors.New("no answer")
	errUnreachable = errors.New("Consul is not reachable")
	errNotNow      = errors.New("the situation has changed")
)

// consul is the records of one cluster. Everything on it is atomic; what takes time happens around it.
type consul struct {
	v        roles.View // never changed in place once it was read: see write
	shared   bool
	index    uint64
	sessions map[string]*session
	made     int
	taken    int // how often the lock has changed
}

// session is a node's, alive until its deadline unless it is passed.
type session struct {
	id       string
	node     int
	deadline time.Duration
}

func newConsul() *consul {
	return &consul{v: roles.View{OK: true, Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}, Removed: map[roles.Inc]bool{}}, sessions: map[string]*session{}}
}

// read is one consistent read of everything.
func (c *consul) read() roles.View {
	c.shared = true
	return c.v
}

// write prepares a change: whoever has read before keeps what was read.
func (c *consul) write() *roles.View {
	c.index++
	if c.shared {
		c.v.Seals, c.v.Nodes, c.shared = maps.Clone(c.v.Seals), maps.Clone(c.v.Nodes), false
		c.v.Requests, c.v.Removed = slices.Clone(c.v.Requests), maps.Clone(c.v.Removed)
	}
	return &c.v
}

func (c *consul) alive(id string) bool { return c.sessions[id] != nil }

// open makes a session for a node and ends those it left behind.
func (c *consul) open(node int, until time.Duration) string {
	for id, s := range c.sessions {
		if s.node == node {
			c.end(id)
		}
	}
	c.made++
	id := fmt.Sprintf("s%d.%d", node, c.made)
	c.sessions[id] = &session{id: id, node: node, deadline: until}
	return id
}

// end ends a session: its locks are free, their values stay.
func (c *consul) end(id string) {
	if !c.alive(id) {
		return
	}
	delete(c.sessions, id)
	v := c.write()
	if v.Leader.Session == id {
		c.taken++
		v.Leader.Session = ""
	}
	for i, n := range v.Nodes {
		if n.Session == id {
			n.Session = ""
			v.Nodes[i] = n
		}
	}
}

// lock takes or proves the leader lock.
func (c *consul) lock(id string, holder roles.Inc) bool {
	if !c.alive(id) || c.v.Leader.Session != "" && c.v.Leader.Session != id {
		return false
	}
	if c.v.Leader != (roles.Leader{Holder: holder, Session: id}) {
		c.taken++
		c.write().Leader = roles.Leader{Holder: holder, Session: id}
	}
	return true
}

// unlock gives it back; the value becomes empty.
func (c *consul) unlock(id string) bool {
	if id == "" || c.v.Leader.Session != id {
		return false
	}
	c.taken++
	c.write().Leader = roles.Leader{}
	return true
}

// holds is check-session on the leader key.
func (c *consul) holds(id string) bool { return id != "" && c.v.Leader.Session == id }

// cas writes sync if nobody else has since.
func (c *consul) cas(next roles.Sync) bool {
	if c.v.Sync.Ver != next.Ver {
		return false
	}
	c.put(next)
	return true
}

func (c *consul) put(next roles.Sync) {
	v := c.write()
	next.Ver = c.index
	v.Sync = next
}

// record writes a node's record under its session.
func (c *consul) record(n roles.Node, id string) bool {
	if old := c.v.Nodes[n.Inc]; !c.alive(id) || old.Session != "" && old.Session != id {
		return false
	}
	n.Session = id
	c.write().Nodes[n.Inc] = n
	return true
}

// ask writes an operator's request.
func (c *consul) ask(r roles.Request) {
	v := c.write()
	r.Ver, r.State = c.index, roles.RequestOpen
	v.Requests = append(v.Requests, r)
}

// moveRequest is a compare-and-set on a request; one that is finished is shown to nobody any more.
func (c *consul) moveRequest(next roles.Request) bool {
	i := slices.IndexFunc(c.v.Requests, func(r roles.Request) bool { return r.ID == next.ID && r.Ver == next.Ver })
	if i < 0 {
		return false
	}
	v := c.write()
	next.Ver = c.index
	if next.Final() {
		v.Requests = slices.Delete(v.Requests, i, i+1)
	} else {
		v.Requests[i] = next
	}
	return true
}
