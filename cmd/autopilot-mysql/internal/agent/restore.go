package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/recovery"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// firstSnapshotWait is how long after a cluster's creation a node without data waits for the first snapshot to appear
// before it clones a member instead.
const firstSnapshotWait = 10 * time.Second

// errSnapshotComing says that a snapshot is being made right now and is worth waiting for.
var errSnapshotComing = errors.New("a snapshot is being taken; waiting for it")

// restore gets a data directory: from the newest snapshot that connects to the primary's binary logs, else from a
// living member. It never creates a database.
func (a *Agent) restore(f roles.Facts) {
	h, ok := f.View.ValidPrimary()
	if !ok {
		return
	}
	_, extra, _, _ := a.watch.current(a.Params.H)
	creds, begins := a.creds, a.disk.s.Rebuilds == 0 || a.Settings.Adopt
	a.begin("looking for a snapshot", func(ctx context.Context, say func(string)) (func(context.Context) error, error) {
		if err := errors.Join(a.clearData(ctx), recovery.Clean(a.restoreDir())); err != nil {
			return nil, err
		}
		if there, err := a.hasAdoptable(); !begins {
			a.Log.Debug("data beside this node's own is not looked at: the node is rebuilt", "dir", a.adoptDir())
		} else if err != nil {
			return nil, fmt.Errorf("look for data to begin with: %w", err)
		} else if there {
			return a.joinWith(ctx, creds, h, f.View.Cluster.ID, say)
		}
		err := a.fromSnapshot(ctx, f.View, extra, h, say)
		if errors.Is(err, mysql.ErrAccessDenied) {
			return nil, unusable("join cluster "+a.Settings.Cluster, fmt.Sprintf("the primary %s refuses the account %s: access denied", h.Name, a.creds.Monitor()),
				"MYSQL_REPL_USER and MYSQL_REPL_PASSWORD must be the same on every node; nothing was changed")
		}
		if errors.Is(err, errSnapshotComing) {
			return nil, err
		}
		if err != nil && ctx.Err() == nil {
			a.Log.Info("no snapshot can be used; cloning a member", "why", err)
			if err = snapshot.CleanRestore(a.restoreDir()); err == nil { // for the space
				err = a.fromDonor(ctx, f.View, h, say)
			}
		}
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(a.restoreDir()))
		}
		id := f.View.Cluster.ID
		return func(context.Context) error { return a.install(id, a.restoreDir()) }, nil
	})
}

// fromSnapshot restores the newest usable snapshot into restoreDir; one that turns out to be damaged is passed over.
func (a *Agent) fromSnapshot(ctx context.Context, v roles.View, x cluster.Extra, h roles.Node, say func(string)) error {
	hctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	executed, purged, err := mysql.HistoryOf(hctx, h.MySQL, a.creds, h.Inc.UUID())
	if err != nil {
		return fmt.Errorf("read the history of %s: %w", h.Name, err)
	}
	if a.Snapshots == nil {
		return errors.New("no snapshot store is configured")
	}
	list, bad, err := snapshot.List(ctx, a.Snapshots, a.Settings.Cluster)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, e := range bad {
		a.Log.Warn("snapshot passed over", "err", e)
	}
	for _, m := range list {
		if err := a.tryRestore(ctx, m, v.Cluster.ID, purged, executed, say); err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.Log.Info("snapshot passed over", "id", m.ID, "why", err)
			continue
		}
		a.Log.Info("restored snapshot", "id", m.ID, "bytes", m.Bytes, "stored_bytes", m.StoredBytes, "gtid", m.GTIDLower.String())
		return nil
	}
	if x.TakingSnapshot() || len(list) == 0 && time.Since(v.Cluster.CreatedAt) < firstSnapshotWait {
		return errSnapshotComing
	}
	return fmt.Errorf("none of the %d snapshots connects to the binary logs of %s", len(list), h.Name)
}

func (a *Agent) tryRestore(ctx context.Context, m snapshot.Manifest, clusterID string, purged, executed gtid.Set, say func(string)) error {
	if m.ClusterID != clusterID {
		return fmt.Errorf("it is of another cluster of this name (identity %s)", m.ClusterID)
	}
	if err := snapshot.Usable(m, purged, executed); err != nil {
		return err
	}
	if m.Verified != nil && !m.Verified.OK {
		return errors.New("its verification failed: " + m.Verified.Why)
	}
	what := "restoring snapshot " + m.ID
	say(what)
	return snapshot.Restore(ctx, a.Snapshots, m, a.restoreDir(), a.restoring(say, what))
}

// restorePatience is for how long a restore tries a store that fails in the middle of it. Then a member is cloned instead.
const restorePatience = time.Minute

// restoring is how this node reads a snapshot.
func (a *Agent) restoring(say func(string), what string) snapshot.RestoreOptions {
	return snapshot.RestoreOptions{Keys: a.SnapshotKeys, Rate: a.SnapshotRate, Patience: restorePatience, Progress: progress(say, what),
		Note: func(line string) { a.Log.Info("there is work of a restore that was interrupted", "restore", line) }}
}

// clearScratch removes what an agent that was killed has left, but for a restore this node may yet go on with. Nothing
// of it is data.
func (a *Agent) clearScratch() {
	if err := os.RemoveAll(filepath.Join(a.mycfg.Dir, "scratch")); err != nil {
		a.Log.Warn("remove scratch space", "err", err)
	}
	if a.disk.s.HasData && !a.disk.s.Condemned {
		a.dropRestore()
	}
}

// dropRestore removes the work of a restore that was interrupted and that nobody will go on with.
func (a *Agent) dropRestore() {
	if err := errors.Join(snapshot.CleanRestore(a.restoreDir()), recovery.Clean(a.restoreDir())); err != nil {
		a.Log.Warn("remove what an interrupted restore has left", "err", err)
	}
}

// fromDonor clones a living member, a follower rather than the primary.
func (a *Agent) fromDonor(ctx context.Context, v roles.View, h roles.Node, say func(string)) error {
	donors := []roles.Node{}
	for _, i := range v.Incs() {
		n := v.Nodes[i]
		if n.Alive() && n.Healthy && n.Caught && (n.State == roles.Standby || n.State == roles.Replica) && n.Name != a.Settings.Name {
			donors = append(donors, n)
		}
	}
	var errs []error
	for _, d := range append(donors, h) {
		say("cloning " + d.Name)
		err := mysql.CloneFrom(ctx, a.mycfg, d.MySQL, a.creds, a.restoreDir())
		if err == nil {
			a.Log.Info("cloned a member", "donor", d.Name)
			return nil
		}
		errs = append(errs, fmt.Errorf("clone %s: %w", d.Name, err))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// install puts data in place that lies ready beside it. Until the state file says so it is not data, so a break at any point means only
// that it is restored again.
func (a *Agent) install(clusterID, from string) error {
	if err := a.disk.save(func(s *diskState) { s.HasData = false }); err != nil {
		return err
	}
	data, old := a.mycfg.DataDir(), filepath.Join(a.mycfg.Dir, "data.old")
	if err := os.Rename(data, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	if err := os.Rename(from, data); err != nil {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	if err := syncDir(a.mycfg.Dir); err != nil {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	if err := mysql.Own(a.mycfg, data); err != nil {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	if _, err := mysql.NewServerUUID(a.mycfg); err != nil {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	a.lastPos = roles.MySQL{}
	a.confirms = nil
	if err := a.nameData(clusterID, false); err != nil {
		return err
	}
	a.keepAdopted()
	return nil
}
