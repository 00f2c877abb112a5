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

// params are the times of a lease, with requests that may take long.
func params(t *testing.T, lease time.Duration) election.Params {
	t.Helper()
	p, err := election.ParamsFor(lease)
	require.NoError(t, err)
	p.R = patience
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

// A lock whose holder falls silent is given away by the check, not by the back-stop, and not before the lease is over.
func TestCheckFreesLock(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	p := params(t, 5*time.Second)
	a, b := c.Session("a", p, "mysql/main/"), c.Session("b", params(t, lease), "mysql/main/")
	require.NoError(t, b.Open(t.Context()))
	last, kept := time.Duration(0), false
	for end := time.Now().Add(limit); !kept && time.Now().Before(end); {
		require.NoError(t, a.Open(t.Context()))
		require.NoError(t, b.Pass(t.Context()))
		last, kept = passing(t, a, p)
		t.Logf("passed for longer than C, without a pause of the machine that is as long as a lease: %v", kept)
	}
	require.True(t, kept)
	require.False(t, holds(t, b))

	// From now on only the back-stop is renewed, so it is the check that frees the lock.
	id, index := a.ID(), uint64(1)
	for holderOf(t, c) != "" {
		require.Less(t, election.Boottime()-last, limit, "the check does not free the lock")
		if entry, _, err := raw(t, srv).Session().Renew(id, nil); err == nil && entry == nil {
			continue // it has just ended
		}
		require.NoError(t, b.Pass(t.Context()))
		v, err := c.Store().Wait(t.Context(), leader, index, time.Second)
		require.NoError(t, err)
		index = v.Index
	}
	took := election.Boottime() - last
	require.GreaterOrEqual(t, took, p.H+p.F, "the lease was over before the lock was free")
	require.True(t, waitFor(func() bool {
		_, err := a.Acquire(t.Context(), leader, nil)
		return errors.Is(err, election.ErrSessionGone)
	}))
	require.True(t, waitFor(func() bool { return holds(t, b) }))
	require.NoError(t, a.Close(t.Context()))
	require.NoError(t, b.Close(t.Context()))
	t.Logf("freed %v after the last sign of life, C = %v", took, p.C)
}

// passing gives signs of life for longer than the lease and demands that the lock is held all the time. It returns when
// the last one was given. Where the machine paused for so long that one came too late, nothing is shown: ok is false.
func passing(t *testing.T, s election.Session, p election.Params) (last time.Duration, ok bool) {
	t.Helper()
	last = election.Boottime()
	held := false
	for end := last + 2*p.C; election.Boottime() < end; time.Sleep(p.I) {
		t0 := election.Boottime()
		err := s.Pass(t.Context())
		var now bool
		if err == nil {
			now, err = s.Acquire(t.Context(), leader, []byte("x"))
		}
		if election.Boottime()-last > p.H {
			return last, false
		}
		require.NoError(t, err)
		require.True(t, now || !held, "the holder proves possession as often as it likes")
		last, held = t0, now
	}
	return last, held
}

func TestSessionAsConsulSeesIt(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	s := c.Session("node 1", params(t, lease), "mysql/main/")
	require.Empty(t, s.Agent())
	require.NoError(t, s.Open(t.Context()))
	require.Equal(t, "http://"+srv.addr, s.Agent())

	info, _, err := raw(t, srv).Session().Info(s.ID(), nil)
	require.NoError(t, err)
	require.Empty(t, info.NodeChecks, "neither the agent's health, nor a node check, which would hide the services of other nodes")
	require.Equal(t, []api.ServiceCheck{{ID: s.CheckID()}}, info.ServiceChecks)
	require.Equal(t, (2 * lease).String(), info.TTL, "never earlier than the check")
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

	short := c.Session("node 2", params(t, 3*time.Second), "mysql/main/")
	require.True(t, waitFor(func() bool { // its check lapses soon, and the session with it
		require.NoError(t, short.Open(t.Context()))
		info, _, err = raw(t, srv).Session().Info(short.ID(), nil)
		return err == nil && info != nil
	}))
	require.Equal(t, "10s", info.TTL, "the shortest that Consul takes")
	require.NoError(t, short.Close(t.Context()))
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
	s := c.Session("a", params(t, lease), "mysql/main/")
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
	s := c.Session("a", params(t, lease), "mysql/main/")
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
	before := client(t, consul.Config{}, two).Session("a", params(t, lease), "mysql/main/")
	require.NoError(t, before.Open(t.Context()))
	after := client(t, consul.Config{}, one, two).Session("a", params(t, lease), "mysql/main/")
	after.Adopt(before.ID())
	// The check is known only to the agent it was registered at.
	require.NoError(t, after.Pass(t.Context()))
	require.Equal(t, "http://"+two.addr, after.Agent())

	lost := client(t, consul.Config{}, one, two).Session("a", params(t, lease), "mysql/main/")
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
	p := params(t, lease)
	s := c.Session("a", p, "mysql/main/")
	mine := election.NewLease(p.H)
	renew := func() error {
		return election.Renew(t.Context(), s, mine, election.Boottime, p.R, leader, []byte("a"))
	}
	require.NoError(t, s.Open(t.Context()))
	require.Equal(t, "http://"+local.addr, s.Agent())
	require.True(t, waitFor(func() bool { return renew() == nil }))
	id := s.ID()

	local.kill()
	before, _ := mine.Deadline()
	require.Error(t, renew())
	after, _ := mine.Deadline()
	require.Equal(t, before, after)
	require.True(t, holds(t, s), "asked for at the other agent")

	require.NoError(t, s.Destroy(t.Context()))
	require.NoError(t, s.Open(t.Context()))
	require.NotEqual(t, id, s.ID())
	require.Equal(t, "http://"+srv.addr, s.Agent())
	mine = election.NewLease(p.H)
	require.True(t, waitFor(func() bool { return renew() == nil }))
	require.NoError(t, s.Close(t.Context()))
}

// How long one renewal takes, both requests together; logged, not judged.
func TestRenewalTakes(t *testing.T) {
	c := client(t, consul.Config{}, startServer(t, nil))
	p := params(t, lease)
	s := c.Session("a", p, "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	mine := election.NewLease(p.H)
	var took []time.Duration
	for range 50 {
		began := time.Now()
		require.NoError(t, election.Renew(t.Context(), s, mine, election.Boottime, limit, leader, nil))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("median %v, longest %v", took[len(took)/2], took[len(took)-1])
	require.NoError(t, s.Close(t.Context()))
}
