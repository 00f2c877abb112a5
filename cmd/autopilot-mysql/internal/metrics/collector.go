package metrics

import (
	"runtime"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// reading is one metric that is computed from a sample.
type reading struct {
	name, help string
	kind       prometheus.ValueType
	label      string // "" for none
	// read calls give for each value; a value that is not known is not given.
	read func(s Sample, give func(v float64, label string))
}

// collector computes all readings at each scrape.
type collector struct {
	build    Build
	source   Source
	info     *prometheus.Desc
	readings []reading
	descs    []*prometheus.Desc
}

func newCollector(b Build, source Source) *collector {
	c := &collector{build: b, source: source, readings: readings(),
		info: prometheus.NewDesc(infoName, infoHelp, infoLabels(), nil)}
	for _, r := range c.readings {
		c.descs = append(c.descs, prometheus.NewDesc(namespace+"_"+r.name, r.help, r.labels(), nil))
	}
	return c
}

// The metric that carries names, as one that is always 1.
const (
	infoName = namespace + "_info"
	infoHelp = "Always 1: which node this is, and the versions of this program and of its mysqld."
)

func infoLabels() []string { return []string{"node", "cluster", "version", "mysql_version"} }

func (r reading) labels() []string {
	if r.label == "" {
		return nil
	}
	return []string{r.label}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.info
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s, ok := c.source()
	out <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, c.build.Node, c.build.Cluster, c.build.Version, s.Status.Version)
	if !ok {
		return
	}
	for i, r := range c.readings {
		r.read(s, func(v float64, label string) {
			var labels []string
			if r.label != "" {
				labels = []string{label}
			}
			out <- prometheus.MustNewConstMetric(c.descs[i], r.kind, v, labels...)
		})
	}
}

// one makes a reading with one value that is always known.
func one(name, help string, value func(Sample) float64) reading {
	return when(name, help, func(s Sample) (float64, bool) { return value(s), true })
}

// when makes a reading with one value that is not always known.
func when(name, help string, value func(Sample) (float64, bool)) reading {
	return reading{name: name, help: help, kind: prometheus.GaugeValue, read: func(s Sample, give func(float64, string)) {
		if v, ok := value(s); ok {
			give(v, "")
		}
	}}
}

