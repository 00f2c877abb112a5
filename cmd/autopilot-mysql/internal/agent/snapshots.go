package agent

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Times of working on snapshots.
const (
	// snapshotLook is how often a node asks itself whether it is its turn.
	snapshotLook = time.Second
	// snapshotRetry is the pause after a failed attempt; it doubles up to snapshotRetryMax.
	snapshotRetry    = 2 * time.Second
	snapshotRetryMax = time.Minute
	// snapshotProbe is how often the node whose turn it would be asks the store for the newest snapshot.
	snapshotProbe = time.Minute
	// probeTimeout bounds that question.
	probeTimeout = 15 * time.Second
	// snapshotPatience is for how long a snapshot goes on trying a store that fails in the middle of it.
	snapshotPatience = 30 * time.Minute
	// passedOver is for how long a node that could not take a snapshot is passed over in favour of another.
	passedOver = 10 * time.Minute
	// requestsKept is how long finished requests stay readable.
	requestsKept = time.Hour
	// requestPatience is for how long a request waits for this node's mysqld: longer than a restart with its recovery.
	requestPatience = 5 * time.Minute
	// requestClaims is how often a request whose snapshot lost the lock in the middle is begun anew.
	requestClaims = 3
	// persistLimit bounds writing a result to a Consul that is slow.
	persistLimit = 30 * time.Second
)

// snapshotter takes, retires and verifies snapshots when that is due and this node is the one to do it. Whatever
// happens here, the database's health does not depend on it. It has its own goroutine.
type snapshotter struct {
	a *Agent

	mu    sync.Mutex
	facts roles.Facts
	extra cluster.Extra
	state roles.State
	vers  string

	// What follows belongs to the goroutine of run.
	grown    binlogMark
	probed   time.Time
	gone     string // the newest snapshot, when the store said that it has it no more
	verifies time.Time
	asked    map[string]*asked        // by the request's id
	owed     *cluster.SnapshotRequest // an outcome that Consul may not have taken
}

func newSnapshotter(a *Agent) *snapshotter { return &snapshotter{a: a} }

// tell hands over what the loop has just seen.
func (s *snapshotter) tell(f roles.Facts, x cluster.Extra) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts, s.extra, s.state, s.vers = f, x, s.a.machine.State(), s.a.status.Version
}

// noticed is one consistent picture of what tell was given.
type noticed struct {
	facts roles.Facts
	extra cluster.Extra
	state roles.State
	vers  string
}

func (s *snapshotter) seen() noticed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return noticed{s.facts, s.extra, s.state, s.vers}
}

func (s *snapshotter) run(ctx context.Context) {
	wait, retry := snapshotLook, snapshotRetry
	for ctx.Err() == nil {
		pause(ctx, wait)
		wait = snapshotLook
		s.tidy(ctx)
		err := s.turn(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, errNotNow):
		case err != nil:
			s.a.Log.Warn("work on a snapshot failed; the database is not affected, it will be tried again", "err", err, "in", retry)
			wait, retry = retry, min(2*retry, snapshotRetryMax)
		default:
			retry = snapshotRetry
		}
	}
}

// turn does what is due, at most one thing.
func (s *snapshotter) turn(ctx context.Context) error {
	v := s.seen()
	if !v.facts.View.OK || v.facts.View.Cluster == nil || v.facts.Stop {
		return errNotNow
	}
	if s.owed != nil {
		return s.write(ctx, *s.owed)
	}
	r, mine := s.request(v)
	if mine {
		return s.answer(ctx, v, r)
	}
	if s.a.Snapshots == nil || !v.facts.MySQL.Ready || v.extra.SnapshotRunning || !s.myTurn(v) {
		return errNotNow
	}
	s.probe(ctx, v)
	if why := s.due(ctx, v); why != "" {
		_, err := s.take(ctx, v, why, nil)
		return err
	}
	if s.verifyDue(v) {
		return s.verify(ctx, v)
	}
	return errNotNow
}

