package agent

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func (n *trapNode) commitDelay() (us int) {
	n.t.Helper()
	row := n.db(trapCreds.Admin(), trapCreds.Password).QueryRowContext(n.ctx(), "SELECT @@GLOBAL.binlog_group_commit_sync_delay")
	require.NoError(n.t, row.Scan(&us))
	return us
}

// A delay that was put on commits for a hand-over goes with it; one of which nobody knows whether it is there goes as well.
func TestAThrottleIsTakenOff(t *testing.T) {
	p, f, m, held, c := pair(t, newTrapLab(t))
	p.leads(p)
	begin := func() {
		p.handing = &handing{Handover: roles.Handover{Seq: 7, To: f.disk.inc(), Term: 1}}
	}
	begin()
	require.NoError(t, p.throttleWrites(p.ctx(), 20*time.Millisecond))
	require.Equal(t, 20_000, p.commitDelay())
	require.NotZero(t, p.handing.throttled)
	p.endHandover(p.ctx(), "the test says so")
	require.Zero(t, p.commitDelay())
	require.Zero(t, p.throttle)

	begin()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, p.throttleWrites(over, 20*time.Millisecond))
	require.Equal(t, maybeThrottled, p.throttle, "its outcome is not known")
	p.endHandover(over, "the test says so")
	require.Equal(t, maybeThrottled, p.throttle, "it is to be tried again")

	p.die()
	m.Expire(held.ID())
	f.becomes(c, roles.NoPrimary)
	require.NoError(t, f.srv.Throttle(f.ctx(), 20*time.Millisecond)) // and then its agent dies, and the next one goes on
	require.NoError(t, f.GoOn(f.ctx(), f.facts()))
	facts := f.facts()
	facts.Leading = f.leading
	d := roles.Decide(roles.Primary, facts)
	require.Len(t, d.Steps, 1, d.Why)
	require.Equal(t, roles.Throttle, d.Steps[0].Op)
	require.NoError(t, f.perform(f.ctx(), d.Steps[0], facts))
	require.Zero(t, f.commitDelay())
	require.Zero(t, f.throttle)
}

// From the first time the candidate is drained on, the others have some time to become so too, whatever it says later.
func TestTheTimeSinceTheCandidateWasDrainedIsNoted(t *testing.T) {
	a := &Agent{handing: &handing{Handover: roles.Handover{To: "b", Seq: 7}, since: time.Second}}
	noted := func(drained uint64, now time.Duration) time.Duration {
		f := roles.Facts{View: roles.View{Nodes: map[roles.Inc]roles.Node{"b": {Drained: drained}}}}
		a.noteHandover(&f, now)
		return f.Handing.DrainedFor
	}
	require.Zero(t, noted(0, 2*time.Second))
	require.Zero(t, noted(6, 3*time.Second), "in an earlier hand-over")
	require.Positive(t, noted(7, 4*time.Second))
	require.Equal(t, 2*time.Second, noted(0, 6*time.Second))
}
