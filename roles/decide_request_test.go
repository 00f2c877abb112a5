package roles_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// ledThree are the facts of a, the primary of three.
func ledThree() roles.Facts {
	f := leading()
	f.View = three()
	f.Leading = f.View.Sync
	f.MySQL.Streams, f.MySQL.Unlocked = map[string]bool{"b": true, "c": true}, map[string]bool{"b": true, "c": true}
	return f
}

func asked(kind roles.RequestKind, i roles.Inc, o roles.RequestOptions) roles.Request {
	return roles.Request{ID: "1", Kind: kind, Node: i.Name(), By: "ann", State: roles.RequestRunning, Inc: i, Options: o, Timeout: time.Minute}
}

// walk lets the primary decide again and again, doing what each step would, until it decides nothing more or another step
// than those that upkeep the ack set. It returns the operations in order.
func walk(t *testing.T, f *roles.Facts) (ops []roles.Op, last roles.Decision) {
	t.Helper()
	for range 30 {
		last = roles.Decide(roles.Primary, *f)
		if len(last.Steps) == 0 {
			return ops, last
		}
		s := last.Steps[0]
		ops = append(ops, s.Op)
		switch s.Op {
		case roles.Lock:
			f.MySQL.Streams[s.Node.Name()], f.MySQL.Unlocked[s.Node.Name()] = false, false
		case roles.LockAll:
			f.MySQL.Streams, f.MySQL.Unlocked = map[string]bool{}, map[string]bool{}
		case roles.Unlock:
			f.MySQL.Unlocked[s.Node.Name()], f.MySQL.Streams[s.Node.Name()] = true, true
		case roles.SetK:
			f.MySQL.K = s.K
		case roles.Ask:
			c := roles.Checkpoint{Seq: uint64(len(f.Checkpoints) + 1), For: s.For}
			f.Checkpoints = append(f.Checkpoints, c)
			for _, i := range []roles.Inc{peer, stranger} { // whoever streams answers at once
				if f.MySQL.Streams[i.Name()] {
					edit(f.View, i, func(n *roles.Node) {
						n.Confirms = append(n.Confirms, roles.Confirmation{Seq: c.Seq, Receiver: n.Receiver})
					})
				}
			}
		case roles.WriteSync:
			f.View.Sync = s.Sync
			f.View.Sync.Ver++
			f.Leading = f.View.Sync
		default:
			return ops, last
		}
	}
	t.Fatal("it does not come to rest")
	return nil, last
}

func TestARebuiltAckerLeavesInOrder(t *testing.T) {
	f := ledThree()
	f.View.Requests = []roles.Request{asked(roles.RequestRebuild, peer, roles.RequestOptions{})}
	ops, _ := walk(t, &f)
	require.Equal(t, []roles.Op{roles.Ask, roles.Lock, roles.Ask, roles.WriteSync}, ops[:4],
		"the others answer; then its stream ends, then they confirm, and only then the record")
	require.False(t, f.View.Sync.Has(peer))
	require.Equal(t, 1, f.View.Sync.Acks, "the promise holds")
	require.NotContains(t, ops, roles.Dismiss)

	edit(f.View, peer, func(n *roles.Node) { n.ArmedWanted, n.Armed = false, false }) // it follows on, and would be admitted
	ops, last := walk(t, &f)
	require.NotContains(t, ops, roles.WriteSync, "it is not taken in again: %s", last.Why)
	f.View.Requests = nil
	ops, _ = walk(t, &f)
	require.Contains(t, ops, roles.WriteSync, "without the request it is")
}

func TestTheLastAckerLeavesOnlyByForce(t *testing.T) {
	for _, force := range []bool{false, true} {
		f := leading()
		f.View.Requests = []roles.Request{asked(roles.RequestRebuild, peer, roles.RequestOptions{Force: force})}
		f.Set.GoOnAlone = false // an operator's word counts more
		ops, _ := walk(t, &f)
		if !force {
			require.Empty(t, ops)
			require.Equal(t, 1, f.MySQL.K)
			continue
		}
		require.Equal(t, []roles.Op{roles.WriteSync, roles.LockAll, roles.SetK}, ops, "the record first: from then on nobody else can win")
		require.Equal(t, []roles.Inc{self}, f.View.Sync.Members)
		require.Zero(t, f.View.Sync.Acks)
	}
}

