package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// three is a cluster at ease: a leads in term 3, b and c acknowledge.
func three() roles.View {
	f := leading()
	v := f.View
	v.Sync.Members = []roles.Inc{self, peer, stranger}
	b := v.Nodes[peer]
	b.State = roles.Standby
	v.Nodes[peer] = b
	b.Inc, b.Name, b.Session = stranger, "c", "session-c"
	v.Nodes[stranger] = b
	v.Seals, v.Removed = map[roles.Inc]roles.Seal{}, map[roles.Inc]bool{}
	return v
}

func edit(v roles.View, i roles.Inc, change func(*roles.Node)) {
	n := v.Nodes[i]
	change(&n)
	v.Nodes[i] = n
}

// leaderless ends a's session; the others have sealed with these positions, "" for one that has not.
func leaderless(v *roles.View, b, c string) {
	edit(*v, self, func(n *roles.Node) { n.Session = "" })
	v.Leader = roles.Leader{Holder: self}
	for i, pos := range map[roles.Inc]string{peer: b, stranger: c} {
		if pos != "" {
			v.Seals[i] = roles.Seal{Promise: v.Sync.Term + 1, Position: gtid.MustParse(pos)}
		}
	}
}

const (
	uuidA = "0000000a-0000-0000-0000-000000000000"
	uuidB = "0000000b-0000-0000-0000-000000000000"
)

