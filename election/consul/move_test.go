package consul_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

// contend tries to take the lock all the time, until the test ends. It tells whether it ever got it.
func contend(t *testing.T, c *consul.Client) *atomic.Bool {
	t.Helper()
	s := c.Session("contender", params(t, lease), "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	got, ended := &atomic.Bool{}, make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		for passed := time.Now(); ctx.Err() == nil; {
			if time.Since(passed) > time.Second && s.Pass(ctx) == nil {
				passed = time.Now()
			}
			if ok, err := s.Acquire(ctx, leader, []byte("contender")); err == nil && ok {
				got.Store(true)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended; _ = s.Close(context.Background()) })
	return got
}

// TestTheLockMovesWhenItsAgentIsLost: a server and two client agents. The one that keeps the check dies, or hangs; the
// lock goes on at the other, and nobody else gets it in between.
func TestTheLockMovesWhenItsAgentIsLost(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *server){
		"killed": func(_ *testing.T, s *server) { s.kill() },
		"frozen": func(t *testing.T, s *server) { t.Cleanup(s.freeze(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := startServer(t, nil)
			one, two := startAgent(t, srv), startAgent(t, srv)
			p := params(t, 15*time.Second)
			s := client(t, consul.Config{}, one, two).Session("a", p, "mysql/main/")
			require.NoError(t, s.Open(t.Context()))
			require.True(t, waitFor(func() bool { return holds(t, s) }))
			require.Equal(t, "http://"+one.addr, s.Agent())
			got := contend(t, client(t, consul.Config{}, srv))
			from := s.ID()

			lose(t, one)
			// The first sign of life may run out of time before it is known whose fault that is.
			require.True(t, waitFor(func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), p.R)
				defer cancel()
				return errors.Is(s.Pass(ctx), election.ErrAgentLost)
			}))
			began := time.Now()
			mctx, mcancel := context.WithTimeout(t.Context(), limit)
			defer mcancel()
			require.NoError(t, s.Move(mctx, leader, []byte("a")))
			t.Logf("moved in %v", time.Since(began))
			require.NotEqual(t, from, s.ID())
			require.Equal(t, "http://"+two.addr, s.Agent())
			for end := time.Now().Add(p.C + time.Second); time.Now().Before(end); time.Sleep(p.I) { // longer than the lost check would have lasted
				require.True(t, holds(t, s))
				require.NoError(t, s.Pass(t.Context()))
			}
			require.False(t, got.Load(), "nobody got the lock in between")
			info, _, err := raw(t, srv).Session().Info(from, nil)
			require.NoError(t, err)
			require.Nil(t, info, "the former session is gone")
			require.NoError(t, s.Close(t.Context()))
		})
	}
}

func TestWhatIsNotHeldIsNotMoved(t *testing.T) {
	srv := startServer(t, nil)
	one := startAgent(t, srv)
	p := params(t, lease)
	s := client(t, consul.Config{}, one, srv).Session("a", p, "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	from := s.ID()
	other := client(t, consul.Config{}, srv).Session("b", p, "mysql/main/")
	require.NoError(t, other.Open(t.Context()))
	require.True(t, waitFor(func() bool { return holds(t, other) }))

	require.ErrorIs(t, s.Move(t.Context(), leader, nil), election.ErrNotHeld)
	require.Equal(t, from, s.ID(), "it stays the old one")
	require.True(t, holds(t, other))
	all, _, err := raw(t, srv).Session().List(nil)
	require.NoError(t, err)
	require.Len(t, all, 2, "the session that was made for it is gone")

	require.NoError(t, s.Move(t.Context(), "", nil), "without a lock there is only a new session")
	require.NotEqual(t, from, s.ID())
	require.Equal(t, "http://"+srv.addr, s.Agent())
	require.NoError(t, s.Close(t.Context()))
	require.NoError(t, other.Close(t.Context()))
}

func TestWithOneAgentThereIsNowhereToMove(t *testing.T) {
	srv := startServer(t, nil)
	s := client(t, consul.Config{}, srv).Session("a", params(t, lease), "mysql/main/")
	require.ErrorIs(t, s.Move(t.Context(), leader, nil), election.ErrSessionGone)
	require.NoError(t, s.Open(t.Context()))
	require.ErrorIs(t, s.Move(t.Context(), leader, nil), election.ErrUnavailable)
	require.NoError(t, s.Close(t.Context()))
}

// TestAnAdoptedSessionIsFoundWhereItMovedTo: the agent it moved away from is back, and remembers a check of the same name.
func TestAnAdoptedSessionIsFoundWhereItMovedTo(t *testing.T) {
	srv := startServer(t, nil)
	one := startAgent(t, srv)
	p := params(t, lease)
	s := client(t, consul.Config{}, one, srv).Session("a", p, "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	one.kill()
	require.NoError(t, s.Move(t.Context(), "", nil))
	one.start(t)

	next := client(t, consul.Config{}, one, srv).Session("a", p, "mysql/main/")
	next.Adopt(s.ID())
	require.NoError(t, next.Pass(t.Context()))
	require.Equal(t, "http://"+srv.addr, next.Agent())
	require.NoError(t, next.Close(t.Context()))
}