func TestForceOnOneAckerSparesTheOther(t *testing.T) {
	f := ledThree()
	f.View.Requests = []roles.Request{asked(roles.RequestRebuild, peer, roles.RequestOptions{Force: true})}
	walk(t, &f)
	require.ElementsMatch(t, []roles.Inc{self, stranger}, f.View.Sync.Members)
	require.Equal(t, 1, f.View.Sync.Acks)
}

func TestANodeGivesItsDataUpOnlyWhenNobodyCountsOnIt(t *testing.T) {
	follower := func() roles.Facts {
		f := leading()
		f.View = three()
		f.Self = roles.Self{Inc: peer, Name: "b"}
		f.MySQL = roles.MySQL{}
		f.View.Sync = f.View.Sync.Without(peer)
		f.View.Requests = []roles.Request{asked(roles.RequestRebuild, peer, roles.RequestOptions{})}
		return f
	}
	states := []roles.State{roles.Init, roles.Replica, roles.Failover}
	for _, s := range states { // also with a mysqld that does not even start
		require.True(t, does(roles.Decide(s, follower()), roles.GiveUp), s)
	}
	for name, spoil := range map[string]func(*roles.Facts){
		"still a member":     func(f *roles.Facts) { f.View.Sync = f.View.Sync.With(peer) },
		"not begun":          func(f *roles.Facts) { f.View.Requests[0].State = roles.RequestOpen },
		"of former data":     func(f *roles.Facts) { f.View.Requests[0].Inc = "b~0~former" },
		"of another node":    func(f *roles.Facts) { f.View.Requests[0].Inc = stranger },
		"no primary":         func(f *roles.Facts) { leaderless(&f.View, "", "") },
		"Consul is silent":   func(f *roles.Facts) { f.View.OK = false },
		"stopping":           func(f *roles.Facts) { f.Stop = true },
		"removal, not that":  func(f *roles.Facts) { f.View.Requests[0].Kind = roles.RequestRemove },
		"there is no data":   func(f *roles.Facts) { f.Disk.Data = roles.DataEmpty },
		"given up already":   func(f *roles.Facts) { f.Disk.Data = roles.DataCondemned },
		"it is the primary ": func(f *roles.Facts) { f.Self.Inc, f.View.Requests[0].Inc = self, self },
	} {
		f := follower()
		spoil(&f)
		for _, s := range states {
			require.False(t, does(roles.Decide(s, f), roles.GiveUp), "%s in %s", name, s)
		}
	}
	f := follower()
	f.Disk.Data, f.Disk.Condemned = roles.DataCondemned, "an operator asked"
	d := roles.Decide(roles.Replica, f)
	require.Equal(t, roles.Diverged, d.Event)
	require.Equal(t, "an operator asked", d.Why)
}

func TestARemovedNodeIsDismissedOnceItIsOutOfTheAckSet(t *testing.T) {
	f := ledThree()
	edit(f.View, peer, gone)
	f.MySQL.Streams["b"], f.MySQL.Unlocked["b"] = false, false
	f.View.Requests = []roles.Request{asked(roles.RequestRemove, peer, roles.RequestOptions{})}
	ops, last := walk(t, &f)
	require.Equal(t, []roles.Op{roles.Ask, roles.WriteSync, roles.Dismiss}, ops)
	require.Equal(t, peer, last.Steps[0].Node)
	require.Equal(t, f.View.Sync, last.Steps[0].Sync, "bound to the ack set without it")
	require.Equal(t, "1", last.Steps[0].For)

	stalled := ledThree() // the other acker cannot vouch for what was acknowledged
	edit(stalled.View, peer, gone)
	stalled.MySQL.Streams[stranger.Name()] = false
	stalled.MySQL.Streams["b"], stalled.MySQL.Unlocked["b"] = false, false
	stalled.View.Requests = []roles.Request{asked(roles.RequestRemove, peer, roles.RequestOptions{})}
	ops, _ = walk(t, &stalled)
	require.NotContains(t, ops, roles.Dismiss, "a member is not dismissed")
	require.True(t, stalled.View.Sync.Has(peer))

	f.View.Requests, f.View.Removed = nil, map[roles.Inc]bool{peer: true}
	require.True(t, does(roles.Decide(roles.Primary, f), roles.Forget), "what is left of it goes")
	delete(f.View.Nodes, peer)
	require.False(t, does(roles.Decide(roles.Primary, f), roles.Forget))
}

