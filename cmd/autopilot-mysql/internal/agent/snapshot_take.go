package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/hooks"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// take makes one snapshot under the cluster-wide lock, moves the pointer, and retires old ones. begin, if there is one, is
// called when the lock is held and nothing has been done yet.
func (s *snapshotter) take(ctx context.Context, v noticed, why string, begin func(context.Context) error) (m snapshot.Manifest, err error) {
	srv := s.a.marker.Load()
	if srv == nil {
		return m, errNotNow
	}
	began := time.Now()
	err = s.claimed(ctx, cluster.WorkTaking, func(ctx context.Context, c *claim) error {
		if begin != nil {
			if err := begin(ctx); err != nil {
				return err
			}
		}
		s.a.Log.Info("taking a snapshot", "why", why)
		s.a.hooks.Wait(ctx, hooks.BeforeSnapshot, s.snapshotFacts(v, why, "", nil), s.a.Settings.HookTimeout)
		defer func() { s.a.hooks.Start(hooks.AfterSnapshot, s.snapshotFacts(v, why, m.ID, err)) }()
		m, err = s.create(ctx, v, srv, c)
		if err == nil {
			err = s.point(ctx, c, m)
		}
		if err == nil {
			s.retire(ctx)
		}
		return err
	})
	if unclaimed(err) || ctx.Err() != nil {
		return m, err
	}
	if s.a.OnSnapshot != nil {
		s.a.OnSnapshot(time.Since(began), err)
	}
	s.note(ctx, err, !errors.Is(err, snapshot.ErrNoSpace) && !errors.Is(err, snapshot.ErrClone))
	return m, err
}

// create asks the store first: one that does not answer must not cost a clone.
func (s *snapshotter) create(ctx context.Context, v noticed, srv *mysql.Server, c *claim) (snapshot.Manifest, error) {
	set := s.a.Settings
	lctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := s.look(lctx, v); err != nil && !about(err) {
		return snapshot.Manifest{}, err
	}
	size, err := dataBytes(s.a.mycfg.DataDir())
	if err != nil {
		return snapshot.Manifest{}, err
	}
	if dir := set.SnapshotScratch; dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return snapshot.Manifest{}, fmt.Errorf("make scratch directory: %w", err)
		}
		if err := os.MkdirAll(s.scratch(), 0o750); err != nil {
			return snapshot.Manifest{}, fmt.Errorf("make scratch directory: %w", err)
		}
		if err := mysql.Own(s.a.mycfg, s.scratch()); err != nil {
			return snapshot.Manifest{}, err
		}
	}
	c.report(ctx, "cloning the data", "", 0, 0)
	return snapshot.Create(ctx, s.a.Snapshots, srv, snapshot.CreateOptions{
		Cluster: set.Cluster, ClusterID: v.facts.View.Cluster.ID, Node: set.Name, MySQLVersion: v.vers,
		ScratchDir: s.scratch(), DataBytes: size, Keys: s.a.SnapshotKeys, Rate: s.a.SnapshotRate, Patience: snapshotPatience,
		Fence:    c.renew,
		Progress: func(done, total int64) { c.report(ctx, "storing the snapshot", "", done, total) },
	})
}

// dataBytes is how much of the data directory a clone will copy: all but the logs.
func dataBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // files come and go under a running server
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if name := e.Name(); filepath.Dir(path) == dir && (strings.HasPrefix(name, "binlog.") || strings.Contains(name, "-relay-bin.")) {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure data directory: %w", err)
	}
	return sum, nil
}

// point moves the pointer, if the lock is still ours. A snapshot that is complete is not lost for one slow answer.
func (s *snapshotter) point(ctx context.Context, c *claim, m snapshot.Manifest) error {
	last := cluster.LastSnapshot{ID: m.ID, At: m.CreatedAt, GTID: m.GTIDLower.String(), Bytes: m.Bytes}
	ok, why, err := s.persist(ctx, election.CheckSession(c.lock, s.a.Session.ID()), election.Set(s.a.keys.SnapshotLast(), cluster.Encode(last)))
	if err == nil && !ok {
		err = errors.New(why)
	}
	if err != nil {
		return fmt.Errorf("point to the new snapshot %s, which is complete: %w", m.ID, err)
	}
	s.gone = ""
	s.a.Log.Info("snapshot taken", "id", m.ID, "bytes", m.Bytes, "stored_bytes", m.StoredBytes, "gtid", last.GTID, "encryption", m.Encryption.String())
	return nil
}

