package operate

import (
	"context"
	"errors"
	"slices"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TakeSnapshot leaves a request for a snapshot, for the named node or, without a name, for the one whose turn it is. plan
// says what it brings about. With DryRun nothing is written, and the request has no id.
func (d *Desk) TakeSnapshot(ctx context.Context, node string) (r cluster.SnapshotRequest, plan string, err error) {
	what := verb(cluster.OrderSnapshot)
	p, err := d.read(ctx, what)
	if err != nil {
		return r, "", err
	}
	if err := p.maySnapshot(what, node); err != nil {
		return r, "", err
	}
	now := d.Now().UTC()
	r = cluster.SnapshotRequest{By: d.By, At: now, Node: node, State: cluster.RequestOpen, Changed: now}
	plan = p.planSnapshot(node)
	if d.DryRun {
		return r, plan, nil
	}
	r.ID = newID(now)
	return r, plan, d.leave(ctx, what, r)
}

// leave writes the request. Its id is new, so nobody else can have written it.
func (d *Desk) leave(ctx context.Context, what string, r cluster.SnapshotRequest) error {
	tctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ok, why, err := d.Store.Txn(tctx, election.CAS(d.keys().SnapshotRequest(r.ID), 0, cluster.Encode(r)))
	switch {
	case errors.Is(err, election.ErrUnknown):
		written := func(x cluster.SnapshotRequest) bool { return x.ID == r.ID }
		if p, rerr := d.read(ctx, what); rerr == nil && slices.ContainsFunc(p.extra.SnapshotRequests, written) {
			return nil
		}
		return &cli.Error{Code: cli.Unknown, What: what, Why: err.Error(), Err: err, Next: "look whether it was written: autopilot-mysql history --request " + r.ID}
	case err != nil:
		return consulError(what, err, "nothing was changed")
	case !ok:
		return &cli.Error{What: what, Why: why, Next: "try again; nothing was changed"}
	}
	return nil
}

// maySnapshot finds out whether anybody could take it.
func (p picture) maySnapshot(what, node string) error {
	if err := p.node(what, node); err != nil {
		return err
	}
	for i, n := range p.Nodes {
		if n.Alive() && (node == "" || i.Name() == node) {
			return nil
		}
	}
	no := &roles.Refusal{Guard: roles.GuardNodeDown, Why: node + " is not running and would take it itself: start it first, or name another node"}
	if node == "" {
		no.Why = "no node is running that could take it: start one first"
	}
	return refusal(what, node, no)
}

func (p picture) planSnapshot(node string) string {
	s := "the standby that lags least takes a snapshot, or the primary when there is none"
	if node != "" {
		s = node + " takes a snapshot"
	}
	if w := p.extra.SnapshotWork; w != nil {
		s += ", when " + w.Node + " is done with " + w.Doing + " another one"
	}
	return s
}
