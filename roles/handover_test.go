package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// offeredTo is what Consul shows when self, primary of term 3, offers to peer, and stranger is chained to it.
func offeredTo(to roles.Inc, chained roles.Inc) roles.View {
	f := leading()
	v := f.View
	n := v.Nodes[self]
	n.Handover = &roles.Handover{Seq: 7, To: to, Term: 3, Chain: []roles.Inc{chained}, Offer: &roles.Offer{GTID: upTo(9), Ver: 5}}
	v.Nodes[self] = n
	v.Nodes[chained] = roles.Node{Inc: chained, Name: "c", Session: "session-c", Chained: &roles.Chained{To: to, Term: 4, Seq: 7, Position: upTo(8)}}
	return v
}

func TestAcceptAnOffer(t *testing.T) {
	change := func(v *roles.View, i roles.Inc, do func(*roles.Node)) {
		n := v.Nodes[i]
		if n.Handover != nil {
			h := *n.Handover
			o := *h.Offer
			h.Offer, n.Handover = &o, &h
		}
		if n.Chained != nil {
			c := *n.Chained
			n.Chained = &c
		}
		do(&n)
		v.Nodes[i] = n
	}
	for name, tc := range map[string]struct {
		change  func(*roles.View)
		k       int
		members []roles.Inc // nil: not accepted
		acks    int
		spare   int
	}{
		"with a chained node":              {func(*roles.View) {}, 1, []roles.Inc{self, peer, stranger}, 1, 1},
		"only who holds it all counts":     {func(*roles.View) {}, 2, []roles.Inc{self, peer, stranger}, 1, 1},
		"a chained node that holds it all": {func(v *roles.View) { change(v, stranger, func(n *roles.Node) { n.Chained.Position = upTo(9) }) }, 2, []roles.Inc{self, peer, stranger}, 2, 1},
		"a void one does not count": {func(v *roles.View) {
			change(v, stranger, func(n *roles.Node) { n.Chained.Position, n.Void = upTo(9), true })
		}, 2, []roles.Inc{self, peer, stranger}, 1, 1},
		"chained with more than offered": {func(v *roles.View) { change(v, stranger, func(n *roles.Node) { n.Chained.Position = upTo(10) }) }, 1, []roles.Inc{self, peer}, 1, 0},
		"chained to somebody else":       {func(v *roles.View) { change(v, stranger, func(n *roles.Node) { n.Chained.To = self }) }, 1, []roles.Inc{self, peer}, 1, 0},
		"chained for another term":       {func(v *roles.View) { change(v, stranger, func(n *roles.Node) { n.Chained.Term = 5 }) }, 1, []roles.Inc{self, peer}, 1, 0},
		"chained in an earlier attempt":  {func(v *roles.View) { change(v, stranger, func(n *roles.Node) { n.Chained.Seq = 6 }) }, 1, []roles.Inc{self, peer}, 1, 0},
		"chained and gone":               {func(v *roles.View) { change(v, stranger, func(n *roles.Node) { n.Session = "" }) }, 1, []roles.Inc{self, peer}, 1, 0},
		"the old one leaves":             {func(v *roles.View) { change(v, self, func(n *roles.Node) { n.Handover.Leaving = true }) }, 1, []roles.Inc{peer, stranger}, 0, 1},
		"it leaves, and is all there is": {func(v *roles.View) {
			change(v, self, func(n *roles.Node) { n.Handover.Leaving, n.Handover.Chain = true, nil })
		}, 1, []roles.Inc{self, peer}, 1, 0},
		"for another version of the ack set": {func(v *roles.View) { v.Sync.Ver++ }, 1, nil, 0, 0},
		"for another term":                   {func(v *roles.View) { change(v, self, func(n *roles.Node) { n.Handover.Term = 2 }) }, 1, nil, 0, 0},
		"to somebody else":                   {func(v *roles.View) { change(v, self, func(n *roles.Node) { n.Handover.To = stranger }) }, 1, nil, 0, 0},
		"only planned":                       {func(v *roles.View) { change(v, self, func(n *roles.Node) { n.Handover.Offer = nil }) }, 1, nil, 0, 0},
		"by a node that lost the lock":       {func(v *roles.View) { v.Leader = roles.Leader{Holder: self} }, 1, nil, 0, 0},
		"while paused":                       {func(v *roles.View) { v.Paused = true }, 1, nil, 0, 0},
		"to a node outside the ack set":      {func(v *roles.View) { v.Sync.Members = []roles.Inc{self, stranger} }, 1, nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := offeredTo(peer, stranger)
			tc.change(&v)
			a, err := roles.Accept(peer, v, tc.k)
			if tc.members == nil {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, roles.Sync{Ver: 5, Term: 4, Primary: peer, Members: tc.members, Acks: tc.acks}, a.Next)
			require.Equal(t, ownSession, a.Session)
			require.Len(t, a.Spare, tc.spare)
		})
	}
}

