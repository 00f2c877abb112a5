package playground

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// WaitReady waits until the cluster is whole: one primary, as many standbys as it may have, the rest replicas, all
// healthy, and a standby may take over. It ends early when a node refuses to run at all (exit code 2 or 3). The error names what is missing.
func (p *Playground) WaitReady(ctx context.Context) error {
	shown := &lastView{}
	return p.WaitFor(ctx, func(d Document) string {
		if line := d.Line(); shown.isNew(line) {
			p.log.printf("%s", line)
		}
		if why := p.refused(); why != nil {
			return "" // looked at below
		}
		return p.missing(d)
	})
}

// WaitFor waits until what returns "", and otherwise says what is still missing; d is the present state. Its error is
// that sentence, and the cause of ctx.
func (p *Playground) WaitFor(ctx context.Context, what func(d Document) string) error {
	for {
		missing := what(p.Document())
		if err := p.refused(); err != nil {
			return err
		}
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the cluster: %w: %s", context.Cause(ctx), missing)
		case <-p.ctx.Done():
			return fmt.Errorf("wait for the cluster: the playground has ended")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// WaitNodes waits until the named nodes follow (or lead) and are healthy.
func (p *Playground) WaitNodes(ctx context.Context, names ...string) error {
	return p.WaitFor(ctx, func(d Document) string {
		var wrong []string
		for _, name := range names {
			n, ok := d.Node(name)
			switch {
			case !ok:
				wrong = append(wrong, name+" is not there yet")
			case !n.settled() || !n.Healthy:
				wrong = append(wrong, n.describe())
			}
		}
		return strings.Join(wrong, "; ")
	})
}

// settled says whether the node is in one of the three states it stays in.
func (n Node) settled() bool {
	return n.State == "primary" || n.State == "standby" || n.State == "replica"
}

// hopeless is how often a node may end without ever having answered.
const hopeless = 3

// refused is the error of a node that will never run: its settings or its data are wrong (exit codes 2 and 3), or it
// ends again and again before it answers. Starting it once more is no help.
func (p *Playground) refused() error {
	for _, n := range p.all() {
		n.mu.Lock()
		down := (n.proc == nil || !n.proc.running()) && n.wanted && n.deaths > 0
		refused := down && (n.code == 2 || n.code == 3 || n.deaths >= hopeless && !n.lived)
		why := n.why
		n.mu.Unlock()
		if refused {
			return fmt.Errorf("%s does not run: %s; see %s", n.spec.Name, why, p.lay.nodeLog(n.spec.Name))
		}
	}
	return nil
}

// missing says what keeps d from being ready, "" for nothing. Nodes that were stopped on purpose do not count.
func (p *Playground) missing(d Document) string {
	stopped := map[string]bool{}
	for _, n := range p.all() {
		n.mu.Lock()
		stopped[n.spec.Name] = !n.wanted && n.proc == nil && !n.began.IsZero()
		n.mu.Unlock()
	}
	p.mu.Lock()
	pl := p.plan
	p.mu.Unlock()
	var nodes []Node
	for _, n := range d.Nodes {
		if !stopped[n.Name] {
			nodes = append(nodes, n)
		}
	}
	return notReady(nodes, pl.standbys(len(nodes), p.args), d.AckSet.Acks)
}

// notReady is the definition of ready. With standbys it includes the promise that at least one of them holds every
// acknowledged write: before that none of them may take over.
func notReady(nodes []Node, standbys, acks int) string {
	if len(nodes) == 0 {
		return "there is no node yet"
	}
	count := map[string]int{}
	var wrong []string
	for _, n := range nodes {
		count[n.State]++
		if !n.settled() || !n.Healthy {
			wrong = append(wrong, n.describe())
		}
	}
	if count["primary"] != 1 {
		wrong = append(wrong, fmt.Sprintf("there are %d primaries", count["primary"]))
	}
	if count["standby"] != standbys {
		wrong = append(wrong, fmt.Sprintf("%d of %d standbys are there", count["standby"], standbys))
	} else if acks < min(1, standbys) {
		wrong = append(wrong, "no standby is known to hold every acknowledged write yet")
	}
	return strings.Join(wrong, "; ")
}

// describe is the node in a few words.
func (n Node) describe() string {
	s := n.Name + " is " + n.State
	if !n.Healthy {
		s += ", not healthy"
	}
	if n.Reason != "" {
		s += " (" + n.Reason + ")"
	}
	return s
}

// Line is the cluster in one line: who is what.
func (d Document) Line() string {
	var parts []string
	for _, n := range d.Nodes {
		s := n.Name + " " + n.State
		if !n.Healthy && n.State != "down" {
			s += "?"
		}
		parts = append(parts, s)
	}
	slices.Sort(parts)
	return fmt.Sprintf("term %d: %s", d.Term, strings.Join(parts, " · "))
}
