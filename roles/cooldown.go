package roles

import (
	"fmt"
	"slices"
	"time"
)

// rateWindow is what the setting failovers-per-hour counts in.
const rateWindow = time.Hour

// HeldBack is why this node, although it would win the election, does not take over yet; "" when nothing holds it back. A
// primary that comes back to itself is no failover, and one that was stopped in order left the lead on purpose.
func HeldBack(f Facts) string {
	if f.View.Sync.Primary == f.Self.Inc && f.MySQL.Stuck == 0 || f.View.left() || f.View.failoverAsked() {
		return ""
	}
	if wait := cooling(f); wait > 0 {
		return fmt.Sprintf("the last automatic failover was %s ago; the next one is held back for another %s (setting cooldown); at once: autopilot-mysql failover",
			slices.Min(f.Recent).Round(time.Second), wait.Round(time.Second))
	}
	if wait := overRate(f); wait > 0 {
		return fmt.Sprintf("there were %d automatic failovers within an hour, the setting failovers-per-hour allows no more; the next one may begin in %s; at once: autopilot-mysql failover",
			f.Set.FailoversPerHour, wait.Round(time.Second))
	}
	return ""
}

// cooling is how much of the cooldown after the newest failover is left.
func cooling(f Facts) time.Duration {
	if len(f.Recent) == 0 {
		return 0
	}
	return max(f.Set.Cooldown-slices.Min(f.Recent), 0)
}

// overRate is how long it takes until fewer failovers than allowed lie within the last hour.
func overRate(f Facts) time.Duration {
	limit := f.Set.FailoversPerHour
	within := slices.DeleteFunc(slices.Clone(f.Recent), func(age time.Duration) bool { return age >= rateWindow })
	if limit == 0 || len(within) < limit {
		return 0
	}
	slices.Sort(within)
	return rateWindow - within[limit-1]
}

// left reports whether the last primary gave the lead up on purpose: a clean stop.
func (v View) left() bool {
	s := v.Seals[v.Sync.Primary]
	return v.Nodes[v.Sync.Primary].Leaving || s.Leaving && s.Promise == v.Sync.Term+1
}

// Automatic reports whether the promotion that Elect proposes counts as an automatic failover.
func (v View) Automatic(next Sync) bool { return next.Primary != v.Sync.Primary && !v.left() }
