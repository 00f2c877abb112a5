package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// progressEvery is the least time between two sentences about the progress of a request.
const progressEvery = 2 * time.Second

// keepTimeout bounds keeping what only this node holds before a rebuild: links in the node's own directory, or an upload.
const keepTimeout = 10 * time.Minute

// requestDesk keeps what this node knows about the operators' requests.
type requestDesk struct {
	seen  map[string]time.Duration // since when, by id
	moved map[string]time.Duration // when this node tried to move it on last
}

// ages says for how long each unfinished request has been known here. It needs no common clock with the operator.
func (d *requestDesk) ages(rs []roles.Request, now time.Duration) map[string]time.Duration {
	if len(rs) == 0 {
		d.seen, d.moved = nil, nil
		return nil
	}
	seen, out := map[string]time.Duration{}, map[string]time.Duration{}
	for _, r := range rs {
		since, ok := d.seen[r.ID]
		if !ok {
			since = now
		}
		seen[r.ID], out[r.ID] = since, now-since
	}
	d.seen = seen
	return out
}

// mayMove keeps a node from asking Consul for the same change over and over; progress alone may wait longer.
func (d *requestDesk) mayMove(id string, progress bool, now time.Duration) bool {
	pause := tick
	if progress {
		pause = progressEvery
	}
	if last, ok := d.moved[id]; ok && now-last < pause {
		return false
	}
	if d.moved == nil {
		d.moved = map[string]time.Duration{}
	}
	d.moved[id] = now
	return true
}

// serveRequests moves on what this node is responsible for. A change that fails is decided again.
func (a *Agent) serveRequests(ctx context.Context, f roles.Facts) {
	next, ok := roles.Move(a.machine.State(), f)
	if !ok {
		return
	}
	var was roles.Request
	for _, r := range f.View.Requests {
		if r.ID == next.ID {
			was = r
		}
	}
	if !a.desk.mayMove(next.ID, was.State == next.State, election.Boottime()) {
		return
	}
	mctx, cancel := context.WithTimeout(ctx, a.Params.R)
	defer cancel()
	done, why, err := a.Store.Txn(mctx, a.casRequest(next))
	if err != nil || !done {
		a.Log.Debug("move request on", "id", next.ID, "why", why, "err", err)
		return
	}
	a.tellRequest(next)
}

// casRequest is the change of a request's record, bound to the version it was decided on.
func (a *Agent) casRequest(r roles.Request) election.Op {
	r.UpdatedAt = time.Now().UTC()
	return election.CAS(a.keys.Request(r.ID), r.Ver, cluster.Encode(r))
}

// tellRequest logs a request's way, and remembers its end.
func (a *Agent) tellRequest(r roles.Request) {
	a.Log.Info("request", "kind", r.Kind, "id", r.ID, "target", r.Node, "by", r.By, "state", r.State, "guard", r.Guard, "outcome", r.Outcome, "progress", r.Progress)
	if r.Final() {
		a.history.add(cluster.RequestEntry(a.Settings.Name, a.disk.s.LastSync.Term, r))
	}
}

// requestOf finds the request a step is for.
func requestOf(v roles.View, id string) (roles.Request, error) {
	for _, r := range v.Requests {
		if r.ID == id {
			return r, nil
		}
	}
	return roles.Request{}, fmt.Errorf("request %s is finished: %w", id, errNotNow)
}

// surrender is this node's part of a rebuild: what only it holds is kept like that of a node that diverged, then the data
// is given up. A mysqld that does not run cannot be asked, and is no reason not to.
func (a *Agent) surrender(s roles.Step, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok {
		return errNotNow
	}
	srv, d := a.srv, difference{Node: a.Settings.Name, Incarnation: a.disk.inc(), Primary: h.Name, At: time.Now().UTC()}
	if !f.MySQL.Ready {
		srv = nil
	}
	a.begin("rebuild: keeping what only this node holds", func(ctx context.Context, say func(string)) (func(context.Context) error, error) {
		if srv != nil {
			if err := a.keepOwn(ctx, say, srv, h, d); err != nil {
				return nil, fmt.Errorf("rebuild: keep what only this node holds: %w", err)
			}
		}
		return func(ctx context.Context) error { return a.surrendered(ctx, s) }, nil
	})
	return nil
}

// keepOwn keeps what this server holds and the primary lacks. Transactions whose logs are purged are given up with the
// data: that is what was asked for. Runs beside the loop.
func (a *Agent) keepOwn(ctx context.Context, say func(string), srv *mysql.Server, h roles.Node, d difference) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	st, err := srv.Status(ctx)
	if err != nil {
		return err
	}
	history, _, err := mysql.HistoryOf(ctx, h.MySQL, a.creds, h.Inc.UUID())
	if err != nil {
		return err
	}
	if d.GTIDs = st.Position().Subtract(history); d.GTIDs.IsEmpty() {
		return nil
	}
	logs, err := srv.LogsHolding(ctx, d.GTIDs)
	if err != nil {
		return err
	}
	if d.Missing = logs.Missing; !d.Missing.IsEmpty() {
		a.Log.Warn("some of what only this node holds is in no log any more and cannot be archived; it is given up with the data", "gtids", d.Missing.String())
	}
	return a.keep(ctx, say, d, logs.Files)
}

