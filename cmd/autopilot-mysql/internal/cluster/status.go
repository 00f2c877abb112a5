package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Down is the state shown for a node that is not there; the six others are the machine's.
const Down = "down"

// NodeDoc is one node in the status document. The names are a stable interface: new ones are added at the end.
type NodeDoc struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Healthy bool   `json:"healthy"`
	MySQL   string `json:"mysql"`
	HTTP    string `json:"http"`
	// LagSeconds is -1 when the node does not know.
	LagSeconds   float64    `json:"lag_seconds"`
	GTIDExecuted string     `json:"gtid_executed"`
	AckMember    bool       `json:"ack_member"`
	PIDs         roles.PIDs `json:"pids"`
	Datadir      string     `json:"datadir"`
	Reason       string     `json:"reason"`

	Version string `json:"version"`
	// Caught says whether a reader is within the lag limit of its own settings.
	Caught     bool `json:"caught_up"`
	NoFailover bool `json:"nofailover"`
	Priority   int  `json:"priority"`
	// Unfit is why the node cannot write to its volume; "" when it can.
	Unfit string `json:"unfit"`
	// Errant are its transactions that the primary lacks; "" for none known.
	Errant string `json:"errant"`
	// Kept says what of former incarnations lies in its directory, and why; "" for nothing.
	Kept string `json:"kept"`
	// Maintenance says who took the node out of service and why; missing when nobody did.
	Maintenance *roles.Pause `json:"maintenance,omitempty"`

	receiving bool // its receiver is connected
}

// AckSetDoc is the ack set in the status document; Members are node names, the primary included.
type AckSetDoc struct {
	Members []string `json:"members"`
	Acks    int      `json:"acks"`
}

// LeaseDoc says who holds the lock. ExpiresInMS is what the holder said last; -1 when unknown.
type LeaseDoc struct {
	Holder      string `json:"holder"`
	ExpiresInMS int64  `json:"expires_in_ms"`
}

// SnapshotDoc is the newest complete snapshot; ID is empty when there is none.
type SnapshotDoc struct {
	ID    string `json:"id"`
	At    string `json:"at"` // RFC 3339
	GTID  string `json:"gtid"`
	Bytes int64  `json:"bytes"`
	// Running is true while a node is taking another one, or verifies one; Work says which node does what.
	Running bool          `json:"running"`
	Work    *SnapshotWork `json:"work,omitempty"`
	// Verified is the newest verdict; missing when no snapshot was ever verified.
	Verified *SnapshotVerified `json:"verified,omitempty"`
	// Trouble is why the last attempt to work with the store failed; missing when it did not.
	Trouble *SnapshotTrouble `json:"trouble,omitempty"`
}

// FailoversDoc is about automatic failovers only.
type FailoversDoc struct {
	// Last is nil when there has been none for some hours.
	Last     *Failover `json:"last"`
	LastHour int       `json:"last_hour"`
	// CooldownMS and PerHour are the settings of the node that would decide; 0: no limit.
	CooldownMS int64 `json:"cooldown_ms"`
	PerHour    int   `json:"per_hour"`
	// Held is why the next one does not happen yet; "" when nothing holds it back.
	Held string `json:"held"`
}

// Health is the one word about the whole cluster.
type Health string

// The three words.
const (
	Well     Health = "well"
	Degraded Health = "degraded" // clients are served, and something is wrong
	Broken   Health = "down"     // there is no primary: nobody can write
)

// Doc is the status document, the same from `status --output json` and from GET /cluster. The names are stable: new
// ones are added at the end.
type Doc struct {
	Cluster  string      `json:"cluster"`
	Term     uint64      `json:"term"`
	Primary  string      `json:"primary"` // "" while there is none
	AckSet   AckSetDoc   `json:"ack_set"`
	Lease    LeaseDoc    `json:"lease"`
	Paused   bool        `json:"paused"`
	Snapshot SnapshotDoc `json:"snapshot"`
	Consul   string      `json:"consul"`
	Store    string      `json:"store"`
	Nodes    []NodeDoc   `json:"nodes"` // by name

	Health  Health `json:"health"`
	Summary string `json:"summary"` // one sentence
	// Failovers says how often the cluster has failed over by itself, and what bounds that.
	Failovers FailoversDoc `json:"failovers"`
	// Problems are most important first, and empty when the cluster is well.
	Problems []Problem `json:"problems"`
	// Pause says who paused it; null when it is not paused.
	Pause *roles.Pause `json:"pause"`
	// Requests are what operators asked for and nobody has finished.
	Requests []roles.Request `json:"requests"`
	// Settings are the values set for the whole cluster.
	Settings map[string]string `json:"settings"`
	// Archive is missing while nothing was archived.
	Archive *ArchiveDoc `json:"archive,omitempty"`

	settingsTrouble string
}

