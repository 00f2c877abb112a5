// Package gtid holds MySQL GTID sets as immutable values.
//
// A set such as "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:tag1:1:3" names
// transactions by the server that created them, an optional tag, and numbers.
// The safety protocol compares such sets to decide who holds every
// acknowledged write, so the comparison must work without a server at hand:
// while mysqld is down, in the election, and in tests that simulate clusters.
//
// The text form is MySQL's own (see [Set.String]); the algebra gives the same
// answers as the server's GTID_SUBSET and GTID_SUBTRACT, which the tests of
// this package check against a real one.
package gtid

import (
	"cmp"
	"math"
	"slices"
)

// Set is a set of GTIDs. The zero value is the empty set. A Set never changes:
// every operation returns a new one, so values may be copied and shared between
// goroutines freely. Compare with [Set.Equal], not with ==.
type Set struct {
	// streams is sorted by (uuid, tag); no two entries share that key and none
	// is without spans.
	streams []stream
}

// key names one stream of numbers: MySQL counts per server and per tag.
type key struct {
	uuid [16]byte
	tag  string
}

// compare gives the order in which the server prints streams: by the bytes of
// the uuid, then by tag, the untagged stream first.
func (k key) compare(o key) int {
	if c := slices.Compare(k.uuid[:], o.uuid[:]); c != 0 {
		return c
	}
	return cmp.Compare(k.tag, o.tag)
}

// stream is the numbers seen of one key.
type stream struct {
	key
	spans spans
}

// IsEmpty reports whether the set holds no GTID.
func (s Set) IsEmpty() bool { return len(s.streams) == 0 }

// Equal reports whether both sets hold the same GTIDs.
func (s Set) Equal(o Set) bool {
	return slices.EqualFunc(s.streams, o.streams, func(a, b stream) bool {
		return a.key == b.key && slices.Equal(a.spans, b.spans)
	})
}

// Contains reports whether every GTID of o is in s (o ⊆ s). Every set contains
// the empty one.
func (s Set) Contains(o Set) bool { return o.Subtract(s).IsEmpty() }

// Union returns the GTIDs that are in s, in o, or in both.
func (s Set) Union(o Set) Set { return s.combine(o, spans.union) }

// Subtract returns the GTIDs of s that are not in o.
func (s Set) Subtract(o Set) Set { return s.combine(o, spans.subtract) }

// Intersect returns the GTIDs that are in both s and o.
func (s Set) Intersect(o Set) Set { return s.combine(o, spans.intersect) }

// WrittenBy reports whether every GTID of the set, tagged or not, was given by
// the server with this server_uuid. What is no uuid gave none; nobody gave the
// GTIDs of the empty set, and everybody did.
func (s Set) WrittenBy(server string) bool {
	uuid, err := parseUUID(server)
	return s.IsEmpty() || err == nil && !slices.ContainsFunc(s.streams, func(st stream) bool { return st.uuid != uuid })
}

// Count returns how many GTIDs the set holds; it stays at the largest uint64
// instead of overflowing (a single stream can hold 2^63-2).
func (s Set) Count() uint64 {
	var n uint64
	for _, st := range s.streams {
		for _, sp := range st.spans {
			size := uint64(sp.last-sp.first) + 1
			if n > math.MaxUint64-size {
				return math.MaxUint64
			}
			n += size
		}
	}
	return n
}

// combine walks both sets in key order and applies op to the spans of each
// key; a key that only one side has meets an empty span list on the other.
func (s Set) combine(o Set, op func(a, b spans) spans) Set {
	var out []stream
	emit := func(k key, a, b spans) {
		if r := op(a, b); len(r) > 0 {
			out = append(out, stream{k, r})
		}
	}
	a, b := s.streams, o.streams
	for len(a) > 0 || len(b) > 0 {
		switch c := compareHeads(a, b); {
		case c < 0:
			emit(a[0].key, a[0].spans, nil)
			a = a[1:]
		case c > 0:
			emit(b[0].key, nil, b[0].spans)
			b = b[1:]
		default:
			emit(a[0].key, a[0].spans, b[0].spans)
			a, b = a[1:], b[1:]
		}
	}
	return Set{out}
}

// compareHeads orders the first entries of two lists of which at most one is
// exhausted; an exhausted list comes last.
func compareHeads(a, b []stream) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].key.compare(b[0].key)
}
