package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// workSuffix is appended to the destination for the directory the work is done in.
const workSuffix = ".work"

// dataOf is where the snapshot is restored to.
func dataOf(dest string) string { return filepath.Join(dest+workSuffix, "data") }

// Begun tells whether a restore of the snapshot was interrupted that a Run could go on with.
func Begun(dest string) bool { return snapshot.Begun(dataOf(dest)) }

// Clean removes what a Run that was killed or interrupted left beside dest, if nobody shall go on with it.
// snapshot.ErrBusy: somebody is at it.
func Clean(dest string) error {
	if _, err := os.Lstat(dest + workSuffix); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := openWork(dest)
	if err != nil {
		return err
	}
	return errors.Join(wipe(dest), lock.Close())
}

// openWork makes the work directory, or takes over what another process has left there. It is ours until the file is closed.
func openWork(dest string) (*os.File, error) {
	dir := dest + workSuffix
	for {
		if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) { // the server's user has to get through
			return nil, err
		}
		f, err := snapshot.TakeLock(dir, os.O_RDONLY)
		if err == nil {
			if err := sweep(dest); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // else its last owner removed it in this moment
			return nil, err
		}
	}
}

// sweep removes what is of no use for the next Run: all but an interrupted restore.
func sweep(dest string) error {
	keep := filepath.Base(dataOf(dest)) + "." // what the restore puts beside its destination
	entries, err := os.ReadDir(dest + workSuffix)
	for _, e := range entries {
		if n := e.Name(); err == nil && !strings.HasPrefix(n, keep) {
			err = os.RemoveAll(filepath.Join(dest+workSuffix, n))
		}
	}
	return err
}

// wipe removes everything. The directory itself goes last.
func wipe(dest string) error {
	if err := os.RemoveAll(dest + workSuffix); err != nil {
		return fmt.Errorf("clear %s: %w", dest+workSuffix, err)
	}
	return nil
}