func TestARemovedNodeThatStillRunsIsNotLetIn(t *testing.T) {
	f := ledThree()
	f.View.Sync = f.View.Sync.Without(peer)
	f.Leading, f.View.Removed = f.View.Sync, map[roles.Inc]bool{peer: true}
	edit(f.View, peer, func(n *roles.Node) { n.ArmedWanted, n.Armed = false, false })
	require.True(t, does(roles.Decide(roles.Primary, f), roles.Lock), "its stream ends")
	f.MySQL.Streams["b"], f.MySQL.Unlocked["b"] = false, false
	require.False(t, does(roles.Decide(roles.Primary, f), roles.Unlock, roles.WriteSync, roles.Forget))
}

// sealedForced is b, sealed and asked to go on alone: c is gone for good, a too.
func sealedForced() roles.Facts {
	f := leading()
	f.View = three()
	leaderless(&f.View, uuidA+":1-2", "")
	edit(f.View, stranger, gone)
	f.Self = roles.Self{Inc: peer, Name: "b"}
	f.Lease = roles.Lease{Session: peerSession}
	f.Disk.Promised = f.View.Sync.Term + 1
	f.MySQL = roles.MySQL{Running: true, Ready: true, ReadOnly: true, Offline: true, Receiver: roles.Off, Applier: roles.On, Executed: f.View.Seals[peer].Position}
	f.View.Requests = []roles.Request{{ID: "1", Kind: roles.RequestFailover, Node: "b", By: "ann", State: roles.RequestOpen, Timeout: time.Minute,
		Options: roles.RequestOptions{Force: true, AcceptDataLoss: true}}}
	return f
}

func TestForcedFailover(t *testing.T) {
	f := sealedForced()
	d := roles.Decide(roles.Failover, f)
	require.True(t, does(d, roles.Force), d.Why)
	require.Equal(t, []roles.Inc{peer}, d.Steps[0].Sync.Members)
	require.Contains(t, d.Why, "only on a, c")

	f.View.Sync.Members = []roles.Inc{self, stranger} // also a node without a vote
	require.True(t, does(roles.Decide(roles.Failover, f), roles.Force))

	for name, spoil := range map[string]func(*roles.Facts){
		"no word about loss":  func(f *roles.Facts) { f.View.Requests[0].Options.AcceptDataLoss = false },
		"no force":            func(f *roles.Facts) { f.View.Requests[0].Options.Force = false },
		"another node":        func(f *roles.Facts) { f.View.Requests[0].Node = "c" },
		"finished":            func(f *roles.Facts) { f.View.Requests[0].State = roles.RequestRefused },
		"begun":               func(f *roles.Facts) { f.View.Requests[0].State = roles.RequestRunning },
		"another kind":        func(f *roles.Facts) { f.View.Requests[0].Kind = roles.RequestSwitchover },
		"paused":              func(f *roles.Facts) { f.View.Paused = true },
		"stopping":            func(f *roles.Facts) { f.Stop = true },
		"somebody holds lock": func(f *roles.Facts) { f.View.Leader = roles.Leader{Holder: stranger, Session: "x"} },
		"receiver still on":   func(f *roles.Facts) { f.MySQL.Receiver = roles.On },
		"seal is outdated":    func(f *roles.Facts) { f.MySQL.Executed = f.MySQL.Executed.Union(upTo(9)) },
		"the election has a winner": func(f *roles.Facts) {
			edit(f.View, stranger, func(n *roles.Node) { n.Session = "s" })
			f.View.Seals[stranger] = roles.Seal{Promise: f.View.Sync.Term + 1, Position: f.View.Seals[peer].Position}
		},
		"it would win anyway": func(f *roles.Facts) {
			edit(f.View, stranger, func(n *roles.Node) { n.Session = "s" })
			f.View.Seals[stranger] = roles.Seal{Promise: f.View.Sync.Term + 1}
			f.RequestAge = map[string]time.Duration{"1": time.Hour}
		},
		"the living may still elect one": func(f *roles.Facts) { edit(f.View, stranger, func(n *roles.Node) { n.Session = "s" }) },
	} {
		f := sealedForced()
		spoil(&f)
		d := roles.Decide(roles.Failover, f)
		require.False(t, does(d, roles.Force), name)
	}

	f = sealedForced() // the living had their time and could not
	edit(f.View, stranger, func(n *roles.Node) { n.Session = "s" })
	f.RequestAge = map[string]time.Duration{"1": time.Minute}
	require.True(t, does(roles.Decide(roles.Failover, f), roles.Force))
}

