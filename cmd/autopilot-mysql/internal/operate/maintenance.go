package operate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Maintenance is what an operator asks for who wants to work on one node.
type Maintenance struct {
	Node   string
	Reason string
	// Force also takes out a standby that the promised acknowledgements need.
	Force bool
	// Wait is how long to wait until the node is out of the ack set; 0: not at all.
	Wait time.Duration
}

// PauseNode takes a node out of service until ResumeNode. The record in force is returned, and whether it is a former one.
func (d *Desk) PauseNode(ctx context.Context, m Maintenance) (p roles.Pause, former bool, err error) {
	const what = "pause node"
	p = roles.Pause{By: d.By, At: d.Now().UTC().Truncate(time.Second), Reason: m.Reason, Force: m.Force}
	err = d.change(ctx, what, func(now picture) ([]election.Op, *cluster.HistoryEntry, error) {
		if err := now.node(what, m.Node); err != nil {
			return nil, nil, err
		}
		was, there := now.Maintenance[m.Node]
		if there && (!m.Force || was.Force) {
			p, former = was, true
			return nil, nil, nil
		}
		if no := roles.RefuseMaintenance(m.Node, m.Force, now.View); no != nil {
			return nil, nil, refusal(what, m.Node, no)
		}
		key := d.keys().Maintenance(m.Node)
		return []election.Op{election.CAS(key, now.index(key), cluster.Encode(p))},
			&cluster.HistoryEntry{Kind: cluster.HistoryPause, Node: m.Node, Why: m.Node + " was taken out of service" + p.Text()}, nil
	})
	if err != nil || d.DryRun || m.Wait <= 0 {
		return p, former, err
	}
	return p, former, d.awaitOut(ctx, what, m)
}

// awaitOut waits until nobody counts on the node's acknowledgements any more.
func (d *Desk) awaitOut(ctx context.Context, what string, m Maintenance) error {
	wctx, cancel := context.WithTimeout(ctx, m.Wait)
	defer cancel()
	said := false
	for {
		p, err := d.read(wctx, what)
		if err == nil && !slices.ContainsFunc(p.Sync.Members, func(i roles.Inc) bool { return i.Name() == m.Node }) {
			return nil
		}
		if err == nil && !said {
			said = true
			d.Say("waiting until the primary has taken " + m.Node + " out of the ack set")
		}
		sleep(wctx, retryPause)
		if wctx.Err() == nil {
			continue
		}
		why := fmt.Sprintf("it is in maintenance and still in the ack set after %v", m.Wait)
		switch {
		case ctx.Err() != nil:
			why = "interrupted; it is in maintenance and leaves the ack set without this command"
		case err != nil:
			why = fmt.Sprintf("it is in maintenance; whether it is out of the ack set is not known, Consul does not answer: %s", err)
		}
		return &cli.Error{Code: cli.Unknown, What: what, Node: m.Node, Why: why,
			Next: "do not stop it before status shows it outside; to undo: autopilot-mysql resume " + m.Node}
	}
}

// ResumeNode puts a node back into service; paused is false when it was.
func (d *Desk) ResumeNode(ctx context.Context, node string) (paused bool, err error) {
	const what = "resume node"
	err = d.change(ctx, what, func(now picture) ([]election.Op, *cluster.HistoryEntry, error) {
		if _, paused = now.Maintenance[node]; !paused {
			return nil, nil, now.node(what, node)
		}
		return gone(now, d.keys().Maintenance(node)),
			&cluster.HistoryEntry{Kind: cluster.HistoryResume, Node: node, Why: node + " was put back into service by " + d.By}, nil
	})
	return paused, err
}
