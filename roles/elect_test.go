package roles_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const writerUUID = "00000000-0000-0000-0000-0000000000aa"

// upTo is the history of one writer up to its n-th transaction.
func upTo(n int) gtid.Set {
	if n == 0 {
		return gtid.Set{}
	}
	return gtid.MustParse(fmt.Sprintf("%s:1-%d", writerUUID, n))
}

// incs makes incarnations n0…; their uuids do not sort like their names.
func incs(n int) []roles.Inc {
	out := make([]roles.Inc, n)
	for i := range out {
		out[i] = roles.NewInc(fmt.Sprintf("n%d", i), 1, fmt.Sprintf("%08d-0000-0000-0000-000000000000", 9-i))
	}
	return out
}

// past is a cluster after some term: what each node received in order, what was acknowledged, and what each has said.
type past struct {
	view  roles.View
	all   []roles.Inc
	held  map[roles.Inc]int
	acked int
}

// drawPast draws any past that the promise of sync allows: acks of the ackers, and the primary, hold all acknowledged writes.
func drawPast(t *rapid.T) past {
	n := rapid.IntRange(1, 5).Draw(t, "nodes")
	all := incs(n)
	members := 1 + rapid.IntRange(0, n-1).Draw(t, "ackers")
	sync := roles.Sync{Ver: 7, Term: 3, Primary: all[0], Members: rapid.Permutation(all[:members]).Draw(t, "order")}
	sync.Acks = rapid.IntRange(0, members-1).Draw(t, "acks")
	p := past{all: all, held: map[roles.Inc]int{}}
	p.view = roles.View{OK: true, Cluster: &roles.Cluster{}, Sync: sync, Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}}
	p.acked = rapid.IntRange(0, 4).Draw(t, "acked")
	holders := rapid.Permutation(sync.Ackers()).Draw(t, "holders")[:sync.Acks]
	for _, i := range all {
		lost := rapid.IntRange(0, 9).Draw(t, "void") == 0 && i != sync.Primary
		p.held[i] = rapid.IntRange(0, 5).Draw(t, "held")
		switch {
		case i == sync.Primary:
			p.held[i] = max(p.held[i], p.acked)
		case slices.Contains(holders, i) && !lost:
			p.held[i] = max(p.held[i], p.acked)
		case !sync.Has(i):
			p.held[i] = min(p.held[i], p.held[sync.Primary])
		}
		p.view.Seals[i] = roles.Seal{
			Promise: sync.Term + uint64(rapid.SampledFrom([]int{1, 1, 1, 0, 2}).Draw(t, "promise")), Position: upTo(p.held[i]), Void: lost,
			Undrained: uint64(rapid.IntRange(0, 2).Draw(t, "undrained")), Priority: rapid.IntRange(0, 1).Draw(t, "priority"),
			CannotDrain: rapid.Bool().Draw(t, "cannot drain"), Leaving: rapid.IntRange(0, 3).Draw(t, "leaving") == 0,
			Unfit: rapid.IntRange(0, 3).Draw(t, "unfit") == 0,
		}
		node := roles.Node{Inc: i, Name: i.Name(), Session: "s" + i.Name()}
		if rapid.IntRange(0, 4).Draw(t, "dead") == 0 {
			node.Session = ""
		}
		p.view.Nodes[i] = node
	}
	return p
}

