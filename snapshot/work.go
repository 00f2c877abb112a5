package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// workSuffix is appended to a restore's destination for the directory the work
// is done in.
const workSuffix = ".partial"

// ErrBusy says that another restore into the same destination is under way.
var ErrBusy = errors.New("another restore into it is under way")

// work is the directory a restore works in: a lock, which ends with the process,
// the data so far, parts on their way, and the journal.
type work struct {
	dir  string
	lock *os.File
}

const lockName = "lock"

func (w *work) data() string    { return filepath.Join(w.dir, "data") }
func (w *work) parts() string   { return filepath.Join(w.dir, "parts") }
func (w *work) journal() string { return filepath.Join(w.dir, "journal") }

// openWork makes the directory for a destination, or takes what an earlier
// process has left. ErrBusy: somebody else is at work there.
func openWork(dest string) (*work, error) {
	w := &work{dir: dest + workSuffix}
	for {
		if err := os.Mkdir(w.dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		err := w.take()
		if err == nil {
			return w, nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // else its last owner removed it in this moment
			return nil, err
		}
	}
}

// take takes the lock. fs.ErrNotExist: the directory, or this lock, is gone.
func (w *work) take() (err error) {
	w.lock, err = TakeLock(filepath.Join(w.dir, lockName), os.O_RDWR|os.O_CREATE)
	if errors.Is(err, ErrBusy) {
		err = fmt.Errorf("%s: %w", w.dir, ErrBusy)
	}
	return err
}

// TakeLock locks a file or directory, opened with flag, until the returned file
// is closed or the process ends. ErrBusy: another process has it, or this one.
// fs.ErrNotExist: whoever had it removed it meanwhile, and what was locked is not
// what the name means now.
func TakeLock(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w", name, ErrBusy)
	}
	if err == nil {
		err = sameFile(f, name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sameFile demands that the open file is still the one of that name: who removed
// the name before we had the lock left us the lock of nothing.
func sameFile(f *os.File, name string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(name)
	if err == nil && !os.SameFile(mine, now) {
		err = fs.ErrNotExist
	}
	return err
}

// fresh tells whether nobody has worked there.
func (w *work) fresh() bool {
	entries, err := os.ReadDir(w.dir)
	return err == nil && len(entries) <= 1
}

// clear removes everything but the lock.
func (w *work) clear() error {
	entries, err := os.ReadDir(w.dir)
	for _, e := range entries {
		if err == nil && e.Name() != lockName {
			err = os.RemoveAll(filepath.Join(w.dir, e.Name()))
		}
	}
	return err
}

// remove removes all of it and gives the lock back. The lock goes last: what
// comes after it may be somebody else's.
func (w *work) remove() error {
	err := w.clear()
	if err == nil {
		err = os.Remove(w.lock.Name())
	}
	if err == nil {
		if err = os.Remove(w.dir); errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
			err = nil // the next one has begun
		}
	}
	w.leave()
	return err
}

// leave gives the lock back and leaves the work to the next process.
func (w *work) leave() { _ = w.lock.Close() }

// begin makes the directory one for the work on m from its beginning.
func (w *work) begin(m Manifest) (*journal, error) {
	if err := w.clear(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(w.data(), 0o750); err != nil {
		return nil, err
	}
	j, err := newJournal(w.journal(), m)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(syncPath(w.dir), syncPath(filepath.Dir(w.dir))); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// goOn takes up the work on m that an earlier process has left. The error says in
// words why that cannot be.
func (w *work) goOn(m Manifest) (*journal, journalLine, error) {
	j, last, err := reopenJournal(w.journal(), m)
	if err != nil {
		return nil, last, err
	}
	if err := w.holds(last.place); err != nil {
		return nil, last, errors.Join(err, j.Close())
	}
	return j, last, nil
}

// holds demands what can be seen at a glance of what the journal says is there.
func (w *work) holds(at place) error {
	root, err := os.OpenRoot(w.data())
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only looked at
	if at.File == nil {
		return nil
	}
	st, err := root.Lstat(string(at.File.Name))
	if err == nil && (!st.Mode().IsRegular() || st.Size() < at.File.At) {
		err = fmt.Errorf("%s has %d bytes, and should have %d", at.File.Name, st.Size(), at.File.At)
	}
	return err
}

// used is how much of the disk the data takes so far, in bytes.
func (w *work) used() (sum int64, err error) {
	err = filepath.WalkDir(w.data(), func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += sys.Blocks * 512
		}
		return nil
	})
	return sum, err
}

// CleanRestore removes what a Restore into destDir that was killed or interrupted
// has left, if nobody shall go on with it. ErrBusy: somebody is at it.
func CleanRestore(destDir string) error {
	dest := filepath.Clean(destDir)
	if !Begun(dest) {
		return nil
	}
	w, err := openWork(dest)
	if err == nil {
		err = w.remove()
	}
	if err != nil {
		return fmt.Errorf("remove what is left of a restore: %w", err)
	}
	return nil
}

// Begun tells whether there is work of a restore into destDir, which the next
// one of the same snapshot goes on with.
func Begun(destDir string) bool {
	_, err := os.Lstat(filepath.Clean(destDir) + workSuffix)
	return err == nil
}
