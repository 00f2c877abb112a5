package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// step is one planned fault of a round. Everything about it is decided in advance but who the primary is by then.
type step struct {
	Fault  string        `json:"fault"`
	Target string        `json:"target,omitempty"` // a role, see campaign.find
	After  time.Duration `json:"after"`            // since the round began
	Hold   time.Duration `json:"hold"`             // how long the fault lasts
	Draw   uint64        `json:"draw"`             // what else the fault has to choose
}

// round is one to three faults that overlap, and what is waited for afterwards.
type round struct {
	Number int    `json:"round"`
	Steps  []step `json:"steps"`
	// Hasty rounds are followed by the next one as soon as writes go through again, without waiting for a whole cluster.
	Hasty bool `json:"hasty,omitempty"`
}

// String is the round in one line.
func (r round) String() string {
	var parts []string
	for _, s := range r.Steps {
		target := ""
		if s.Target != "" {
			target = " " + s.Target
		}
		parts = append(parts, fmt.Sprintf("%s%s at +%.1fs for %.1fs", s.Fault, target, s.After.Seconds(), s.Hold.Seconds()))
	}
	text := fmt.Sprintf("round %d: %s", r.Number, strings.Join(parts, "; "))
	if r.Hasty {
		text += "; then on without waiting for a whole cluster"
	}
	return text
}

// schedule deals rounds from a shuffled deck of all faults, so that a campaign of any length meets all kinds equally
// often. The same seed and the same faults give the same rounds.
type schedule struct {
	faults []fault
	rng    *rand.Rand
	deck   []fault
	dealt  int
}

func newSchedule(seed uint64, faults []fault) *schedule {
	return &schedule{faults: faults, rng: rand.New(rand.NewPCG(seed, 0x6368616f73))}
}

// next deals one round.
func (s *schedule) next() round {
	s.dealt++
	r := round{Number: s.dealt}
	// Single faults must be as frequent as the others: they alone say what a fault costs.
	want := 1 + s.rng.IntN(3)
	for len(r.Steps) < want {
		f := s.top()
		alone := f.solo || slices.ContainsFunc(r.Steps, func(have step) bool {
			return have.Fault == f.name || f.takes != "" && s.fault(have.Fault).takes != "" && s.fault(have.Fault).takes != f.takes
		})
		if alone && len(r.Steps) > 0 {
			break // it waits for its own round
		}
		s.deck = s.deck[1:]
		r.Steps = append(r.Steps, s.plan(f, len(r.Steps)))
		if f.solo {
			break
		}
	}
	r.Hasty = s.rng.IntN(4) == 0 && !slices.ContainsFunc(r.Steps, func(st step) bool { return s.fault(st.Fault).solo || s.fault(st.Fault).takes == ofNode })
	return r
}

// top is the card on top of the deck.
func (s *schedule) top() fault {
	if len(s.deck) == 0 {
		s.deck = slices.Clone(s.faults)
		s.rng.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	return s.deck[0]
}

func (s *schedule) plan(f fault, position int) step {
	st := step{Fault: f.name, Draw: s.rng.Uint64(), Hold: s.between(f.hold[0], f.hold[1])}
	if len(f.targets) > 0 {
		st.Target = f.targets[s.rng.IntN(len(f.targets))]
	}
	if position > 0 {
		st.After = s.between(0, 5*time.Second)
	}
	return st
}

func (s *schedule) between(low, high time.Duration) time.Duration {
	d := low
	if high > low {
		d += time.Duration(s.rng.Int64N(int64(high - low)))
	}
	return d.Truncate(100 * time.Millisecond)
}

func (s *schedule) fault(name string) fault {
	for _, f := range s.faults {
		if f.name == name {
			return f
		}
	}
	return fault{}
}
