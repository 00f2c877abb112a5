package explore

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// mutation takes a line of the protocol away: from the facts before the real code sees them, from what it decided, or from
// the steps.
type mutation struct {
	name     string
	tamper   func(roles.State, *roles.Facts)
	decision func(roles.State, roles.Facts, roles.Decision) roles.Decision
	ballot   func(*roles.View)

	sealEarly          bool
	rebootVoidsNothing bool
	armsOnAnyRecord    bool
	opensWithStrangers bool
	letsAllIn          bool
}

// ballots makes a mutation of what elections see.
func ballots(name string, change func(*roles.View)) mutation {
	return mutation{name: name, ballot: change, tamper: func(s roles.State, f *roles.Facts) {
		if s == roles.Failover {
			change(&f.View)
		}
	}}
}

// written makes a mutation of the steps of a primary.
func written(name string, change func(roles.Facts, *roles.Step)) mutation {
	return mutation{name: name, decision: func(s roles.State, f roles.Facts, d roles.Decision) roles.Decision {
		if s == roles.Primary && len(d.Steps) > 0 {
			change(f, &d.Steps[0])
		}
		return d
	}}
}

// caught are mutations that show within bounds so small that their every state is visited in a moment, and within which. The
// whole table of the protocol is tried in the simulation next door.
func caught() []struct {
	mutation
	from state
} {
	type row = struct {
		mutation
		from state
	}
	work := func(l left) state { return atWork(l, 1) }
	return []row{
		{ballots("no quorum", func(v *roles.View) { v.Sync.Acks = len(v.Sync.Ackers()) + 1 }), work(left{writes: 1, ends: 1})},
		{ballots("one vote fewer", func(v *roles.View) { v.Sync.Acks++ }), work(left{writes: 1, ends: 1})},
		{mutation{name: "a reboot voids nothing", rebootVoidsNothing: true}, work(left{writes: 1, powers: 1})},
		{mutation{name: "seal before the receiver stopped", sealEarly: true, tamper: func(s roles.State, f *roles.Facts) {
			if s == roles.Failover {
				f.MySQL.Receiver = roles.Off
			}
		}}, work(left{writes: 1, ends: 1})},
		{written("removed while the others lag", func(f roles.Facts, s *roles.Step) {
			if strings.HasPrefix(s.For, "remove ") {
				who, _, _ := strings.Cut(strings.TrimPrefix(s.For, "remove "), " ")
				*s = roles.Step{Op: roles.WriteSync, Sync: f.View.Sync.Without(roles.Inc(who)), Why: "MUTATION"}
			}
		}), work(left{writes: 1, cuts: 1})},
		{written("source off before the record", func(f roles.Facts, s *roles.Step) {
			if s.Op == roles.WriteSync && len(s.Sync.Members) == 1 && f.MySQL.K > 0 {
				*s = roles.Step{Op: roles.SetK, Why: "MUTATION"}
			}
		}), work(left{writes: 1, cuts: 2})},
		{mutation{name: "armed on a record that is no more", armsOnAnyRecord: true}, work(left{writes: 1, cuts: 1})},
		{written("let go by its own word", letGoByItsWord), work(left{writes: 1, cuts: 1})},
		{mutation{name: "an ordinary OPEN spares chained nodes", opensWithStrangers: true}, handingOver(left{writes: 1, ends: 1}, 1, offered)},
		{mutation{name: "OPEN lets in who is no acker of its term", letsAllIn: true}, handingOver(left{writes: 1, ends: 1}, 1, offered)},
	}
}

// letGoByItsWord takes an acker that says it does not acknowledge out of the record without locking it out first.
func letGoByItsWord(f roles.Facts, s *roles.Step) {
	for _, who := range f.View.Sync.Ackers() {
		n := f.View.Nodes[who]
		what := fmt.Sprintf("remove %s at %d", who, f.View.Sync.Ver)
		if n.ArmedWanted || n.Armed || n.Receiver == "" || s.Node != who && !strings.HasPrefix(s.For, what+":") {
			continue
		}
		i := slices.IndexFunc(f.Checkpoints, func(c roles.Checkpoint) bool { return c.For == what })
		switch {
		case i < 0:
			*s = roles.Step{Op: roles.Ask, For: what, Why: "MUTATION"}
		case slices.ContainsFunc(f.View.Sync.Ackers(), func(o roles.Inc) bool { return o != who && f.View.Nodes[o].Confirmed(f.Checkpoints[i].Seq) }):
			*s = roles.Step{Op: roles.WriteSync, Sync: f.View.Sync.Without(who), Why: "MUTATION"}
		}
	}
}

// TestMutationsShow: the exploration is able to see what it looks for.
func TestMutationsShow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for _, c := range caught() {
		t.Run(c.name, func(t *testing.T) {
			if only := os.Getenv("AUTOPILOT_TEST_MUTATION"); only != "" && !strings.Contains(c.name, only) {
				t.Skip("not asked for")
			}
			e := &explorer{m: c.mutation, maxTerm: 3, limit: 300_000}
			r := e.run(c.from)
			require.NotNil(t, r, "nobody noticed in %d states", len(e.seen))
			t.Logf("%s, after %d states:\n%s", r.wrong, len(e.seen), strings.Join(r.story, "\n"))
		})
	}
}
