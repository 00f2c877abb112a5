package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of the look at the node's volume.
const (
	// volumeEvery is the pause between two looks.
	volumeEvery = 2 * time.Second
	// volumeHangs is how long a small write may take before the disk counts as not answering.
	volumeHangs = 4 * time.Second
	// fullBelow is when a volume counts as full: mysqld writes its binary log in larger pieces than a few pages.
	fullBelow = 4 << 20
	// freeAbove is when a volume that was full counts as usable again. Without the distance a node would come back to a disk
	// that a restart of mysqld has just freed a little of.
	freeAbove = 64 << 20
)

// volume knows whether the node's directory can be written to. It looks from a goroutine of its own, because a look at a
// disk that does not answer does not end. Safe for concurrent use.
type volume struct {
	dirs  []string // the node directory first: the one that is written to
	probe func() (string, error)
	wake  func()

	mu  sync.Mutex
	say string // why it cannot be used; "" when it can
}

func newVolume(dir string, wake func()) *volume {
	v := &volume{dirs: []string{dir, filepath.Join(dir, "data")}, wake: wake}
	v.probe = v.look
	return v
}

// unfit is why the volume cannot be written to; "" when it can.
func (v *volume) unfit() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.say
}

func (v *volume) set(say string) {
	v.mu.Lock()
	changed := v.say != say
	v.say = say
	v.mu.Unlock()
	if changed {
		v.wake()
	}
}

// run looks again and again until ctx ends. A look that hangs is told of while it hangs, and is never begun twice.
func (v *volume) run(ctx context.Context) {
	for ctx.Err() == nil {
		done := make(chan string, 1)
		go func() {
			say, err := v.probe()
			if err != nil {
				say = err.Error()
			}
			done <- say
		}()
		hangs := time.NewTimer(volumeHangs)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				hangs.Stop()
				return
			case <-hangs.C:
				v.set("a write to " + v.dirs[0] + " does not end")
			case say := <-done:
				v.set(say)
				waiting = false
			}
		}
		hangs.Stop()
		pause(ctx, volumeEvery)
	}
}

// look asks the file system, and writes a little. The answer is a sentence for operators; "" is well.
func (v *volume) look() (string, error) {
	need := uint64(fullBelow)
	if v.unfit() != "" {
		need = freeAbove
	}
	for _, dir := range v.dirs {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			if errors.Is(err, syscall.ENOENT) { // no data yet
				continue
			}
			return "", fmt.Errorf("the file system of %s does not answer: %w", dir, err)
		}
		switch {
		case st.Flags&unix.ST_RDONLY != 0:
			return dir + " is read-only", nil
		case st.Blocks > 0 && st.Bavail*uint64(st.Bsize) < min(need, st.Blocks*uint64(st.Bsize)/4): // of a tiny volume a quarter is enough
			return "no space is left on " + dir, nil
		}
	}
	return "", touch(filepath.Join(v.dirs[0], ".disk-probe"))
}

// touch writes a small file and makes it durable.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing to %s fails: %s", filepath.Dir(path), cause(err))
	}
	return nil
}
