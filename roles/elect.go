package roles

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is the outcome of an election as one node computes it from one consistent read.
type Verdict struct {
	// Win is true when this node is to be the primary.
	Win bool
	// Winner is whoever is; "" while there is no quorum.
	Winner Inc
	// Next is the record the winner writes, at Next.Ver.
	Next Sync
	// Alarm is true when the sealed positions contradict each other: only a person can decide.
	Alarm bool
	// Why says what is missing, or why the winner wins.
	Why string
}

// Elect computes the election for the term after v.Sync.Term from the seals in v.
//
// S is every living member whose seal promises that term and whose acknowledgements hold. Any set S with
// |S ∩ ackers| ≥ |ackers| − acks + 1, or with the old primary in it, contains a holder of every acknowledged write
// (at least acks ackers hold each, so at most |ackers| − acks do not). The greatest position in S therefore has all
// of them. k is the wanted number of acknowledgements.
func Elect(me Inc, v View, k int) Verdict {
	term := v.Sync.Term + 1
	sealed, missing := sealedMembers(v, term)
	if fit := fitOnes(sealed, v); isQuorum(fit, v.Sync) {
		sealed = fit
	}
	sealed = alongOldPrimary(sealed, v)
	need, have := len(v.Sync.Ackers())-v.Sync.Acks+1, votes(sealed, v.Sync)
	if !isQuorum(sealed, v.Sync) {
		return Verdict{Why: fmt.Sprintf("term %d needs the old primary %s or %d of its %d ackers sealed, %d are; missing: %s",
			term, v.Sync.Primary.Name(), need, len(v.Sync.Ackers()), have, strings.Join(missing, ", "))}
	}
	best := sealed[0]
	for _, i := range sealed[1:] {
		if better(i, v.Seals[i], best, v.Seals[best]) {
			best = i
		}
	}
	top := v.Seals[best].Position
	next := Sync{Ver: v.Sync.Ver, Term: term, Primary: best}
	equal := 0
	for _, i := range sealed {
		pos := v.Seals[i].Position
		if !top.Contains(pos) {
			return Verdict{Alarm: true, Why: fmt.Sprintf("positions contradict each other: %s alone holds %s, %s alone holds %s; "+
				"decide which history stays with: autopilot-mysql failover --to NODE --force --accept-data-loss",
				best.Name(), top.Subtract(pos), i.Name(), pos.Subtract(top))}
		}
		if i != best && pos.Equal(top) {
			equal++
		}
		next.Members = append(next.Members, i)
	}
	next.Acks = min(k, equal)
	if v.Seals[best].Unfit {
		return Verdict{Winner: best, Next: next, Why: fmt.Sprintf("without %s there is no quorum for term %d, and it cannot write to its disk; free or repair that disk",
			best.Name(), term)}
	}
	if best != me {
		return Verdict{Winner: best, Next: next, Why: fmt.Sprintf("%s holds the most for term %d", best.Name(), term)}
	}
	if v.Seals[best].Leaving {
		return Verdict{Winner: best, Next: next, Why: "this node is stopping and nobody else holds as much yet"}
	}
	return Verdict{Win: true, Winner: best, Next: next, Why: fmt.Sprintf("holds every acknowledged write: %d of %d ackers sealed for term %d",
		have, len(v.Sync.Ackers()), term)}
}

// votes counts the sealed ackers.
func votes(sealed []Inc, sync Sync) int {
	n := 0
	for _, i := range sealed {
		if i != sync.Primary {
			n++
		}
	}
	return n
}

// isQuorum reports whether one of the sealed holds every acknowledged write.
func isQuorum(sealed []Inc, sync Sync) bool {
	return len(sealed) > 0 && (votes(sealed, sync) > len(sync.Ackers())-sync.Acks || slices.Contains(sealed, sync.Primary))
}

// fitOnes leaves out who cannot write to its disk. What such a node alone holds nobody was told of, as long as the others
// are a quorum by themselves; with it in the election, a full disk that holds one unacknowledged write more would win.
func fitOnes(sealed []Inc, v View) []Inc {
	return slices.DeleteFunc(slices.Clone(sealed), func(i Inc) bool { return v.Seals[i].Unfit })
}

// alongOldPrimary leaves out, when the old primary is sealed, whoever lacks something of it and has written something itself
// that the old primary has not. Nobody was told of that: every acknowledged write of the term was in the old primary's binary
// log, and synced there, before it was sent to anybody; and those of the terms before it held when it won. It is a write on
// a replica that had not been found yet, or what an earlier primary had written and nobody acknowledged. The node compares
// itself with the winner when it follows, keeps the difference, and gets a new copy. What was written elsewhere and is not
// with the old primary should not be, and stays for a person to look at.
func alongOldPrimary(sealed []Inc, v View) []Inc {
	if !slices.Contains(sealed, v.Sync.Primary) {
		return sealed
	}
	old := v.Seals[v.Sync.Primary].Position
	return slices.DeleteFunc(slices.Clone(sealed), func(i Inc) bool {
		pos := v.Seals[i].Position
		return !pos.Contains(old) && !old.Contains(pos) && pos.Subtract(old).WrittenBy(i.UUID())
	})
}

// sealedMembers lists the members that may vote and win, in order, and the names of the others with what they lack.
// A void node does not vote; the old primary is never void: its binary log was synced before any acknowledgement counted.
// A sealed node that is dead counts like one that never sealed: every quorum is enough by itself.
func sealedMembers(v View, term uint64) (sealed []Inc, missing []string) {
	members := slices.Clone(v.Sync.Members)
	slices.Sort(members)
	for _, m := range members {
		s, ok := v.Seals[m]
		switch {
		case !v.Nodes[m].Alive():
			missing = append(missing, m.Name()+" (not running)")
		case !ok || s.Promise != term:
			missing = append(missing, m.Name()+" (not sealed)")
		case s.Void && m != v.Sync.Primary:
			missing = append(missing, m.Name()+" (its acknowledgements may not have survived its restart)")
		default:
			sealed = append(sealed, m)
		}
	}
	return sealed, missing
}

// better orders candidates: the greater position; then who can and wants to take over; then least to apply, priority, name.
func better(a Inc, as Seal, b Inc, bs Seal) bool {
	if !as.Position.Equal(bs.Position) {
		return as.Position.Contains(bs.Position)
	}
	if as.Leaving != bs.Leaving {
		return bs.Leaving
	}
	if as.Unfit != bs.Unfit {
		return bs.Unfit
	}
	if as.CannotDrain != bs.CannotDrain {
		return bs.CannotDrain
	}
	if as.Undrained != bs.Undrained {
		return as.Undrained < bs.Undrained
	}
	if as.Priority != bs.Priority {
		return as.Priority > bs.Priority
	}
	return a < b
}
