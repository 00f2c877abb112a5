package agent

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
)

// Promotion is how a term of this node came about.
type Promotion struct {
	// Planned is true for a hand-over by the former primary.
	Planned bool
	// Phases are those of an election; nil for a hand-over, and for the first term of a cluster.
	Phases *cluster.Phases
	// Gap is for how long nobody could write; 0 when this node does not know. After a failure it counts from the last
	// packet of the old primary, which an idle one sends every half second.
	Gap time.Duration
}

// promotion is what this node knows about the opening at open, on CLOCK_BOOTTIME.
func (a *Agent) promotion(open time.Duration) Promotion {
	if t := a.accepted; t != nil {
		return Promotion{Planned: true, Gap: t.gap}
	}
	p := Promotion{Phases: a.milestones.phases(open)}
	if last := a.milestones.lastPacket; p.Phases != nil && last > 0 && open > last {
		p.Gap = open - last
	}
	return p
}
