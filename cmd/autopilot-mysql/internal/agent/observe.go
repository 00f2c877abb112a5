package agent

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// waitingState notices commits that wait while no acknowledgement comes.
type waitingState struct {
	since time.Duration
	acked uint64
}

// applyingState notices that nothing gets applied.
type applyingState struct {
	since    time.Duration
	executed gtid.Set
}

// observe gathers the facts of this instant.
func (a *Agent) observe(ctx context.Context) (roles.Facts, *ending) {
	now := election.Boottime()
	view, extra, free, err := a.watch.current(a.Params.H)
	a.tellConsul(err)
	if end := a.checkIdentity(view); end != nil {
		return roles.Facts{}, end
	}
	if end := a.checkRemoved(ctx, view); end != nil {
		return roles.Facts{}, end
	}
	if end := a.adoptSettings(view, extra); end != nil {
		return roles.Facts{}, end
	}
	if err := a.disk.look(); err != nil {
		a.Log.Warn("remember the record of the term; it cannot be opened from here", "err", err)
	}
	a.hasten(view)
	l := a.keeper.state()
	f := roles.Facts{
		Self:        roles.Self{Inc: a.disk.inc(), Name: a.Settings.Name, NoFailover: a.Settings.NoFailover, Priority: a.Settings.Priority, Maintenance: view.InMaintenance(a.Settings.Name)},
		Disk:        a.diskFacts(),
		MySQL:       a.lookAtMysqld(ctx),
		Lease:       roles.Lease{Held: l.held, Provable: l.provable, Session: l.session},
		View:        view,
		Set:         a.clusterSettings(),
		Follow:      a.follow,
		Promoted:    a.promoted,
		Founded:     a.founded,
		Attach:      a.leftOpen,
		Leading:     a.leading,
		Checkpoints: a.checkpoints,
		LeaderFree:  free,
		ConsulBack:  a.watch.sinceBack(),
		CannotDrain: a.noDrain,
		RequestAge:  a.desk.ages(view.Requests, now),
		Stop:        a.stop.Load(),
		Recent:      extra.FailoverAges(time.Now(), now),
		Ready:       a.ready,
		Chained:     a.chained,
	}
	f.Disk.Unfit = cmp.Or(f.Disk.Unfit, a.stillFull(f.MySQL))
	a.noteHandover(&f, now)
	f.Applying = a.applied(now, f.MySQL)
	if a.job != nil {
		f.Busy = a.job.sentence()
	}
	f.Errant = a.lookForErrant(ctx, now, view, f.MySQL)
	a.steady.look(now, f.MySQL)
	f.Silent = a.listen(f, now)
	a.listenForPackets(f.MySQL, now)
	f.Waiting = a.waited(now, f.MySQL)
	a.keeper.note(f.MySQL.Ready, f.View.Sync.Primary == f.Self.Inc && len(f.View.Sync.Members) == 1)
	a.shots.tell(f, extra)
	a.archive.tell(f, extra)
	return f, nil
}

// tellConsul logs once when Consul stops answering and once when it answers again; err is nil while it does.
func (a *Agent) tellConsul(err error) {
	was := a.consulErr
	a.consulErr = err
	switch {
	case err != nil && was == nil:
		a.Log.Warn("Consul does not answer; waiting for it", "err", err)
	case err == nil && was != nil:
		a.Log.Info("Consul answers again")
		a.keeper.poke() // what the outage took from us is to be taken back before anybody gives up waiting
	}
}