// tidy gives back what an earlier attempt, or an agent that was killed, could not: the lock, whose release or the answer
// to whose acquisition got lost while our session lives on, and scratch files. It runs between attempts only.
func (s *snapshotter) tidy(ctx context.Context) {
	v := s.seen()
	if holder := v.extra.SnapshotSession; v.facts.View.OK && holder != "" && holder == s.a.Session.ID() {
		s.unlock(ctx, s.a.keys.SnapshotLock())
	}
	if err := snapshot.CleanScratch(s.scratch()); err != nil {
		s.a.Log.Debug("clean scratch directory", "err", err)
	}
	if err := removeScratch(s.proofDir()); err != nil {
		s.a.Log.Debug("clean scratch directory", "err", err)
	}
}

// scratch is where clones are made.
func (s *snapshotter) scratch() string {
	if dir := s.a.Settings.SnapshotScratch; dir != "" {
		return filepath.Join(dir, "autopilot-"+s.a.Settings.Cluster+"-"+s.a.Settings.Name)
	}
	return filepath.Join(s.a.mycfg.Dir, "snapshot.tmp")
}

// proofDir is where snapshots are verified; its path is short because a socket lies in it.
func (s *snapshotter) proofDir() string {
	if dir := s.a.Settings.SnapshotScratch; dir != "" {
		return filepath.Join(s.scratch(), "verify")
	}
	return filepath.Join(s.a.mycfg.Dir, "verify.tmp")
}

// myTurn says whether work on snapshots that nobody in particular was asked for is this node's.
func (s *snapshotter) myTurn(v noticed) bool {
	return taker(v.facts.View, v.extra.SnapshotTrouble, time.Now()) == v.facts.Self.Inc
}

// taker is the node that works on snapshots: the standby that lags least, so that the primary is spared; else a replica
// that has caught up; else the primary. One that has just failed for a reason of its own comes last.
func taker(v roles.View, trouble *cluster.SnapshotTrouble, now time.Time) roles.Inc {
	var best roles.Node
	rank := func(n roles.Node) (class int, lag int64) {
		switch {
		case n.State == roles.Standby && n.Healthy:
		case n.State == roles.Replica && n.Healthy && n.Caught:
			class = 1
		case n.State == roles.Primary && n.Healthy:
			class = 2
		default:
			return -1, 0
		}
		if trouble != nil && !trouble.Store && trouble.Node == n.Name && now.Sub(trouble.At) < passedOver {
			class += 3
		}
		lag = int64(n.LagSeconds) // whole seconds: nodes that are level must not take turns
		if n.LagSeconds < 0 {
			lag = 1 << 60
		}
		return class, lag
	}
	for _, i := range v.Incs() {
		n := v.Nodes[i]
		class, lag := rank(n)
		if !n.Alive() || class < 0 {
			continue
		}
		bestClass, bestLag := rank(best)
		if best.Inc == "" || class < bestClass || class == bestClass && lag < bestLag {
			best = n
			best.Inc = i
		}
	}
	return best.Inc
}

// due is why a snapshot has to be taken now; "" when none has to.
func (s *snapshotter) due(ctx context.Context, v noticed) string {
	last := v.extra.Snapshot
	switch {
	case last == nil:
		return "there is none yet" // the primary takes the very first one, because nobody else has data
	case last.ID == s.gone, v.extra.SnapshotVerified != nil && !v.extra.SnapshotVerified.OK && v.extra.SnapshotVerified.ID == last.ID:
		return "the store does not have the last one any more, or it is damaged"
	}
	set := s.a.Settings
	if set.SnapshotInterval != 0 && time.Since(last.At) >= set.SnapshotInterval {
		return "the last one is " + time.Since(last.At).Round(time.Second).String() + " old"
	}
	if set.SnapshotAfter != 0 && s.grownBy(ctx, *last) >= int64(set.SnapshotAfter) {
		return "so much binary log was written since the last one"
	}
	return ""
}

func (s *snapshotter) unlock(ctx context.Context, lock string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := s.a.Session.Release(ctx, lock); err != nil && !errors.Is(err, election.ErrNotHeld) {
		s.a.Log.Debug("release snapshot lock", "err", err)
	}
}

var _ snapshot.Source = (*mysql.Server)(nil)
