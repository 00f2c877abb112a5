package sim

import (
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// A mutation takes one line of the protocol away: from the simulated steps and servers (world.is), from the facts before
// the real code sees them (tamper), or from what the real code decided (decide, elect).
type mutation struct {
	name string
	plan plan
	// stuck: the harm is a cluster that does not come back, not a lost write.
	stuck bool
	from  uint64 // the first schedule to try: those before it are known to show nothing, and take their time
}

// mutations is the table of the protocol, as far as the product has the line. NOTE does not exist in roles.
func mutations() []mutation {
	three, leader := plan{nodes: 3, k: 1, steps: 300}, plan{nodes: 3, k: 1, steps: 400, leader: true}
	lagging := plan{nodes: 3, k: 1, steps: 600, leader: true, lagging: true}
	hand := plan{nodes: 3, k: 1, steps: 1200, hand: true}
	handing := func(script func() []line) plan { return plan{nodes: 3, k: 1, steps: 1200, quiet: true, script: script} }
	alone := lagging
	alone.alone = true
	scripted := func(script func() []line) plan { return plan{nodes: 3, k: 1, steps: 700, script: script} }
	return append(moreMutations(), []mutation{
		{name: "promotion promises k at once", plan: three},
		{name: "strangers are not locked out", plan: three},
		{name: "removed while the others lag", plan: three},
		{name: "removed without ending the stream", plan: scripted(frozenAcker)},
		{name: "raised without catching up", plan: three},
		{name: "members and acks in one write", plan: three},
		{name: "armed before the record", plan: three},
		{name: "caught up by gtid_executed", plan: alone},
		{name: "taken back in the same term", plan: scripted(staleSeal)},
		{name: "source off before the record", plan: leader},
		{name: "alone without lock and version", plan: scripted(lateSelf)},
		{name: "K below the promise", plan: three},
		{name: "fence leaves clients and waiters", plan: scripted(lateAck)},
		{name: "attached without a new version", plan: plan{nodes: 3, k: 1, steps: 1200, script: lateRemove}},
		{name: "a void node votes", plan: leader},
		{name: "a reboot voids nothing", plan: three},
		{name: "relay_log_recovery=ON", plan: three},
		{name: "a change of source deletes the relay log", plan: three},
		{name: "seal before the receiver stopped", plan: leader},
		{name: "no quorum", plan: three},
		{name: "one vote fewer", plan: three},
		{name: "reset before drained", plan: three},
		{name: "promote without lock and version", plan: scripted(latePromotion)},
		{name: "open to writes before K is in force", plan: three},
		{name: "an old answer lets an acker go", plan: handing(letGoTwice)},
		{name: "abort without a new version of sync", plan: handing(lateTakeover)},
		{name: "an offer is not bound to the version of sync", plan: handing(staleOffer)},
		{name: "an ordinary OPEN spares chained nodes", plan: handing(chainedStranger)},
		{name: "candidate not drained", plan: hand},
		{name: "the offered history is not checked", plan: handing(candidateBehind)},
		{name: "waiters at the old primary", plan: handing(waiterAtTheOld)},
		{name: "acks of a takeover counted without equality", plan: plan{nodes: 5, k: 2, steps: 1500, hand: true}},
		{name: "a chained node goes back without disarming", plan: handing(chainedBack)},
		{name: "a throttle outlives its agent", plan: handing(throttledThenKilled), stuck: true},
		{name: "non-members vote", plan: lagging},
		{name: "histories compared while receiving", plan: plan{nodes: 3, k: 2, steps: 400}, stuck: true},
		{name: "a creation is never given up", plan: plan{nodes: 1, k: 1, steps: 300, empty: true}, stuck: true},
		{name: "a lease that ran out is kept", plan: leader, stuck: true},
		{name: "no errant check", plan: three, stuck: true},
	}...)
}

// TestMutations: whatever line is taken away, the simulation notices. AUTOPILOT_TEST_MUTATION picks one and shows how.
func TestMutations(t *testing.T) {
	limit := 6000
	if x, err := strconv.Atoi(os.Getenv("AUTOPILOT_TEST_LIMIT")); err == nil {
		limit = x
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	only := os.Getenv("AUTOPILOT_TEST_MUTATION")
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if only != "" && !strings.Contains(m.name, only) {
				t.Skip("not asked for")
			}
			p := m.plan
			p.mutation = m.name
			for seed := m.from; seed < m.from+uint64(limit); seed++ {
				r := play(p, seeded(seed), false)
				if r.bad == nil || (r.bad.kind == "stuck") != m.stuck && r.bad.kind != "lost" {
					continue
				}
				t.Logf("caught by schedule %d: %s: %s", seed, r.bad.kind, r.bad.text)
				if only != "" {
					t.Log(explain(p, r))
				}
				return
			}
			require.Fail(t, "nobody noticed", "%d schedules", limit)
		})
	}
}

