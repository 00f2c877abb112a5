package cluster

import (
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Bounds of the list of automatic failovers.
const (
	failoversKept = 200
	failoversAge  = 2 * time.Hour
)

// Failover is one automatic failover, as its winner wrote it down in the transaction that promoted it.
type Failover struct {
	At   time.Time `json:"at"`
	Term uint64    `json:"term"`
	From string    `json:"from"`
	To   string    `json:"to"`
}

// WithFailover is the list with the promotion to next at its end, and without what no setting looks at any more.
func (x Extra) WithFailover(v roles.View, next roles.Sync, at time.Time) []Failover {
	out := slices.DeleteFunc(slices.Clone(x.Failovers), func(f Failover) bool { return at.Sub(f.At) > failoversAge })
	out = append(out, Failover{At: at.UTC(), Term: next.Term, From: v.Sync.Primary.Name(), To: next.Primary.Name()})
	return out[max(0, len(out)-failoversKept):]
}

// FailoverAges is how long ago each of them was. Clocks of different machines differ, so a failover lies at least as far
// back as this process has known of it: a clock that is ahead cannot hold anything back for longer than the setting says.
func (x Extra) FailoverAges(wall time.Time, boot time.Duration) []time.Duration {
	out := make([]time.Duration, len(x.Failovers))
	for i, f := range x.Failovers {
		out[i] = max(wall.Sub(f.At), 0)
		if seen, ok := x.failoverSeen[f.Term]; ok {
			out[i] = max(out[i], boot-seen)
		}
	}
	return out
}

// NoteFailovers carries over from an older read when each failover was seen first.
func (x *Extra) NoteFailovers(before Extra, boot time.Duration) {
	x.failoverSeen = map[uint64]time.Duration{}
	for _, f := range x.Failovers {
		seen, ok := before.failoverSeen[f.Term]
		if !ok {
			seen = boot
		}
		x.failoverSeen[f.Term] = seen
	}
}

func failoversDoc(v roles.View, x Extra) FailoversDoc {
	var d FailoversDoc
	now := time.Now()
	for _, f := range x.Failovers {
		if now.Sub(f.At) < time.Hour {
			d.LastHour++
		}
	}
	if n := len(x.Failovers); n > 0 {
		d.Last = &x.Failovers[n-1]
	}
	for _, i := range v.Incs() {
		n := v.Nodes[i]
		if !n.Alive() || !v.Sync.Has(i) {
			continue
		}
		d.CooldownMS, d.PerHour = max(d.CooldownMS, n.CooldownMS), max(d.PerHour, n.FailoversPerHour)
		if n.Held != "" {
			d.Held = n.Held
		}
	}
	return d
}
