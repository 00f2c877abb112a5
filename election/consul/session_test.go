package consul_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

const leader = "mysql/main/leader"

// raw is the library itself, to look behind the scenes.
func raw(t *testing.T, s *server) *api.Client {
	t.Helper()
	if s.api == nil { // one for all calls: each keeps connections open, and Consul takes 200 of one address
		var err error
		s.api, err = api.NewClient(&api.Config{Address: s.addr, Scheme: "http"})
		require.NoError(t, err)
	}
	return s.api
}

func params(t *testing.T, lease time.Duration) election.Params {
	t.Helper()
	p, err := election.ParamsFor(lease)
	require.NoError(t, err)
	return p
}

func holds(t *testing.T, s election.Session) bool {
	t.Helper()
	held, err := s.Acquire(t.Context(), leader, []byte("x"))
	require.NoError(t, err)
	return held
}

func holderOf(t *testing.T, c *consul.Client) string {
	t.Helper()
	v, err := c.Store().Read(t.Context(), leader, true)
	require.NoError(t, err)
	return v.KVs[leader].Session
}

// A lock whose holder falls silent is given away by the check, long before the back-stop, and not before the lease is over.
func TestCheckFreesLock(t *testing.T) {
	c := client(t, consul.Config{}, startServer(t, nil))
	p := params(t, time.Second)
	patient := p
	patient.R = 5 * time.Second // this is about the check's time, not about how fast Consul writes
	var took time.Duration
	// The first session after an agent's start is freed late: measured, and of no interest here.
	for range 2 {
		a, b := c.Session("a", patient, "mysql/main/"), c.Session("b", params(t, 30*time.Second), "mysql/main/")
		require.NoError(t, a.Open(t.Context()))
		require.NoError(t, b.Open(t.Context()))
		require.True(t, waitFor(func() bool { return holds(t, a) }))
		require.True(t, holds(t, a), "the holder proves possession as often as it likes")
		require.False(t, holds(t, b))
		// Passing for longer than C keeps it.
		var t0 time.Duration
		for end := election.Boottime() + 2*p.C; election.Boottime() < end; time.Sleep(p.I) {
			t0 = election.Boottime()
			require.NoError(t, a.Pass(t.Context()))
			require.True(t, holds(t, a))
		}
		index := uint64(1)
		for holderOf(t, c) != "" {
			v, err := c.Store().Wait(t.Context(), leader, index, limit)
			require.NoError(t, err)
			index = v.Index
		}
		took = election.Boottime() - t0
		require.GreaterOrEqual(t, took, p.H+p.F, "the lease was over before the lock was free")
		require.True(t, waitFor(func() bool {
			_, err := a.Acquire(t.Context(), leader, nil)
			return errors.Is(err, election.ErrSessionGone)
		}))
		require.True(t, waitFor(func() bool { return holds(t, b) }))
		require.NoError(t, a.Close(t.Context()))
		require.NoError(t, b.Close(t.Context()))
	}
	require.Less(t, took, 8*time.Second, "it was the check, not the back-stop")
	t.Logf("freed %v after the last sign of life, C = %v", took, p.C)
}

func TestSessionAsConsulSeesIt(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	s := c.Session("node 1", params(t, 3*time.Second), "mysql/main/")
	require.Empty(t, s.Agent())
	require.NoError(t, s.Open(t.Context()))
	require.Equal(t, "http://"+srv.addr, s.Agent())

	info, _, err := raw(t, srv).Session().Info(s.ID(), nil)
	require.NoError(t, err)
	require.Empty(t, info.NodeChecks, "neither the agent's health, nor a node check, which would hide the services of other nodes")
	require.Equal(t, []api.ServiceCheck{{ID: s.CheckID()}}, info.ServiceChecks)
	require.Equal(t, "10s", info.TTL)
	require.Equal(t, time.Millisecond, info.LockDelay)
	require.Equal(t, "release", info.Behavior)
	checks, err := raw(t, srv).Agent().Checks()
	require.NoError(t, err)
	require.Equal(t, "passing", checks[s.CheckID()].Status)
	require.Equal(t, s.CheckID(), checks[s.CheckID()].ServiceID, "a check of its own service entry")

	require.NoError(t, s.Close(t.Context()))
	checks, err = raw(t, srv).Agent().Checks()
	require.NoError(t, err)
	require.NotContains(t, checks, s.CheckID(), "nothing is left behind")
	require.NoError(t, s.Close(t.Context()), "twice is fine")
}

func TestCheckIDs(t *testing.T) {
	c, err := consul.New(consul.Config{Addrs: []string{"127.0.0.1"}})
	require.NoError(t, err)
	p := params(t, time.Second)
	id := func(node, prefix string) string { return c.Session(node, p, prefix).CheckID() }
	require.Equal(t, "mysql:main:node-1.example", id("node-1.example", "mysql/main/"))
	require.Equal(t, id("a", "mysql/main"), id("a", "mysql/main/"))
	require.Regexp(t, `^mysql:main:n_1\.[0-9a-f]{8}$`, id("n 1", "mysql/main/"))
	require.NotEqual(t, id("n 1", "mysql/main/"), id("n?1", "mysql/main/"))
	require.NotEqual(t, id("b", "mysql/a/"), id("a/b", "mysql/"), "a slash in a name is no separator")
}

