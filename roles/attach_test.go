package roles_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// attaching is a restarted agent whose mysqld is the open primary of term 3.
func attaching() roles.Facts {
	f := leading()
	f.Attach, f.Leading, f.MySQL.Receiver = 3, roles.Sync{}, roles.Off
	return f
}

func TestARestartedAgentGoesOnWithTheOpenTerm(t *testing.T) {
	d := roles.Decide(roles.Init, attaching())
	require.Equal(t, roles.Attached, d.Event, d.Why)

	f := attaching() // the record was changed by the previous agent just before it ended, and not saved any more
	f.View.Sync.Ver++
	require.Equal(t, roles.Attached, roles.Decide(roles.Init, f).Event)
}

// TestAnyDoubtEndsTheTerm: each of these alone makes a restarted agent fence.
func TestAnyDoubtEndsTheTerm(t *testing.T) {
	for name, doubt := range map[string]func(*roles.Facts){
		"the lease ran out":               func(f *roles.Facts) { f.Lease.Held = false },
		"only the quorum would prove it":  func(f *roles.Facts) { f.Lease.Held, f.Lease.Provable = false, true },
		"the lock is free":                func(f *roles.Facts) { f.View.Leader.Session = "" },
		"the lock is of another session":  func(f *roles.Facts) { f.View.Leader.Session = "session-old" },
		"another term is open":            func(f *roles.Facts) { f.View.Sync.Term++ },
		"another primary is named":        func(f *roles.Facts) { f.View.Sync.Primary = peer },
		"the records are gone":            func(f *roles.Facts) { f.View.Cluster, f.View.Sync = nil, roles.Sync{} },
		"the term is not on disk":         func(f *roles.Facts) { f.Disk.LastSync.Term-- },
		"a later term is on disk":         func(f *roles.Facts) { f.Disk.LastSync.Term++ },
		"a later term is promised":        func(f *roles.Facts) { f.Disk.Promised++ },
		"mysqld is read-only":             func(f *roles.Facts) { f.MySQL.ReadOnly = true },
		"mysqld serves nobody":            func(f *roles.Facts) { f.MySQL.Offline = true },
		"mysqld receives":                 func(f *roles.Facts) { f.MySQL.Receiver = roles.Connecting },
		"commits wait for too few":        func(f *roles.Facts) { f.MySQL.K = 0 },
		"mysqld is gone":                  func(f *roles.Facts) { f.MySQL = roles.MySQL{} },
		"the data is to be replaced":      func(f *roles.Facts) { f.Disk.Data = roles.DataCondemned },
		"there is something not executed": func(f *roles.Facts) { f.MySQL.Executed, f.MySQL.Received = upTo(2), upTo(3) },
	} {
		t.Run(name, func(t *testing.T) {
			f := attaching()
			doubt(&f)
			d := roles.Decide(roles.Init, f)
			require.True(t, does(d, roles.Fence), "%+v", d)
			r, _ := roles.Table().Find(roles.Init, roles.Attached)
			require.Error(t, r.If(f), "the guard refuses by itself")
		})
	}
}

// TestWhatIsNotKnownYetIsWaitedForWhileTheLeaseLasts: a first look that comes too early is no doubt.
func TestWhatIsNotKnownYetIsWaitedForWhileTheLeaseLasts(t *testing.T) {
	for name, early := range map[string]func(*roles.Facts){
		"Consul":      func(f *roles.Facts) { f.View = roles.View{} },
		"mysqld":      func(f *roles.Facts) { f.MySQL = roles.MySQL{Running: true} },
		"both of two": func(f *roles.Facts) { f.View, f.MySQL = roles.View{}, roles.MySQL{Running: true} },
	} {
		t.Run(name, func(t *testing.T) {
			f := attaching()
			early(&f)
			d := roles.Decide(roles.Init, f)
			require.Empty(t, d.Event)
			require.Empty(t, d.Steps, d.Why)
			f.Lease.Held = false
			require.True(t, does(roles.Decide(roles.Init, f), roles.Fence), "and not a moment longer")
		})
	}
}

// orphan is a standby whose primary's session has ended while its stream goes on.
func orphan() roles.Facts {
	f := leading()
	f.Self = roles.Self{Inc: peer, Name: "b"}
	f.Lease = roles.Lease{Session: peerSession}
	f.MySQL = roles.MySQL{Running: true, Ready: true, ReadOnly: true, Receiver: roles.On, Applier: roles.On, PacketAge: 100 * time.Millisecond}
	f.Set.Heartbeat = 500 * time.Millisecond
	f.View.Leader = roles.Leader{Holder: self}
	return f
}

func TestThePrimaryIsGivenTimeToTakeItsLockBack(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(*roles.Facts)
		waits bool
	}{
		"a moment ago":                  {func(f *roles.Facts) { f.LeaderFree = 200 * time.Millisecond }, true},
		"the key was deleted":           {func(f *roles.Facts) { f.LeaderFree, f.View.Leader = 200*time.Millisecond, roles.Leader{Missing: true} }, true},
		"it let go":                     {func(f *roles.Facts) { f.View.Leader = roles.Leader{} }, false},
		"too long ago":                  {func(f *roles.Facts) { f.LeaderFree = 400 * time.Millisecond }, false},
		"Consul was away":               {func(f *roles.Facts) { f.LeaderFree, f.ConsulBack = time.Second, time.Second }, true},
		"Consul has been back for long": {func(f *roles.Facts) { f.LeaderFree, f.ConsulBack = time.Second, time.Minute }, false},
		"Consul was away, it sends not": {func(f *roles.Facts) { f.ConsulBack, f.MySQL.PacketAge = time.Second, 2*time.Second }, false},
		"Consul was away, it broke off": {func(f *roles.Facts) { f.ConsulBack, f.MySQL.Receiver = time.Second, roles.Connecting }, false},
		"Consul was away, another has it": {func(f *roles.Facts) {
			f.ConsulBack, f.View.Leader = time.Second, roles.Leader{Holder: stranger, Session: "s"}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := orphan()
			c.edit(&f)
			d := roles.Decide(roles.Standby, f)
			if c.waits {
				require.Empty(t, d.Event, d.Why)
			} else {
				require.Equal(t, roles.NoPrimary, d.Event, d.Why)
			}
		})
	}
}
