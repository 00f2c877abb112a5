package gtid

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// requireWellFormed checks the invariants that Equal and the walks rely on.
func requireWellFormed(t require.TestingT, s Set) {
	for i, st := range s.streams {
		require.NotEmpty(t, st.spans)
		if i > 0 {
			require.Negative(t, s.streams[i-1].compare(st.key), "streams sorted and distinct")
		}
		for j, sp := range st.spans {
			require.GreaterOrEqual(t, sp.first, int64(1))
			require.LessOrEqual(t, sp.first, sp.last)
			require.LessOrEqual(t, sp.last, int64(maxGNO))
			if j > 0 {
				require.Greater(t, sp.first, st.spans[j-1].last+1, "spans apart")
			}
		}
	}
}

func TestAlgebra(t *testing.T) {
	cases := []struct {
		name, a, b                 string
		union, aMinusB, both       string
		aContainsB, bContainsA, eq bool
	}{
		{name: "both empty", aContainsB: true, bContainsA: true, eq: true},
		{name: "one empty", a: u1 + ":1", union: u1 + ":1", aMinusB: u1 + ":1", aContainsB: true},
		{name: "same", a: u1 + ":1-3", b: u1 + ":1-3", union: u1 + ":1-3", both: u1 + ":1-3",
			aContainsB: true, bContainsA: true, eq: true},
		{name: "prefix", a: u1 + ":1-5", b: u1 + ":1-3", union: u1 + ":1-5", aMinusB: u1 + ":4-5", both: u1 + ":1-3", aContainsB: true},
		{name: "hole", a: u1 + ":1-9", b: u1 + ":4:6", union: u1 + ":1-9", aMinusB: u1 + ":1-3:5:7-9", both: u1 + ":4:6", aContainsB: true},
		{name: "overlap", a: u1 + ":1-5", b: u1 + ":4-8", union: u1 + ":1-8", aMinusB: u1 + ":1-3", both: u1 + ":4-5"},
		{name: "touching", a: u1 + ":1-4", b: u1 + ":5-8", union: u1 + ":1-8", aMinusB: u1 + ":1-4"},
		{name: "one cut over two spans", a: u1 + ":1-4:6-9", b: u1 + ":3-7", union: u1 + ":1-9", aMinusB: u1 + ":1-2:8-9", both: u1 + ":3-4:6-7"},
		{name: "other uuid", a: u1 + ":1", b: u2 + ":1", union: u1 + ":1," + u2 + ":1", aMinusB: u1 + ":1"},
		{name: "a tag is another stream", a: u1 + ":1:t:1", b: u1 + ":t:1", union: u1 + ":1:t:1", aMinusB: u1 + ":1", both: u1 + ":t:1", aContainsB: true},
		{name: "up to the last number", a: u1 + ":1-9223372036854775806", b: u1 + ":9223372036854775806",
			union: u1 + ":1-9223372036854775806", aMinusB: u1 + ":1-9223372036854775805", both: u1 + ":9223372036854775806", aContainsB: true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			a, b := MustParse(tc.a), MustParse(tc.b)
			require.Equal(t, tc.union, a.Union(b).String())
			require.Equal(t, tc.aMinusB, a.Subtract(b).String())
			require.Equal(t, tc.both, a.Intersect(b).String())
			require.Equal(t, tc.aContainsB, a.Contains(b))
			require.Equal(t, tc.bContainsA, b.Contains(a))
			require.Equal(t, tc.eq, a.Equal(b))
		})
	}
}

func TestCount(t *testing.T) {
	require.Zero(t, Set{}.Count())
	require.EqualValues(t, 8, MustParse(u1+":1-5:t:1:3,"+u2+":7").Count())
	all := ":1-9223372036854775806"
	require.Equal(t, uint64(math.MaxInt64-1)*2, MustParse(u1+all+","+u2+all).Count())
	require.Equal(t, uint64(math.MaxUint64), MustParse(u1+all+":t:1-9223372036854775806,"+u2+all).Count(), "no overflow")
}

// model is a GTID set in the simplest form there is: the reference.
type model map[string]bool

// genModel draws sets from a space small enough that they meet each other.
func genModel() *rapid.Generator[model] {
	return rapid.Custom(func(t *rapid.T) model {
		m := model{}
		for _, id := range rapid.SliceOfN(rapid.IntRange(0, 2*3*10-1), 0, 25).Draw(t, "ids") {
			uuid := []string{u1, u2}[id%2]
			tag := []string{"", "a:", "b_2:"}[id/2%3]
			m[fmt.Sprintf("%s:%s%d", uuid, tag, id/6+1)] = true
		}
		return m
	})
}

// set parses the members in the given map's random order.
func (m model) set() Set {
	var parts []string
	for id := range m {
		parts = append(parts, id)
	}
	return MustParse(strings.Join(parts, ","))
}

