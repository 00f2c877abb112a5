package roles_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// The reduced domain of facts: everything that Decide branches on, each with the values that matter, and all combinations
// of them. What it leaves out (the ack set's upkeep) is in reconcile_test.go.

const self, peer, stranger = roles.Inc("a~1~00000000-0000-0000-0000-00000000000a"), roles.Inc("b~1~00000000-0000-0000-0000-00000000000b"),
	roles.Inc("c~1~00000000-0000-0000-0000-00000000000c")

const ownSession, peerSession = "session-a", "session-b"

func mysqlVariants() []roles.MySQL {
	out := []roles.MySQL{{}, {Running: true}, {Running: true, Failing: time.Hour}}
	for _, open := range []struct{ ro, offline bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		for _, wait := range []struct{ k, sessions int }{{0, 0}, {1, 0}, {1, 1}} {
			for _, received := range []int{2, 3} {
				for _, receiver := range []roles.ThreadState{roles.Off, roles.Connecting, roles.On} {
					m := roles.MySQL{
						Running: true, Ready: true, ReadOnly: open.ro, Offline: open.offline, K: wait.k, WaitSessions: wait.sessions,
						Executed: upTo(2), Received: upTo(received), Receiver: receiver, Applier: roles.On,
						Source: "peer:3306", ArmedWanted: true, Armed: receiver == roles.On, ReceiverID: "r1",
					}
					out = append(out, m)
				}
			}
		}
	}
	return out
}

func viewVariants() []roles.View {
	var out []roles.View
	members := []roles.Inc{self, peer}
	for _, sync := range []roles.Sync{
		{}, {Ver: 5, Term: 3, Primary: self, Members: members, Acks: 1}, {Ver: 5, Term: 3, Primary: peer, Members: members, Acks: 1},
		{Ver: 5, Term: 3, Primary: peer, Members: []roles.Inc{peer, stranger}, Acks: 1}, {Ver: 5, Term: 4, Primary: self, Members: members, Acks: 0},
	} {
		for _, leader := range []roles.Leader{
			{}, {Holder: peer}, {Holder: self, Session: ownSession}, {Holder: peer, Session: peerSession}, {Holder: self, Session: "session-old"},
		} {
			for _, bits := range all(5) {
				v := roles.View{OK: bits[0], Sync: sync, Leader: leader, Paused: bits[1], Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}}
				if bits[2] {
					v.Cluster = &roles.Cluster{ID: "c"}
				}
				if bits[3] { // everybody has sealed for the next term
					for _, i := range []roles.Inc{self, peer, stranger} {
						v.Seals[i] = roles.Seal{Promise: sync.Term + 1, Position: upTo(2)}
					}
				}
				n := roles.Node{Inc: peer, Name: "b", MySQL: "peer:3306", Session: peerSession, Healthy: true, LastSync: &sync}
				if bits[4] {
					n.Open = sync.Term
					n.Checkpoints = []roles.Checkpoint{{Seq: 1}}
				}
				v.Nodes[peer], v.Nodes[self] = n, roles.Node{Inc: self, Name: "a", Session: ownSession}
				out = append(out, v)
			}
		}
	}
	return out
}

// all lists the combinations of n booleans.
func all(n int) [][]bool {
	out := make([][]bool, 1<<n)
	for i := range out {
		out[i] = make([]bool, n)
		for b := range n {
			out[i][b] = i>>b&1 == 1
		}
	}
	return out
}

// every calls f for each combination of the reduced domain, or, with a stride, for every stride-th of them.
func every(stride int, f func(roles.Facts)) {
	leases := []roles.Lease{{}, {Session: ownSession}, {Session: ownSession, Held: true, Provable: true}, {Session: ownSession, Provable: true}}
	n := 0
	for _, v := range viewVariants() {
		for _, m := range mysqlVariants() {
			for _, l := range leases {
				for _, bits := range all(4) {
					for _, promised := range []uint64{v.Sync.Term, v.Sync.Term + 1} {
						for _, data := range []roles.DataKind{roles.DataEmpty, roles.DataOurs, roles.DataCondemned} {
							for hand := range handovers {
								if n++; n%stride != 0 {
									continue
								}
								f(handingOver(facts(v, m, l, bits, promised, data), hand))
							}
						}
					}
				}
			}
		}
	}
}