// planned is a primary whose candidate is ready.
func planned() roles.Facts {
	f := leading()
	n := f.View.Nodes[peer]
	n.Ready, n.Drained = 7, 7
	f.View.Nodes[peer] = n
	f.Handing = &roles.Handing{Handover: roles.Handover{Seq: 7, To: peer, Term: 3}, For: time.Second, ReadyFor: time.Second, Limit: time.Minute}
	return f
}

// lagging is a primary whose candidate is prepared and has more left to apply than may be left.
func lagging() roles.Facts {
	f := planned()
	n := f.View.Nodes[peer]
	n.Drained = 0
	f.View.Nodes[peer] = n
	return f
}

func TestTheOfferWaitsForTheCandidate(t *testing.T) {
	d := roles.Decide(roles.Primary, planned())
	require.True(t, does(d, roles.MakeOffer), d.Why)
	for name, change := range map[string]func(*roles.Facts, *roles.Node){
		"not prepared":     func(_ *roles.Facts, n *roles.Node) { n.Ready = 0 },
		"prepared earlier": func(_ *roles.Facts, n *roles.Node) { n.Ready = 6 },
		"lagging":          func(_ *roles.Facts, n *roles.Node) { n.Ready, n.Caught = 0, false },
		"not connected":    func(f *roles.Facts, _ *roles.Node) { f.MySQL.Streams = nil },
		"one is not chained": func(f *roles.Facts, _ *roles.Node) {
			f.Handing.Chain = []roles.Inc{stranger}
			f.View.Nodes[stranger] = roles.Node{Inc: stranger, Session: "x"}
		},
	} {
		f := planned()
		n := f.View.Nodes[peer]
		change(&f, &n)
		f.View.Nodes[peer] = n
		require.False(t, does(roles.Decide(roles.Primary, f), roles.MakeOffer, roles.DropHandover), name)
		f.Handing.For = 2 * time.Minute
		if name != "one is not chained" { // without it the first commits wait a little
			require.True(t, does(roles.Decide(roles.Primary, f), roles.DropHandover), name)
		}
	}
}

func TestTheOfferWaitsForTheChained(t *testing.T) {
	for name, tc := range map[string]struct {
		after, ready time.Duration
		offers       bool
	}{
		"prepared late, it is waited for as well": {20 * time.Second, time.Second, false},
		"it takes too long":                       {6 * time.Second, 5 * time.Second, true},
		"no time is left for it":                  {31 * time.Second, time.Second, true},
	} {
		f := planned()
		f.Handing.Chain = []roles.Inc{stranger}
		f.View.Nodes[stranger] = roles.Node{Inc: stranger, Session: "x"}
		f.Handing.For, f.Handing.ReadyFor = tc.after, tc.ready
		require.Equal(t, tc.offers, does(roles.Decide(roles.Primary, f), roles.MakeOffer), name)
	}
}

