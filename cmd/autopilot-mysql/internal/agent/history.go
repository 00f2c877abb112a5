package agent

import (
	"context"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// historyBacklog bounds what waits for a Consul that does not answer.
	historyBacklog = 50
	// historyRetry is the pause after a failed write.
	historyRetry = time.Second
	// trimAfter is how long after an entry the history is looked at for what is too old: what was written may be the news of
	// a failover, which has no time for that.
	trimAfter = 10 * time.Second
	// historyFresh is for how long one read of the history serves everybody who asks.
	historyFresh = time.Second
)

// historian writes what is worth remembering to Consul, beside the loop. Safe for concurrent use.
type historian struct {
	store election.Store
	keys  cluster.Keys
	kick  chan struct{}

	mu      sync.Mutex
	pending []cluster.HistoryEntry

	reading sync.Mutex // one read at a time
	last    []cluster.HistoryEntry
	lastAt  time.Time
}

// add remembers e. It never waits.
func (h *historian) add(e cluster.HistoryEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	h.pending = append(h.pending, e)
	h.pending = h.pending[max(0, len(h.pending)-historyBacklog):]
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// run writes until ctx ends; what could not be written is tried again. Writing an entry twice is harmless: its key is its own.
func (h *historian) run(ctx context.Context) {
	var trim <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.kick:
			h.write(ctx)
			trim = time.After(trimAfter)
		case <-trim:
			trim = nil
			h.trim(ctx)
		}
	}
}

// write writes what waits.
func (h *historian) write(ctx context.Context) {
	for ctx.Err() == nil {
		e, ok := h.first()
		if !ok {
			return
		}
		wctx, cancel := context.WithTimeout(ctx, recordTimeout)
		done, _, err := h.store.Txn(wctx, h.keys.WriteHistory(e))
		cancel()
		if err != nil || !done {
			pause(ctx, historyRetry)
			continue
		}
		h.drop(e)
	}
}

// trim forgets what is too old; what it cannot do now is done after the next entry.
func (h *historian) trim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for {
		v, err := h.store.Read(ctx, h.keys.History(), false)
		ops := cluster.TrimHistory(v)
		if err != nil || len(ops) == 0 {
			return
		}
		if ok, _, err := h.store.Txn(ctx, ops...); err != nil || !ok {
			return
		}
	}
}

// entries are what the cluster remembers, the oldest first.
func (h *historian) entries(ctx context.Context) ([]cluster.HistoryEntry, error) {
	h.reading.Lock()
	defer h.reading.Unlock()
	if time.Since(h.lastAt) < historyFresh {
		return h.last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	v, err := h.store.Read(ctx, h.keys.History(), false)
	if err != nil {
		return nil, err
	}
	h.last, h.lastAt = cluster.ParseHistory(v), time.Now()
	return h.last, nil
}

// History is what the cluster remembers, the oldest first, as it was at most a second ago. Safe for concurrent use.
func (a *Agent) History(ctx context.Context) ([]cluster.HistoryEntry, error) {
	return a.history.entries(ctx)
}

func (h *historian) first() (cluster.HistoryEntry, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) == 0 {
		return cluster.HistoryEntry{}, false
	}
	return h.pending[0], true
}

// drop forgets the first entry if it still is e: the backlog may have been cut meanwhile.
func (h *historian) drop(e cluster.HistoryEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) > 0 && h.pending[0] == e {
		h.pending = h.pending[1:]
	}
}

// milestones are the instants of one failover at this node, on CLOCK_BOOTTIME; 0: not reached.
type milestones struct {
	lastPacket, free, sealed, locked, drained, promoted time.Duration
}

// reach notes what a step has just brought about.
func (m *milestones) reach(op roles.Op, f roles.Facts, now time.Duration) {
	switch op {
	case roles.SealReceive:
		*m = milestones{free: now - f.LeaderFree, lastPacket: m.lastPacket}
		if f.LeaderFree == 0 {
			m.free = 0
		}
	case roles.PublishSeal:
		m.sealed = now
	case roles.Acquire:
		m.locked, m.drained, m.promoted = now, 0, 0
	case roles.Drain:
		m.drained = now
	case roles.Promote:
		m.promoted = now
	}
}

