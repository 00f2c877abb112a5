package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/proof"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// snapshotRestore writes a data directory from the newest undamaged snapshot, or from the one named.
func snapshotRestore(ctx context.Context, inv *cli.Invocation, o cli.SnapshotRestore) error {
	const what = "restore snapshot"
	v, err := openVault(what, &o.Common)
	if err != nil {
		return err
	}
	into, err := filepath.Abs(o.Into)
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Next: "correct --into"}
	}
	if !o.ToTime.IsZero() || o.ToGTID != "" {
		return v.recover(ctx, inv, o, into)
	}
	list, err := v.pick(ctx, inv, what, o.Cluster, o.ID)
	if err != nil {
		return err
	}
	if err := oneCluster(what, list); err != nil {
		return err
	}
	m, err := v.restoreFirst(ctx, inv, list, o.ID != "", into)
	if err != nil {
		return err
	}
	if o.Output.Output == "json" {
		return writeJSON(inv.Stdout, struct {
			Snapshot snapshotDoc `json:"snapshot"`
			Into     string      `json:"into"`
		}{docOf(m), into})
	}
	fmt.Fprintf(inv.Stdout, "%s holds snapshot %s of %s: %d files, %s, at least %s\n", into, m.ID, m.CreatedAt.Format(time.RFC3339), m.Files, show.Size(m.Bytes), m.GTIDLower)
	fmt.Fprintf(inv.Stdout, "next: give it to the server's user, then start MySQL %s or newer on it: mysqld --datadir=%s --skip-replica-start\n", m.MySQLVersion, into)
	return nil
}

// oneCluster refuses to choose between two clusters that had the same name.
func oneCluster(what string, list []snapshot.Manifest) error {
	for _, m := range list {
		if m.ClusterID != list[0].ClusterID {
			return &cli.Error{Code: cli.Refused, What: what, Why: fmt.Sprintf("the store holds snapshots of two clusters of this name (%s of %s, %s of %s)",
				list[0].ID, list[0].ClusterID, m.ID, m.ClusterID), Next: "name the snapshot you mean; see: autopilot-mysql snapshot list --output json"}
		}
	}
	return nil
}

// restoreFirst restores the first snapshot of the list that is undamaged.
func (v vault) restoreFirst(ctx context.Context, inv *cli.Invocation, list []snapshot.Manifest, named bool, into string) (snapshot.Manifest, error) {
	var damaged []string
	for _, m := range list {
		if m.Verified != nil && !m.Verified.OK && !named {
			damaged = append(damaged, m.ID+" (its verification failed: "+m.Verified.Why+")")
			fmt.Fprintf(inv.Stderr, "passed over: snapshot %s: its verification failed: %s\n", m.ID, m.Verified.Why)
			continue
		}
		err := v.restoreOne(ctx, inv, m, into)
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, snapshot.ErrExists):
			return m, &cli.Error{Code: cli.Refused, What: "restore snapshot", Why: into + " is not empty", Err: err, Next: "name another directory with --into, or remove what is there; nothing was changed"}
		case errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrIncomplete):
			damaged = append(damaged, err.Error())
			fmt.Fprintf(inv.Stderr, "passed over: %s\n", err)
		case errors.Is(err, snapshot.ErrBusy):
			return m, busy("restore snapshot", err)
		default:
			return m, v.broken(ctx, "restore snapshot", err, whatIsLeft(into+".partial", snapshot.Begun(into)))
		}
	}
	return snapshot.Manifest{}, &cli.Error{What: "restore snapshot", Why: "no snapshot is undamaged: " + strings.Join(damaged, "; "), Next: "nothing was written"}
}

// whatIsLeft tells what a run that was broken off has left, and what the next one makes of it.
func whatIsLeft(where string, begun bool) string {
	if begun {
		return "the next run goes on where it was (to give it up, remove " + where + ")"
	}
	return "nothing is left of it"
}

// busy says that somebody else restores into the same directory.
func busy(what string, err error) error {
	return &cli.Error{Code: cli.Refused, What: what, Why: err.Error(), Err: err, Next: "wait until it has ended, or name another directory with --into; nothing was changed"}
}

func (v vault) restoreOne(ctx context.Context, inv *cli.Invocation, m snapshot.Manifest, into string) error {
	bar := newMeter(inv)
	defer bar.end()
	o := v.reading()
	o.Note = func(line string) { bar.end(); fmt.Fprintf(inv.Stderr, "snapshot %s %s\n", m.ID, line) }
	o.Progress = func(done, total int64) { bar.say("restoring "+m.ID, done, total, show.Size) }
	return snapshot.Restore(ctx, v.store, m, into, o)
}