func TestRefuse(t *testing.T) {
	force := roles.RequestOptions{Force: true}
	lossy := roles.RequestOptions{Force: true, AcceptDataLoss: true}
	for name, c := range map[string]struct {
		r     roles.Request
		edit  func(*roles.View)
		guard string // "" for none
		says  string
	}{
		"rebuild a standby":              {roles.Request{Kind: roles.RequestRebuild, Node: "b"}, nil, "", ""},
		"rebuild the primary":            {roles.Request{Kind: roles.RequestRebuild, Node: "a"}, nil, roles.GuardPrimary, "autopilot-mysql switchover"},
		"rebuild, forced, too":           {roles.Request{Kind: roles.RequestRebuild, Node: "a", Options: force}, nil, roles.GuardPrimary, ""},
		"rebuild a dead one":             {roles.Request{Kind: roles.RequestRebuild, Node: "b"}, func(v *roles.View) { edit(*v, peer, gone) }, roles.GuardNodeDown, "autopilot-mysql remove b"},
		"rebuild without a primary":      {roles.Request{Kind: roles.RequestRebuild, Node: "b"}, func(v *roles.View) { leaderless(v, "", "") }, roles.GuardNoPrimary, "autopilot-mysql status"},
		"rebuild the last acker":         {roles.Request{Kind: roles.RequestRebuild, Node: "b"}, func(v *roles.View) { v.Sync = v.Sync.Without(stranger) }, roles.GuardAckPromise, "autopilot-mysql rebuild b --force"},
		"rebuild the last acker, forced": {roles.Request{Kind: roles.RequestRebuild, Node: "b", Options: force}, func(v *roles.View) { v.Sync = v.Sync.Without(stranger) }, "", ""},
		"rebuild the last healthy acker": {roles.Request{Kind: roles.RequestRebuild, Node: "b"}, func(v *roles.View) { edit(*v, stranger, func(n *roles.Node) { n.Armed = false }) },
			roles.GuardAckPromise, "no standby would acknowledge"},
		"rebuild a plain replica": {roles.Request{Kind: roles.RequestRebuild, Node: "b"}, func(v *roles.View) {
			v.Sync.Members = []roles.Inc{self, stranger}
			edit(*v, stranger, func(n *roles.Node) { n.Armed = false })
		}, "", ""},
		"remove a living one":         {roles.Request{Kind: roles.RequestRemove, Node: "b"}, nil, roles.GuardNodeLives, "autopilot-mysql remove b --force"},
		"remove a living one, forced": {roles.Request{Kind: roles.RequestRemove, Node: "b", Options: force}, nil, "", ""},
		"remove one that is still empty": {roles.Request{Kind: roles.RequestRemove, Node: "d", Options: force}, func(v *roles.View) {
			v.Nodes["d~0~none"] = roles.Node{Inc: "d~0~none", Name: "d", Session: "s"}
		}, roles.GuardNodeLives, "stop it first"},
		"remove a dead one":        {roles.Request{Kind: roles.RequestRemove, Node: "b"}, func(v *roles.View) { edit(*v, peer, gone) }, "", ""},
		"remove a dead last one":   {roles.Request{Kind: roles.RequestRemove, Node: "b"}, func(v *roles.View) { v.Sync = v.Sync.Without(stranger); edit(*v, peer, gone) }, "", ""},
		"remove the primary":       {roles.Request{Kind: roles.RequestRemove, Node: "a", Options: force}, nil, roles.GuardPrimary, "autopilot-mysql switchover"},
		"remove without a primary": {roles.Request{Kind: roles.RequestRemove, Node: "b"}, func(v *roles.View) { leaderless(v, "", "") }, roles.GuardNoPrimary, ""},

		"fail over from a living primary": {roles.Request{Kind: roles.RequestFailover}, nil, roles.GuardPrimaryLives, "autopilot-mysql switchover"},
		"fail over while paused": {roles.Request{Kind: roles.RequestFailover, Options: lossy, Node: "b"}, func(v *roles.View) {
			leaderless(v, "", "")
			v.Paused, v.Pause = true, roles.Pause{By: "ann", Reason: "rack"}
		}, roles.GuardPaused, "by ann (rack): end that with: autopilot-mysql resume"},
		"fail over, somebody is opening": {roles.Request{Kind: roles.RequestFailover}, func(v *roles.View) {
			leaderless(v, "", "")
			v.Leader = roles.Leader{Holder: peer, Session: peerSession}
		}, roles.GuardElection, "b holds the lock"},
		"fail over with a quorum":         {roles.Request{Kind: roles.RequestFailover}, func(v *roles.View) { leaderless(v, uuidA+":1-9", uuidA+":1-8") }, "", ""},
		"fail over to the winner":         {roles.Request{Kind: roles.RequestFailover, Node: "b"}, func(v *roles.View) { leaderless(v, uuidA+":1-9", uuidA+":1-8") }, "", ""},
		"fail over to one with less":      {roles.Request{Kind: roles.RequestFailover, Node: "c"}, func(v *roles.View) { leaderless(v, uuidA+":1-9", uuidA+":1-8") }, roles.GuardElection, "b takes over"},
		"force one with less in":          {roles.Request{Kind: roles.RequestFailover, Node: "c", Options: lossy}, func(v *roles.View) { leaderless(v, uuidA+":1-9", uuidA+":1-8") }, roles.GuardElection, "b takes over without losing anything"},
		"fail over, the seals are coming": {roles.Request{Kind: roles.RequestFailover}, func(v *roles.View) { leaderless(v, uuidA+":1-9", "") }, "", ""},
		"fail over without a quorum": {roles.Request{Kind: roles.RequestFailover}, func(v *roles.View) { leaderless(v, uuidA+":1-9", ""); edit(*v, stranger, gone) },
			roles.GuardDataLoss, "c (not running); start what is missing, or give up what only it holds with: autopilot-mysql failover --to NODE --force --accept-data-loss"},
		"fail over by force alone": {roles.Request{Kind: roles.RequestFailover, Node: "b", Options: force}, func(v *roles.View) { leaderless(v, uuidA+":1-9", ""); edit(*v, stranger, gone) },
			roles.GuardDataLoss, "--to b --force --accept-data-loss"},
		"fail over by force":         {roles.Request{Kind: roles.RequestFailover, Node: "b", Options: lossy}, func(v *roles.View) { leaderless(v, uuidA+":1-9", ""); edit(*v, stranger, gone) }, "", ""},
		"fail over by force, nobody": {roles.Request{Kind: roles.RequestFailover, Options: lossy}, func(v *roles.View) { leaderless(v, uuidA+":1-9", ""); edit(*v, stranger, gone) }, roles.GuardDataLoss, "--to NODE"},
		"fail over by force to a dead one": {roles.Request{Kind: roles.RequestFailover, Node: "c", Options: lossy}, func(v *roles.View) { leaderless(v, uuidA+":1-9", ""); edit(*v, stranger, gone) },
			roles.GuardNodeDown, "c is not running"},
		"fail over by force to one that has not sealed": {roles.Request{Kind: roles.RequestFailover, Node: "b", Options: lossy}, func(v *roles.View) { leaderless(v, "", ""); edit(*v, stranger, gone) },
			roles.GuardElection, "not yet said what it holds"},
		"fail over from a contradiction": {roles.Request{Kind: roles.RequestFailover}, func(v *roles.View) { leaderless(v, uuidA+":1-9", uuidB+":1") }, roles.GuardDataLoss, uuidB + ":1"},
		"decide a contradiction":         {roles.Request{Kind: roles.RequestFailover, Node: "c", Options: lossy}, func(v *roles.View) { leaderless(v, uuidA+":1-9", uuidB+":1") }, "", ""},

		"switch over":                  {roles.Request{Kind: roles.RequestSwitchover}, caughtUp, "", ""},
		"switch over to b":             {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, caughtUp, "", ""},
		"switch over while paused":     {roles.Request{Kind: roles.RequestSwitchover}, func(v *roles.View) { v.Paused = true }, roles.GuardPaused, "resume"},
		"switch over to the primary":   {roles.Request{Kind: roles.RequestSwitchover, Node: "a"}, nil, roles.GuardPrimary, ""},
		"switch over to a dead one":    {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, func(v *roles.View) { edit(*v, peer, gone) }, roles.GuardTarget, "--to"},
		"switch over to a replica":     {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, func(v *roles.View) { v.Sync = v.Sync.Without(peer) }, roles.GuardTarget, "b cannot take over"},
		"switch over to one that lags": {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, func(v *roles.View) { edit(*v, peer, func(n *roles.Node) { n.Caught = false }) }, roles.GuardTarget, "b cannot take over"},
		"switch over to one not armed": {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, func(v *roles.View) { edit(*v, peer, func(n *roles.Node) { n.Armed = false }) }, roles.GuardTarget, "b cannot take over"},
		"switch over to one being rebuilt": {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, func(v *roles.View) {
			v.Requests = []roles.Request{{Kind: roles.RequestRebuild, Node: "b", Inc: peer, State: roles.RequestRunning}}
		}, roles.GuardTarget, "rebuild"},
		"switch over to a tagged one": {roles.Request{Kind: roles.RequestSwitchover, Node: "b"}, func(v *roles.View) { edit(*v, peer, func(n *roles.Node) { n.NoFailover = true }) }, roles.GuardTarget, "nofailover"},
		"switch over without anybody": {roles.Request{Kind: roles.RequestSwitchover}, func(v *roles.View) { v.Sync = v.Sync.Without(peer).Without(stranger) }, roles.GuardNoStandby, "autopilot-mysql status"},
		"switch over from nobody":     {roles.Request{Kind: roles.RequestSwitchover}, func(v *roles.View) { leaderless(v, "", "") }, roles.GuardNoPrimary, "autopilot-mysql failover"},
	} {
		t.Run(name, func(t *testing.T) {
			v := three()
			if c.edit != nil {
				c.edit(&v)
			}
			no := roles.Refuse(c.r, v)
			if c.guard == "" {
				require.Nil(t, no, "%+v", no)
				return
			}
			require.NotNil(t, no)
			require.Equal(t, c.guard, no.Guard, no.Why)
			require.Contains(t, no.Why, c.says)
			require.NotContains(t, no.Why, "\n")
		})
	}
}

