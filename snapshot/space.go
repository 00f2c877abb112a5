package snapshot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoSpace says that the file system does not have what the work needs. Nothing was begun.
var ErrNoSpace = errors.New("not enough space")

// reserve is left free beside what the work itself needs, and so is a twentieth
// of that: the data directory of a living server may share the file system.
const reserve = 64 << 20

// needed is what has to be free for data of this size and the given number of
// parts on their way.
func needed(data, partBytes int64, parts int) int64 {
	return data + data/20 + int64(parts)*partBytes + reserve
}

// checkSpace refuses work for which the file system of dir has no room.
func checkSpace(dir string, needs int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look for free space in %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < needs {
		return fmt.Errorf("%w: %s has %d MiB free, %d MiB are needed", ErrNoSpace, dir, free>>20, needs>>20+1)
	}
	return nil
}

// unnamedFile makes a file that vanishes with the process, in memory if no
// directory is given.
func unnamedFile(dir string) (*os.File, error) {
	if dir == "" {
		fd, err := unix.MemfdCreate("snapshot part", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("allocate memory for a part: %w", err)
		}
		return os.NewFile(uintptr(fd), "part"), nil
	}
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err == nil {
		return f, nil
	}
	// Not every file system can do that.
	if f, err = os.CreateTemp(dir, spoolPrefix+"*"); err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
