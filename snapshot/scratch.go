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
	if err := makeLikeParent(dir); err != nil {
		return "", err
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
// this process may be root while the server, who has to write there, is not. A
// predecessor may have been killed between the two steps. One that is of another
// user than root is as somebody wanted it.
func makeLikeParent(dir string) error {
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	mine, err := ownerOf(dir)
	if err != nil || os.Geteuid() != 0 || mine.Uid != 0 {
		return err
	}
	parent, err := ownerOf(filepath.Dir(dir))
	if err != nil || parent.Uid == 0 {
		return err
	}
	return os.Chown(dir, int(parent.Uid), int(parent.Gid))
}

func ownerOf(dir string) (*syscall.Stat_t, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: its owner is not told", dir)
	}
	return sys, nil
}