func (m model) filter(keep func(string) bool) model {
	out := model{}
	for id := range m {
		if keep(id) {
			out[id] = true
		}
	}
	return out
}

func (m model) plus(o model) model {
	out := m.filter(func(string) bool { return true })
	for id := range o {
		out[id] = true
	}
	return out
}

func TestSetAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ma, mb := genModel().Draw(t, "a"), genModel().Draw(t, "b")
		a, b := ma.set(), mb.set()
		inB := func(id string) bool { return mb[id] }
		notInB := func(id string) bool { return !mb[id] }
		for name, pair := range map[string][2]Set{
			"union":     {ma.plus(mb).set(), a.Union(b)},
			"subtract":  {ma.filter(notInB).set(), a.Subtract(b)},
			"intersect": {ma.filter(inB).set(), a.Intersect(b)},
		} {
			requireWellFormed(t, pair[1])
			require.Equal(t, pair[0].String(), pair[1].String(), name)
		}
		require.EqualValues(t, len(ma), a.Count())
		require.Equal(t, len(mb.filter(func(id string) bool { return !ma[id] })) == 0, a.Contains(b))
		require.Equal(t, ma.set().String(), a.String(), "the order of the text does not matter")
	})
}

func TestSetLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genModel().Draw(t, "a").set(), genModel().Draw(t, "b").set(), genModel().Draw(t, "c").set()
		same := func(x, y Set) { require.Equal(t, x.String(), y.String()); require.True(t, x.Equal(y)) }
		same(a.Union(b), b.Union(a))
		same(a.Intersect(b), b.Intersect(a))
		same(a.Union(b).Union(c), a.Union(b.Union(c)))
		same(a.Intersect(b.Union(c)), a.Intersect(b).Union(a.Intersect(c)))
		same(a.Subtract(b).Subtract(c), a.Subtract(b.Union(c)))
		same(a.Subtract(b).Union(a.Intersect(b)), a)
		same(a.Union(a), a)
		same(a.Subtract(a), Set{})
		require.True(t, a.Union(b).Contains(a) && a.Contains(a.Intersect(b)))
		require.True(t, a.Subtract(b).Intersect(b).IsEmpty())
		require.Equal(t, a.Contains(b) && b.Contains(a), a.Equal(b))
	})
}

// Sets share their spans with the results of operations: none may be written to.
func TestOperationsLeaveTheirArgumentsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genModel().Draw(t, "a").set(), genModel().Draw(t, "b").set()
		textA, textB := a.String(), b.String()
		u := a.Union(b)
		textU := u.String()
		_ = u.Union(MustParse(u1 + ":100-200"))
		_ = u.Subtract(a).Union(b).Intersect(a)
		require.Equal(t, []string{textA, textB, textU}, []string{a.String(), b.String(), u.String()})
	})
}

func FuzzAlgebra(f *testing.F) {
	for i, tc := range Accepted {
		f.Add(tc.In, Accepted[len(Accepted)-1-i].In)
	}
	f.Fuzz(func(t *testing.T, x, y string) {
		a, errA := Parse(x)
		b, errB := Parse(y)
		if cmp.Or(errA, errB) != nil {
			t.Skip()
		}
		union, rest, both := a.Union(b), a.Subtract(b), a.Intersect(b)
		for _, s := range []Set{union, rest, both} {
			requireWellFormed(t, s)
		}
		require.True(t, rest.Union(both).Equal(a))
		require.True(t, rest.Union(b).Equal(union))
		require.True(t, rest.Intersect(both).IsEmpty())
		require.True(t, union.Contains(a) && union.Contains(b))
	})
}

func TestStreamsKeepTheServersOrder(t *testing.T) {
	keys := []key{{tag: "b"}, {uuid: [16]byte{0xff}}, {tag: ""}, {uuid: [16]byte{1}, tag: "z"}, {tag: "_"}}
	slices.SortFunc(keys, key.compare)
	require.Equal(t, []key{{tag: ""}, {tag: "_"}, {tag: "b"}, {uuid: [16]byte{1}, tag: "z"}, {uuid: [16]byte{0xff}}}, keys)
}

func TestWrittenBy(t *testing.T) {
	const a, b = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
	for _, c := range []struct {
		set, server string
		want        bool
	}{
		{"", a, true},
		{a + ":1-5", a, true},
		{a + ":1-5", strings.ToUpper(a), true},
		{a + ":1-5:tag:7", a, true},
		{a + ":1-5", b, false},
		{a + ":1-5," + b + ":tag:1", a, false},
		{a + ":1-5," + b + ":tag:1", b, false},
		{a + ":1", "none", false},
	} {
		require.Equal(t, c.want, MustParse(c.set).WrittenBy(c.server), "%q by %s", c.set, c.server)
	}
}
