package gtid

import (
	"cmp"
	"math"
	"slices"
)

// maxGNO is the largest transaction number; the server refuses 2^63-1, which
// it keeps as an end marker (measured on 9.7.4).
const maxGNO = math.MaxInt64 - 1

// span is the inclusive range of numbers first..last, 1 ≤ first ≤ last ≤ maxGNO.
type span struct{ first, last int64 }

// spans is a sorted list without overlapping or touching neighbours, so that
// equal sets have equal lists. Shared between sets: never written to once built.
type spans []span

// normalise sorts the list in place and joins what overlaps or touches.
func normalise(list []span) spans {
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := list[:0]
	for _, sp := range list {
		if n := len(out); n > 0 && sp.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, sp.last)
			continue
		}
		out = append(out, sp)
	}
	return spans(out)
}

// union returns the numbers in a or b.
func (a spans) union(b spans) spans {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return normalise(slices.Concat(a, b))
}

// subtract returns the numbers of a that are not in b.
func (a spans) subtract(b spans) spans {
	if len(b) == 0 {
		return a
	}
	var out spans
	for _, sp := range a {
		// Spans of b that end before this one begins cannot touch later ones.
		for len(b) > 0 && b[0].last < sp.first {
			b = b[1:]
		}
		next := sp.first
		for _, cut := range b {
			if cut.first > sp.last {
				break
			}
			if cut.first > next {
				out = append(out, span{next, cut.first - 1})
			}
			next = cut.last + 1
		}
		if next <= sp.last {
			out = append(out, span{next, sp.last})
		}
	}
	return out
}

// intersect returns the numbers in both a and b.
func (a spans) intersect(b spans) spans {
	var out spans
	for len(a) > 0 && len(b) > 0 {
		lo, hi := max(a[0].first, b[0].first), min(a[0].last, b[0].last)
		if lo <= hi {
			out = append(out, span{lo, hi})
		}
		if a[0].last < b[0].last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}
