package election_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

const ms = time.Millisecond

func TestParamsFor(t *testing.T) {
	for _, want := range []election.Params{
		{C: 1 * time.Second, I: 200 * ms, R: 200 * ms, H: 700 * ms, F: 280 * ms},
		{C: 2 * time.Second, I: 350 * ms, R: 450 * ms, H: 1450 * ms, F: 490 * ms},
		{C: 3 * time.Second, I: 500 * ms, R: 700 * ms, H: 2200 * ms, F: 700 * ms},
		{C: 6 * time.Second, I: 1000 * ms, R: 1400 * ms, H: 4400 * ms, F: 1400 * ms},
		{C: 30 * time.Second, I: 1000 * ms, R: 2000 * ms, H: 27000 * ms, F: 2000 * ms},
	} {
		got, err := election.ParamsFor(want.C)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestParamsForEveryLease(t *testing.T) {
	var last election.Params
	for lease := election.MinLease; lease <= election.MaxLease; lease += 7 * ms {
		p, err := election.ParamsFor(lease)
		require.NoError(t, err, "%v", lease)
		require.LessOrEqual(t, p.H+p.F, p.C*99/100)
		require.Less(t, p.I+2*p.R, p.H)
		require.GreaterOrEqual(t, p.H, last.H, "a longer lease never holds shorter: %v", lease)
		require.GreaterOrEqual(t, p.F, last.F)
		last = p
	}
}

func TestParamsRefused(t *testing.T) {
	for _, lease := range []time.Duration{0, -time.Second, 999 * ms, 31 * time.Second} {
		_, err := election.ParamsFor(lease)
		require.ErrorContains(t, err, "not between 1s and 30s")
	}
	good, err := election.ParamsFor(3 * time.Second)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*election.Params){
		"99 % of the lease":     func(p *election.Params) { p.F += 100 * ms },
		"do not fit":            func(p *election.Params) { p.R += 200 * ms },
		"each must be positive": func(p *election.Params) { p.I = 0 },
	} {
		bad := good
		spoil(&bad)
		require.ErrorContains(t, bad.Validate(), name)
	}
}
