package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/proof"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// verifyPause is the least time between two attempts to verify.
const verifyPause = 5 * time.Minute

// verifyDue says whether the newest snapshot has to be proved.
func (s *snapshotter) verifyDue(v noticed) bool {
	every, last, done := s.a.Settings.SnapshotVerify, v.extra.Snapshot, v.extra.SnapshotVerified
	if every == 0 || last == nil || time.Since(s.verifies) < verifyPause {
		return false
	}
	return done == nil || time.Since(done.At) >= every
}

// verify proves the newest snapshot with a scratch server beside the data.
func (s *snapshotter) verify(ctx context.Context, v noticed) error {
	err := s.claimed(ctx, cluster.WorkVerifying, func(ctx context.Context, c *claim) error {
		s.verifies = time.Now() // not before: while another node works on a snapshot, this one waits for its turn
		list, _, err := snapshot.List(ctx, s.a.Snapshots, s.a.Settings.Cluster)
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.ClusterID == v.facts.View.Cluster.ID {
				return s.prove(ctx, c, m)
			}
		}
		return errNotNow
	})
	if unclaimed(err) || ctx.Err() != nil {
		if errors.Is(err, errLostClaim) {
			s.verifies = time.Time{}
		}
		return err
	}
	if err != nil {
		err = fmt.Errorf("verification: %w", err)
	}
	s.note(ctx, err, false)
	return err
}

func (s *snapshotter) prove(ctx context.Context, c *claim, m snapshot.Manifest) error {
	a := s.a
	s.a.Log.Info("verifying a snapshot", "id", m.ID)
	found, err := proof.Verify(ctx, a.Snapshots, m, proof.Options{
		Dir: s.proofDir(), Mysqld: a.mycfg.Mysqld, RunAs: a.mycfg.User, Extra: a.mycfg.Extra, By: a.Settings.Name,
		Restore:  snapshot.RestoreOptions{Keys: a.SnapshotKeys, Rate: a.SnapshotRate, Patience: snapshotPatience},
		Progress: func(doing string, done, total int64) { c.report(ctx, doing, m.ID, done, total) },
		Log:      func(line string) { a.Log.Debug("scratch mysqld", "line", line) },
	})
	if err != nil {
		return err
	}
	if found.OK {
		a.Log.Info("snapshot verified", "id", m.ID, "tables", found.Tables, "rows", found.Rows, "seconds", found.Seconds, "gtid", found.GTIDExecuted.String())
	} else {
		a.Log.Error("snapshot is damaged; a new one is taken", "id", m.ID, "why", found.Why)
		s.gone = m.ID
	}
	s.put(ctx, "tell about the verification", election.Set(a.keys.SnapshotVerified(), cluster.Encode(s.seen().extra.VerifiedNow(m.ID, m.CreatedAt, found))))
	return nil
}

// removeScratch removes what a verification that was killed has left.
func removeScratch(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.RemoveAll(dir)
}

// binlogMark is a place in this node's own binary log, as of the snapshot with the id.
type binlogMark struct {
	id   string
	file string
	size uint64
}

// grownBy is how much binary log this node has written since the snapshot; 0 when it does not know.
func (s *snapshotter) grownBy(ctx context.Context, last cluster.LastSnapshot) int64 {
	srv := s.a.marker.Load()
	if srv == nil {
		return 0
	}
	qctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	files, err := srv.BinlogFiles(qctx)
	if err != nil || len(files) == 0 {
		s.a.Log.Debug("measure binary log", "err", err)
		return 0
	}
	s.grown = s.grown.at(last, files)
	return s.grown.since(files)
}

// at returns the mark for the snapshot. Another snapshot than before was just taken: the mark is the present end. After
// a restart only the files' times tell where it was.
func (b binlogMark) at(last cluster.LastSnapshot, files []mysql.BinlogFile) binlogMark {
	if b.id == last.ID {
		return b
	}
	end := files[len(files)-1]
	next := binlogMark{id: last.ID, file: end.Name, size: end.Size}
	if b.id != "" {
		return next
	}
	next.file, next.size = files[0].Name, 0
	for _, f := range files {
		if !f.Modified.After(last.At) {
			next.file, next.size = f.Name, f.Size
		}
	}
	return next
}

// since sums up what lies behind the mark. A mark that was purged counts everything there is.
func (b binlogMark) since(files []mysql.BinlogFile) (n int64) {
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].Name == b.file {
			return n + int64(files[i].Size-min(b.size, files[i].Size))
		}
		n += int64(files[i].Size)
	}
	return n
}
