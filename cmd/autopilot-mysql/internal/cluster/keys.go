// Package cluster knows where a cluster's records lie in Consul, how they are read into values, and what the
// status document looks like that tools are built on. It decides nothing.
package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Keys names a cluster's keys. Everything lies below Prefix, but for the history, so two clusters on one Consul never meet:
// no cluster's name has a "~".
type Keys struct{ Prefix string }

// KeysOf returns the keys of the named cluster.
func KeysOf(name string) Keys { return Keys{Prefix: "mysql/" + name + "/"} }

// Leader is the lock.
func (k Keys) Leader() string { return k.Prefix + "leader" }

// Cluster is the identity.
func (k Keys) Cluster() string { return k.Prefix + "cluster" }

// Sync is the ack set.
func (k Keys) Sync() string { return k.Prefix + "sync" }

// Pause exists while automatic failover is paused.
func (k Keys) Pause() string { return k.Prefix + "pause" }

// Maintenance exists while the named node is in maintenance.
func (k Keys) Maintenance(name string) string { return k.Prefix + "maintenance/" + name }

// Seal is a node's seal.
func (k Keys) Seal(i roles.Inc) string { return k.Prefix + "seal/" + string(i) }

// Node is a node's record, locked by its session while it lives.
func (k Keys) Node(i roles.Inc) string { return k.Prefix + "nodes/" + string(i) }

// Failovers lists the last automatic failovers.
func (k Keys) Failovers() string { return k.Prefix + "failovers" }

// Requests is the folder of what operators asked for.
func (k Keys) Requests() string { return k.Prefix + "requests/" }

// Request is the record of one of them.
func (k Keys) Request(id string) string { return k.Requests() + id }

// RequestGate names the newest request. It changes with every new one, so that of two operators at the same moment
// only one gets through.
func (k Keys) RequestGate() string { return k.Prefix + "request-gate" }

// Removed marks an incarnation that was taken out for good.
func (k Keys) Removed(i roles.Inc) string { return k.Prefix + "removed/" + string(i) }

// Settings are the cluster-wide settings.
func (k Keys) Settings() string { return k.Prefix + "settings" }

// ArchiveLast tells how far the archive of binary logs has come.
func (k Keys) ArchiveLast() string { return k.Prefix + "archive/last" }

// History is the folder of the transitions worth remembering. It lies beside the records: those are read as a whole with
// every change, also in the middle of a failover, and what happened last month is not to be read along.
func (k Keys) History() string { return strings.TrimSuffix(k.Prefix, "/") + "~history/" }

// Extra is what the records hold beside what decisions need.
type Extra struct {
	Snapshot        *LastSnapshot
	SnapshotRunning bool
	SnapshotSession string // of the node that works on one; "" when none does
	// SnapshotWork says what it does; SnapshotRequests are sorted by id, which begins with the time.
	SnapshotWork     *SnapshotWork
	SnapshotVerified *SnapshotVerified
	SnapshotTrouble  *SnapshotTrouble
	SnapshotRequests []SnapshotRequest
	Failovers        []Failover    // the automatic ones of the last hours, the oldest first
	Archive          *LastArchive  // nil: nothing was archived yet
	SeenAt           time.Duration // CLOCK_BOOTTIME of the read

	Requests []roles.Request // finished ones too, by id
	// Settings are the cluster-wide settings as they are stored; SettingsTrouble says why they cannot be read.
	Settings        map[string]string
	SettingsTrouble string
	SettingsVer     uint64

	failoverSeen map[uint64]time.Duration // by term: CLOCK_BOOTTIME of the first read that showed it
}

// Parse turns one consistent read into values. A record that cannot be read is named in View.Garbled: it is never taken
// for a missing one. The error is for what no decision could handle.
func (k Keys) Parse(v election.View) (roles.View, Extra, error) {
	p := parser{keys: k, view: roles.View{OK: true, Seals: map[roles.Inc]roles.Seal{}, Nodes: map[roles.Inc]roles.Node{}, Removed: map[roles.Inc]bool{}}}
	for _, key := range slices.Sorted(maps.Keys(v.KVs)) {
		if err := p.take(v.KVs[key]); err != nil {
			p.garbled(v.KVs[key], err)
		}
	}
	_, there := v.KVs[k.Leader()]
	p.view.Leader.Missing = !there
	p.nameHolder()
	return p.view, p.extra, nil
}

type parser struct {
	keys  Keys
	view  roles.View
	extra Extra
}

