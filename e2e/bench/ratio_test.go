package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompare_says_what_the_interval_shows(t *testing.T) {
	base := []float64{1000, 2000, 500, 800}
	times := func(f ...float64) (out []float64) {
		for i, v := range base {
			out = append(out, v*f[i])
		}
		return out
	}
	r := compare("x", times(0.995, 0.996, 0.995, 0.996), base)
	require.InDelta(t, 0.9955, r.Mean, 0.0001)
	require.Greater(t, r.Low, least)
	require.Contains(t, r.Verdict, "at least 0.99 is shown")

	r = compare("x", times(0.97, 0.972, 0.971, 0.97), base)
	require.Contains(t, r.Verdict, "missed")

	r = compare("x", times(0.9, 1.1, 0.95, 1.05), base)
	require.Contains(t, r.Verdict, "not decided")
	require.Less(t, r.Low, least)
	require.Greater(t, r.High, least)

	require.Contains(t, compare("x", base[:1], base[:1]).Verdict, "too few")
	require.Contains(t, compare("x", nil, nil).Verdict, "too few")
}

func TestInterval_is_Students(t *testing.T) {
	mean, half := interval([]float64{1, 2, 3, 4, 5})
	require.InDelta(t, 3, mean, 1e-9)
	require.InDelta(t, 2.776*0.70711, half, 0.001) // standard error: sqrt(2.5/5)
}
