package playground

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadyMeansThatAStandbyMayTakeOver: standbys alone are not enough, the cluster must have promised that one of them
// holds every acknowledged write.
func TestReadyMeansThatAStandbyMayTakeOver(t *testing.T) {
	healthy := func(states ...string) []Node {
		var out []Node
		for i, s := range states {
			out = append(out, Node{Name: string(rune('a' + i)), State: s, Healthy: true})
		}
		return out
	}
	for name, c := range map[string]struct {
		nodes          []Node
		standbys, acks int
		want           string
	}{
		"whole":                      {healthy("primary", "standby", "standby"), 2, 1, ""},
		"whole with a replica":       {healthy("primary", "standby", "standby", "replica"), 2, 2, ""},
		"alone":                      {healthy("primary"), 0, 0, ""},
		"nothing promised yet":       {healthy("primary", "standby", "standby"), 2, 0, "no standby is known to hold every acknowledged write yet"},
		"a standby is missing":       {healthy("primary", "standby", "replica"), 2, 1, "1 of 2 standbys are there"},
		"nobody leads":               {healthy("standby", "standby"), 2, 1, "there are 0 primaries"},
		"one is on its way":          {append(healthy("primary", "standby"), Node{Name: "x", State: "init"}), 1, 1, "x is init, not healthy"},
		"no node was started at all": {nil, 0, 0, "there is no node yet"},
	} {
		require.Equal(t, c.want, notReady(c.nodes, c.standbys, c.acks), name)
	}
}

func TestStandbysFollowTheNodesArguments(t *testing.T) {
	for _, c := range []struct {
		acks, nodes, want int
		args              []string
	}{
		{1, 3, 2, nil}, {1, 5, 2, nil}, {2, 6, 4, nil}, {1, 1, 0, nil},
		{1, 5, 3, []string{"--max-ackers", "3"}}, {1, 5, 1, []string{"--cooldown", "40s", "--max-ackers=1"}}, {1, 3, 2, []string{"--max-ackers", "9"}},
	} {
		p := &plan{Acks: c.acks}
		require.Equal(t, c.want, p.standbys(c.nodes, c.args), "%+v", c)
	}
}