// snapshotVerify proves a snapshot with a scratch server of this machine.
func snapshotVerify(ctx context.Context, inv *cli.Invocation, o cli.SnapshotVerify) error {
	const what = "verify snapshot"
	v, err := openVault(what, &o.Common)
	if err != nil {
		return err
	}
	mysqld, _, err := mysql.FindMysqld(ctx, o.Mysqld)
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Next: "install MySQL or name the binary with --mysqld"}
	}
	list, err := v.pick(ctx, inv, what, o.Cluster, o.ID)
	if err != nil {
		return err
	}
	dir, done, err := scratchPlace(o.Scratch)
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Next: "give another directory with --scratch"}
	}
	defer done()
	runAs := o.RunAs
	if runAs == "auto" {
		runAs = config.SystemUser()
	}
	bar := newMeter(inv)
	found, err := proof.Verify(ctx, v.store, list[0], proof.Options{
		Dir: filepath.Join(dir, "v"), Mysqld: mysqld, RunAs: runAs, Extra: o.Args, By: hostName(), Restore: v.reading(),
		Progress: func(doing string, done, total int64) {
			unit := show.Size
			if strings.HasPrefix(doing, "checking") {
				unit = plain
			}
			bar.say(doing, done, total, unit)
		},
		Log: func(line string) { inv.Log.Debug("scratch mysqld", "line", line) },
	})
	bar.end()
	if err != nil {
		return v.broken(ctx, what, err, "this says nothing about the snapshot")
	}
	tellVerified(ctx, inv, &o.Common, list[0], found)
	return printVerified(inv, o, list[0], found)
}

func printVerified(inv *cli.Invocation, o cli.SnapshotVerify, m snapshot.Manifest, v snapshot.Verification) error {
	if o.Output.Output == "json" {
		m.Verified = &v
		if err := writeJSON(inv.Stdout, docOf(m)); err != nil {
			return err
		}
	}
	if !v.OK {
		return &cli.Error{What: "verify snapshot", Why: fmt.Sprintf("%s is damaged: %s", m.ID, v.Why), Next: "take a new one: autopilot-mysql snapshot create"}
	}
	if o.Output.Output != "json" {
		fmt.Fprintf(inv.Stdout, "%s is good: MySQL %s read %d tables with %d rows of it in %.1f s; it holds exactly %s\n", m.ID, v.Version, v.Tables, v.Rows, v.Seconds, v.GTIDExecuted)
	}
	return nil
}

// tellVerified tells the cluster, if there is one that can be reached: the verdict lies in the store anyway.
func tellVerified(ctx context.Context, inv *cli.Invocation, c *config.Common, m snapshot.Manifest, v snapshot.Verification) {
	client, err := consulClient(c, statusTimeout)
	if err != nil {
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	keys := cluster.KeysOf(c.Cluster)
	view, err := client.Store().Read(ctx, keys.Prefix, true)
	if err != nil {
		inv.Log.Debug("tell cluster about verification", "err", err)
		return
	}
	state, extra, err := keys.Parse(view)
	if err != nil || state.Cluster == nil || state.Cluster.ID != m.ClusterID {
		return
	}
	record := cluster.Encode(extra.VerifiedNow(m.ID, m.CreatedAt, v))
	if _, _, err := client.Store().Txn(ctx, election.Set(keys.SnapshotVerified(), record)); err != nil {
		inv.Log.Debug("tell cluster about verification", "err", err)
	}
}

// scratchPrefix begins the names of a command's scratch directories.
const scratchPrefix = "autopilot-verify-"

// scratchPlace makes a directory that is held by a lock while the command runs, so that the next command removes what a
// killed one has left.
func scratchPlace(parent string) (dir string, done func(), err error) {
	if parent == "" {
		parent = os.TempDir()
	}
	if parent, err = filepath.Abs(parent); err != nil {
		return "", nil, err
	}
	old, err := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, d := range old {
		if f, err := snapshot.TakeLock(d, os.O_RDONLY); err == nil {
			_ = os.RemoveAll(d)
			_ = f.Close()
		}
	}
	if dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the server's user has to get through, nobody else to look
		return "", nil, err
	}
	f, err := snapshot.TakeLock(dir, os.O_RDONLY)
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir); _ = f.Close() }, nil
}
