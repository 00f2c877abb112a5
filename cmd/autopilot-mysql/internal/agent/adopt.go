package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// adoptedMarker lies in an adopted data directory from before it is put in place until the records name it: should that
// never come about, the data goes back to where it was, and is not what may be cleared away.
const adoptedMarker = "autopilot-adopted"

// adoptDir is where data lies that a node shall begin with: what an operator restored (snapshot restore --into D/adopt), or
// what another server left.
func (a *Agent) adoptDir() string { return filepath.Join(a.mycfg.Dir, "adopt") }

func (a *Agent) hasAdoptable() (bool, error) {
	_, err := os.Stat(filepath.Join(a.adoptDir(), "ibdata1"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// foreignData reports whether dir itself is the data directory of a MySQL server that is not ours.
func foreignData(dir string) bool {
	_, ours := os.Stat(filepath.Join(dir, "state.json"))
	_, data := os.Stat(filepath.Join(dir, "ibdata1"))
	return errors.Is(ours, os.ErrNotExist) && data == nil
}

// makeRoom moves the data directory that another server left at dir into dir/adopt: a rename within the volume, nothing is
// copied. ibdata1 goes last, so that a move that was interrupted is gone on with.
func makeRoom(dir string) error {
	what := "adopt " + dir
	if err := noServerOn(filepath.Join(dir, "ibdata1")); err != nil {
		return refuse(what, err.Error(), "shut that server down in order first; nothing was changed")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unusable(what, "cannot read it: "+cause(err), "give a directory this process may read and write with --datadir")
	}
	into := filepath.Join(dir, "adopt")
	if err := os.MkdirAll(into, 0o750); err != nil {
		return unusable(what, "cannot make room: "+cause(err), "correct the owner of the directory")
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); n != "adopt" && n != "lost+found" && n != "ibdata1" {
			names = append(names, n)
		}
	}
	for _, n := range append(names, "ibdata1") {
		if err := os.Rename(filepath.Join(dir, n), filepath.Join(into, n)); err != nil {
			return unusable(what, "cannot move "+n+": "+err.Error(), "it must lie on the same file system; start again, and it goes on")
		}
	}
	return errors.Join(syncDir(into), syncDir(dir))
}

// noServerOn is an error when another process holds InnoDB's lock on a data file.
func noServerOn(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing is written
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return fmt.Errorf("look for a lock: %w", err)
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("a server (pid %d) runs on it", lock.Pid)
	}
	return nil
}

// examine checks data that lies in adoptDir and gives it this cluster's accounts. A *Refusal says what to change.
func (a *Agent) examine(ctx context.Context, creds mysql.Credentials, say func(string)) (mysql.Adoptable, error) {
	say("looking at the data in " + a.adoptDir())
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	found, err := mysql.Adopt(ctx, a.mycfg, a.adoptDir(), creds)
	var no *mysql.NotAdoptableError
	switch {
	case errors.As(err, &no):
		return found, refuse("adopt "+a.adoptDir(), no.Error(), "nothing was changed")
	case errors.Is(err, mysql.ErrNoStart) && ctx.Err() == nil:
		return found, refuse("adopt "+a.adoptDir(), err.Error(),
			"it must have been shut down in order by MySQL 8.4 or later, not newer than the one here, and fit this node's options; nothing was changed")
	case err != nil:
		return found, err
	}
	// A new identity: what its server wrote before is everybody's history now.
	if err := os.Remove(filepath.Join(a.adoptDir(), "auto.cnf")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return found, fmt.Errorf("adopt data: %w", err)
	}
	return found, nil
}

// joinWith makes this node's data out of that in adoptDir, for a cluster that exists, if the primary's binary logs lead from
// there to the present. Nothing is copied. It runs beside the loop.
func (a *Agent) joinWith(ctx context.Context, creds mysql.Credentials, h roles.Node, clusterID string, say func(string)) (func(context.Context) error, error) {
	found, err := a.examine(ctx, creds, say)
	if err != nil {
		return nil, err
	}
	hctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	history, purged, err := mysql.HistoryOf(hctx, h.MySQL, creds, h.Inc.UUID())
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", h.Name, err)
	}
	what, otherwise := "adopt "+a.adoptDir(), "move it away to have this node get a copy of the primary's data; nothing was changed"
	if extra := found.Executed.Subtract(history); !extra.IsEmpty() {
		return nil, refuse(what, fmt.Sprintf("it holds transactions that the primary %s lacks: %s", h.Name, extra), otherwise)
	}
	if missing := purged.Subtract(found.Executed); !missing.IsEmpty() {
		return nil, refuse(what, fmt.Sprintf("the binary logs of the primary %s do not reach back to it, they lack %s; all servers of a replica set must be at the same GTID position, with gtid_mode=ON, when the first of them becomes a node",
			h.Name, missing), otherwise)
	}
	if err := a.markAdopted(); err != nil {
		return nil, err
	}
	a.Log.Info("this node begins with the data in its directory; nothing was copied", "dir", a.adoptDir(), "gtid", found.Executed.String())
	return func(context.Context) error { return a.install(clusterID, a.adoptDir()) }, nil
}

func (a *Agent) markAdopted() error {
	if err := writeDurably(filepath.Join(a.adoptDir(), adoptedMarker), nil); err != nil {
		return fmt.Errorf("mark adopted data: %w", err)
	}
	return nil
}

// keepAdopted is when the records name the data: from now on it is like any other node's.
func (a *Agent) keepAdopted() {
	if err := os.Remove(filepath.Join(a.mycfg.DataDir(), adoptedMarker)); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.Log.Warn("remove the mark of adopted data", "err", err)
	}
}

// giveBack moves adopted data that did not become a node's back to where it was.
func (a *Agent) giveBack() error {
	if _, err := os.Stat(filepath.Join(a.mycfg.DataDir(), adoptedMarker)); err != nil {
		return nil //nolint:nilerr // nothing of that kind
	}
	if err := os.Rename(a.mycfg.DataDir(), a.adoptDir()); err != nil {
		return fmt.Errorf("put adopted data back: %w", err)
	}
	return syncDir(a.mycfg.Dir)
}