func facts(v roles.View, m roles.MySQL, l roles.Lease, bits []bool, promised uint64, data roles.DataKind) roles.Facts {
	f := roles.Facts{
		Self: roles.Self{Inc: self, Name: "a"}, MySQL: m, Lease: l, View: v, Stop: bits[0], LeaderFree: time.Hour,
		Set:     roles.Settings{Acks: 1, MaxAckers: 2, GoOnAlone: true, C: 3 * time.Second, H: 2 * time.Second, Heartbeat: time.Second},
		Disk:    roles.Disk{Data: data, ClusterID: "c", Promised: promised, Void: bits[3], LastSync: v.Sync},
		Leading: v.Sync,
	}
	if bits[1] {
		f.Promoted, f.Founded = v.Sync.Term, v.Sync.Acks == 0
		f.Follow = roles.Follow{Primary: peer, Term: v.Sync.Term, Armed: true}
	}
	if bits[2] {
		f.Leading.Ver--
		f.CannotDrain, f.Busy = promised, "copying"
	}
	return f
}

// handovers is how many situations of a hand-over there are.
const handovers = 9

// handingOver adds one of them: none most of the time, the own one at its stages, the peer's at its stages.
func handingOver(f roles.Facts, hand int) roles.Facts {
	offer := &roles.Offer{GTID: upTo(3), Ver: f.View.Sync.Ver}
	plan := roles.Handover{Seq: 7, To: peer, Term: f.View.Sync.Term, Request: "r1"}
	switch hand {
	case 1:
		f.View.Requests = []roles.Request{{ID: "r1", Kind: roles.RequestSwitchover, State: roles.RequestOpen, Node: "b"}}
	case 2:
		f.Handing = &roles.Handing{Handover: plan, For: time.Second, Limit: time.Minute}
	case 3, 4:
		plan.Offer = offer
		f.Handing = &roles.Handing{Handover: plan, For: time.Second, Held: time.Duration(hand-2) * 1500 * time.Millisecond, Limit: time.Minute}
	case 8:
		f.Throttle = time.Millisecond
	case 5, 6, 7:
		plan.To = self
		if hand > 5 {
			plan.Offer = offer
			f.Ready = 7
		}
		if hand == 7 {
			offer.Ver++
		}
		nodes := map[roles.Inc]roles.Node{}
		for i, n := range f.View.Nodes {
			nodes[i] = n
		}
		n := nodes[peer]
		n.Handover = &plan
		nodes[peer] = n
		f.View.Nodes = nodes
	}
	return f
}

// TestDecideEverywhere walks the whole domain in every state.
func TestDecideEverywhere(t *testing.T) {
	stride := 809
	switch {
	case os.Getenv("AUTOPILOT_TEST_SOAK") != "":
		stride = 1
	case testing.Short():
		stride = 2003
	}
	spec := roles.Table()
	refused, wrong, cases := map[string]string{}, map[string]string{}, 0
	every(stride, func(f roles.Facts) {
		for _, s := range roles.States() {
			cases++
			d := roles.Decide(s, f)
			if why := judge(spec, s, f, d, refused); why != "" && wrong[why] == "" {
				wrong[why] = fmt.Sprintf("in state %s: %+v\nfacts: %+v", s, d, f)
			}
		}
	})
	t.Logf("%d combinations of state and facts", cases)
	for why, where := range wrong {
		t.Errorf("%s\n%s", why, where)
	}
	for what, why := range refused {
		t.Logf("fired, and refused by its guard: %s: %s", what, why)
	}
	// A guard looks at more than the decision does; in these cases the refusal is what is wanted, and the next turn decides
	// again from newer facts. Any other disagreement is a rule that can never fire.
	for what := range refused {
		require.Contains(t, []string{
			"init founded: the term is not the one this node promised and made durable",
			"init founded: mysqld is not ready with everything applied",
		}, what)
	}
}

