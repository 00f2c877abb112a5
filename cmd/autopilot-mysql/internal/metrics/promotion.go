package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
)

// Values of the label kind.
const (
	kindFailover = "failover"
	kindPlanned  = "planned"
)

// gapBuckets reach from a planned hand-over, which takes milliseconds, to what a lost Consul agent costs. In seconds.
func gapBuckets() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2, 3, 4, 5, 10, 20, 30, 60, 120}
}

func newGaps() *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "write_gap_seconds", Buckets: gapBuckets(),
		Help: "How long nobody could write before this node opened, by kind: planned, or failover, which counts from the old primary's last packet.",
	}, []string{"kind"})
	for _, kind := range []string{kindFailover, kindPlanned} { // what is not there yet cannot be seen to grow
		h.WithLabelValues(kind)
	}
	return h
}

func newPhases() *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "failover_phase_seconds", Buckets: gapBuckets(),
		Help: "How long each phase of a failover to this node took: detect, seal, elect, drain, promote, open.",
	}, []string{"phase"})
	for _, p := range phasesOf(cluster.Phases{}) {
		h.WithLabelValues(p.name)
	}
	return h
}

type phase struct {
	name string
	ms   float64
}

func phasesOf(p cluster.Phases) []phase {
	return []phase{{"detect", p.Detect}, {"seal", p.Seal}, {"elect", p.Elect}, {"drain", p.Drain}, {"promote", p.Promote}, {"open", p.Open}}
}

// Promotion measures one. gap is 0 when it is not known; phases are nil for a planned one, and -1 where one was not seen.
func (m *Metrics) Promotion(planned bool, phases *cluster.Phases, gap time.Duration) {
	if gap > 0 {
		kind := kindFailover
		if planned {
			kind = kindPlanned
		}
		m.gaps.WithLabelValues(kind).Observe(gap.Seconds())
	}
	if phases == nil {
		return
	}
	for _, p := range phasesOf(*phases) {
		if p.ms >= 0 {
			m.phases.WithLabelValues(p.name).Observe(p.ms / 1000)
		}
	}
}