// tamper changes the facts before anybody sees them.
func (w *world) tamper(s roles.State, f *roles.Facts) {
	switch {
	case w.mutation == "" || !f.View.OK:
	case w.is("taken back in the same term") && (s == roles.Replica || s == roles.Standby || s == roles.Failover && !f.View.Leader.Free() && !w.consul.holds(f.Lease.Session)):
		f.Disk.Promised = min(f.Disk.Promised, f.View.Sync.Term)
	case w.is("fence leaves clients and waiters") && s == roles.Failover:
		f.MySQL.WaitSessions = 0
	case w.is("seal before the receiver stopped") && s == roles.Failover:
		f.MySQL.Receiver = roles.Off
	case w.is("reset before drained") && s == roles.Failover && w.consul.holds(f.Lease.Session):
		f.MySQL.Received = f.MySQL.Executed
	case w.is("candidate not drained") && s == roles.Standby && f.Promoted != 0:
		f.MySQL.Received = f.MySQL.Executed
	case w.is("an offer is not bound to the version of sync"):
		f.View = w.unbound(f.View)
	case w.is("armed before the record") && (s == roles.Replica || s == roles.Standby):
		f.MySQL.ArmedWanted = f.View.Sync.Has(f.Self.Inc)
		f.Follow.Armed = f.MySQL.ArmedWanted
	}
	w.tamperMore(s, f)
	if s == roles.Failover && f.View.OK {
		f.View = w.ballot(f.View)
	}
}

// ballot changes what an election sees.
func (w *world) ballot(v roles.View) roles.View {
	v = w.ballotMore(v)
	switch {
	case w.is("no quorum"):
		v.Sync.Acks = len(v.Sync.Ackers()) + 1
	case w.is("one vote fewer"):
		v.Sync.Acks++
	case w.is("a void node votes"):
		v.Seals = maps.Clone(v.Seals)
		for i, s := range v.Seals {
			s.Void = false
			v.Seals[i] = s
		}
	case w.is("non-members vote"):
		v.Sync.Members = append([]roles.Inc{}, v.Sync.Members...)
		for _, i := range v.Incs() {
			if v.Seals[i].Promise == v.Sync.Term+1 && !v.Sync.Has(i) {
				v.Sync.Members = append(v.Sync.Members, i) // like an acker's, with as many needed as before
				v.Sync.Acks++
			}
		}
	}
	return v
}

// decide is roles.Decide, less the line that is taken away.
func (w *world) decide(s roles.State, f roles.Facts) roles.Decision {
	d := roles.Decide(s, f)
	if weaker, ok := w.weaken(s, f, d); ok {
		return weaker
	}
	if w.mutation == "" || s != roles.Primary || len(d.Steps) == 0 {
		return d
	}
	step := &d.Steps[0]
	sync := f.View.Sync
	stranger := step.Op == roles.LockAll || step.Op == roles.Lock && strings.Contains(step.Why, "without being a member")
	leaver := step.Op == roles.Lock && strings.Contains(step.Why, "leaves the ack set")
	switch {
	case w.is("strangers are not locked out") && stranger, w.is("removed without ending the stream") && (leaver || stranger):
		return w.overlook(s, f, *step)
	case w.is("removed while the others lag") && strings.HasPrefix(step.For, "remove "):
		inc, _, _ := strings.Cut(strings.TrimPrefix(step.For, "remove "), " ")
		*step = roles.Step{Op: roles.WriteSync, Sync: sync.Without(roles.Inc(inc)), Why: "MUTATION"}
	case w.is("raised without catching up") && strings.HasPrefix(step.For, "raise "):
		next := sync
		next.Acks++
		*step = roles.Step{Op: roles.WriteSync, Sync: next, Why: "MUTATION"}
	case w.is("members and acks in one write") && step.Op == roles.WriteSync && strings.Contains(step.Why, "joins"):
		step.Sync.Acks = min(w.k, len(step.Sync.Ackers()))
	case w.is("taken back in the same term") && step.Op == roles.TakeBack:
		step.Sync.Term--
		if !f.View.Leader.Free() { // a promise of a later term counts for nothing either
			return roles.Decision{Why: "MUTATION"}
		}
	case w.is("source off before the record") && step.Op == roles.WriteSync && len(step.Sync.Members) == 1 && f.MySQL.K > 0:
		*step = roles.Step{Op: roles.SetK, Why: "MUTATION"}
	}
	if w.is("K below the promise") && step.Op == roles.Marker {
		*step = roles.Step{Op: roles.SetK, K: max(0, f.MySQL.K-1), Why: "MUTATION"}
	}
	return d
}

// overlook decides again as if those to be locked were not there.
func (w *world) overlook(s roles.State, f roles.Facts, step roles.Step) roles.Decision {
	f.MySQL.Unlocked, f.MySQL.Streams = maps.Clone(f.MySQL.Unlocked), maps.Clone(f.MySQL.Streams)
	for name := range f.MySQL.Unlocked {
		if step.Op == roles.LockAll || name == step.Node.Name() {
			delete(f.MySQL.Unlocked, name)
			delete(f.MySQL.Streams, name)
		}
	}
	delete(f.MySQL.Streams, step.Node.Name())
	if step.Op == roles.LockAll {
		f.MySQL.Streams = map[string]bool{}
	}
	return w.decide(s, f)
}

// elect is roles.Elect, less the line that is taken away.
func (w *world) elect(me roles.Inc, v roles.View) roles.Verdict {
	e := roles.Elect(me, w.ballot(v), w.set.Acks)
	if w.is("promotion promises k at once") && e.Winner != "" {
		e.Next.Acks = min(w.k, len(e.Next.Ackers()))
	}
	return e
}

// endOfBinlog is what a primary takes for everything it has.
func (w *world) endOfBinlog(s *server) int {
	if w.is("caught up by gtid_executed") {
		for at, id := range s.binlog {
			if s.wait.has(id) {
				return at
			}
		}
	}
	return len(s.binlog)
}