// judge returns what is wrong with a decision, "" if nothing is.
func judge(spec roles.Spec, s roles.State, f roles.Facts, d roles.Decision, refused map[string]string) string {
	switch {
	case d.Why == "":
		return "no reason given"
	case d.Event != "" && len(d.Steps) > 0:
		return "an event and steps at once"
	case len(d.Steps) > 1:
		return "more than one step without looking again"
	}
	if d.Event != "" {
		r, _ := spec.Find(s, d.Event)
		if r == nil {
			return "the table has no rule for this event here"
		}
		if r.If != nil {
			if err := r.If(f); err != nil {
				refused[fmt.Sprintf("%s %s: %s", s, d.Event, err)] = d.Why
			}
		}
	}
	for _, law := range []func(roles.State, roles.Facts, roles.Decision) string{leaving, paused, blind, inPlace, stopping, operands, offered, fullSpeed} {
		if why := law(s, f, d); why != "" {
			return why
		}
	}
	return ""
}

// does reports whether the decision is one of these steps.
func does(d roles.Decision, ops ...roles.Op) bool {
	return slices.ContainsFunc(d.Steps, func(s roles.Step) bool { return slices.Contains(ops, s.Op) })
}

// leaving: a primary that cannot prove its lease, or has no mysqld, leaves at once, whatever else is the case.
func leaving(s roles.State, f roles.Facts, d roles.Decision) string {
	if s != roles.Primary {
		return ""
	}
	superseded := f.View.OK && f.View.Sync.Term > f.Leading.Term
	if (!f.Lease.Provable || !f.MySQL.Running || superseded) && d.Event != roles.LeaseLost && d.Event != roles.MysqldLost {
		return "a primary without a proof stays"
	}
	return ""
}

// paused: no seal and no promotion; only the first term of a new cluster may still open.
func paused(s roles.State, f roles.Facts, d roles.Decision) string {
	if f.View.OK && f.View.Paused && f.View.Cluster != nil && (slowsDown(d) || does(d, roles.SealReceive, roles.PublishSeal, roles.Promote, roles.PlanHandover, roles.MakeOffer, roles.TakeOver) ||
		does(d, roles.Acquire) && s == roles.Failover) {
		return "paused, but goes for a new term"
	}
	return ""
}

// slowsDown reports whether a decision puts a delay on commits.
func slowsDown(d roles.Decision) bool { return does(d, roles.Throttle) && d.Steps[0].Delay > 0 }

// fullSpeed: a primary that stays one and has a server that answers takes off what nobody needs before it does anything else.
func fullSpeed(s roles.State, f roles.Facts, d roles.Decision) string {
	if s == roles.Primary && f.Throttle > 0 && f.Handing == nil && f.MySQL.Ready && d.Event == "" && !does(d, roles.Throttle) {
		return "leaves commits slowed down for nothing"
	}
	return ""
}

// blind: without Consul nothing is written there and nothing new is begun.
func blind(_ roles.State, f roles.Facts, d roles.Decision) string {
	if !f.View.OK && (slowsDown(d) || does(d, roles.SealReceive, roles.PublishSeal, roles.Acquire, roles.Promote, roles.WriteSync, roles.TakeBack, roles.PutBack, roles.Found, roles.Restore,
		roles.PlanHandover, roles.MakeOffer, roles.TakeWritesBack, roles.TakeOver, roles.Chain)) {
		return "acts on a memory of Consul"
	}
	return ""
}