// checkIdentity settles a creation that was interrupted, and refuses data of another cluster.
func (a *Agent) checkIdentity(v roles.View) *ending {
	d := &a.disk.s
	if !v.OK || v.Cluster == nil || d.ClusterID == "" || d.ClusterID == v.Cluster.ID {
		if v.OK && v.Cluster != nil && d.Founding && d.ClusterID == v.Cluster.ID {
			return a.mustSave(func(s *diskState) { s.Founding = false })
		}
		return nil
	}
	if d.Founding { // somebody else's creation won; ours was never opened, nobody has seen it
		a.Log.Info("another node created the cluster first; giving up this node's empty database")
		return a.mustSave(func(s *diskState) { s.Founding, s.HasData, s.ClusterID, s.Condemned = false, false, "", true })
	}
	if !d.HasData {
		return a.mustSave(func(s *diskState) { s.ClusterID = "" })
	}
	r := refuse("data directory "+a.Settings.Datadir, "its data belongs to another cluster of the name "+a.Settings.Cluster+" (identity "+d.ClusterID+", Consul has "+v.Cluster.ID+")",
		"use another --cluster name or another --datadir; nothing was changed")
	return &ending{r.Code, r.Error()}
}

func (a *Agent) mustSave(change func(*diskState)) *ending {
	if err := a.disk.save(change); err != nil {
		return &ending{1, err.Error()}
	}
	return nil
}

// diskFacts is what the node has made durable, and whether it still could.
func (a *Agent) diskFacts() roles.Disk {
	d := a.disk.facts()
	d.Unfit = a.volume.unfit()
	return d
}

// stillFull is why a follower whose volume has room again does not write to it yet; "" when it does.
func (a *Agent) stillFull(m roles.MySQL) string {
	if r := a.status.Replica; m.Ready && r != nil && r.NoSpace {
		return "mysqld found no space on " + a.Settings.Datadir + " and tries again once a minute"
	}
	return ""
}

// lookAtMysqld asks the local server for its status, within statusTimeout.
func (a *Agent) lookAtMysqld(ctx context.Context) roles.MySQL {
	pid, running := a.Guard.Mysqld()
	now := election.Boottime()
	switch {
	case running:
		a.down = 0
	case a.down == 0:
		a.down = now
	}
	if !a.leadingNow() {
		a.prober.forget()
	}
	if running && pid == a.killed {
		return roles.MySQL{Running: true, Killed: true}
	}
	if !running {
		return roles.MySQL{Down: max(now-a.down, 1)}
	}
	if a.srv == nil {
		return roles.MySQL{Running: a.job != nil}
	}
	if a.failing == 0 {
		a.failing = now
	}
	m := roles.MySQL{Running: true, Failing: now - a.failing}
	sctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if !a.connected {
		if err := a.attach(sctx); err != nil {
			m.Trouble = err.Error()
			return m
		}
	}
	if a.accepted == nil { // whoever uses the receiver next must not meet what a takeover began
		if err := a.turning.over(sctx); err != nil {
			m.Trouble = err.Error()
			return m
		}
		a.turning = nil
	}
	st, err := a.seenOrAsked(sctx)
	if err != nil {
		a.Log.Debug("look at mysqld", "err", err)
		m.Trouble = err.Error()
		return m
	}
	a.failing = 0
	a.status = st
	m = a.render(st)
	if a.leadingNow() {
		acc, err := a.accounts.look(sctx, a.srv)
		if acc == nil {
			m.Ready = false
			m.Trouble = err.Error()
			return m
		}
		m.Unlocked = a.byNode(acc)
		m.Stuck, m.StuckWhy = a.prober.look(ctx, now, st.Binlog, st.Source.WaitSessions)
		if m.Stuck == 0 && a.volume.unfit() == "" { // given up half-way, a statement that waits for its disk ends mysqld
			a.notes.look(ctx, now, a.srv, a.Log)
		}
	}
	a.lastPos = m
	return m
}

func (a *Agent) leadingNow() bool { return a.machine.State() == roles.Primary }