// Whatever is left to apply when writes end is time without writes.
func TestWritesAreSlowedDownForACandidateThatIsBehind(t *testing.T) {
	for _, tc := range []struct{ throttled, delay time.Duration }{
		{0, 5 * time.Millisecond}, {300 * time.Millisecond, 10 * time.Millisecond}, {600 * time.Millisecond, 20 * time.Millisecond},
		{900 * time.Millisecond, 40 * time.Millisecond}, {4 * time.Second, 80 * time.Millisecond},
	} {
		f := lagging()
		f.Handing.Throttled = tc.throttled
		d := roles.Decide(roles.Primary, f)
		require.True(t, does(d, roles.Throttle), d.Why)
		require.Equal(t, tc.delay, d.Steps[0].Delay, tc.throttled)
		f.Throttle = tc.delay
		require.Empty(t, roles.Decide(roles.Primary, f).Steps, "it is in force")
	}
	f := lagging()
	f.Handing.Throttled, f.Handing.Chain = time.Second, []roles.Inc{stranger}
	f.View.Nodes[stranger] = roles.Node{Inc: stranger, Session: "x"}
	require.Empty(t, roles.Decide(roles.Primary, f).Steps, "not before everything else is ready")

	f = lagging()
	n := f.View.Nodes[peer]
	n.Caught = false
	f.View.Nodes[peer] = n
	require.Empty(t, roles.Decide(roles.Primary, f).Steps, "it would be in vain")
	f.Handing.For = 2 * time.Minute
	require.True(t, does(roles.Decide(roles.Primary, f), roles.DropHandover))

	f = lagging()
	f.Handing.Throttled = 13 * time.Second
	require.True(t, does(roles.Decide(roles.Primary, f), roles.DropHandover))
	f = planned()
	f.Handing.Throttled = 13 * time.Second
	require.True(t, does(roles.Decide(roles.Primary, f), roles.MakeOffer))
}

// A commit that waits for the throttle holds up the end of the writes: the throttle is mostly off when they end.
func TestTheThrottleEasesBeforeTheOffer(t *testing.T) {
	at := func(drainedFor, throttle time.Duration) (roles.Decision, roles.Facts) {
		f := planned() // drained
		f.Handing.Throttled, f.Handing.DrainedFor, f.Throttle = 900*time.Millisecond+drainedFor, drainedFor, throttle
		return roles.Decide(roles.Primary, f), f
	}
	d, _ := at(1, 40*time.Millisecond)
	require.True(t, does(d, roles.Throttle), d.Why)
	require.Equal(t, 10*time.Millisecond, d.Steps[0].Delay)
	d, f := at(30*time.Millisecond, 10*time.Millisecond)
	require.Empty(t, d.Steps, "commits wait that were slowed down before")
	n := f.View.Nodes[peer]
	n.Drained = 0
	f.View.Nodes[peer] = n
	require.Empty(t, roles.Decide(roles.Primary, f).Steps, "a few transactions more do not undo it")
	d, _ = at(41*time.Millisecond, 10*time.Millisecond)
	require.True(t, does(d, roles.MakeOffer), d.Why)

	f.Handing.DrainedFor = 41 * time.Millisecond
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.Throttle), "it fell behind for good: %s", d.Why)
	require.Equal(t, 40*time.Millisecond, d.Steps[0].Delay)
	f.View.Nodes[peer] = roles.Node{}
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.DropHandover), d.Why)

	f = planned()
	f.Handing.Throttled, f.Handing.DrainedFor, f.Throttle = 200*time.Millisecond, 1, 5*time.Millisecond
	require.True(t, does(roles.Decide(roles.Primary, f), roles.MakeOffer), "the first delay is short enough")
}

// Those who will acknowledge shall have little to apply as well; the hand-over goes well without.
func TestWritesAreSlowedDownForTheChained(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*roles.Facts, *roles.Node)
		slows  bool
	}{
		"behind":      {func(*roles.Facts, *roles.Node) {}, true},
		"for a while": {func(f *roles.Facts, _ *roles.Node) { f.Handing.DrainedFor = 1900 * time.Millisecond }, true},
		"for long":    {func(f *roles.Facts, _ *roles.Node) { f.Handing.DrainedFor = 2 * time.Second }, false},
		"the throttle has had its time": {func(f *roles.Facts, _ *roles.Node) {
			f.Handing.DrainedFor, f.Handing.Throttled = time.Second, 13*time.Second
		}, false},
		"drained":                    {func(_ *roles.Facts, n *roles.Node) { n.Drained = 7 }, false},
		"drained in an earlier plan": {func(_ *roles.Facts, n *roles.Node) { n.Drained = 6 }, true},
		"far behind":                 {func(_ *roles.Facts, n *roles.Node) { n.Caught = false }, false},
		"not well":                   {func(_ *roles.Facts, n *roles.Node) { n.Healthy = false }, false},
		"dead":                       {func(_ *roles.Facts, n *roles.Node) { n.Session = "" }, false},
	} {
		f := planned()
		f.Handing.Chain, f.Handing.ReadyFor = []roles.Inc{stranger}, 5*time.Second
		n := roles.Node{Inc: stranger, Session: "x", Healthy: true, Caught: true, Armed: true, Receiver: "on",
			Chained: &roles.Chained{To: peer, Term: f.Handing.Term + 1, Seq: 7, Position: upTo(100)}}
		tc.change(&f, &n)
		f.View.Nodes[stranger] = n
		d := roles.Decide(roles.Primary, f)
		require.Equal(t, tc.slows, does(d, roles.Throttle), "%s: %s", name, d.Why)
		require.Equal(t, !tc.slows, does(d, roles.MakeOffer), "%s: %s", name, d.Why)
		f.Handing.Throttled, f.Throttle = max(f.Handing.Throttled, 4*time.Second), 80*time.Millisecond
		if f.Handing.Throttled > 12*time.Second {
			f.Throttle = 0 // it has been taken off
		}
		d = roles.Decide(roles.Primary, f)
		require.False(t, does(d, roles.Throttle), "%s: %s, as strongly as before", name, d.Why)
		require.Equal(t, !tc.slows, does(d, roles.MakeOffer), "%s: %s", name, d.Why)
	}
}