// surrendered runs on the loop. In one transaction it is made sure that nobody counts on this data (the ack set is still
// the one without this node) and told that it goes; only then it is condemned.
func (a *Agent) surrendered(ctx context.Context, s roles.Step) error {
	ctx, cancel := context.WithTimeout(ctx, a.Params.R)
	defer cancel()
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("give up data: %w", err)
	}
	r, err := requestOf(view, s.For)
	if err != nil {
		return err
	}
	if h, ok := view.ValidPrimary(); !ok || h.Inc == a.disk.inc() || view.Sync.Has(a.disk.inc()) {
		return fmt.Errorf("give up data: %w", errNotNow)
	}
	r.Progress = "the data is given up; getting new data"
	ok, why, err := a.Store.Txn(ctx, election.CheckIndex(a.keys.Sync(), view.Sync.Ver), a.casRequest(r))
	if err != nil {
		return fmt.Errorf("give up data: %w", err)
	}
	if !ok {
		return fmt.Errorf("give up data: %s: %w", why, errNotNow)
	}
	return a.disk.save(func(d *diskState) { d.Condemned, d.CondemnedWhy = true, r.By+" asked for a rebuild" })
}

// force writes this node into sync as all that is left. It is bound to the lock being free ever since it was read: a lock
// that was taken, even if it was given back, has another index.
func (a *Agent) force(ctx context.Context, s roles.Step) error {
	raw, err := a.Store.Read(ctx, a.keys.Prefix, true)
	if err != nil {
		return fmt.Errorf("force failover: %w", err)
	}
	view, _, err := a.keys.Parse(raw)
	if err != nil {
		return fmt.Errorf("force failover: %w", err)
	}
	r, err := requestOf(view, s.For)
	if err != nil {
		return err
	}
	me := a.disk.inc()
	if no := roles.Refuse(r, view); no != nil || !view.Leader.Free() || view.Sync.Ver != s.Sync.Ver || r.State != roles.RequestOpen {
		return fmt.Errorf("force failover: %w", errNotNow)
	}
	loss := roles.LossOf(view, a.Settings.Name)
	next := roles.Forced(me, view)
	r.State, r.Inc, r.Progress = roles.RequestRunning, me, "given up: "+loss.String()
	ok, why, err := a.Store.Txn(ctx, election.CheckIndex(a.keys.Leader(), raw.KVs[a.keys.Leader()].ModifyIndex),
		election.CAS(a.keys.Sync(), view.Sync.Ver, cluster.Encode(next)), a.casRequest(r))
	if err != nil {
		return fmt.Errorf("force failover: %w", err)
	}
	if !ok {
		return fmt.Errorf("force failover: %s: %w", why, errNotNow)
	}
	a.Log.Warn("forced failover: the cluster goes on with this node's history", "by", r.By, "given_up", loss.String(), "term", next.Term)
	a.history.add(cluster.HistoryEntry{Kind: cluster.HistoryForced, Node: a.Settings.Name, Term: next.Term, Why: r.By + " gave up " + loss.String()})
	_, err = a.watch.refresh(ctx)
	return err
}

// dismiss takes a node that is in no ack set any more out of the cluster: its account here goes, unlogged, then its
// records. The mark that stays keeps the same data from ever joining again.
func (a *Agent) dismiss(ctx context.Context, s roles.Step, f roles.Facts) error {
	r, err := requestOf(f.View, s.For)
	if err != nil {
		return err
	}
	if n, ok := f.View.Living(r.Node); !ok || !n.Alive() || n.Inc == s.Node { // a newer incarnation keeps its account
		user := a.creds.Node(r.Node)
		defer a.accounts.forget()
		for _, do := range []func() error{
			func() error { return a.srv.LockAccounts(ctx, []string{user}) },
			func() error { return a.srv.KillDumpThreads(ctx, []string{user}) },
			func() error { return a.srv.DropAccount(ctx, user) },
		} {
			if err := do(); err != nil {
				return fmt.Errorf("remove %s: %w", r.Node, err)
			}
		}
	}
	r.State, r.Outcome = roles.RequestDone, r.Node+" is out of the cluster: out of the ack set, its replication account and its records deleted"
	ops := []election.Op{election.CheckSession(a.keys.Leader(), a.keeper.state().session), election.CheckIndex(a.keys.Sync(), s.Sync.Ver), a.casRequest(r)}
	if s.Node.HasData() {
		ops = append(ops, election.Set(a.keys.Removed(s.Node), cluster.Encode(roles.Pause{By: r.By, At: time.Now().UTC()})))
	}
	if f.View.InMaintenance(r.Node) {
		ops = append(ops, election.Delete(a.keys.Maintenance(r.Node)))
	}
	for i, n := range f.View.Nodes {
		if i.Name() == r.Node && !n.Alive() {
			ops = append(ops, election.Delete(a.keys.Node(i)), election.Delete(a.keys.Seal(i)))
		}
	}
	ok, why, err := a.Store.Txn(ctx, ops...)
	if err != nil {
		return fmt.Errorf("remove %s: %w", r.Node, err)
	}
	if !ok {
		return fmt.Errorf("remove %s: %s: %w", r.Node, why, errNotNow)
	}
	a.tellRequest(r)
	return nil
}

// forget deletes the records of a removed node that has ended.
func (a *Agent) forget(ctx context.Context, i roles.Inc) error {
	if _, _, err := a.Store.Txn(ctx, election.Delete(a.keys.Node(i)), election.Delete(a.keys.Seal(i))); err != nil {
		return fmt.Errorf("forget %s: %w", i.Name(), err)
	}
	return nil
}

// checkRemoved ends a node that an operator took out of the cluster. Its data stays where it is.
func (a *Agent) checkRemoved(ctx context.Context, v roles.View) *ending {
	if !v.OK || !v.Removed[a.disk.inc()] || a.machine.State() == roles.Primary {
		return nil
	}
	a.stopAt = election.Boottime()
	_ = a.shutDown(ctx, roles.Facts{View: v})
	r := refuse("run node "+a.Settings.Name, "an operator removed it from cluster "+a.Settings.Cluster, "give it an empty --datadir to let it join as a new node; its data was left as it is")
	return &ending{r.Code, r.Error()}
}