// phases are the times between them, up to the opening; nil when this opening was not the end of an election.
func (m milestones) phases(open time.Duration) *cluster.Phases {
	if m.sealed == 0 || m.locked == 0 || m.promoted == 0 {
		return nil
	}
	drained := m.drained
	if drained == 0 {
		drained = m.locked
	}
	between := func(a, b time.Duration) float64 {
		if a == 0 || b < a {
			return -1
		}
		return float64((b - a).Microseconds()) / 1000
	}
	return &cluster.Phases{
		Detect: between(m.lastPacket, m.free), Seal: between(m.free, m.sealed), Elect: between(m.sealed, m.locked), Drain: between(m.locked, drained),
		Promote: between(drained, m.promoted), Open: between(m.promoted, open),
	}
}

// listenForPackets remembers when the primary was last heard, for the time a failover took to be noticed.
func (a *Agent) listenForPackets(m roles.MySQL, now time.Duration) {
	if m.Ready && m.Receiver != roles.Off && m.PacketAge > 0 {
		if at := now - m.PacketAge; at > 0 {
			a.milestones.lastPacket = at
		}
	}
}

// waitingWorth is how long an election may wait before that is worth remembering.
const waitingWorth = 10 * time.Second

// waitingAgain is the least time between two entries about one term: a reason that counts down must not crowd out the rest.
const waitingAgain = 10 * time.Minute

// rememberWaiting puts an election that does not end by itself into the history, by one node.
func (a *Agent) rememberWaiting(f roles.Facts, why string) {
	if a.machine.State() != roles.Failover || !f.View.OK || !f.View.Leader.Free() || f.LeaderFree < waitingWorth {
		return
	}
	for _, m := range f.View.Sync.Members {
		if m < f.Self.Inc && f.View.Nodes[m].Alive() {
			return
		}
	}
	e := cluster.HistoryEntry{Kind: cluster.HistoryWaiting, Node: a.Settings.Name, Term: f.View.Sync.Term, Why: why}
	if e.Term == a.lastWait.Term && (why == a.lastWait.Why || election.Boottime()-a.lastWaitAt < waitingAgain) {
		return
	}
	a.lastWait, a.lastWaitAt = e, election.Boottime()
	a.history.add(e)
}

// recall puts a transition into the history if it is worth it. term is the one it happened in.
func (a *Agent) recall(t engine.Transition[roles.State, roles.Event]) {
	view, _, _, _ := a.watch.current(a.Params.H)
	e := cluster.HistoryEntry{Node: a.Settings.Name, Term: max(a.disk.s.LastSync.Term, view.Sync.Term), Why: t.Why}
	if t.Detail != "" {
		e.Why = t.Detail
	}
	switch {
	case t.On == roles.Attached:
		e.Kind = cluster.HistoryAttached
	case t.To == roles.Primary:
		p := a.promotion(election.Boottime())
		e.Kind, e.Phases, e.GapMS = cluster.HistoryPromotion, p.Phases, float64(p.Gap.Microseconds())/1000
		if t := a.accepted; t != nil && t.laps != nil {
			e.Laps = &t.laps.laps
		}
		a.milestones = milestones{}
		if a.OnPromotion != nil && (p.Planned || p.Phases != nil) {
			a.OnPromotion(p)
		}
	case t.On == roles.StepDown:
		e.Kind = cluster.HistoryStepDown
	case t.From == roles.Primary && a.handing.taken(view.Sync):
		e.Kind, e.Why = cluster.HistoryStepDown, "handed over to "+view.Sync.Primary.Name()
	case t.From == roles.Primary:
		e.Kind = cluster.HistoryLost
	case t.To == roles.RestoreSnapshot && t.From != roles.Init, t.From == roles.RestoreSnapshot:
		e.Kind = cluster.HistoryRebuild
	default:
		return
	}
	a.history.add(e)
}
