package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/recovery"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// toEnd is the word for everything that was archived.
const toEnd = "end"

// recover writes a data directory for a point between snapshots.
func (v vault) recover(ctx context.Context, inv *cli.Invocation, o cli.SnapshotRestore, into string) error {
	const what = "recover to a point in time"
	target, err := targetOf(o)
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Next: "correct --to-gtid"}
	}
	if o.ID != "" {
		return &cli.Error{Code: cli.Usage, What: what, Why: "the point decides which snapshot is used", Next: "leave out " + o.ID + ", or --to-time and --to-gtid"}
	}
	mysqld, _, err := mysql.FindMysqld(ctx, o.Mysqld)
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Next: "install MySQL or name the binary with --mysqld"}
	}
	if err := emptyPlace(into); err != nil {
		return &cli.Error{Code: cli.Refused, What: what, Why: err.Error(), Next: "name another directory with --into, or remove what is there; nothing was changed"}
	}
	runAs := o.RunAs
	if runAs == "auto" {
		runAs = config.SystemUser()
	}
	scratch, done, err := scratchPlace("")
	if err != nil {
		return &cli.Error{What: what, Why: err.Error(), Next: "give another temporary directory with TMPDIR"}
	}
	defer done()
	bar := newMeter(inv)
	reading := v.reading()
	reading.Note = func(line string) { bar.end(); fmt.Fprintf(inv.Stderr, "the snapshot %s\n", line) }
	res, err := recovery.Run(ctx, recovery.Options{
		Store: v.store, Cluster: o.Cluster, Restore: reading, Target: target, Dest: into, Log: inv.Log,
		MySQL: mysql.Config{Dir: scratch, Mysqld: mysqld, User: runAs, Extra: o.Args},
		Say:   func(s string) { bar.say(s, 0, 0, plain) },
	})
	bar.end()
	if err != nil {
		return v.recoverError(ctx, what, into, err)
	}
	return printRecovered(inv, o, res, into)
}

func targetOf(o cli.SnapshotRestore) (snapshot.Target, error) {
	if o.ToGTID == "" || o.ToGTID == toEnd {
		return snapshot.Target{Time: o.ToTime}, nil
	}
	set, err := gtid.Parse(o.ToGTID)
	return snapshot.Target{GTIDs: &set}, err
}

// emptyPlace refuses a destination that holds anything, and takes an empty one away.
func emptyPlace(into string) error {
	err := os.Remove(into) // of a directory only if it is empty
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(filepath.Dir(into), 0o755)
	}
	return fmt.Errorf("%s is not an empty directory", into)
}

func (v vault) recoverError(ctx context.Context, what, into string, err error) error {
	e := &cli.Error{What: what, Why: err.Error(), Err: err}
	var u *recovery.UnreachableError
	switch {
	case errors.Is(err, recovery.ErrNoSnapshot):
		e.Next = "correct --store or --cluster"
	case errors.As(err, &u):
		e.Code, e.Next = cli.Refused, "nothing was written; choose another point"
		if !u.Reach.IsEmpty() {
			e.Next += fmt.Sprintf("; the most that can be reached is --to-gtid '%s'", u.Reach)
		}
	case errors.Is(err, snapshot.ErrBusy):
		return busy(what, err)
	default:
		return v.broken(ctx, what, err, whatIsLeft(into+".work", recovery.Begun(into)))
	}
	return e
}

// recoveredDoc is what a recovery came to, for tools.
type recoveredDoc struct {
	Snapshot     string    `json:"snapshot"`
	Into         string    `json:"into"`
	GTIDExecuted gtid.Set  `json:"gtid_executed"`
	Applied      int       `json:"applied"`
	Last         *markDoc  `json:"last,omitempty"` // the last archived transaction in it
	Next         *markDoc  `json:"next,omitempty"` // the first that was left out for its time
	MySQLVersion string    `json:"mysql_version"`
	SnapshotAt   time.Time `json:"snapshot_at"`
}

type markDoc struct {
	GTID gtid.Set  `json:"gtid"`
	At   time.Time `json:"at"`
}

func markOf(m snapshot.Mark) *markDoc {
	if m.GTID.IsEmpty() {
		return nil
	}
	return &markDoc{m.GTID, m.At}
}

func printRecovered(inv *cli.Invocation, o cli.SnapshotRestore, res recovery.Result, into string) error {
	m := res.Snapshot
	doc := recoveredDoc{m.ID, into, res.GTIDs, res.Applied, markOf(res.Last), markOf(res.Next), m.MySQLVersion, m.CreatedAt}
	if o.Output.Output == "json" {
		return writeJSON(inv.Stdout, doc)
	}
	fmt.Fprintf(inv.Stdout, "%s holds snapshot %s and %d archived transactions behind it\n", into, m.ID, res.Applied)
	if !res.GTIDs.IsEmpty() {
		fmt.Fprintf(inv.Stdout, "exactly   %s\n", res.GTIDs)
	}
	if doc.Last != nil {
		fmt.Fprintf(inv.Stdout, "last      %s, committed %s\n", doc.Last.GTID, doc.Last.At.Format(time.RFC3339Nano))
	}
	switch {
	case doc.Next != nil:
		fmt.Fprintf(inv.Stdout, "left out  %s, committed %s, and what follows it\n", doc.Next.GTID, doc.Next.At.Format(time.RFC3339Nano))
	case !o.ToTime.IsZero():
		fmt.Fprintf(inv.Stdout, "note      nothing in the archive was committed after %s: if the cluster went on, that is not known here\n", o.ToTime.Format(time.RFC3339Nano))
	}
	fmt.Fprintf(inv.Stdout, "next: start MySQL %s or newer on it, or let a new cluster begin with it: see autopilot-mysql snapshot restore --help\n", m.MySQLVersion)
	return nil
}