// retire removes what the retention lets go. What it cannot remove now, the next one removes.
func (s *snapshotter) retire(ctx context.Context) {
	k := s.a.Settings.SnapshotRetention
	removed, err := snapshot.Retire(ctx, s.a.Snapshots, s.a.Settings.Cluster,
		snapshot.Retention{Keep: k.SnapshotKeep, Daily: k.SnapshotKeepDaily, Weekly: k.SnapshotKeepWeekly})
	if len(removed) > 0 {
		s.a.Log.Info("old snapshots removed", "ids", removed)
	}
	if err != nil {
		s.a.Log.Warn("retire old snapshots", "err", err)
	}
}

// look asks the store for the newest snapshot.
func (s *snapshotter) look(ctx context.Context, v noticed) error {
	id := ""
	if last := v.extra.Snapshot; last != nil {
		id = last.ID
	}
	_, err := snapshot.Find(ctx, s.a.Snapshots, s.a.Settings.Cluster, id)
	if id == "" && errors.Is(err, snapshot.ErrNotFound) {
		return nil
	}
	return err
}

// about tells errors about a snapshot from those of reaching the store.
func about(err error) bool {
	return errors.Is(err, snapshot.ErrNotFound) || errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrIncomplete)
}

// note keeps in Consul why work with snapshots does not succeed, for everybody to see, and whether the store is to blame;
// nil: it did succeed.
func (s *snapshotter) note(ctx context.Context, err error, store bool) {
	old := s.seen().extra.SnapshotTrouble
	key := s.a.keys.SnapshotTrouble()
	if err == nil {
		if old != nil {
			s.put(ctx, "forget trouble with snapshots", election.Delete(key))
		}
		return
	}
	now := cluster.SnapshotTrouble{Node: s.a.Settings.Name, Why: oneSentence(err), At: time.Now().UTC().Truncate(time.Second),
		Store: store}
	if old != nil && old.Store && now.Store {
		if old.Why == now.Why {
			return
		}
		now.At = old.At
	}
	s.put(ctx, "note trouble with snapshots", election.Set(key, cluster.Encode(now)))
}

// put writes something that only people look at.
func (s *snapshotter) put(ctx context.Context, what string, op election.Op) {
	if _, _, err := s.persist(ctx, op); err != nil {
		s.a.Log.Debug(what, "err", err) //nolint:sloglint // the caller names what failed
	}
}

// persist runs a transaction that may run twice, until Consul answers; persistLimit bounds it.
func (s *snapshotter) persist(ctx context.Context, ops ...election.Op) (ok bool, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, persistLimit)
	defer cancel()
	for {
		wctx, cancel := context.WithTimeout(ctx, recordTimeout)
		ok, why, err = s.a.Store.Txn(wctx, ops...)
		cancel()
		if err == nil || ctx.Err() != nil || errors.Is(err, election.ErrDenied) || errors.Is(err, election.ErrRefused) {
			return ok, why, err
		}
		pause(ctx, snapshotLook)
	}
}

// oneSentence cuts an error to what fits a line.
func oneSentence(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:299]) + "…"
	}
	return text
}

// probe asks the store for the newest snapshot now and then, so that an outage, or a snapshot that somebody removed, is
// known before it is needed.
func (s *snapshotter) probe(ctx context.Context, v noticed) {
	if time.Since(s.probed) < snapshotProbe {
		return
	}
	s.probed = time.Now()
	pctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := s.look(pctx, v)
	if ctx.Err() != nil {
		return
	}
	if about(err) {
		s.a.Log.Warn("the newest snapshot cannot be used any more; a new one is taken", "id", v.extra.Snapshot.ID, "err", err)
		s.gone, err = v.extra.Snapshot.ID, nil
	}
	if t := v.extra.SnapshotTrouble; err != nil || t != nil && t.Store {
		s.note(ctx, err, true)
	}
}
