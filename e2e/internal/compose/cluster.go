package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// Node is a node as the cluster document shows it.
type Node struct {
	Name, State, MySQL, HTTP, Reason string
	Healthy                          bool
}

// Cluster is the part of the cluster document the tests look at.
type Cluster struct {
	Primary string
	Term    uint64
	AckSet  struct {
		Members []string
		Acks    int
	} `json:"ack_set"`
	Snapshot *struct {
		ID string
		At time.Time
	}
	Nodes []Node
}

// Names are the nodes' names.
func (c Cluster) Names() []string {
	var names []string
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// Cluster is the newest document that any of the containers has.
func (p *Project) Cluster() (Cluster, error) { return p.clusterBeside("") }

// clusterBeside is Cluster without asking one container. All the others are asked: one that was cut off tells for a while
// what was before, in which it is the primary under an address that it may have no more.
func (p *Project) clusterBeside(id string) (Cluster, error) {
	var told []Cluster
	err := fmt.Errorf("no database container runs")
	for _, c := range p.Containers("mysql") {
		if !c.Running || c.Paused || c.IP == "" || c.ID == id {
			continue
		}
		var d Cluster
		if err2 := get("http://"+c.IP+":3308/cluster", &d); err2 != nil {
			err = err2
			continue
		}
		told = append(told, d)
	}
	if len(told) == 0 {
		return Cluster{}, err
	}
	return newest(told), nil
}

// newest is the document of the highest term, of equal ones the first.
func newest(told []Cluster) Cluster {
	return slices.MaxFunc(told, func(a, b Cluster) int { return cmp.Compare(a.Term, b.Term) })
}

// Line is the cluster in one line.
func (c Cluster) Line() string {
	parts := []string{fmt.Sprintf("term %d, primary %q, acks %d", c.Term, c.Primary, c.AckSet.Acks)}
	for _, n := range c.Nodes {
		parts = append(parts, fmt.Sprintf("%s %s healthy=%t (%s)", n.Name, n.State, n.Healthy, n.Reason))
	}
	return strings.Join(parts, "; ")
}

// Whole says whether n nodes stand as they should and nobody else is in the document.
func (c Cluster) Whole(n int) bool {
	count := map[string]int{}
	for _, d := range c.Nodes {
		if d.Healthy {
			count[d.State]++
		}
	}
	standbys := min(n-1, 2)
	return count["primary"] == 1 && count["standby"] == standbys && count["replica"] == n-1-standbys && c.AckSet.Acks >= min(1, standbys)
}

// WaitMoved waits until another container than was is the primary, by the word of the others.
func (p *Project) WaitMoved(was Container) {
	p.t.Helper()
	p.waitBeside(was.ID, "another primary than "+was.Name, FailoverLimit, func(c Cluster) bool {
		return slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Name == c.Primary && n.State == "primary" && n.MySQL != was.IP+":3306" })
	})
}

// Wait waits until the cluster is as wanted.
func (p *Project) Wait(what string, limit time.Duration, ok func(Cluster) bool) Cluster {
	p.t.Helper()
	return p.waitBeside("", what, limit, ok)
}

func (p *Project) waitBeside(id, what string, limit time.Duration, ok func(Cluster) bool) Cluster {
	p.t.Helper()
	var d Cluster
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if d, err = p.clusterBeside(id); err == nil && ok(d) {
			return d
		}
	}
	require.Failf(p.t, "not in time", "%s within %v: %v; now: %s", what, limit, err, d.Line())
	return d
}

// WaitWhole waits for a whole cluster of n.
func (p *Project) WaitWhole(n int) Cluster {
	p.t.Helper()
	return p.Wait(fmt.Sprintf("a whole cluster of %d", n), ReadyLimit, func(c Cluster) bool { return c.Whole(n) })
}

// Primary is the container of the primary.
func (p *Project) Primary() Container {
	p.t.Helper()
	d := p.Wait("a primary", FailoverLimit, func(c Cluster) bool { return c.Primary != "" })
	return p.ByAddr(d.mysql(d.Primary))
}

func (c Cluster) mysql(name string) string {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n.MySQL
		}
	}
	return ""
}

// ByAddr is the container that has an address.
func (p *Project) ByAddr(addr string) Container {
	p.t.Helper()
	ip, _, _ := strings.Cut(addr, ":")
	for _, c := range p.all() {
		if c.IP == ip {
			return c
		}
	}
	require.Failf(p.t, "no such container", "nobody has the address %q", addr)
	return Container{}
}
