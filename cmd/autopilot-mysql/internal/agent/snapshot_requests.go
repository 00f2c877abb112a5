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

// asked is what this agent knows of a request, beside the record in Consul.
type asked struct {
	ready time.Time // when this node could last have begun, or first looked
	begun bool      // the write that takes it up was sent; its answer may have been lost
	lost  int       // how often the lock was lost in the middle
	over  bool      // it has its outcome, whatever an old look at Consul shows
}

func (s *snapshotter) askedFor(id string) *asked {
	if s.asked == nil {
		s.asked = map[string]*asked{}
	}
	if s.asked[id] == nil {
		s.asked[id] = &asked{ready: time.Now()}
	}
	return s.asked[id]
}

// answer moves a request on. What may pass does not end it: it stays as it is, and the next turn tries again.
func (s *snapshotter) answer(ctx context.Context, v noticed, r cluster.SnapshotRequest) error {
	if r.Over() {
		delete(s.asked, r.ID)
		s.put(ctx, "remove old snapshot request", election.DeleteCAS(s.a.keys.SnapshotRequest(r.ID), r.Ver))
		return s.settle(ctx)
	}
	known, me := s.askedFor(r.ID), s.a.Settings.Name
	if known.over {
		return errNotNow
	}
	if r.State == cluster.RequestRunning && (r.Taker != me || !known.begun) {
		return s.decline(ctx, r, errors.New("the agent that took it up was restarted or died; ask again"))
	}
	if s.a.Snapshots == nil {
		r.Taker = me
		return s.decline(ctx, r, errors.New("this node has no snapshot store; start it with --store URL"))
	}
	if !v.facts.MySQL.Ready {
		if time.Since(known.ready) < requestPatience {
			return errNotNow
		}
		r.Taker = me
		return s.decline(ctx, r, fmt.Errorf("mysqld of this node has not been ready for %v", requestPatience))
	}
	known.ready = time.Now()
	if v.extra.SnapshotRunning {
		return errNotNow // it waits for the one that is being taken
	}
	m, err := s.take(ctx, v, "asked for by "+r.By, func(ctx context.Context) error { return s.begin(ctx, &r, known) })
	if errors.Is(err, errLostClaim) {
		known.lost++
	}
	if unclaimed(err) && known.lost < requestClaims {
		return err
	}
	return errors.Join(err, s.finish(ctx, r, m.ID, err))
}

// begin takes a request up, once the lock is held.
func (s *snapshotter) begin(ctx context.Context, r *cluster.SnapshotRequest, known *asked) error {
	if r.State == cluster.RequestRunning {
		return nil // by this agent, and what came of it was no outcome
	}
	up := *r
	up.State, up.Taker, up.Changed = cluster.RequestRunning, s.a.Settings.Name, time.Now().UTC()
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	known.begun = true
	ok, _, err := s.a.Store.Txn(ctx, election.CAS(s.a.keys.SnapshotRequest(r.ID), r.Ver, cluster.Encode(up)))
	if err != nil || !ok {
		return errors.Join(errNotNow, err) // the next look shows what has become of it
	}
	*r = up
	return nil
}

// finish writes the outcome of a request that this node runs, which nobody else changes.
func (s *snapshotter) finish(ctx context.Context, r cluster.SnapshotRequest, id string, err error) error {
	s.askedFor(r.ID).over = true
	r = over(r, id, err)
	s.owed = &r
	return s.write(ctx, r)
}

// decline ends a request if it is still as it was seen: it may be another's, or have an outcome since.
func (s *snapshotter) decline(ctx context.Context, r cluster.SnapshotRequest, why error) error {
	return s.write(ctx, over(r, "", why), election.CheckIndex(s.a.keys.SnapshotRequest(r.ID), r.Ver))
}

// over is the request with its outcome.
func over(r cluster.SnapshotRequest, id string, err error) cluster.SnapshotRequest {
	r.State, r.Snapshot, r.Outcome, r.Changed = cluster.RequestDone, id, "snapshot "+id+" is complete", time.Now().UTC()
	if err != nil {
		r.State, r.Snapshot, r.Outcome = cluster.RequestFailed, "", oneSentence(err)
	}
	return r
}

// write puts an outcome into Consul, if the conditions hold. What is owed is written again by the next turn when this one
// has no answer.
func (s *snapshotter) write(ctx context.Context, r cluster.SnapshotRequest, conditions ...election.Op) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	ok, _, err := s.a.Store.Txn(ctx, append(conditions, election.Set(s.a.keys.SnapshotRequest(r.ID), cluster.Encode(r)))...)
	if err == nil || errors.Is(err, election.ErrDenied) || errors.Is(err, election.ErrRefused) {
		s.owed = nil
	}
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