// TestElectAgainstItsDefinition: no sealed subset that elects a winner lacks an acknowledged write, and the winner is
// who the definition says.
func TestElectAgainstItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPast(t)
		sync, term := p.view.Sync, p.view.Sync.Term+1
		k := rapid.IntRange(0, 3).Draw(t, "k")
		var voters []roles.Inc
		for _, m := range sync.Members {
			s := p.view.Seals[m]
			if p.view.Nodes[m].Alive() && s.Promise == term && (!s.Void || m == sync.Primary) {
				voters = append(voters, m)
			}
		}
		enough := func(voters []roles.Inc) bool {
			ackers := len(slices.DeleteFunc(slices.Clone(voters), func(i roles.Inc) bool { return i == sync.Primary }))
			return ackers >= len(sync.Ackers())-sync.Acks+1 || slices.Contains(voters, sync.Primary)
		}
		if fit := slices.DeleteFunc(slices.Clone(voters), func(i roles.Inc) bool { return p.view.Seals[i].Unfit }); enough(fit) {
			voters = fit
		}
		quorum := enough(voters)
		wins := 0
		for _, me := range p.all {
			v := roles.Elect(me, p.view, k)
			require.NotEmpty(t, v.Why)
			require.False(t, v.Alarm, "one writer's prefixes never contradict each other")
			require.Equal(t, quorum, v.Winner != "", v.Why)
			if !quorum {
				require.False(t, v.Win)
				continue
			}
			require.Equal(t, roles.Elect(p.all[0], p.view, k).Winner, v.Winner, "all compute the same winner")
			require.Contains(t, voters, v.Winner)
			require.GreaterOrEqual(t, p.held[v.Winner], p.acked, "the winner lacks an acknowledged write")
			checkBest(t, p, voters, v.Winner)
			require.Equal(t, sync.Ver, v.Next.Ver)
			require.Equal(t, term, v.Next.Term)
			require.Equal(t, v.Winner, v.Next.Primary)
			require.ElementsMatch(t, voters, v.Next.Members, "whoever did not seal is no member: it may still acknowledge for the old primary")
			checkPromise(t, p, v.Next, k)
			if v.Win {
				wins++
				require.Equal(t, me, v.Winner)
				require.False(t, p.view.Seals[me].Leaving)
				require.False(t, p.view.Seals[me].Unfit, "it could not open")
			}
		}
		require.LessOrEqual(t, wins, 1)
	})
}

// checkBest compares the winner with every other voter by the stated order.
func checkBest(t *rapid.T, p past, voters []roles.Inc, winner roles.Inc) {
	rank := func(i roles.Inc) []int {
		s := p.view.Seals[i]
		no := func(b bool) int {
			if b {
				return 0
			}
			return 1
		}
		return []int{p.held[i], no(s.Leaving), no(s.Unfit), no(s.CannotDrain), -int(s.Undrained), s.Priority}
	}
	for _, o := range voters {
		c := slices.Compare(rank(winner), rank(o))
		require.True(t, c > 0 || c == 0 && winner <= o, "%s should win over %s", o, winner)
	}
}

// checkPromise: the new record promises no more than what holds.
func checkPromise(t *rapid.T, p past, next roles.Sync, k int) {
	equal := 0
	for _, a := range next.Ackers() {
		if p.held[a] == p.held[next.Primary] {
			equal++
		}
	}
	require.LessOrEqual(t, next.Acks, equal, "as many as hold everything the winner holds")
	require.LessOrEqual(t, next.Acks, k)
	require.Equal(t, min(k, equal), next.Acks)
}

// TestElectDoesNotDependOnOrder: neither the order of members nor that of maps matters.
func TestElectDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPast(t)
		me := rapid.SampledFrom(p.all).Draw(t, "me")
		first := roles.Elect(me, p.view, 1)
		p.view.Sync.Members = rapid.Permutation(p.view.Sync.Members).Draw(t, "again")
		require.Equal(t, first, roles.Elect(me, p.view, 1))
	})
}

// TestEveryQuorumHoldsEverything is the arithmetic alone, for all small clusters: whatever acks of the ackers hold, no set
// that may promote misses all of them.
func TestEveryQuorumHoldsEverything(t *testing.T) {
	for ackers := 0; ackers <= 6; ackers++ {
		for acks := 0; acks <= ackers; acks++ {
			all := incs(ackers + 1)
			sync := roles.Sync{Ver: 1, Term: 1, Primary: all[0], Members: all, Acks: acks}
			for holders := range 1 << ackers {
				if ones(holders) < acks {
					continue
				}
				for sealed := range 1 << (ackers + 1) {
					v := viewOf(sync, func(i int) (bool, int) { return sealed>>i&1 == 1, boolInt(i == 0 || holders>>(i-1)&1 == 1) })
					e := roles.Elect(all[0], v, 1)
					if e.Winner != "" {
						require.Equal(t, uint64(1), v.Seals[e.Winner].Position.Count(), "%d ackers, %d acks, holders %b, sealed %b: %s", ackers, acks, holders, sealed, e.Winner)
					} else if acks > 0 {
						require.NotEqual(t, 1, sealed&1, "the old primary alone is enough")
					}
				}
			}
		}
	}
}

func viewOf(sync roles.Sync, of func(i int) (sealed bool, held int)) roles.View {
	v := roles.View{OK: true, Sync: sync, Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}}
	for n, i := range sync.Members {
		sealed, held := of(n)
		v.Nodes[i] = roles.Node{Inc: i, Name: i.Name(), Session: "s"}
		if sealed {
			v.Seals[i] = roles.Seal{Promise: sync.Term + 1, Position: upTo(held)}
		}
	}
	return v
}

