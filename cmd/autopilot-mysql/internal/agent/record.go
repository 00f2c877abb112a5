package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// recordTimeout bounds writing the node's record.
	recordTimeout = 2 * time.Second
	// recordRefresh is how old what is shown to people may be.
	recordRefresh = 2 * time.Second
)

// record keeps what this node says about itself in Consul, locked by its session. Safe for concurrent use.
type record struct {
	store   election.Store
	session election.Session
	keys    cluster.Keys

	writing sync.Mutex // one write at a time, in order
	key     string
	stale   string // record of the former incarnation, to be removed; "" for none
	written []byte
	owner   string
	spoilt  atomic.Bool // what was written is not there any more

	mu     sync.Mutex
	wanted *roles.Node
	at     time.Time
	kick   chan struct{}
}

// write publishes n and returns once it is readable by all. With conditions it is published only if they hold, in the same
// transaction; when they do not, the error is errNotNow.
func (r *record) write(ctx context.Context, n roles.Node, conditions ...election.Op) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	r.wanted, r.at = &n, time.Now() // nothing older may be written after it
	r.mu.Unlock()
	err := r.put(ctx, n, conditions...)
	if errors.Is(err, errNotNow) {
		r.mu.Lock()
		r.wanted = nil // the next turn says what is true instead
		r.mu.Unlock()
	}
	return err
}

func (r *record) put(ctx context.Context, n roles.Node, conditions ...election.Op) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	key, owner, value := r.keys.Node(n.Inc), r.session.ID(), cluster.Encode(n)
	if owner == "" {
		return errors.New("write node record: there is no session yet")
	}
	if spoilt := r.spoilt.Swap(false); !spoilt && len(conditions) == 0 && key == r.key && owner == r.owner && bytes.Equal(value, r.written) {
		return r.forgetStale(ctx)
	}
	if r.key != "" && r.key != key {
		r.stale = r.key
	}
	r.written = nil
	if err := r.send(ctx, key, owner, value, conditions); err != nil {
		return err
	}
	r.key, r.owner, r.written = key, owner, value
	return r.forgetStale(ctx)
}

func (r *record) send(ctx context.Context, key, owner string, value []byte, conditions []election.Op) error {
	if len(conditions) > 0 {
		ok, why, err := r.store.Txn(ctx, append(slices.Clone(conditions), election.Lock(key, owner, value))...)
		if err == nil && !ok {
			err = fmt.Errorf("write node record: refused: %s: %w", why, errNotNow)
		}
		return err
	}
	ok, err := r.session.Acquire(ctx, key, value)
	if err == nil && !ok {
		err = errors.New("write node record: another session holds it; is there a second node of this name?")
	}
	return err
}

// forgetStale removes the record of the former incarnation, which is no more. It is repeated until it is known to be gone.
func (r *record) forgetStale(ctx context.Context) error {
	if r.stale == "" {
		return nil
	}
	_, _, err := r.store.Txn(ctx, election.Delete(r.stale))
	if err == nil {
		r.stale = ""
	}
	return err
}

// want sets what the record shall say; run writes it. Changes that only people look at may wait.
func (r *record) want(n roles.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted != nil && time.Since(r.at) < recordRefresh && material(*r.wanted) == material(n) {
		return
	}
	r.wanted, r.at = &n, time.Now()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// again has the record written once more although nothing in it changed: somebody deleted it or wrote over it.
func (r *record) again() {
	r.spoilt.Store(true)
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// material is the part of a record that decisions depend on, as text.
func material(n roles.Node) string {
	n.Executed, n.LagSeconds, n.LeaseMS, n.Reason, n.Held, n.Kept = "", 0, 0, "", "", ""
	return string(cluster.Encode(n))
}

// run writes what is wanted until ctx ends.
func (r *record) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		case <-time.After(time.Second):
		}
		r.writing.Lock()
		r.mu.Lock()
		n := r.wanted
		r.mu.Unlock()
		if n != nil {
			_ = r.put(ctx, *n) // tried again in a second; the keeper tells of a Consul that does not answer
		}
		r.writing.Unlock()
	}
}

