package chaos

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func deal(seed uint64, count int) []string {
	s := newSchedule(seed, catalogue())
	var all []string
	for range count {
		all = append(all, s.next().String())
	}
	return all
}

// TestSeedDecidesEverything: the same seed gives the same rounds, another one others.
func TestSeedDecidesEverything(t *testing.T) {
	require.Equal(t, deal(7, 100), deal(7, 100)) //nolint:testifylint // two calls, one outcome: that is the point
	require.NotEqual(t, deal(7, 100), deal(8, 100))
}

// TestEveryFaultIsDealt: within a few decks every fault has come, single, double and triple rounds occur, and faults
// that must be alone are.
func TestEveryFaultIsDealt(t *testing.T) {
	s := newSchedule(1, catalogue())
	met, sizes := map[string]int{}, map[int]int{}
	for range len(catalogue()) {
		r := s.next()
		sizes[len(r.Steps)]++
		taken := map[memory]bool{}
		for _, st := range r.Steps {
			met[st.Fault]++
			taken[s.fault(st.Fault).takes] = true
			require.False(t, taken[ofNode] && (taken[ofConsul] || r.Hasty), r)
			f := s.fault(st.Fault)
			require.NotEmpty(t, f.name)
			require.False(t, f.solo && len(r.Steps) > 1, r)
			require.GreaterOrEqual(t, st.Hold, f.hold[0].Truncate(100e6))
			require.LessOrEqual(t, st.Hold, f.hold[1])
			if len(f.targets) > 0 {
				require.Contains(t, f.targets, st.Target)
			}
		}
	}
	for _, f := range catalogue() {
		require.Positive(t, met[f.name], f.name)
	}
	for n := 1; n <= 3; n++ {
		require.Positive(t, sizes[n], sizes)
	}
}

// TestCatalogue: names are unique, and every fault says what it may cost.
func TestCatalogue(t *testing.T) {
	names := map[string]bool{}
	for _, f := range catalogue() {
		require.False(t, names[f.name], f.name)
		names[f.name] = true
		require.NotEmpty(t, f.cost, f.name)
		require.NotNil(t, f.strike, f.name)
		require.Positive(t, f.hold[1], f.name)
	}
}

func TestChoose(t *testing.T) {
	all := func(need) bool { return true }
	chosen, left, err := choose(nil, nil, all)
	require.NoError(t, err)
	require.Equal(t, len(catalogue()), len(chosen)+len(left))
	_, left, err = choose(nil, []string{"all"}, all)
	require.NoError(t, err)
	require.Empty(t, left)
	_, left, err = choose(nil, nil, func(n need) bool { return n != namespaces })
	require.NoError(t, err)
	require.Contains(t, left["cut-all"], "network namespaces")
	chosen, _, err = choose([]string{"cut-all"}, nil, all)
	require.NoError(t, err)
	require.Len(t, chosen, 1)
	_, _, err = choose([]string{"no-such"}, nil, all)
	require.Error(t, err)
}
