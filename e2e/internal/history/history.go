// Package history judges what clients were told against what the servers hold afterwards. It talks to nobody: it takes
// records and gives findings, so that it can be tested with histories that are known to be bad.
package history

import (
	"fmt"
	"slices"
	"time"
)

// Write is one insert whose client was told that it is committed.
type Write struct {
	ID    int64     `json:"id"`
	Began time.Time `json:"began"`
	Acked time.Time `json:"acked"`
	From  string    `json:"from"` // address of the server that said so
}

// Opening is the beginning of a term: from here on only Addr may acknowledge.
type Opening struct {
	Term uint64    `json:"term"`
	Addr string    `json:"addr"`
	At   time.Time `json:"at"`
}

// Loss is an acknowledged write that a server lacks.
type Loss struct {
	Write
	// Deposed is true when another server's term had begun before the acknowledgement came.
	Deposed bool
	// Term is the newest term at the time of the acknowledgement.
	Term uint64
}

// String names the write and who vouched for it.
func (l Loss) String() string {
	who := "the primary"
	if l.Deposed {
		who = "a deposed primary"
	}
	return fmt.Sprintf("write %d, begun %s, acknowledged %s by %s, %s (newest term then: %d)", l.ID, stamp(l.Began), stamp(l.Acked), l.From, who, l.Term)
}

func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

// Lost are the acknowledged writes that are not among those a server has. openings are in the order of their terms.
func Lost(acks []Write, have map[int64]bool, openings []Opening) []Loss {
	var lost []Loss
	for _, w := range acks {
		if have[w.ID] {
			continue
		}
		l := Loss{Write: w}
		for _, o := range openings {
			if o.At.After(w.Acked) {
				break
			}
			l.Term, l.Deposed = o.Term, o.Addr != w.From
		}
		lost = append(lost, l)
	}
	return lost
}

// Gap is a time in which no client was told anything good.
type Gap struct{ From, To time.Time }

// Length is how long it lasted.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Gaps are the longest times without an acknowledgement that ended after from, longest first.
func Gaps(acks []Write, from time.Time, most int) []Gap {
	at := make([]time.Time, 0, len(acks))
	for _, w := range acks {
		at = append(at, w.Acked)
	}
	slices.SortFunc(at, time.Time.Compare)
	var all []Gap
	for i := 1; i < len(at); i++ {
		if at[i].After(from) {
			all = append(all, Gap{at[i-1], at[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b Gap) int { return int(b.Length() - a.Length()) })
	return all[:min(most, len(all))]
}