// ownRecord is what this node says about itself, from the facts.
func (a *Agent) ownRecord(f roles.Facts) roles.Node {
	s, m := a.Settings, f.MySQL
	pid, _ := a.Guard.Mysqld()
	n := roles.Node{
		Inc: a.disk.inc(), Name: s.Name, Cluster: a.disk.s.ClusterID, MySQL: a.mysqlAddr(), HTTP: a.HTTPAddr, Version: a.status.Version,
		State: a.machine.State(), Reason: a.why, Promised: a.disk.s.Promised, Void: a.disk.s.Void, NoFailover: s.NoFailover, Priority: s.Priority,
		Follows: a.follow.Primary, FollowTerm: a.follow.Term, ArmedWanted: a.follow.Armed, Armed: m.Armed && m.Receiver == roles.On,
		Caught: m.Caught, Confirms: a.confirms, Admits: a.admits, Open: a.openTerm, Checkpoints: a.checkpoints, Ready: a.ready, Drained: roles.DrainedFor(f), Chained: a.chained, PIDs: roles.PIDs{Guard: a.guardPID, Agent: a.agentPID, Mysqld: pid},
		Datadir: s.Datadir, Executed: a.status.Executed.String(), LeaseMS: -1, Unfit: f.Disk.Unfit,
		Maintenance: f.Self.Maintenance, Login: a.login(), Leaving: f.Stop, Errant: f.Errant, Kept: a.attic.say(),
		CooldownMS: f.Set.Cooldown.Milliseconds(), FailoversPerHour: f.Set.FailoversPerHour,
	}
	a.others.leads.Store(n.Open != 0)
	if n.Open != 0 {
		n.Neighbour = a.others.says()
	}
	if n.State == roles.Failover && f.View.Leader.Free() {
		n.Held = roles.HeldBack(f)
	}
	if a.handing != nil {
		h := a.handing.Handover
		n.Handover = &h
	}
	if m.Receiver == roles.On {
		n.Receiver = m.ReceiverID
	}
	if !f.View.OK && a.consulErr != nil {
		n.Reason += " (" + a.consulErr.Error() + ")"
	}
	if a.disk.s.HasData && a.disk.s.LastSync.Exists() {
		last := a.disk.s.LastSync
		n.LastSync = &last
	}
	n.Misses = f.View.OK && f.View.RecordLost()
	if l := a.keeper.state(); l.provable {
		n.LeaseMS = l.expiresIn.Milliseconds()
	}
	if a.status.Replica != nil && n.State != roles.Primary {
		n.LagSeconds = a.status.Replica.LagSeconds
	}
	n.Healthy = a.healthy(n, m)
	if a.jobTrouble != "" && n.State != roles.Primary {
		n.Reason += " (last attempt: " + a.jobTrouble + ")"
	}
	if n.Unfit != "" && !strings.Contains(n.Reason, n.Unfit) {
		n.Reason += " (" + n.Unfit + ")"
	}
	return n
}

// healthy says whether the node does what its state promises.
func (a *Agent) healthy(n roles.Node, m roles.MySQL) bool {
	switch n.State {
	case roles.Primary:
		return m.Ready && n.Open != 0 && !n.Offers() && m.Stuck <= a.Params.H
	case roles.Replica, roles.Standby:
		return m.Ready && m.Receiver == roles.On && m.Applier == roles.On && n.Unfit == "" && a.steady.ok()
	case roles.Init, roles.RestoreSnapshot, roles.Failover: // on the way to somewhere
	}
	return false
}

// publish shows the turn's outcome to everybody.
func (a *Agent) publish(_ context.Context, f roles.Facts) {
	n := a.ownRecord(f)
	if held := n.Held != ""; held != a.held {
		if a.held = held; held {
			a.Log.Warn("failover held back", "why", n.Held)
		}
	}
	if a.leftOpen == 0 { // until it is settled, what the previous agent said stands
		if f.View.OK && f.View.Unrecorded(n.Inc) {
			a.record.again()
		}
		a.record.want(n)
		a.catalog.want(a.catalog.of(n))
		a.remember(f)
	}
	view, extra, _, _ := a.watch.current(a.Params.H)
	a.shown.Store(&Shown{State: n.State, Node: n, View: view, Extra: extra, At: time.Now(), Status: a.status, MySQL: f.MySQL, MaxLag: a.settings().MaxLag})
}

// Shown is what the HTTP side shows; nil before the first turn. Safe for concurrent use.
func (a *Agent) Shown() *Shown { return a.shown.Load() }

// Lease says for how long this node can still prove that it leads; ok is false when it cannot. It is as of now, not of
// the last turn. Safe for concurrent use.
func (a *Agent) Lease() (left time.Duration, ok bool) {
	s := a.keeper.state()
	return s.expiresIn, s.provable
}