// A check that somebody removes takes the session and the lock with it; both are noticed and made anew.
func TestCheckRemovedByHand(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	s := c.Session("a", params(t, 3*time.Second), "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	require.True(t, holds(t, s))
	require.NoError(t, raw(t, srv).Agent().CheckDeregister(s.CheckID()))
	require.ErrorIs(t, s.Pass(t.Context()), election.ErrSessionGone)
	require.True(t, waitFor(func() bool { return holderOf(t, c) == "" }))
	require.NoError(t, s.Open(t.Context()))
	require.NoError(t, s.Pass(t.Context()))
	require.True(t, waitFor(func() bool { return holds(t, s) }))
	require.NoError(t, s.Close(t.Context()))
}

// A restart of Consul is survived with the same session; a wiped one gives a new session.
func TestConsulRestart(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	s := c.Session("a", params(t, 3*time.Second), "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	require.True(t, holds(t, s))
	id := s.ID()

	srv.kill()
	require.Error(t, s.Pass(t.Context()))
	_, err := s.Acquire(t.Context(), leader, nil)
	require.Error(t, err)
	srv.start(t)
	require.True(t, waitFor(func() bool { return s.Pass(t.Context()) == nil }), "the agent remembers the check")
	require.True(t, waitFor(func() bool {
		held, err := s.Acquire(t.Context(), leader, []byte("x"))
		return err == nil && held
	}), "and the lock was kept")
	require.Equal(t, id, s.ID())

	srv.kill()
	srv.wipe(t)
	srv.start(t)
	require.True(t, waitFor(func() bool { return s.Open(t.Context()) == nil }))
	require.NotEqual(t, id, s.ID())
	require.True(t, waitFor(func() bool { return holds(t, s) }))
	require.NoError(t, s.Close(t.Context()))
}

// Adopt finds the agent that keeps the check; if that one is away it says so, and does not call the session gone.
func TestAdoptFindsAgent(t *testing.T) {
	one := startServer(t, nil)
	two := startAgent(t, one)
	before := client(t, consul.Config{}, two).Session("a", params(t, 3*time.Second), "mysql/main/")
	require.NoError(t, before.Open(t.Context()))
	after := client(t, consul.Config{}, one, two).Session("a", params(t, 3*time.Second), "mysql/main/")
	after.Adopt(before.ID())
	// The check is known only to the agent it was registered at.
	require.NoError(t, after.Pass(t.Context()))
	require.Equal(t, "http://"+two.addr, after.Agent())

	lost := client(t, consul.Config{}, one, two).Session("a", params(t, 3*time.Second), "mysql/main/")
	lost.Adopt(before.ID())
	two.kill()
	require.ErrorIs(t, lost.Pass(t.Context()), election.ErrUnreachable)
}

// A session lives at one agent. When that dies, possession is still proven elsewhere but no sign of life arrives, so that the
// lease runs out; a new session at the other agent frees what the old one held.
func TestAgentDies(t *testing.T) {
	srv := startServer(t, nil)
	local := startAgent(t, srv)
	c := client(t, consul.Config{}, local, srv)
	p := params(t, 3*time.Second)
	s := c.Session("a", p, "mysql/main/")
	lease := election.NewLease(p.H)
	renew := func() error {
		return election.Renew(t.Context(), s, lease, election.Boottime, p.R, leader, []byte("a"))
	}
	require.NoError(t, s.Open(t.Context()))
	require.Equal(t, "http://"+local.addr, s.Agent())
	require.True(t, waitFor(func() bool { return renew() == nil }))
	id := s.ID()

	local.kill()
	before, _ := lease.Deadline()
	require.Error(t, renew())
	after, _ := lease.Deadline()
	require.Equal(t, before, after)
	require.True(t, holds(t, s), "asked for at the other agent")

	require.NoError(t, s.Destroy(t.Context()))
	require.NoError(t, s.Open(t.Context()))
	require.NotEqual(t, id, s.ID())
	require.Equal(t, "http://"+srv.addr, s.Agent())
	lease = election.NewLease(p.H)
	require.True(t, waitFor(func() bool { return renew() == nil }))
	require.NoError(t, s.Close(t.Context()))
}

// How long one renewal takes, both requests together; logged, not judged.
func TestRenewalTakes(t *testing.T) {
	c := client(t, consul.Config{}, startServer(t, nil))
	p := params(t, 3*time.Second)
	s := c.Session("a", p, "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	lease := election.NewLease(p.H)
	var took []time.Duration
	for range 50 {
		began := time.Now()
		require.NoError(t, election.Renew(t.Context(), s, lease, election.Boottime, limit, leader, nil))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("median %v, longest %v", took[len(took)/2], took[len(took)-1])
	require.NoError(t, s.Close(t.Context()))
}