func gone(n *roles.Node) { n.Session = "" }

func caughtUp(*roles.View) {}

func TestLossNamesEverythingThatOthersHold(t *testing.T) {
	v := three()
	leaderless(&v, uuidA+":1-9", uuidA+":1-7,"+uuidB+":1")
	l := roles.LossOf(v, "c")
	require.Equal(t, map[string]gtid.Set{"b": gtid.MustParse(uuidA + ":8-9")}, l.Known)
	require.Equal(t, []string{"a"}, l.Silent)
	require.Equal(t, uuidA+":8-9 (2 transactions, known from b); and whatever was acknowledged and is only on a (not reachable, so it cannot be named)", l.String())
	require.Equal(t, "nothing that is known", roles.Loss{}.String())

	v.Seals[peer] = roles.Seal{Promise: 3, Position: gtid.MustParse(uuidA + ":1-9")} // of an older term: it says nothing
	require.Equal(t, []string{"a", "b"}, roles.LossOf(v, "c").Silent)
	require.Empty(t, roles.LossOf(v, "c").Known)
}

// TestAForcedRecordLetsOnlyItsNodeWin: the election after it is an ordinary one, and no former member can win, vote or
// complete a commit any more, whatever seals are left of it.
func TestAForcedRecordLetsOnlyItsNodeWin(t *testing.T) {
	v := three()
	leaderless(&v, uuidA+":1-9", "")
	next := roles.Forced(peer, v)
	require.Equal(t, v.Sync.Ver, next.Ver)
	require.Equal(t, v.Sync.Term+1, next.Term, "above every promise that a former member may have seen kept")
	v.Sync = next
	require.Empty(t, roles.Elect(peer, v, 1).Winner, "an old seal is worth nothing in the term after it")
	for _, i := range []roles.Inc{self, peer, stranger} {
		edit(v, i, func(n *roles.Node) { n.Session = "s" })
		v.Seals[i] = roles.Seal{Promise: next.Term + 1, Position: gtid.MustParse(uuidA + ":1-99"), Void: i == peer}
	}
	v.Seals[peer] = roles.Seal{Promise: next.Term + 1, Position: gtid.MustParse(uuidA + ":1-9"), Void: true}
	e := roles.Elect(peer, v, 1)
	require.True(t, e.Win, e.Why)
	require.Equal(t, roles.Sync{Ver: next.Ver, Term: next.Term + 1, Primary: peer, Members: []roles.Inc{peer}}, e.Next)
	require.False(t, roles.Elect(self, v, 1).Win)
}