// A throttle never outlives its hand-over, nor its time, nor Consul's answers.
func TestTheThrottleEnds(t *testing.T) {
	for name, change := range map[string]func(*roles.Facts){
		"no hand-over":                 func(f *roles.Facts) { f.Handing = nil },
		"too long":                     func(f *roles.Facts) { f.Handing.Throttled = 13 * time.Second },
		"Consul does not answer":       func(f *roles.Facts) { f.View.OK = false },
		"no hand-over, and a TAKEBACK": func(f *roles.Facts) { f.Handing, f.View.Leader = nil, roles.Leader{Holder: self} },
	} {
		f := lagging()
		f.Throttle, f.Handing.Throttled = time.Millisecond, time.Second
		change(&f)
		d := roles.Decide(roles.Primary, f)
		require.True(t, does(d, roles.Throttle), "%s: %s", name, d.Why)
		require.Zero(t, d.Steps[0].Delay, name)
	}
}

func TestACandidateSaysThatItIsDrained(t *testing.T) {
	candidate := func() roles.Facts {
		v := offeredTo(peer, stranger)
		v.Nodes[self].Handover.Offer = nil
		return roles.Facts{Self: roles.Self{Inc: peer}, View: v, Ready: 7, MySQL: roles.MySQL{Ready: true, Executed: upTo(100), Received: upTo(116)}}
	}
	said := func(f *roles.Facts) {
		n := f.View.Nodes[peer]
		n.Drained = 7
		f.View.Nodes[peer] = n
	}
	chained := func(seq uint64) func(*roles.Facts) {
		return func(f *roles.Facts) {
			f.Self.Inc, f.Ready = stranger, 0
			f.Chained = &roles.Chained{To: peer, Term: f.View.Sync.Term + 1, Seq: seq}
		}
	}
	require.Equal(t, uint64(7), roles.DrainedFor(candidate()))
	for name, tc := range map[string]struct {
		change func(*roles.Facts)
		want   uint64
	}{
		"more is left":                      {func(f *roles.Facts) { f.MySQL.Received = upTo(117) }, 0},
		"it said so before":                 {func(f *roles.Facts) { said(f); f.MySQL.Received = upTo(164) }, 7},
		"it said so before, much more came": {func(f *roles.Facts) { said(f); f.MySQL.Received = upTo(165) }, 0},
		"one transaction that takes long":   {func(f *roles.Facts) { f.Applying = time.Second }, 0},
		"not prepared":                      {func(f *roles.Facts) { f.Ready = 0 }, 0},
		"prepared for an earlier attempt":   {func(f *roles.Facts) { f.Ready = 6 }, 0},
		"mysqld does not answer":            {func(f *roles.Facts) { f.MySQL = roles.MySQL{Running: true} }, 0},
		"somebody else is the candidate":    {func(f *roles.Facts) { f.Self.Inc = stranger }, 0},
		"the primary is valid no more":      {func(f *roles.Facts) { f.View.Leader = roles.Leader{} }, 0},
		"chained to the candidate":          {chained(7), 7},
		"chained in an earlier attempt":     {chained(6), 0},
		"chained, more is left":             {func(f *roles.Facts) { chained(7)(f); f.MySQL.Received = upTo(117) }, 0},
	} {
		f := candidate()
		tc.change(&f)
		require.Equal(t, tc.want, roles.DrainedFor(f), name)
	}
}