// NodeDocOf renders a node's record.
func NodeDocOf(n roles.Node, sync roles.Sync) NodeDoc {
	d := NodeDoc{
		Name: n.Name, State: string(n.State), Healthy: n.Healthy && n.Alive(), MySQL: n.MySQL, HTTP: n.HTTP,
		LagSeconds: n.LagSeconds, GTIDExecuted: n.Executed, AckMember: sync.Has(n.Inc), PIDs: n.PIDs, Datadir: n.Datadir, Reason: n.Reason,
		Version: n.Version, Caught: n.Caught || n.State == roles.Primary, NoFailover: n.NoFailover, Priority: n.Priority,
		receiving: n.Receiver != "", Unfit: n.Unfit, Errant: n.Errant, Kept: n.Kept,
	}
	if n.Maintenance {
		d.Maintenance = &roles.Pause{}
	}
	if !n.Alive() {
		d.State, d.Reason, d.PIDs, d.LagSeconds = Down, "its session ended: the node is stopped, dead or cut off from Consul", roles.PIDs{}, -1
	}
	return d
}

// Build renders the view. consul and store are addresses for people, without secrets.
func Build(name string, v roles.View, x Extra, consul, store string) Doc {
	d := Doc{
		Cluster: name, Term: v.Sync.Term, AckSet: AckSetDoc{Members: []string{}, Acks: v.Sync.Acks}, Paused: v.Paused,
		Lease: LeaseDoc{ExpiresInMS: -1}, Consul: consul, Store: store, Nodes: []NodeDoc{},
	}
	for _, m := range v.Sync.Members {
		d.AckSet.Members = append(d.AckSet.Members, m.Name())
	}
	if !v.Leader.Free() {
		d.Lease.Holder = v.Leader.Holder.Name()
		if n, ok := v.Nodes[v.Leader.Holder]; ok && n.LeaseMS > 0 {
			d.Lease.ExpiresInMS = n.LeaseMS
		}
	}
	if p, ok := v.ValidPrimary(); ok {
		d.Primary = p.Name
	}
	if x.Snapshot != nil {
		d.Snapshot = SnapshotDoc{ID: x.Snapshot.ID, At: x.Snapshot.At.UTC().Format(time.RFC3339), GTID: x.Snapshot.GTID, Bytes: x.Snapshot.Bytes}
	}
	d.Snapshot.Running, d.Snapshot.Work, d.Snapshot.Verified, d.Snapshot.Trouble = x.SnapshotRunning, x.SnapshotWork, x.SnapshotVerified, x.SnapshotTrouble
	d.Failovers = failoversDoc(v, x)
	if v.Paused {
		d.Pause = &v.Pause
	}
	d.Requests, d.Settings, d.settingsTrouble = v.Requests, x.Settings, x.SettingsTrouble
	if d.Requests == nil {
		d.Requests = []roles.Request{}
	}
	if d.Settings == nil {
		d.Settings = map[string]string{}
	}
	for _, n := range newestByName(v) {
		nd := NodeDocOf(n, v.Sync)
		if m, ok := v.Maintenance[n.Name]; ok {
			nd.Maintenance = &m
		}
		d.Nodes = append(d.Nodes, nd)
	}
	d.Archive = archiveDoc(x.Archive, time.Now())
	d.judge(v)
	d.Problems = append(d.Problems, snapshotProblems(d.Snapshot)...) // the database's health does not depend on these
	d.Problems = append(d.Problems, archiveProblems(x, time.Now())...)
	return d
}

// newestByName picks one record per node name: the living one, else the last; a member of the ack set that has no record
// at all is listed too, because the cluster counts on it.
func newestByName(v roles.View) []roles.Node {
	best := map[string]roles.Node{}
	for _, i := range v.Incs() {
		n := v.Nodes[i]
		if v.Removed[i] && !n.Alive() {
			continue // its record is about to go
		}
		n.Inc, n.Name = i, i.Name()
		if old, ok := best[n.Name]; !ok || n.Alive() || !old.Alive() {
			best[n.Name] = n
		}
	}
	for _, m := range v.Sync.Members {
		if _, ok := best[m.Name()]; !ok {
			best[m.Name()] = roles.Node{Inc: m, Name: m.Name()}
		}
	}
	out := make([]roles.Node, 0, len(best))
	for _, n := range best {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b roles.Node) int { return compareNames(a.Name, b.Name) })
	return out
}

// CountStates counts the cluster's nodes by the state they are shown in.
func CountStates(v roles.View) map[string]int {
	count := map[string]int{}
	for _, n := range newestByName(v) {
		count[NodeDocOf(n, v.Sync).State]++
	}
	return count
}

// compareNames puts node2 before node10.
func compareNames(a, b string) int {
	stemA, numA := splitNumber(a)
	stemB, numB := splitNumber(b)
	return cmp.Or(cmp.Compare(stemA, stemB), cmp.Compare(len(numA), len(numB)), cmp.Compare(numA, numB))
}

// splitNumber cuts the digits off the end of a name, without leading zeros.
func splitNumber(s string) (stem, number string) {
	i := len(s)
	for i > 0 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	for i < len(s)-1 && s[i] == '0' {
		i++
	}
	return s[:i], s[i:]
}