func TestARequestKnowsItsLivingNode(t *testing.T) {
	v := three()
	newer := roles.NewInc("b", 2, "later")
	v.Nodes[newer] = roles.Node{Inc: newer, Name: "b"}
	n, ok := v.Living("b")
	require.True(t, ok)
	require.Equal(t, peer, n.Inc, "the living one, though another record is newer")
	edit(v, peer, gone)
	n, _ = v.Living("b")
	require.Equal(t, newer, n.Inc)
	_, ok = v.Living("nobody")
	require.False(t, ok)
	require.True(t, v.Knows("c"))
	delete(v.Nodes, stranger)
	require.True(t, v.Knows("c"), "a member without a record")
	v.Sync = v.Sync.Without(stranger)
	require.False(t, v.Knows("c"))
}

func TestMoveOfWhatNobodyTakesUp(t *testing.T) {
	f := leading()
	f.View = three()
	r := roles.Request{ID: "1", Kind: roles.RequestFailover, Node: "c", State: roles.RequestOpen, Timeout: time.Second}
	leaderless(&f.View, "", "")
	f.View.Requests, f.RequestAge = []roles.Request{r}, map[string]time.Duration{"1": time.Second}
	_, ok := roles.Move(roles.Failover, f)
	require.False(t, ok)
	f.RequestAge["1"] = 2 * time.Second
	next, ok := roles.Move(roles.Failover, f)
	require.True(t, ok)
	require.Equal(t, roles.RequestFailed, next.State)
	f.View.OK = false
	_, ok = roles.Move(roles.Failover, f)
	require.False(t, ok, "on a memory of Consul nothing is judged")
}
