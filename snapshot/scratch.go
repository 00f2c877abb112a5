package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// scratchPrefix begins the names of clones in the scratch directory.
const scratchPrefix = "clone-"

// spoolPrefix begins the names of spool files, for the instant they have one.
const spoolPrefix = "part-"

// prepareScratch makes the directory, removes what a killed predecessor left
// in it, looks for room, and returns the path for the clone.
func prepareScratch(o CreateOptions, id string) (string, error) {
	dir := o.ScratchDir
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%q is not an absolute path", dir)
	}
	if err := CleanScratch(dir); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeLikeParent(dir); err != nil {
			return "", err
		}
	}
	if err := checkSpace(dir, needed(o.DataBytes, o.PartBytes, partUploads+1)); err != nil {
		return "", err
	}
	return filepath.Join(dir, scratchPrefix+id), nil
}

// CleanScratch removes what a Create that was killed left in its ScratchDir, and
// nothing else. A directory that does not exist is clean.
func CleanScratch(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), scratchPrefix) || strings.HasPrefix(e.Name(), spoolPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeLikeParent makes a directory that belongs to whom its parent belongs:
// this process may be root while the server, who has to write there, is not.
func makeLikeParent(dir string) error {
	st, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return os.Chown(dir, int(sys.Uid), int(sys.Gid))
	}
	return nil
}