func ones(n int) (c int) {
	for ; n > 0; n >>= 1 {
		c += n & 1
	}
	return c
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestElectSaysWhatIsMissing(t *testing.T) {
	all := incs(3)
	sync := roles.Sync{Ver: 1, Term: 4, Primary: all[0], Members: all, Acks: 1}
	v := viewOf(sync, func(i int) (bool, int) { return i == 2, 1 })
	v.Nodes[all[0]] = roles.Node{Inc: all[0], Name: "n0"}
	e := roles.Elect(all[2], v, 1)
	require.False(t, e.Win)
	require.Equal(t, "term 5 needs the old primary n0 or 2 of its 2 ackers sealed, 1 are; missing: n0 (not running), n1 (not sealed)", e.Why)

	void := v.Seals[all[2]]
	void.Void = true
	v.Seals[all[1]] = void
	require.Contains(t, roles.Elect(all[2], v, 1).Why, "n1 (its acknowledgements may not have survived its restart)")
}

// TestElectAlarms: histories that contradict each other are for a person to decide, with both named, when the old primary
// is not there to say which one is the cluster's.
func TestElectAlarms(t *testing.T) {
	all := incs(4)
	sync := roles.Sync{Ver: 1, Term: 4, Primary: all[0], Members: all, Acks: 2}
	own, foreign := all[1].UUID()+":1", "00000000-0000-0000-0000-0000000000bb:1"
	for _, c := range []struct {
		name, errant string
		view         roles.View
	}{
		{"not sealed", own, contradicting(sync, all[1], own, all[0])},
		{"sealed, but cannot write to its disk", own, unfit(contradicting(sync, all[1], own), all[0])},
		{"sealed, but what it lacks was not written where it is", foreign, contradicting(sync, all[1], foreign)},
	} {
		errant := c.errant
		for _, me := range all {
			e := roles.Elect(me, c.view, 1)
			require.True(t, e.Alarm, c.name)
			require.False(t, e.Win)
			require.Empty(t, e.Winner)
			require.Contains(t, e.Why, errant)
			require.Contains(t, e.Why, writerUUID+":1")
		}
	}
}

// TestElectGoesByTheOldPrimary: whoever lacks something of the sealed old primary holds nothing beyond it that anybody was
// told of, so it is left out; whoever holds all of it may still hold more.
func TestElectGoesByTheOldPrimary(t *testing.T) {
	all := incs(3)
	errant := all[1].UUID() + ":1"
	for _, acks := range []int{0, 1} {
		sync := roles.Sync{Ver: 1, Term: 4, Primary: all[0], Members: all, Acks: acks}
		for _, me := range all {
			v := contradicting(sync, all[1], errant)
			e := roles.Elect(me, v, 1)
			require.False(t, e.Alarm, e.Why)
			require.Equal(t, all[0], e.Winner, "of equals the first by name")
			require.Equal(t, me == all[0], e.Win)
			require.Equal(t, []roles.Inc{all[0], all[2]}, e.Next.Members)
			require.Equal(t, 1, e.Next.Acks)

			more := v.Seals[all[1]]
			more.Position = v.Seals[all[0]].Position.Union(more.Position)
			v.Seals[all[1]] = more
			require.Equal(t, all[1], roles.Elect(me, v, 1).Winner, "it may be an acknowledged write, and nothing contradicts it")
		}
	}
}

// contradicting is a view in which all members hold one write and are sealed, but for i, which holds other instead, and for
// those that are not sealed.
func contradicting(sync roles.Sync, i roles.Inc, other string, unsealed ...roles.Inc) roles.View {
	v := viewOf(sync, func(n int) (bool, int) { return !slices.Contains(unsealed, sync.Members[n]), 1 })
	s := v.Seals[i]
	s.Position = gtid.MustParse(other)
	v.Seals[i] = s
	return v
}

func unfit(v roles.View, i roles.Inc) roles.View {
	s := v.Seals[i]
	s.Unfit = true
	v.Seals[i] = s
	return v
}

// TestElectSurvivesAnImpossibleRecord: a promise that no set of members can keep elects nobody, and breaks nothing.
func TestElectSurvivesAnImpossibleRecord(t *testing.T) {
	all := incs(1)
	v := viewOf(roles.Sync{Ver: 1, Term: 1, Primary: all[0], Members: all, Acks: 5}, func(int) (bool, int) { return false, 0 })
	require.Empty(t, roles.Elect(all[0], v, 1).Winner)
}
