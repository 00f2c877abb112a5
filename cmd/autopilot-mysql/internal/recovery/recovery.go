// Package recovery brings a cluster's data back from its store: the newest snapshot that lies in front of a target, and
// the archived binary logs from there to the target. It joins what package snapshot finds with a server of package mysql
// that applies it.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Options say what is brought back, and to where.
type Options struct {
	Store   snapshot.Store
	Cluster string
	// Restore are the keys and limits of reading the store.
	Restore snapshot.RestoreOptions
	// MySQL says with which server transactions are applied; its Dir holds the server's socket meanwhile.
	MySQL mysql.Config
	// Target is where to go; zero is the end of what was archived.
	Target snapshot.Target
	// Dest is the data directory to be: it must not exist. Beside it, the work is done in Dest + ".work". A restore of the
	// snapshot that was interrupted stays there, and the next Run goes on with it if it chooses the same snapshot.
	Dest string
	// Say is told what is going on, in one sentence. Nil is allowed.
	Say func(string)
	Log *slog.Logger
}

// Result is what was brought back.
type Result struct {
	Snapshot snapshot.Manifest
	// GTIDs is exactly what the database holds; with no archived transaction to apply, and no target, it was not looked at
	// and is empty.
	GTIDs gtid.Set
	// Applied counts the archived transactions behind the snapshot.
	Applied int
	// Last is the last archived transaction in it, Next the first that was left out because of its time.
	Last, Next snapshot.Mark
}

// ErrNoSnapshot says that the store holds nothing of the cluster, neither a snapshot, damaged or not, nor archived binary logs.
var ErrNoSnapshot = errors.New("the store holds no snapshot of this cluster")

// UnreachableError says why no snapshot leads to the target.
type UnreachableError struct {
	// Why is a reason for every snapshot, newest first.
	Why []string
	// Reach is the most that can be brought back without what is missing; empty when that is not known.
	Reach gtid.Set
}

func (e *UnreachableError) Error() string {
	return "no snapshot leads to the target: " + strings.Join(e.Why, "; ")
}

// Run brings the data back. Dest appears at the end, complete, or not at all. Snapshots that are damaged, or from which no
// way leads to the target, are passed over for older ones.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Say == nil {
		o.Say = func(string) {}
	}
	work, err := openWork(o.Dest)
	if err != nil {
		return Result{}, err
	}
	defer work.Close() //nolint:errcheck // nothing was written to it
	res, err := o.run(ctx)
	var unreachable *UnreachableError
	if err == nil || errors.As(err, &unreachable) || !Begun(o.Dest) {
		return res, errors.Join(err, wipe(o.Dest))
	}
	return res, errors.Join(err, sweep(o.Dest))
}

// run is Run in its work directory.
func (o Options) run(ctx context.Context) (Result, error) {
	list, bad, err := snapshot.List(ctx, o.Store, o.Cluster)
	if err != nil {
		return Result{}, err
	}
	for _, e := range bad {
		o.Log.Warn("snapshot passed over", "err", e)
	}
	log, err := snapshot.ReadLog(ctx, o.Store, o.Cluster, o.Restore.Patience)
	if err != nil {
		return Result{}, err
	}
	failed := &UnreachableError{}
	for _, e := range bad {
		failed.Why = append(failed.Why, e.Error())
	}
	switch archived := len(log.Chunks) + len(log.Bad); {
	case len(list)+len(bad)+archived == 0:
		return Result{}, ErrNoSnapshot
	case len(list)+len(bad) == 0:
		failed.Why = append(failed.Why, fmt.Sprintf("there are %d pieces of binary log, and no snapshot they could be applied to", archived))
	}
	for _, b := range log.Bad {
		o.Log.Warn("archived binary log cannot be used", "err", b.Err)
	}
	for _, m := range list {
		if m.Verified != nil && !m.Verified.OK {
			failed.Why = append(failed.Why, fmt.Sprintf("snapshot %s: its verification failed: %s", m.ID, m.Verified.Why))
			o.Log.Warn("snapshot passed over", "id", m.ID, "why", "its verification failed: "+m.Verified.Why)
			continue
		}
		res, err := o.from(ctx, m, log)
		if err == nil {
			return res, nil
		}
		var pass *passedOver
		if !errors.As(err, &pass) {
			return Result{}, err
		}
		o.Log.Warn("snapshot passed over", "id", m.ID, "why", pass.error)
		failed.Why = append(failed.Why, fmt.Sprintf("snapshot %s: %v", m.ID, pass.error))
		if failed.Reach.IsEmpty() || pass.reach.Contains(failed.Reach) {
			failed.Reach = pass.reach
		}
	}
	return Result{}, failed
}

// passedOver is why one snapshot is of no use, while an older one may be.
type passedOver struct {
	error
	reach gtid.Set
}

func (p *passedOver) Unwrap() error { return p.error }

