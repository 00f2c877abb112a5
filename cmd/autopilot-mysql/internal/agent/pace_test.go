package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// A calm node looks less often; whatever may soon be something to do is looked at every tick.
func TestWhoIsCalm(t *testing.T) {
	standby := func() roles.Facts {
		return roles.Facts{View: roles.View{OK: true}, MySQL: roles.MySQL{Ready: true, Receiver: roles.On, Applier: roles.On, Caught: true}}
	}
	primary := func() roles.Facts {
		return roles.Facts{View: roles.View{OK: true}, MySQL: roles.MySQL{Ready: true, Receiver: roles.Off, Applier: roles.Off}, Lease: roles.Lease{Held: true}}
	}
	nothing := roles.Decision{Why: "following n1"}
	require.True(t, isCalm(roles.Standby, standby(), nothing))
	require.True(t, isCalm(roles.Replica, standby(), nothing))
	require.True(t, isCalm(roles.Primary, primary(), nothing))
	require.False(t, isCalm(roles.Failover, primary(), nothing), "it takes over")
	require.False(t, isCalm(roles.Standby, primary(), nothing), "it has just got the lock")
	require.False(t, isCalm(roles.Standby, standby(), roles.Decision{Event: roles.LeaseLost}))
	require.False(t, isCalm(roles.Standby, standby(), roles.Decision{Steps: []roles.Step{{Op: roles.Throttle}}}))
	for name, change := range map[string]func(*roles.Facts){
		"Consul is silent":         func(f *roles.Facts) { f.View.OK = false },
		"the lock is free":         func(f *roles.Facts) { f.LeaderFree = 1 },
		"a request":                func(f *roles.Facts) { f.View.Requests = []roles.Request{{ID: "1"}} },
		"a job":                    func(f *roles.Facts) { f.Busy = "restoring" },
		"a stop":                   func(f *roles.Facts) { f.Stop = true },
		"no room":                  func(f *roles.Facts) { f.Disk.Unfit = "full" },
		"mysqld is silent":         func(f *roles.Facts) { f.MySQL.Ready = false },
		"an error of replication":  func(f *roles.Facts) { f.MySQL.Trouble = "applier: x" },
		"commits hang":             func(f *roles.Facts) { f.MySQL.Stuck = time.Millisecond },
		"no acknowledgement":       func(f *roles.Facts) { f.Waiting = time.Millisecond },
		"an acker is disconnected": func(f *roles.Facts) { f.Silent = map[roles.Inc]time.Duration{"n2~1~u": 1} },
		"behind":                   func(f *roles.Facts) { f.MySQL.Caught = false },
	} {
		for state, facts := range map[roles.State]func() roles.Facts{roles.Standby: standby, roles.Primary: primary} {
			f := facts()
			change(&f)
			require.Equal(t, state == roles.Primary && name == "behind", isCalm(state, f, nothing), "%s: %s", state, name)
		}
	}
	f := standby()
	f.MySQL.Receiver = roles.Connecting
	require.False(t, isCalm(roles.Standby, f, nothing), "not connected")
	f = primary()
	f.Lease.Held = false
	require.False(t, isCalm(roles.Primary, f, nothing), "without the lock")
}

// Nobody looks often who can only wait for the lock.
func TestPace(t *testing.T) {
	a := &Agent{watch: &watch{}}
	pace := func(calm bool, v roles.View) time.Duration {
		a.rest = 0
		if calm {
			a.rest = restOf(roles.Primary)
		}
		a.watch.spare.Store(a.waitsForLock(v))
		return a.pace()
	}
	offer := &roles.Handover{To: "n2~1~u", Seq: 7, Offer: &roles.Offer{GTID: gtid.Set{}}}
	seen := func(h *roles.Handover) roles.View {
		return roles.View{OK: true, Sync: roles.Sync{Primary: "n1~1~u"}, Nodes: map[roles.Inc]roles.Node{"n1~1~u": {Handover: h}}}
	}
	require.Equal(t, tick, pace(false, seen(nil)))
	require.Equal(t, calmTick, pace(true, seen(nil)))
	require.Less(t, restOf(roles.Primary), restOf(roles.Standby), "the lease runs out while mysqld hangs: that is to be seen soon")
	require.Equal(t, followTick, restOf(roles.Replica))
	a.watch.apart.Store(true)
	require.Equal(t, calmTick, pace(false, seen(nil)), "it leaves an election to others")
	a.watch.apart.Store(false)
	a.ready = 7
	require.Equal(t, handoverTick, pace(true, seen(offer)), "the candidate")
	a.ready, a.chained = 0, &roles.Chained{To: "n2~1~u", Seq: 7}
	require.Equal(t, handoverTick, pace(true, seen(&roles.Handover{To: "n2~1~u", Seq: 7})), "it has to say when it is drained")
	require.Equal(t, spareTick, pace(true, seen(offer)), "chained")
	a.chained, a.handing = nil, &handing{}
	require.Equal(t, handoverTick, pace(true, seen(nil)), "before the offer")
	a.handing.Offer = offer.Offer
	require.Equal(t, spareTick, pace(true, seen(offer)), "the old primary")
	a.consulErr = errors.New("silent")
	require.Equal(t, tick, pace(false, seen(offer)), "without Consul it does not get on")
}