func (p *parser) take(kv election.KV) error {
	rest, ok := strings.CutPrefix(kv.Key, p.keys.Prefix)
	if !ok {
		return nil
	}
	switch {
	case rest == "leader":
		p.view.Leader = roles.Leader{Holder: roles.Inc(kv.Value), Session: kv.Session}
	case rest == "cluster":
		p.view.Cluster = &roles.Cluster{}
		if err := decode(kv.Value, p.view.Cluster); err != nil || p.view.Cluster.ID != "" {
			return err
		}
		return fmt.Errorf("it names no identity")
	case rest == "sync":
		if err := decode(kv.Value, &p.view.Sync); err != nil {
			return err
		}
		p.view.Sync.Ver = kv.ModifyIndex
		if !p.view.Sync.Exists() || !p.view.Sync.Has(p.view.Sync.Primary) {
			return fmt.Errorf("it names no term or a primary that is no member")
		}
	case rest == "pause":
		p.view.Paused = true // whatever it says: somebody wanted a pause
		_ = json.Unmarshal(kv.Value, &p.view.Pause)
	case strings.HasPrefix(rest, "maintenance/"):
		var m roles.Pause // whatever it says: somebody wanted it
		_ = json.Unmarshal(kv.Value, &m)
		if p.view.Maintenance == nil {
			p.view.Maintenance = map[string]roles.Pause{}
		}
		p.view.Maintenance[rest[len("maintenance/"):]] = m
	case strings.HasPrefix(rest, "snapshot/"):
		return p.takeSnapshot(rest[len("snapshot/"):], kv)
	case rest == "failovers": // only holds back: what cannot be read holds back nothing
		_ = json.Unmarshal(kv.Value, &p.extra.Failovers)
	case rest == "settings":
		p.settings(kv)
	case strings.HasPrefix(rest, "requests/"):
		p.request(kv)
	case strings.HasPrefix(rest, "removed/"):
		p.view.Removed[roles.Inc(rest[len("removed/"):])] = true
	case rest == "archive/last": // only for people
		var a LastArchive
		if json.Unmarshal(kv.Value, &a) == nil {
			p.extra.Archive = &a
		}
	case strings.HasPrefix(rest, "seal/"):
		return p.seal(roles.Inc(rest[len("seal/"):]), kv)
	case strings.HasPrefix(rest, "nodes/"):
		return p.node(roles.Inc(rest[len("nodes/"):]), kv)
	}
	return nil
}

func (p *parser) seal(i roles.Inc, kv election.KV) error {
	var s roles.Seal
	if err := decode(kv.Value, &s); err != nil {
		return err
	}
	if s.Promise == 0 {
		return fmt.Errorf("it promises no term")
	}
	p.view.Seals[i] = s
	return nil
}

func (p *parser) node(i roles.Inc, kv election.KV) error {
	var n roles.Node
	if err := decode(kv.Value, &n); err != nil {
		return err
	}
	if n.Inc != i || n.Name != i.Name() {
		return fmt.Errorf("it is not the record of %s", i.Name())
	}
	n.Session = kv.Session
	p.view.Nodes[i] = n
	return nil
}

// request takes one request. No decision of the protocol hangs on it, so one that cannot be read is passed over: it must
// not blind the agents.
func (p *parser) request(kv election.KV) {
	var r roles.Request
	if json.Unmarshal(kv.Value, &r) != nil || p.keys.Request(r.ID) != kv.Key {
		return
	}
	r.Ver = kv.ModifyIndex
	p.extra.Requests = append(p.extra.Requests, r)
	if !r.Final() {
		p.view.Requests = append(p.view.Requests, r)
	}
}

// settings takes the cluster-wide settings. Numbers are as good as texts. What cannot be read is not used.
func (p *parser) settings(kv election.KV) {
	p.extra.SettingsVer = kv.ModifyIndex
	var stored map[string]any
	if err := decode(kv.Value, &stored); err != nil {
		p.extra.SettingsTrouble = "Consul key " + kv.Key + ": " + err.Error()
		return
	}
	p.extra.Settings = make(map[string]string, len(stored))
	for name, value := range stored {
		p.extra.Settings[strings.ReplaceAll(name, "_", "-")] = fmt.Sprint(value)
	}
}

func decode(b []byte, into any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return fmt.Errorf("it is empty")
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("it is not the JSON it should be: %w", err)
	}
	return nil
}

// Encode is the stored form of a record.
func Encode(record any) []byte {
	b, err := json.Marshal(record)
	if err != nil { // records are our own plain types
		panic(fmt.Sprintf("encode record %T: %v", record, err))
	}
	return b
}