// render turns a server's status into facts.
func (a *Agent) render(st mysql.Status) roles.MySQL {
	m := roles.MySQL{
		Running: true, Ready: true, ReadOnly: st.SuperReadOnly, Offline: st.OfflineMode, Executed: st.Executed,
		WaitSessions: st.Source.WaitSessions, Streams: map[string]bool{}, Receiver: roles.Off, Applier: roles.Off,
	}
	if st.Source.Enabled {
		m.K = st.Source.WaitCount
	}
	for _, user := range st.DumpUsers {
		m.Streams[a.nodeOf(user)] = true
	}
	r := st.Replica
	if r == nil {
		return m
	}
	m.Received = r.Received
	m.Source = net.JoinHostPort(r.Host, strconv.Itoa(r.Port))
	m.Receiver, m.Applier = threadState(r.Receiver), threadState(r.Applier)
	m.ReceiverID, m.ArmedWanted, m.Armed = r.ReceiverStart, r.ArmedWanted, r.Armed
	m.Pos = roles.BinlogPos{SourceUUID: r.Pos.SourceUUID, File: r.Pos.File, Pos: r.Pos.Pos}
	m.PacketAge = time.Since(r.LastPacket)
	m.Caught = r.Receiver == mysql.On && r.Applier == mysql.On && a.caughtUp(r.LagSeconds)
	switch {
	case r.SQLErrno != 0:
		m.Trouble = "applier: " + r.SQLError
	case r.IOErrno != 0:
		m.Trouble = "receiver: " + r.IOError
	}
	return m
}

func threadState(s mysql.ThreadState) roles.ThreadState {
	switch s {
	case mysql.On:
		return roles.On
	case mysql.Connecting:
		return roles.Connecting
	case mysql.Off:
	}
	return roles.Off
}

// byNode renames replication accounts (account → locked) to the nodes they belong to (name → unlocked).
func (a *Agent) byNode(locked map[string]bool) map[string]bool {
	out := map[string]bool{}
	for user, isLocked := range locked {
		out[a.nodeOf(user)] = !isLocked
	}
	return out
}

// nodeOf is the name of the node a replication account belongs to. An account of a node without a record is shown under
// its own name, so that it is not overlooked.
func (a *Agent) nodeOf(user string) string {
	view, _, _, _ := a.watch.current(a.Params.H)
	for _, n := range view.Nodes {
		if a.creds.Node(n.Name) == user {
			return n.Name
		}
	}
	for _, m := range view.Sync.Members {
		if a.creds.Node(m.Name()) == user {
			return m.Name()
		}
	}
	return accountPrefix + user
}

// accountPrefix marks a "node name" that is really an account of a node without a record; no node name holds an '@'.
const accountPrefix = "account@"

// listen keeps, at a primary, how long each acker has not been seen streaming.
func (a *Agent) listen(f roles.Facts, now time.Duration) map[roles.Inc]time.Duration {
	if !a.leadingNow() || !f.MySQL.Ready {
		if !a.leadingNow() {
			clear(a.silent)
		}
		return nil
	}
	out := map[roles.Inc]time.Duration{}
	for _, i := range f.View.Sync.Ackers() {
		if roles.Streaming(f, i) {
			delete(a.silent, i)
			continue
		}
		since, ok := a.silent[i]
		if !ok {
			since = now
			a.silent[i] = now
		}
		out[i] = now - since
	}
	for i := range a.silent {
		if !f.View.Sync.IsAcker(i) {
			delete(a.silent, i)
		}
	}
	return out
}

func (a *Agent) waited(now time.Duration, m roles.MySQL) time.Duration {
	acked := a.status.Source.YesTx
	if !m.Ready || m.WaitSessions == 0 || acked != a.waiting.acked {
		a.waiting = waitingState{since: now, acked: acked}
	}
	return now - a.waiting.since
}

// applied keeps for how long nothing has been applied here although something is left.
func (a *Agent) applied(now time.Duration, m roles.MySQL) time.Duration {
	if !m.Ready || m.Undrained().IsEmpty() || !m.Executed.Equal(a.applying.executed) {
		a.applying = applyingState{since: now, executed: m.Executed}
	}
	return now - a.applying.since
}