// from tries one snapshot.
func (o Options) from(ctx context.Context, m snapshot.Manifest, log *snapshot.Log) (res Result, err error) {
	if t := o.Target.Time; !t.IsZero() && m.CreatedAt.After(t) {
		return res, &passedOver{error: fmt.Errorf("it was made at %s, after the target", m.CreatedAt.Format("2006-01-02T15:04:05Z07:00"))}
	}
	first := log.Plan(m, m.GTIDLower, o.Target)
	if err := first.Why(); err != nil {
		return res, &passedOver{err, first.Reach}
	}
	// Until the last transaction is read, not only until the snapshot is restored: a cluster that lives on removes what of
	// the archive is in the oldest snapshot it keeps.
	release, err := snapshot.Hold(ctx, o.Store, m)
	if errors.Is(err, snapshot.ErrIncomplete) {
		return res, &passedOver{error: err}
	}
	if err != nil {
		return res, err
	}
	defer release()
	if err := sweep(o.Dest); err != nil { // of the snapshot that was passed over
		return res, err
	}
	data := dataOf(o.Dest)
	o.Say("restoring snapshot " + m.ID)
	r := o.Restore
	r.Progress = func(done, total int64) {
		o.Say(fmt.Sprintf("restoring snapshot %s: %d of %d MiB", m.ID, done>>20, total>>20))
	}
	if err := snapshot.Restore(ctx, o.Store, m, data, r); err != nil {
		if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrIncomplete) {
			return res, &passedOver{error: err}
		}
		return res, err
	}
	res.Snapshot = m
	if len(first.Steps) > 0 || o.Target != (snapshot.Target{}) {
		if err := o.replay(ctx, log, first, m, data, &res); err != nil {
			return res, err
		}
	}
	if err := os.Rename(data, o.Dest); err != nil {
		return res, err
	}
	return res, syncDir(filepath.Dir(o.Dest))
}

// replay applies what was archived to a restored snapshot, and proves the position.
func (o Options) replay(ctx context.Context, log *snapshot.Log, plan snapshot.LogPlan, m snapshot.Manifest, data string, res *Result) (err error) {
	o.Say("starting a server on the restored data, to apply archived transactions")
	server, err := mysql.StartReplay(ctx, o.MySQL, data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Kill()) }()
	have, err := server.Executed(ctx)
	if err != nil {
		return err
	}
	if o.Target.Time.IsZero() { // now that it is known exactly what the snapshot holds
		plan = log.Plan(m, have, o.Target)
		if err := plan.Why(); err != nil {
			return &passedOver{err, plan.Reach}
		}
	}
	logs := filepath.Join(filepath.Dir(data), "logs")
	if err := os.Mkdir(logs, 0o750); err != nil {
		return err
	}
	total := 0
	for _, s := range plan.Steps {
		total += s.Chunk.Transactions
	}
	var holds gtid.Set
	reading := snapshot.LogOptions{SpoolDir: logs, Keys: o.Restore.Keys, Rate: o.Restore.Rate, Patience: o.Restore.Patience}
	got, err := plan.Fetch(ctx, o.Store, reading, logs, func(files []string, batch gtid.Set) error {
		holds = holds.Union(batch)
		o.Say(fmt.Sprintf("applying archived transactions, %d of at most %d read", holds.Count(), total))
		return server.Apply(ctx, files, batch)
	})
	var gap *snapshot.GapError
	if errors.As(err, &gap) {
		return &passedOver{err, gap.Reach}
	}
	if err != nil {
		if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrIncomplete) {
			return &passedOver{err, have.Union(holds)}
		}
		return err
	}
	if err := o.prove(ctx, server, plan, have, got); err != nil {
		return err
	}
	res.GTIDs, res.Applied, res.Last, res.Next = have.Union(got.GTIDs), got.Transactions, got.Last, got.Next
	return server.Close(ctx)
}

// prove demands that the database holds exactly what the target says.
func (o Options) prove(ctx context.Context, server *mysql.Replay, plan snapshot.LogPlan, have gtid.Set, got snapshot.Fetched) error {
	now, err := server.Executed(ctx)
	if err != nil {
		return err
	}
	want := have.Union(got.GTIDs)
	if !now.Equal(want) {
		return fmt.Errorf("verify the position: the database holds %s, and should hold %s", now, want)
	}
	switch t := o.Target; {
	case t.GTIDs != nil && !now.Equal(*t.GTIDs):
		return fmt.Errorf("verify the position: the database holds %s, the target is %s", now, t.GTIDs)
	case !t.Time.IsZero():
		// The snapshot may hold more than its manifest promises. What of it was not met on the way to the target was
		// committed later, or nobody knows when.
		if beyond := now.Subtract(plan.From).Subtract(got.GTIDs); !beyond.IsEmpty() {
			return &passedOver{error: fmt.Errorf("it holds %s, which the archive does not have in front of the target", beyond)}
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
