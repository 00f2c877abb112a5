package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// request is the oldest request that this node has to do something about.
func (s *snapshotter) request(v noticed) (cluster.SnapshotRequest, bool) {
	me := s.a.Settings.Name
	turn := s.myTurn(v)
	for _, r := range v.extra.SnapshotRequests {
		switch {
		case r.State == cluster.RequestOpen && (r.Node == me || r.Node == "" && turn):
			if v.extra.SnapshotRunning {
				continue // it waits for the one that is being taken
			}
			return r, true
		case r.State == cluster.RequestRunning && (r.Taker == me || turn && !aliveNamed(v, r.Taker)):
			return r, true // whoever took it up died: a living one does not come by here
		case r.Over() && turn && time.Since(r.Changed) > requestsKept:
			return r, true
		}
	}
	return cluster.SnapshotRequest{}, false
}

func aliveNamed(v noticed, name string) bool {
	for _, n := range v.facts.View.Nodes {
		if n.Name == name && n.Alive() {
			return true
		}
	}
	return false
}

// answer moves a request on.
func (s *snapshotter) answer(ctx context.Context, v noticed, r cluster.SnapshotRequest) error {
	key := s.a.keys.SnapshotRequest(r.ID)
	if r.Over() {
		s.put(ctx, "remove old snapshot request", election.DeleteCAS(key, r.Ver))
		return s.settle(ctx)
	}
	if r.State == cluster.RequestRunning {
		// Only if it is as it was seen: the outcome may have been written since.
		return s.finish(ctx, r, "", errors.New("the agent that took it up was restarted or died; ask again"), election.CheckIndex(key, r.Ver))
	}
	r.State, r.Taker, r.Changed = cluster.RequestRunning, s.a.Settings.Name, time.Now().UTC()
	wctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	ok, _, err := s.a.Store.Txn(wctx, election.CAS(key, r.Ver, cluster.Encode(r)))
	if err != nil || !ok {
		return errors.Join(errNotNow, err)
	}
	switch {
	case s.a.Snapshots == nil:
		return s.finish(ctx, r, "", errors.New("this node has no snapshot store; start it with --store URL"))
	case !v.facts.MySQL.Ready:
		return s.finish(ctx, r, "", errors.New("mysqld of this node is not ready"))
	}
	m, err := s.take(ctx, v, "asked for by "+r.By)
	if errors.Is(err, errNotNow) {
		err = errors.New("another node began one at the same moment; ask again when it is done")
	}
	return errors.Join(err, s.finish(ctx, r, m.ID, err))
}

// finish writes the outcome, if the conditions hold. Nobody else changes a request that this node runs.
func (s *snapshotter) finish(ctx context.Context, r cluster.SnapshotRequest, id string, err error, conditions ...election.Op) error {
	r.State, r.Snapshot, r.Outcome, r.Changed = cluster.RequestDone, id, "snapshot "+id+" is complete", time.Now().UTC()
	if err != nil {
		r.State, r.Snapshot, r.Outcome = cluster.RequestFailed, "", oneSentence(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	ok, _, err := s.a.Store.Txn(ctx, append(conditions, election.Set(s.a.keys.SnapshotRequest(r.ID), cluster.Encode(r)))...)
	if err != nil {
		return fmt.Errorf("write the outcome of a snapshot request: %w", err)
	}
	if ok {
		s.a.history.add(cluster.HistoryEntry{Kind: cluster.HistoryRequest, Node: s.a.Settings.Name, Why: "snapshot: " + r.State + ": " + r.Outcome,
			Request: r.ID, State: r.State, By: r.By, Order: cluster.OrderSnapshot})
	}
	return s.settle(ctx)
}

// settle gives the watch time to see what was just written, so that it is not answered twice.
func (s *snapshotter) settle(ctx context.Context) error {
	pause(ctx, snapshotLook)
	return errNotNow
}
