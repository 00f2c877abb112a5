package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Limits of long jobs.
const (
	// jobRetry is the pause after a failed job.
	jobRetry = time.Second
	// bootTimeout bounds the first start of a new or restored server, crash recovery included.
	bootTimeout = 5 * time.Minute
)

// found creates the cluster: a database, its accounts, and then, under the lock, the records. If the store holds
// snapshots of a cluster of this name, all its data is gone and the newest one is what it starts from.
func (a *Agent) found() error {
	if a.disk.s.Founding { // the creation before was never recorded, and cannot be any more: see acquire
		if err := a.disk.save(func(s *diskState) { s.Founding, s.HasData, s.ClusterID = false, false, "" }); err != nil {
			return err
		}
	}
	a.begin("creating the first database of the cluster", func(ctx context.Context, say func(string)) (func(context.Context) error, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go a.endWithoutLease(ctx, cancel)
		if err := a.firstData(ctx, say); err != nil {
			return nil, err
		}
		return a.recordFounding, nil
	})
	return nil
}

// endWithoutLease ends a creation as soon as the lock that allows it cannot be proven.
func (a *Agent) endWithoutLease(ctx context.Context, cancel context.CancelFunc) {
	for ctx.Err() == nil {
		if !a.keeper.state().held {
			cancel()
			return
		}
		pause(ctx, a.Params.I)
	}
}

func (a *Agent) firstData(ctx context.Context, say func(string)) error {
	if err := a.others.refusal(ctx); err != nil {
		return err
	}
	if err := errors.Join(a.clearData(ctx), snapshot.CleanRestore(a.restoreDir())); err != nil {
		return err
	}
	if found, err := a.recovered(ctx, say); found || err != nil {
		return err
	}
	say("initialising mysqld")
	if err := mysql.Initialise(ctx, a.mycfg); err != nil {
		return err
	}
	if _, err := mysql.NewServerUUID(a.mycfg); err != nil {
		return err
	}
	cfg, err := a.configure()
	if err != nil {
		return err
	}
	if _, err := a.Guard.Start(ctx, a.command(cfg)); err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	say("creating accounts and the application's database")
	bctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := mysql.Bootstrap(bctx, a.mycfg, a.bootstrapSpec()); err != nil {
		kctx, kcancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer kcancel()
		return errors.Join(err, a.Guard.Kill(kctx))
	}
	return nil
}

func (a *Agent) bootstrapSpec() mysql.BootstrapSpec {
	s := a.Settings
	return mysql.BootstrapSpec{
		Creds: a.creds, RootPassword: string(s.RootPassword), RandomRoot: s.RandomRoot, OneTime: s.OneTime,
		Database: s.Database, User: s.User, Password: string(s.Password), InitDir: s.InitDir, TimeZones: true,
		Log: func(line string) { a.Log.Info(line) }, //nolint:sloglint // what the new server says
	}
}

// recordFounding runs on the loop: the data is complete; what is durable here goes first, then the records.
func (a *Agent) recordFounding(ctx context.Context) error {
	id := uuid.NewString()
	if err := a.nameData(id, true); err != nil {
		return err
	}
	if _, running := a.Guard.Mysqld(); running {
		a.open()
	}
	me := a.disk.inc()
	sync := roles.Sync{Term: 1, Primary: me, Members: []roles.Inc{me}}
	session := a.keeper.state().session
	ok, why, err := a.Store.Txn(ctx, election.CheckSession(a.keys.Leader(), session), election.Lock(a.keys.Leader(), session, []byte(me)),
		election.CAS(a.keys.Cluster(), 0, cluster.Encode(roles.Cluster{ID: id, Name: a.Settings.Cluster, CreatedAt: time.Now().UTC(), CreatedBy: me})),
		election.CAS(a.keys.Sync(), 0, cluster.Encode(sync)))
	if err != nil && !errors.Is(err, election.ErrUnknown) || err == nil && !ok {
		cerr := a.disk.save(func(s *diskState) { s.Founding, s.HasData, s.ClusterID = false, false, "" })
		a.kill(ctx)
		return errors.Join(fmt.Errorf("create cluster records: %s", why), err, cerr)
	}
	view, rerr := a.watch.refresh(ctx)
	if rerr != nil || view.Cluster == nil || view.Cluster.ID != id {
		return errors.Join(errors.New("create cluster records: outcome unknown; it is read again"), err, rerr, a.keeper.destroy(ctx))
	}
	a.keeper.rename([]byte(me))
	a.founded = true
	a.recordLease(ctx)
	if err := a.disk.save(func(s *diskState) { s.Founding, s.LastSync, s.Promised = false, view.Sync, view.Sync.Term }); err != nil {
		return err
	}
	a.keepAdopted()
	return nil
}

// nameData gives complete data its identity: a new incarnation, void until a primary has checked it.
func (a *Agent) nameData(clusterID string, founding bool) error {
	id, err := mysql.ServerUUID(a.mycfg)
	if err != nil {
		if id, err = mysql.NewServerUUID(a.mycfg); err != nil {
			return fmt.Errorf("name data: %w", err)
		}
	}
	err = a.disk.save(func(s *diskState) {
		s.ClusterID, s.UUID, s.Rebuilds = clusterID, id, s.Rebuilds+1
		s.CondemnedWhy, s.MySQL = "", ""
		s.HasData, s.Condemned, s.Fresh, s.Founding = true, false, true, founding
		s.Void, s.BootID = !founding, bootID()
		s.Led = founding
	})
	if err == nil {
		a.dropRestore()
	}
	return err
}

// clearData removes what is not data: leftovers of creations and clones that did not end, and condemned data. The work
// of a restore stays: the next one goes on with it.
func (a *Agent) clearData(ctx context.Context) error {
	kctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := a.Guard.Kill(kctx); err != nil {
		return err
	}
	if err := a.giveBack(); err != nil {
		return err
	}
	for _, dir := range []string{a.mycfg.DataDir(), a.restoreDir(), filepath.Join(a.mycfg.Dir, "data.old")} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("clear data directory: %w", err)
		}
	}
	return nil
}

func (a *Agent) restoreDir() string { return filepath.Join(a.mycfg.Dir, "restore.tmp") }

// progress turns byte counts into the job's sentence.
func progress(say func(string), what string) func(done, total int64) {
	return func(done, total int64) {
		if total > 0 {
			say(fmt.Sprintf("%s: %d of %d MiB", what, done>>20, total>>20))
		}
	}
}
