package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

func TestLease(t *testing.T) {
	const hold = 700 * ms
	l := election.NewLease(hold)
	_, held := l.Deadline()
	require.False(t, held)
	require.False(t, l.Fresh(0), "a new lease is not held")

	require.True(t, l.Renewed(1000*ms))
	require.True(t, l.Fresh(1699*ms))
	require.False(t, l.Fresh(1700*ms), "not at the deadline itself")

	require.True(t, l.Renewed(1500*ms))
	deadline, held := l.Deadline()
	require.True(t, held)
	require.Equal(t, 2200*ms, deadline)

	require.True(t, l.Renewed(1200*ms), "answers may arrive out of order")
	deadline, _ = l.Deadline()
	require.Equal(t, 2200*ms, deadline, "the deadline never moves back")

	require.True(t, l.Renewed(2199*ms), "begun in time")
	require.False(t, l.Renewed(2899*ms), "begun at the deadline: too late")
	require.False(t, l.Fresh(2899*ms))

	require.True(t, l.Renewed(2898*ms))
	l.Lost()
	require.False(t, l.Fresh(2899*ms))
	require.False(t, l.Renewed(2900*ms), "lost is lost")
	_, held = l.Deadline()
	require.False(t, held)
}

func TestBoottimeAdvances(t *testing.T) {
	a := election.Boottime()
	time.Sleep(2 * ms)
	b := election.Boottime()
	require.GreaterOrEqual(t, b-a, 2*ms)
	require.Positive(t, a)
}

// recorder is a session that only notes the order of calls, and lets time pass at each.
type recorder struct {
	election.Session
	now   *time.Duration
	calls []string
	pass  error
	held  bool
}

func (r *recorder) Pass(context.Context) error {
	r.calls = append(r.calls, "pass")
	*r.now += 100 * ms
	return r.pass
}

func (r *recorder) Acquire(context.Context, string, []byte) (bool, error) {
	r.calls = append(r.calls, "acquire")
	*r.now += 100 * ms
	return r.held, nil
}

func TestRenewOrder(t *testing.T) {
	now := 10 * time.Second
	clock := func() time.Duration { return now }
	s := &recorder{now: &now, held: true}
	l := election.NewLease(time.Second)
	renew := func() error {
		s.calls = nil
		return election.Renew(t.Context(), s, l, clock, time.Second, "leader", nil)
	}
	require.NoError(t, renew())
	require.Equal(t, []string{"pass", "acquire"}, s.calls, "possession is proven after the sign of life")
	deadline, _ := l.Deadline()
	require.Equal(t, 11*time.Second, deadline, "counted from before the first request")

	s.pass = election.ErrUnreachable
	require.ErrorIs(t, renew(), election.ErrUnreachable)
	require.Equal(t, []string{"pass"}, s.calls)
	deadline, held := l.Deadline()
	require.True(t, held, "one failure is none")
	require.Equal(t, 11*time.Second, deadline)

	s.pass = nil
	now = 11 * time.Second
	require.ErrorIs(t, renew(), election.ErrLeaseLost, "begun after the deadline")

	s.held = false
	l = election.NewLease(time.Second)
	require.ErrorIs(t, renew(), election.ErrLeaseLost)
	s.held = true
	require.ErrorIs(t, renew(), election.ErrLeaseLost, "for good")
}