func counted(r reading) reading {
	r.kind = prometheus.CounterValue
	return r
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// readings is the declaration: the metrics and docs/metrics.md are made of it.
func readings() []reading {
	return slices.Concat(nodeReadings(), clusterReadings(), archiveReadings(), mysqlReadings(), processReadings())
}

func nodeReadings() []reading {
	return []reading{
		{name: "state", help: "1 for the state this node is in, 0 for the others.", kind: prometheus.GaugeValue, label: "state",
			read: func(s Sample, give func(float64, string)) {
				for _, state := range roles.States() {
					give(truth(s.Node.State == state), string(state))
				}
			}},
		one("healthy", "1 while this node does what its state promises.", func(s Sample) float64 { return truth(s.Node.Healthy) }),
		one("last_turn_timestamp_seconds", "When the node last looked at itself; it does so at least every second.",
			func(s Sample) float64 { return float64(s.Now.Add(-s.Age).UnixMilli()) / 1000 }),
		one("leads", "1 while this node can prove, now, that it holds the lease.", func(s Sample) float64 { return truth(s.Leads) }),
		when("lease_age_seconds", "Time since the newest proof of the lease was asked for; only on the primary.", func(s Sample) (float64, bool) {
			return (s.Holds - s.LeaseLeft).Seconds(), s.Leads
		}),
		when("lease_remaining_seconds", "Time until the newest proof of the lease runs out and the node fences itself; only on the primary.",
			func(s Sample) (float64, bool) { return s.LeaseLeft.Seconds(), s.Leads }),
		one("ack_member", "1 while this node is in the ack set: its acknowledgement may complete a commit, and it may win an election.",
			func(s Sample) float64 { return truth(s.View.Sync.Has(s.Node.Inc)) }),
		when("lag_seconds", "How far this replica or standby lags behind, as MySQL says; absent when it does not know.", func(s Sample) (float64, bool) {
			return s.Node.LagSeconds, follows(s) && s.Node.LagSeconds >= 0
		}),
		when("lag_transactions", "Transactions the primary had when it last said so, two seconds ago at most, that this follower has not applied; absent when unknown.", lagTransactions),
		counted(one("guard_kills_total", "Times the guard killed mysqld because its deadline passed, since the guard started.",
			func(s Sample) float64 { return float64(s.GuardKills) })),
	}
}

// lagTransactions compares this follower with the primary's record, which is never newer than the primary itself.
func lagTransactions(s Sample) (float64, bool) {
	p, ok := s.View.ValidPrimary()
	if !ok || !follows(s) || !s.MySQL.Ready {
		return 0, false
	}
	has, err := gtid.Parse(p.Executed)
	if err != nil {
		return 0, false
	}
	return float64(has.Subtract(s.Status.Executed).Count()), true
}

func follows(s Sample) bool { return s.Node.State == roles.Replica || s.Node.State == roles.Standby }

func clusterReadings() []reading {
	return []reading{
		one("consul_up", "1 while the records in Consul can be read.", func(s Sample) float64 { return truth(s.View.OK) }),
		one("term", "Term of the cluster; it grows with every new primary.", func(s Sample) float64 { return float64(s.View.Sync.Term) }),
		one("cluster_has_primary", "1 while some node is the valid primary, as this node sees it; while it cannot read Consul, only whether it is one itself.", func(s Sample) float64 {
			if !s.View.OK { // what it read before may no longer be so
				return truth(s.Node.State == roles.Primary && s.Node.Open != 0)
			}
			_, ok := s.View.ValidPrimary()
			return truth(ok)
		}),
		one("cluster_paused", "1 while automatic failover is paused.", func(s Sample) float64 { return truth(s.View.Paused) }),
		one("ack_set_members", "Nodes in the ack set, the primary included.", func(s Sample) float64 { return float64(len(s.View.Sync.Members)) }),
		one("ack_set_acks", "Members beside the primary that hold every acknowledged write, at least. 0: the primary is alone.",
			func(s Sample) float64 { return float64(s.View.Sync.Acks) }),
		{name: "cluster_nodes", help: "Nodes of the cluster by state, as this node sees them; down is one whose session ended.", kind: prometheus.GaugeValue,
			label: "state", read: func(s Sample, give func(float64, string)) {
				count := cluster.CountStates(s.View)
				for _, state := range append(roles.States(), cluster.Down) {
					give(float64(count[string(state)]), string(state))
				}
			}},
		when("snapshot_age_seconds", "Age of the cluster's newest complete snapshot; absent without one.", func(s Sample) (float64, bool) {
			if s.Extra.Snapshot == nil {
				return 0, false
			}
			return s.Now.Sub(s.Extra.Snapshot.At).Seconds(), true
		}),
		when("snapshot_bytes", "Size of the data in the cluster's newest complete snapshot, before compression.", func(s Sample) (float64, bool) {
			if s.Extra.Snapshot == nil {
				return 0, false
			}
			return float64(s.Extra.Snapshot.Bytes), true
		}),
		when("snapshot_verified_age_seconds", "Age of the newest snapshot that was restored and found good; absent when there is none.", func(s Sample) (float64, bool) {
			v := s.Extra.SnapshotVerified
			if v == nil || v.OKID == "" {
				return 0, false
			}
			return s.Now.Sub(v.OKAt).Seconds(), true
		}),
		one("snapshot_damaged", "1 while the newest verification says that a snapshot is damaged.", func(s Sample) float64 {
			return truth(s.Extra.SnapshotVerified != nil && !s.Extra.SnapshotVerified.OK)
		}),
		one("snapshot_store_up", "0 while the snapshot store cannot be used, as the node that works on snapshots says.", func(s Sample) float64 {
			return truth(s.Extra.SnapshotTrouble == nil || !s.Extra.SnapshotTrouble.Store)
		}),
		one("snapshot_trouble", "1 while snapshots cannot be taken, whatever the reason.", func(s Sample) float64 { return truth(s.Extra.SnapshotTrouble != nil) }),
		when("snapshot_progress_ratio", "How far the snapshot or verification that is running is, 0 to 1; absent when none is or it does not know.", func(s Sample) (float64, bool) {
			w := s.Extra.SnapshotWork
			if w == nil || w.Total == 0 {
				return 0, false
			}
			return float64(w.Done) / float64(w.Total), true
		}),
		one("snapshot_running", "1 while a node of the cluster is taking a snapshot.", func(s Sample) float64 { return truth(s.Extra.SnapshotRunning) }),
	}
}

func processReadings() []reading {
	return []reading{{name: "process_resident_bytes", help: "Resident memory of this node's processes: guard, agent and mysqld.",
		kind: prometheus.GaugeValue, label: "process", read: func(s Sample, give func(float64, string)) {
			for name, pid := range map[string]int{"guard": s.Node.PIDs.Guard, "agent": s.Node.PIDs.Agent, "mysqld": s.Node.PIDs.Mysqld} {
				if v, ok := resident("/proc/" + strconv.Itoa(pid) + "/statm"); ok && pid > 0 {
					give(v, name)
				}
			}
		}},
		one("process_goroutines", "Goroutines of this node's agent.", func(Sample) float64 { return float64(runtime.NumGoroutine()) }),
	}
}
