package explore

import (
	"fmt"
	"hash/fnv"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// parent is where a state was reached from first.
type parent struct {
	from  uint64
	depth uint16
}

// explorer is one exhaustive run.
type explorer struct {
	m        mutation
	maxTerm  uint8
	limit    int    // states at most
	every    uint64 // of so many states one is tried for whether all gets well again
	seen     map[uint64]parent
	edges    int
	memo     memo
	asked    int // how often the real code decided
	tried    int
	cutTerms int
	complete bool
}

// result is the first state that is wrong, and how it was reached.
type result struct {
	wrong string
	story []string
}

// hash is of the state as it lies in memory: all its fields are bytes, see TestNoPadding.
func hash(s *state) uint64 {
	return fingerprint(unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
}

// fingerprint is the same in every run, and so are the states that are tried for whether all gets well again.
func fingerprint(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // it never fails
	return h.Sum64()
}

// TestNoPadding: what lies between fields could differ between equal states.
func TestNoPadding(t *testing.T) {
	require.Equal(t, 1, reflect.TypeFor[state]().Align())
	require.Equal(t, 1, reflect.TypeFor[seenBy]().Align())
}

// run visits everything that can be reached from s, nearest first.
func (e *explorer) run(s state) *result {
	e.seen, e.memo = map[uint64]parent{hash(&s): {}}, memo{}
	first, layer, depth := s, []state{s}, uint16(0)
	for len(layer) > 0 {
		depth++
		var next []state
		for i := range layer {
			from := hash(&layer[i])
			var bad *result
			layer[i].visit(e, false, func(to *state, what string) {
				e.edges++
				id := hash(to)
				if _, ok := e.seen[id]; ok || bad != nil {
					return
				}
				e.seen[id] = parent{from, depth}
				switch {
				case to.broken != 0:
					bad = &result{wrongs[to.broken], e.tell(first, id)}
				case to.sync.term > e.maxTerm:
					e.cutTerms++
				default:
					next = append(next, *to)
				}
				if e.every != 0 && id%e.every == 0 && bad == nil {
					e.tried++
					if why, tail := recover(*to, e); why != "" {
						bad = &result{"does not get well: " + why, append(e.tell(first, id), tail...)}
					}
				}
			})
			if bad != nil {
				return bad
			}
			if len(e.seen) >= e.limit {
				return nil
			}
		}
		layer = next
	}
	e.complete = true
	return nil
}

// recover lets everything but faults happen, in turn, and says what does not get well.
func recover(s state, e *explorer) (string, []string) {
	s.left = left{writes: min(1, uint8(len(log{}.at))-s.made)}
	s.flight, s.sender = act{from: -1}, -1
	var story []string
	for range 60 {
		before := s
		s.everybodyMoves(e, &story)
		if s.broken != 0 {
			return wrongs[s.broken], story
		}
		if s.well() == "" {
			if s.left.writes == 0 {
				return "", nil
			}
			s.left.writes = 0
			s.commit(s.sync.primary.node())
		}
		before.waited = s.waited
		s.waited = s == before
	}
	return s.well(), story
}

// everybodyMoves lets each node do three things, and all data travel in between.
func (s *state) everybodyMoves(e *explorer, story *[]string) {
	for n := range nodes {
		for range 3 {
			s.settleDown(story)
			s.moves(n, e, story)
		}
	}
}

// moves lets node n do the first thing it would.
func (s *state) moves(n int, e *explorer, story *[]string) {
	moved := false
	s.visitNode(n, e, true, func(what string, do func(*state)) {
		t := *s
		if do(&t); !moved && t != *s && !strings.HasPrefix(what, "a client") {
			moved, *s = true, t
			s.tidy()
			s.check()
			*story = append(*story, "  "+what)
		}
	})
}

// settleDown lets all data travel.
func (s *state) settleDown(story *[]string) {
	for moved := true; moved; {
		moved = false
		for d := range nodes {
			s.visitStreams(d, func(what string, do func(*state)) {
				t := *s
				if do(&t); !moved && t != *s {
					moved = true
					*s = t
					*story = append(*story, "  "+what)
				}
			})
			if v := &s.node[d].srv; !moved && v.up && v.relay.n > 0 && !v.srcOn && v.source >= 0 {
				moved = true
				v.apply()
			}
		}
	}
}

// tell replays the way to a state.
func (e *explorer) tell(s state, id uint64) []string {
	var way []uint64
	for at := id; e.seen[at].depth > 0; at = e.seen[at].from {
		way = append(way, at)
	}
	var out []string
	for i := len(way) - 1; i >= 0; i-- {
		var next state
		found := false
		s.visit(e, false, func(to *state, what string) {
			if !found && hash(to) == way[i] {
				found, next = true, *to
				out = append(out, fmt.Sprintf("%3d %s %s", len(out)+1, what, s.hint(to)))
			}
		})
		s = next
	}
	return append(out, s.describe()...)
}

// hint says what changed that is worth saying.
func (s *state) hint(to *state) string {
	out := ""
	for n := range nodes {
		a, b := &s.node[n].agent, &to.node[n].agent
		if a.state != b.state {
			out += fmt.Sprintf("[%s: %s -> %s]", nodeNames[n], roleNames[a.state], roleNames[b.state])
		}
		if a.act.op == 0 && b.act.op != 0 {
			out += "[decides to " + string(ops[b.act.op]) + "]"
		}
	}
	if s.sync != to.sync {
		out += "[" + to.sync.real().String() + "]"
	}
	if s.acked != to.acked {
		out += fmt.Sprintf("[clients are told of %b]", to.acked)
	}
	return out
}

func (s *state) describe() (out []string) {
	out = append(out, fmt.Sprintf("    lock %d, %s, acknowledged %b", s.lock, s.sync.real(), s.acked))
	for n := range nodes {
		v := &s.node[n].srv
		out = append(out, fmt.Sprintf("    %s~%d %s: up %t ro %t offline %t K %d/%t executed %b waits %b received %b void %t promised %d next %q", nodeNames[n], s.node[n].disk.rebuilds,
			roleNames[s.node[n].agent.state], v.up, v.ro, v.offline, v.k, v.srcOn, v.exec, v.wait, v.recv, s.node[n].disk.void, s.node[n].disk.promised, ops[s.node[n].agent.act.op]))
	}
	return out
}

// bound is one exploration.
type bound struct {
	name  string
	left  left
	term  uint8 // states beyond this term are not followed
	acks  uint8
	whole int // how many states there are; 0: more than anybody has counted
	// after is how far a hand-over has come when it begins; nil: there is none.
	after func(*state) bool
}

func (b bound) begin() state {
	if b.after != nil {
		return handingOver(b.left, b.acks, b.after)
	}
	return atWork(b.left, b.acks)
}

func bounds() []bound {
	return []bound{
		{"a write", left{writes: 1}, 2, 1, 26, nil},
		{"a broken stream", left{cuts: 1}, 2, 1, 1_742, nil},
		{"two acks, a broken stream", left{cuts: 1}, 2, 2, 2_338, nil},
		{"a write and a broken stream", left{writes: 1, cuts: 1}, 2, 1, 59_452, nil},
		{"two acks, a write and a broken stream", left{writes: 1, cuts: 1}, 2, 2, 91_970, nil},
		{"two broken streams", left{cuts: 2}, 2, 1, 313_903, nil},
		{"a killed agent", left{agents: 1}, 2, 1, 580_839, nil},
		{"two writes and a broken stream", left{writes: 2, cuts: 1}, 2, 1, 651_612, nil},
		{"a lost session", left{ends: 1}, 2, 1, 782_919, nil},
		{"a killed mysqld", left{kills: 1}, 2, 1, 965_514, nil},
		{"a power cut", left{powers: 1}, 2, 1, 1_823_070, nil},
		{"a write and two broken streams", left{writes: 1, cuts: 2}, 2, 1, 12_034_707, nil},
		{"a write and a lost session", left{writes: 1, ends: 1}, 2, 1, 0, nil},
		{"a write and a power cut", left{writes: 1, powers: 1}, 3, 1, 0, nil},
		{"a write, a broken stream and a lost session", left{writes: 1, cuts: 1, ends: 1}, 3, 1, 0, nil},
		{"two writes and a lost session", left{writes: 2, ends: 1}, 2, 1, 0, nil},
		{"two lost sessions", left{writes: 1, ends: 2}, 3, 1, 0, nil},
		{"a write, a power cut and a lost session", left{writes: 1, powers: 1, ends: 1}, 3, 1, 0, nil},
		{"two power cuts", left{writes: 1, powers: 2}, 3, 1, 0, nil},
		{"a killed agent, a killed mysqld and a lost session", left{writes: 1, agents: 1, kills: 1, ends: 1}, 3, 1, 0, nil},
		{"two writes, a broken stream and two lost sessions", left{writes: 2, cuts: 1, ends: 2}, 4, 1, 0, nil},
		{"two acks, a write and a lost session", left{writes: 1, ends: 1}, 3, 2, 0, nil},
		{"two acks, a write and two power cuts", left{writes: 1, powers: 2}, 3, 2, 0, nil},
		{"a switchover and a write", left{writes: 1, orders: 1}, 3, 1, 0, nil},
		{"two acks, a switchover and a write", left{writes: 1, orders: 1}, 3, 2, 0, nil},
		{"prepared, a write", left{writes: 1}, 3, 1, 0, prepared},
		{"turned, a write and a broken stream", left{writes: 1, cuts: 1}, 3, 1, 0, turned},
		{"offered, a write and a lost session", left{writes: 1, ends: 1}, 3, 1, 0, offered},
		{"offered, a write and a power cut", left{writes: 1, powers: 1}, 3, 1, 0, offered},
		{"two acks, offered, a write and a lost session", left{writes: 1, ends: 1}, 3, 2, 0, offered},
		{"accepted, a write and a killed agent", left{writes: 1, agents: 1}, 3, 1, 0, accepted},
		{"accepted, a write and a killed mysqld", left{writes: 1, kills: 1}, 3, 1, 0, accepted},
	}
}

// TestEveryState: within the bounds no state is wrong, and from a sample of them all gets well again.
// AUTOPILOT_TEST_STATES=n is how many states are visited within each bound.
func TestEveryState(t *testing.T) {
	limit := 30_000
	switch n, err := strconv.Atoi(os.Getenv("AUTOPILOT_TEST_STATES")); {
	case err == nil:
		limit = n
	case testing.Short():
		limit = 3_000
	}
	total := 0
	defer func() { t.Logf("%d states", total) }()
	for _, b := range bounds() {
		t.Run(b.name, func(t *testing.T) {
			defer func(k int) { settings.Acks = k }(settings.Acks)
			settings.Acks = int(b.acks)
			e := &explorer{maxTerm: b.term, limit: limit, every: 64}
			began := time.Now()
			r := e.run(b.begin())
			if r != nil {
				require.Fail(t, r.wrong, "%s", strings.Join(r.story, "\n"))
			}
			if b.whole != 0 && limit > b.whole {
				require.True(t, e.complete)
				if n := len(e.seen); n != b.whole {
					require.Fail(t, "the decisions have changed: count anew", "%d states, not %d", n, b.whole)
				}
				require.Zero(t, e.cutTerms)
			}
			total += len(e.seen)
			deepest := uint16(0)
			for _, p := range e.seen {
				deepest = max(deepest, p.depth)
			}
			t.Logf("%d states, %d transitions, %d different decisions, %d steps deep, complete: %t; %d states beyond term %d left out; tried from %d whether all gets well; %v",
				len(e.seen), e.edges, e.asked, deepest, e.complete, e.cutTerms, b.term, e.tried, time.Since(began).Round(time.Millisecond))
		})
	}
}