// However much is left to apply: those who turn to the candidate need time as well.
func TestACandidatePreparesAtOnce(t *testing.T) {
	v := offeredTo(self, stranger)
	v.Sync.Primary, v.Leader = peer, roles.Leader{Holder: peer, Session: peerSession}
	h := *v.Nodes[self].Handover
	h.Offer = nil
	v.Nodes[peer] = roles.Node{Inc: peer, Name: "b", MySQL: "peer:3306", Session: peerSession, Open: 3, Handover: &h}
	f := roles.Facts{
		Self: roles.Self{Inc: self, Name: "a"}, View: v, Disk: roles.Disk{Data: roles.DataOurs, Promised: 3}, Lease: roles.Lease{Session: ownSession},
		Follow: roles.Follow{Primary: peer, Term: 3, Armed: true},
		MySQL: roles.MySQL{
			Running: true, Ready: true, ReadOnly: true, Source: "peer:3306", Receiver: roles.On, Applier: roles.On, Armed: true, ArmedWanted: true,
			Executed: upTo(2), Received: upTo(5000),
		},
	}
	d := roles.Decide(roles.Standby, f)
	require.True(t, does(d, roles.Prepare), d.Why)
}

func TestAnOfferEndsOnlyInOrder(t *testing.T) {
	offered := func() roles.Facts {
		f := planned()
		f.Handing.Offer, f.Handing.Held = &roles.Offer{GTID: upTo(9), Ver: 5}, 10*time.Millisecond
		f.MySQL.ReadOnly, f.MySQL.Offline = true, true
		return f
	}
	d := roles.Decide(roles.Primary, offered())
	require.Empty(t, d.Event)
	require.Empty(t, d.Steps)
	for name, change := range map[string]func(*roles.Facts){
		"too long":         func(f *roles.Facts) { f.Handing.Held = time.Minute },
		"paused":           func(f *roles.Facts) { f.View.Paused = true },
		"candidate gone":   func(f *roles.Facts) { delete(f.View.Nodes, peer) },
		"candidate unable": func(f *roles.Facts) { n := f.View.Nodes[peer]; n.Ready = 0; f.View.Nodes[peer] = n },
	} {
		f := offered()
		change(&f)
		d := roles.Decide(roles.Primary, f)
		require.True(t, does(d, roles.TakeWritesBack), "%s: %s", name, d.Why)
		require.False(t, d.Steps[0].Sync.Equal(f.View.Sync), "the same content would keep its version")
	}
	for name, change := range map[string]func(*roles.Facts){
		"the lock is gone":       func(f *roles.Facts) { f.View.Leader = roles.Leader{Holder: self} },
		"another version":        func(f *roles.Facts) { f.View.Sync.Ver++ },
		"no proof of the lease":  func(f *roles.Facts) { f.Lease = roles.Lease{Session: ownSession} },
		"writable all of itself": func(f *roles.Facts) { f.MySQL.ReadOnly = false },
		"a newer term":           func(f *roles.Facts) { f.View.Sync.Term++ },
	} {
		f := offered()
		change(&f)
		require.Contains(t, []roles.Event{roles.LeaseLost, roles.MysqldLost}, roles.Decide(roles.Primary, f).Event, name)
	}
}