// TestForceAppliesFirst: the record names a node whose binary log has everything; a relay log that was not synced is not that.
func TestForceAppliesFirst(t *testing.T) {
	f := sealedForced()
	f.MySQL.Received = f.MySQL.Executed.Union(upTo(9))
	f.View.Seals = maps.Clone(f.View.Seals)
	f.View.Seals[peer] = roles.OwnSeal(f)
	d := roles.Decide(roles.Failover, f)
	require.True(t, does(d, roles.Drain), d.Why)
	f.CannotDrain = f.Disk.Promised
	f.View.Seals[peer] = roles.OwnSeal(f)
	d = roles.Decide(roles.Failover, f)
	require.True(t, does(d, roles.Force), "what cannot be applied holds nobody up for ever: %s", d.Why)
}

func TestAForcedRequestThatIsNotNeededAnyMoreIsRefused(t *testing.T) {
	f := sealedForced()
	edit(f.View, stranger, func(n *roles.Node) { n.Session = "s" })
	f.View.Seals[stranger] = roles.Seal{Promise: f.View.Sync.Term + 1, Position: f.View.Seals[peer].Position.Union(upTo(9))}
	next, ok := roles.Move(roles.Failover, f)
	require.True(t, ok)
	require.Equal(t, roles.RequestRefused, next.State)
	require.Equal(t, roles.GuardElection, next.Guard)
	require.Contains(t, next.Outcome, "c takes over")
}

func TestAFailoverThatTurnsOutImpossibleIsRefusedAndNotJustForgotten(t *testing.T) {
	f := sealedForced()
	f.View.Requests[0].Options, f.View.Requests[0].Node = roles.RequestOptions{}, ""
	_, ok := roles.Move(roles.Failover, f)
	require.False(t, ok, "who has just died may be back in a moment")
	f.RequestAge = map[string]time.Duration{"1": 20 * time.Second}
	next, ok := roles.Move(roles.Failover, f)
	require.True(t, ok)
	require.Equal(t, roles.GuardDataLoss, next.Guard)
	require.Contains(t, next.Outcome, "c (not running)")
	f.View.Seals = nil
	_, ok = roles.Move(roles.Failover, f)
	require.False(t, ok, "who has not sealed does not judge")
}

func TestThePrimaryMovesRequestsOn(t *testing.T) {
	open := func(kind roles.RequestKind, node string) roles.Request {
		return roles.Request{ID: "1", Kind: kind, Node: node, By: "ann", State: roles.RequestOpen, Timeout: time.Minute}
	}
	for name, c := range map[string]struct {
		r     roles.Request
		edit  func(*roles.Facts)
		state roles.RequestState // "" for no change
		says  string
	}{
		"rebuild begins":       {open(roles.RequestRebuild, "b"), nil, roles.RequestRunning, ""},
		"rebuild refused":      {open(roles.RequestRebuild, "a"), nil, roles.RequestRefused, "switchover"},
		"remove begins":        {open(roles.RequestRemove, "b"), func(f *roles.Facts) { edit(f.View, peer, gone) }, roles.RequestRunning, ""},
		"remove refused":       {open(roles.RequestRemove, "b"), nil, roles.RequestRefused, "--force"},
		"remove a mere member": {open(roles.RequestRemove, "b"), func(f *roles.Facts) { delete(f.View.Nodes, peer) }, roles.RequestRunning, ""},
		"nobody of that name":  {open(roles.RequestRemove, "z"), nil, roles.RequestFailed, "no node z"},
		"on its way":           {asked(roles.RequestRebuild, peer, roles.RequestOptions{}), nil, "", ""},
		"too long on its way":  {asked(roles.RequestRebuild, peer, roles.RequestOptions{}), func(f *roles.Facts) { f.RequestAge = map[string]time.Duration{"1": time.Hour} }, roles.RequestFailed, "stays what it was"},
		"out, and still copying": {asked(roles.RequestRebuild, peer, roles.RequestOptions{}), func(f *roles.Facts) {
			f.View.Sync = f.View.Sync.Without(peer)
			f.RequestAge = map[string]time.Duration{"1": time.Hour}
		}, "", ""},
		"became the primary":      {asked(roles.RequestRebuild, self, roles.RequestOptions{}), nil, roles.RequestFailed, "became the primary"},
		"rebuilt node is removed": {asked(roles.RequestRebuild, peer, roles.RequestOptions{}), func(f *roles.Facts) { f.View.Removed[peer] = true; f.View.Sync = f.View.Sync.Without(peer) }, roles.RequestFailed, "was removed from the cluster in the middle of it"},
		"failover to it":          {open(roles.RequestFailover, "a"), nil, roles.RequestDone, "a is the primary of term 3"},
		"failover to anybody":     {open(roles.RequestFailover, ""), nil, roles.RequestDone, "a is the primary of term 3"},
		"failover to another":     {open(roles.RequestFailover, "b"), nil, roles.RequestRefused, "switchover --to b"},
		"switchover is not its":   {open(roles.RequestSwitchover, "b"), nil, "", ""},
		"not yet open":            {open(roles.RequestFailover, ""), func(f *roles.Facts) { edit(f.View, self, func(n *roles.Node) { n.Open = 0 }) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := ledThree()
			f.View.Requests = []roles.Request{c.r}
			if c.edit != nil {
				c.edit(&f)
			}
			next, ok := roles.Move(roles.Primary, f)
			require.Equal(t, c.state != "", ok, "%+v", next)
			if !ok {
				return
			}
			require.Equal(t, c.state, next.State, next.Outcome)
			require.Contains(t, next.Outcome, c.says)
			if next.State == roles.RequestRunning {
				require.Equal(t, peer, next.Inc)
			}
			if next.State == roles.RequestRefused {
				require.NotEmpty(t, next.Guard)
			}
		})
	}
}

