package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/recovery"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

// recovered puts in place what a new cluster begins with instead of an empty database: what an operator left for it,
// else what its store holds, the newest snapshot and everything archived behind it. found is false when there is neither.
// A store that does not answer is an error: an empty database must not be created beside a snapshot nobody has looked for.
func (a *Agent) recovered(ctx context.Context, say func(string)) (found bool, err error) {
	there, err := a.hasAdoptable()
	switch {
	case there:
		if _, err := a.examine(ctx, a.creds, say); err != nil {
			return false, err
		}
		if err := a.markAdopted(); err != nil {
			return false, err
		}
		a.Log.Info("the new cluster begins with the data in this node's directory", "dir", a.adoptDir())
		return true, a.place(a.adoptDir())
	case err != nil:
		return false, fmt.Errorf("look for data to begin with: %w", err)
	case a.Snapshots == nil:
		return false, nil
	}
	res, err := recovery.Run(ctx, recovery.Options{
		Store: a.Snapshots, Cluster: a.Settings.Cluster, Restore: a.restoring(nil, ""), MySQL: a.mycfg,
		Dest: a.restoreDir(), Say: func(s string) { say(s + ": the cluster has no data left but what is in its store") }, Log: a.Log,
	})
	var unreachable *recovery.UnreachableError
	switch {
	case errors.Is(err, recovery.ErrNoSnapshot):
		return false, nil
	case errors.As(err, &unreachable) && !unreachable.Reach.IsEmpty():
		return false, fmt.Errorf("bring the cluster's data back: %w; to go on without what is missing: autopilot-mysql snapshot restore --to-gtid '%s' --into %s, then start this node first",
			err, unreachable.Reach, a.adoptDir())
	case errors.As(err, &unreachable):
		return false, fmt.Errorf("bring the cluster's data back: %w; to begin with an empty database: use another --cluster name or --store, or remove what is there", err)
	case err != nil:
		return false, fmt.Errorf("bring the cluster's data back: %w", err)
	}
	a.Log.Info("the cluster's data is back", "snapshot", res.Snapshot.ID, "archived_transactions", res.Applied, "last_commit", res.Last.At, "gtid", res.GTIDs.String())
	return true, a.place(a.restoreDir())
}

// place makes dir the data directory.
func (a *Agent) place(dir string) error {
	if err := os.Rename(dir, a.mycfg.DataDir()); err != nil {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	if err := syncDir(a.mycfg.Dir); err != nil {
		return fmt.Errorf("put restored data in place: %w", err)
	}
	return mysql.Own(a.mycfg, a.mycfg.DataDir())
}
