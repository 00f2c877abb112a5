// Package metrics counts and measures one node for Prometheus, in a registry of its own: nothing that a library
// registers by itself gets in. What is a state is read from the node at each scrape; only events are kept here.
package metrics

//go:generate sh -c "go run ./reference > ../../../../docs/metrics.md"

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// namespace begins every name.
const namespace = "autopilot_mysql"

// Sample is everything one scrape is computed from.
type Sample struct {
	Node   roles.Node
	View   roles.View
	Extra  cluster.Extra
	Status mysql.Status // as last answered
	MySQL  roles.MySQL
	// Leads and LeaseLeft are the lease as of now; Holds is for how long one renewal proves it.
	Leads            bool
	LeaseLeft, Holds time.Duration
	// GuardKills counts the mysqlds that the guard killed at their deadline.
	GuardKills uint64
	// Now is what ages are counted from; Age is how old Node and MySQL are.
	Now time.Time
	Age time.Duration
}

// Source gives the sample of now; ok is false before the node knows anything. Safe for concurrent use.
type Source func() (s Sample, ok bool)

// Build is what does not change while the process runs.
type Build struct{ Node, Cluster, Version string }

// Metrics are the metrics of one node. All methods are safe for concurrent use.
type Metrics struct {
	registry    *prometheus.Registry
	transitions *prometheus.CounterVec
	failovers   prometheus.Counter
	promotion   prometheus.Gauge
	gaps        *prometheus.HistogramVec
	phases      *prometheus.HistogramVec
	snapshots   *prometheus.CounterVec
	snapshot    prometheus.Gauge
	latency     *prometheus.HistogramVec
	failures    *prometheus.CounterVec
}

// New makes the metrics of a node.
func New(b Build, source Source) *Metrics {
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		transitions: prometheus.NewCounterVec(counter("transitions_total", "Changes of state."), []string{"from", "to", "event"}),
		failovers:   prometheus.NewCounter(counter("promotions_total", "Times this node became primary by winning an election: failovers and switchovers to it.")),
		promotion: prometheus.NewGauge(gauge("promotion_seconds",
			"Time the last promotion of this node took from the decision to open writes until they were open.")),
		snapshots: prometheus.NewCounterVec(counter("snapshots_total", "Snapshots this node tried to take, by result: ok or failed."), []string{"result"}),
		snapshot:  prometheus.NewGauge(gauge("snapshot_duration_seconds", "Time the last complete snapshot of this node took.")),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "consul_request_seconds", Help: "Time of requests to Consul, also of failed ones, without blocking queries.",
			Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2},
		}, []string{"op"}),
		failures: prometheus.NewCounterVec(counter("consul_errors_total", "Requests to Consul that failed or whose outcome is unknown, blocking queries included."), []string{"op"}),
	}
	m.gaps, m.phases = newGaps(), newPhases()
	m.registry.MustRegister(m.transitions, m.failovers, m.promotion, m.gaps, m.phases, m.snapshots, m.snapshot, m.latency, m.failures, newCollector(b, source))
	for _, result := range []string{"ok", "failed"} { // a counter that is not there yet cannot be seen to grow
		m.snapshots.WithLabelValues(result)
	}
	for _, op := range consulOps() {
		m.latency.WithLabelValues(op)
		m.failures.WithLabelValues(op)
	}
	m.failures.WithLabelValues(opWatch)
	return m
}

func counter(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}
}

func gauge(name, help string) prometheus.GaugeOpts {
	return prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 10 * time.Second})
}

// Transition counts one.
func (m *Metrics) Transition(t engine.Transition[roles.State, roles.Event]) {
	m.transitions.WithLabelValues(string(t.From), string(t.To), string(t.On)).Inc()
	if t.On == roles.Won {
		m.failovers.Inc()
		m.promotion.Set(t.Took.Seconds())
	}
}

// Snapshot counts one that was tried.
func (m *Metrics) Snapshot(took time.Duration, err error) {
	if err != nil {
		m.snapshots.WithLabelValues("failed").Inc()
		return
	}
	m.snapshots.WithLabelValues("ok").Inc()
	m.snapshot.Set(took.Seconds())
}