func TestWhoIsHandedOverTo(t *testing.T) {
	v := leading().View
	v.Sync.Members = append(v.Sync.Members, stranger)
	c := v.Nodes[peer]
	c.Inc, c.Name, c.Session = stranger, "c", "session-c"
	v.Nodes[stranger] = c
	set := func(i roles.Inc, do func(*roles.Node)) {
		n := v.Nodes[i]
		do(&n)
		v.Nodes[i] = n
	}
	to, guard, _ := roles.SwitchoverTarget("", v)
	require.Empty(t, guard)
	require.Equal(t, peer, to, "by name")
	set(stranger, func(n *roles.Node) { n.Priority = 2 })
	to, _, _ = roles.SwitchoverTarget("", v)
	require.Equal(t, stranger, to, "by priority")
	set(stranger, func(n *roles.Node) { n.LagSeconds = 3 })
	to, _, _ = roles.SwitchoverTarget("", v)
	require.Equal(t, peer, to, "by lag")
	to, _, _ = roles.SwitchoverTarget("c", v)
	require.Equal(t, stranger, to, "by wish")
	set(stranger, func(n *roles.Node) { n.Void = true })
	_, guard, why := roles.SwitchoverTarget("c", v)
	require.Equal(t, "target", guard)
	require.Contains(t, why, "acknowledgements may be lost")
	_, guard, _ = roles.SwitchoverTarget("nobody", v)
	require.Equal(t, "target", guard)
	set(peer, func(n *roles.Node) { n.Healthy = false })
	_, guard, why = roles.SwitchoverTarget("", v)
	require.Equal(t, "no-standby", guard)
	require.Contains(t, why, "b (not healthy)")
}

func TestAStoppingPrimaryHandsOverOnceAndThenLetsGo(t *testing.T) {
	f := leading()
	f.Stop = true
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.PlanHandover), d.Why)
	require.True(t, d.Steps[0].Handing.Leaving)

	f.TriedToHandOver = true
	require.Equal(t, roles.StepDown, roles.Decide(roles.Primary, f).Event)

	f = planned()
	f.Stop, f.TriedToHandOver = true, true
	require.True(t, does(roles.Decide(roles.Primary, f), roles.MakeOffer))
	f.Handing.For = 2 * time.Minute
	require.Equal(t, roles.StepDown, roles.Decide(roles.Primary, f).Event)

	f = leading()
	f.Stop, f.View.Paused = true, true
	require.Equal(t, roles.StepDown, roles.Decide(roles.Primary, f).Event)
	f = leading()
	f.Stop = true
	delete(f.View.Nodes, peer)
	require.Equal(t, roles.StepDown, roles.Decide(roles.Primary, f).Event, "there is nobody to hand over to")
}

func TestAnOperatorIsToldWhatIsWaitedFor(t *testing.T) {
	f := planned()
	f.Handing.Request = "r1"
	f.View.Requests = []roles.Request{{ID: "r1", Kind: roles.RequestSwitchover, State: roles.RequestRunning, Node: "b", Ver: 8}}
	edit(f.View, peer, func(n *roles.Node) { n.Ready = 0 })
	f.Handing.For = time.Second / 2
	require.Empty(t, roles.Decide(roles.Primary, f).Steps, "it is over in a moment")
	f.Handing.For = 2 * time.Second
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.MoveRequest), d.Why)
	require.Equal(t, roles.RequestRunning, d.Steps[0].Request.State)
	require.Contains(t, d.Steps[0].Request.Progress, "b is not prepared")
	f.View.Requests[0] = *d.Steps[0].Request
	require.Empty(t, roles.Decide(roles.Primary, f).Steps, "once")
}

func TestARequestAlwaysEnds(t *testing.T) {
	r := roles.Request{ID: "r1", Kind: roles.RequestSwitchover, State: roles.RequestRunning, Node: "b", Ver: 8}
	f := leading()
	f.View.Requests = []roles.Request{r}
	d := roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.MoveRequest), d.Why)
	require.Equal(t, roles.RequestFailed, d.Steps[0].Request.State, "whoever was at it is gone")
	require.Equal(t, uint64(8), d.Steps[0].Request.Ver)

	f.TookOver = &roles.TookOver{Request: "r1", From: peer, Gap: 12 * time.Millisecond}
	d = roles.Decide(roles.Primary, f)
	require.Equal(t, roles.RequestDone, d.Steps[0].Request.State)
	require.InDelta(t, 12, d.Steps[0].Request.GapMS, 0.1)

	f = leading()
	r.State, r.Node = roles.RequestOpen, "x"
	f.View.Requests = []roles.Request{r}
	d = roles.Decide(roles.Primary, f)
	require.Equal(t, roles.RequestRefused, d.Steps[0].Request.State)
	require.Equal(t, "target", d.Steps[0].Request.Guard)

	r.Node = "b"
	f.View.Requests = []roles.Request{r}
	d = roles.Decide(roles.Primary, f)
	require.True(t, does(d, roles.PlanHandover))
	require.Equal(t, roles.RequestRunning, d.Steps[0].Request.State)
}