func TestTheRebuiltNodeEndsItsRequest(t *testing.T) {
	f := ledThree()
	again := roles.NewInc("b", 2, "later")
	f.Self = roles.Self{Inc: again, Name: "b"}
	f.View.Requests = []roles.Request{asked(roles.RequestRebuild, peer, roles.RequestOptions{})}
	f.MySQL.Receiver = roles.On
	next, ok := roles.Move(roles.Replica, f)
	require.True(t, ok)
	require.Equal(t, roles.RequestDone, next.State)

	f.MySQL.Receiver = roles.Off
	_, ok = roles.Move(roles.Replica, f)
	require.False(t, ok, "it follows nobody yet")
	f.Self.Inc, f.MySQL.Receiver = peer, roles.On
	_, ok = roles.Move(roles.Standby, f)
	require.False(t, ok, "it still is what it was")
	f.Busy = "cloning c"
	next, ok = roles.Move(roles.RestoreSnapshot, f)
	require.True(t, ok)
	require.Equal(t, "cloning c", next.Progress)
	f.View.Requests[0].Progress = "cloning c"
	_, ok = roles.Move(roles.RestoreSnapshot, f)
	require.False(t, ok)
}

// handsOver says whether a decision is a step on the way to another primary by plan.
func handsOver(d roles.Decision) bool {
	for _, op := range []roles.Op{roles.PlanHandover, roles.MakeOffer, roles.Prepare, roles.Chain, roles.TakeOver} {
		if does(d, op) {
			return true
		}
	}
	return d.Event == roles.Dropped && strings.Contains(d.Why, "hand-over")
}

// TestPauseStopsWhatItShall: in every state and combination of facts a pause keeps the cluster from a new leader, and from
// nothing else.
func TestPauseStopsWhatItShall(t *testing.T) {
	differs := map[roles.Op]bool{}
	every(97, func(f roles.Facts) {
		if !f.View.OK || f.View.Cluster == nil {
			return
		}
		f.View.Paused = false
		for _, s := range roles.States() {
			free := roles.Decide(s, f)
			g := f
			g.View.Paused = true
			d := roles.Decide(s, g)
			if d.Event == free.Event && len(d.Steps) == len(free.Steps) && (len(d.Steps) == 0 || d.Steps[0].Op == free.Steps[0].Op) {
				continue
			}
			if does(d, roles.Unprepare) || does(d, roles.DropHandover) || does(d, roles.TakeWritesBack) { // a hand-over that was begun is undone
				continue
			}
			if handsOver(free) { // and none is begun or gone on with
				require.False(t, handsOver(d), "%s: paused %+v", s, d)
				continue
			}
			if f.Stop && d.Event == roles.StepDown { // it leaves at once instead of handing over
				continue
			}
			require.Truef(t, len(d.Steps) == 0 && d.Event == "" || does(d, roles.Release), "%s: paused %+v, otherwise %+v", s, d, free)
			require.Contains(t, d.Why, "paused")
			for _, step := range free.Steps {
				differs[step.Op] = true
			}
			if free.Event != "" {
				require.Equal(t, roles.NoPrimary, free.Event, s)
				require.Contains(t, []roles.State{roles.Replica, roles.Standby}, s)
			}
		}
	})
	for op := range differs {
		require.Contains(t, []roles.Op{roles.SealReceive, roles.PublishSeal, roles.Acquire, roles.Promote, roles.Drain}, op, "a pause must not stop this")
	}
	require.True(t, differs[roles.SealReceive] && differs[roles.Promote], "%v", differs)
}