// inPlace: each step belongs to certain states.
func inPlace(s roles.State, _ roles.Facts, d roles.Decision) string {
	only := map[roles.Op][]roles.State{
		roles.Found: {roles.Init}, roles.Restore: {roles.RestoreSnapshot}, roles.StopMysqld: {roles.RestoreSnapshot},
		roles.Fence: {roles.Init, roles.Failover}, roles.SealReceive: {roles.Failover}, roles.PublishSeal: {roles.Failover},
		roles.Acquire: {roles.Init, roles.Failover}, roles.Drain: {roles.Failover}, roles.Promote: {roles.Failover}, roles.Release: {roles.Failover, roles.Init, roles.RestoreSnapshot},
		roles.Archive: {roles.Replica, roles.Standby}, roles.Expect: {roles.Failover}, roles.Close: {roles.Replica, roles.Standby}, roles.FollowOp: {roles.Failover, roles.Replica, roles.Standby}, roles.Confirm: {roles.Replica, roles.Standby},
		roles.Unlock: {roles.Primary}, roles.Lock: {roles.Primary}, roles.LockAll: {roles.Primary}, roles.WriteSync: {roles.Primary}, roles.SetK: {roles.Primary},
		roles.Ask: {roles.Primary}, roles.Marker: {roles.Primary}, roles.TakeBack: {roles.Primary},
		roles.PlanHandover: {roles.Primary}, roles.DropHandover: {roles.Primary}, roles.MakeOffer: {roles.Primary}, roles.TakeWritesBack: {roles.Primary},
		roles.MoveRequest: {roles.Primary}, roles.Prepare: {roles.Standby}, roles.Unprepare: {roles.Replica, roles.Standby}, roles.Chain: {roles.Replica},
		roles.TakeOver: {roles.Standby}, roles.Throttle: {roles.Primary},
		roles.PutBack: {roles.Primary, roles.Init, roles.Failover}, roles.StartMysqld: {roles.Init, roles.RestoreSnapshot, roles.Replica, roles.Standby, roles.Failover},
	}
	for _, step := range d.Steps {
		if !slices.Contains(only[step.Op], s) {
			return fmt.Sprintf("step %s in state %s", step.Op, s)
		}
	}
	return ""
}

// stopping: whoever is asked to stop begins nothing.
func stopping(_ roles.State, f roles.Facts, d roles.Decision) string {
	if f.Stop && does(d, roles.Found, roles.Acquire, roles.Promote, roles.Restore, roles.TakeBack) {
		return "begins something while stopping"
	}
	return ""
}

// offered: with an offer out a primary does nothing but wait, fence, or take the writes back by a new version of the very
// record it wrote; and nobody takes an offer for another version, or unprepared.
func offered(s roles.State, f roles.Facts, d roles.Decision) string {
	if s == roles.Primary && f.Handing != nil && f.Handing.Offer != nil {
		for _, step := range d.Steps {
			if step.Op != roles.TakeWritesBack || step.Sync.Ver != f.Leading.Ver || step.Sync.Equal(f.View.Sync) || step.Sync.Term != f.View.Sync.Term {
				return "uses a term that it has offered"
			}
		}
	}
	if does(d, roles.TakeOver) {
		h := f.View.Nodes[f.View.Sync.Primary]
		if h.Handover == nil || h.Handover.Offer == nil || h.Handover.Offer.Ver != f.View.Sync.Ver || f.Ready != h.Handover.Seq || f.Stop || f.Disk.Void {
			return "takes an offer that is not for it"
		}
	}
	return ""
}

// operands: what a step would write fits what was read.
func operands(s roles.State, f roles.Facts, d roles.Decision) string {
	for _, step := range d.Steps {
		switch step.Op {
		case roles.Promote:
			if step.Sync.Ver != f.View.Sync.Ver || step.Sync.Term != f.View.Sync.Term+1 || step.Sync.Primary != self || !f.Lease.Held || !f.MySQL.Undrained().IsEmpty() {
				return "a promotion that does not follow from the facts"
			}
		case roles.TakeBack:
			if step.Sync.Term != f.View.Sync.Term+1 || step.Sync.Ver != f.View.Sync.Ver || f.View.Sync.Primary != self {
				return "a take-back that does not follow from the facts"
			}
		case roles.StartMysqld:
			if f.Disk.Data != roles.DataOurs && s != roles.Replica && s != roles.Standby && s != roles.Failover {
				return "starts mysqld without data"
			}
		case roles.Found:
			if f.View.Cluster != nil || !f.Lease.Held || f.Disk.Data == roles.DataOurs {
				return "would create a database where one may be"
			}
		}
	}
	return ""
}
