package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Volumes are file systems of their own for the nodes of a playground, so that a disk can be filled, frozen or broken.
type Volumes struct {
	t    testing.TB
	c    *Cluster
	dirs map[string]string // node → mount point
	held map[string]bool   // frozen ones
}

// volumeSize holds a small server, a copy of it while a snapshot is taken, and some writes.
const volumeSize = "700M"

// NewVolumes mounts one for each node; call it before Begin. Only root may.
func NewVolumes(t testing.TB, c *Cluster, nodes ...string) *Volumes {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount file systems")
	}
	v := &Volumes{t: t, c: c, dirs: map[string]string{}, held: map[string]bool{}}
	t.Cleanup(v.close)
	for _, n := range nodes {
		dir := filepath.Join(c.Dir, "nodes", n)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		img := filepath.Join(c.Dir, n+".img")
		v.must("truncate", "-s", volumeSize, img)
		v.must("mkfs.ext4", "-q", "-m", "0", img)
		v.must("mount", "-o", "loop,errors=remount-ro", img, dir)
		v.dirs[n] = dir
	}
	return v
}

func (v *Volumes) must(command string, args ...string) {
	v.t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	require.NoErrorf(v.t, err, "%s %v: %s", command, args, out)
}

// Fill leaves no block free.
func (v *Volumes) Fill(node string) {
	v.t.Helper()
	f, err := os.OpenFile(v.filler(node), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(v.t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 512} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		require.ErrorContains(v.t, err, "no space")
		err = nil
	}
}

func (v *Volumes) filler(node string) string { return filepath.Join(v.dirs[node], ".filler") }

// Free undoes Fill.
func (v *Volumes) Free(node string) { v.t.Helper(); require.NoError(v.t, os.Remove(v.filler(node))) }

// Freeze makes every write wait until Thaw.
func (v *Volumes) Freeze(node string) {
	v.t.Helper()
	v.held[node] = true
	v.must("fsfreeze", "-f", v.dirs[node])
}

// Thaw undoes Freeze.
func (v *Volumes) Thaw(node string) {
	v.t.Helper()
	v.must("fsfreeze", "-u", v.dirs[node])
	v.held[node] = false
}

// Break reports an error of the file system, after which the kernel makes it read-only.
func (v *Volumes) Break(node string) {
	v.t.Helper()
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", v.dirs[node]).Output()
	require.NoError(v.t, err)
	device := filepath.Base(strings.TrimSpace(string(out)))
	require.NoError(v.t, os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("a disk that broke"), 0o200))
}

// Repair undoes Break. Nothing of the node may be running.
func (v *Volumes) Repair(node string) {
	v.t.Helper()
	img := filepath.Join(v.c.Dir, node+".img")
	require.NoError(v.t, v.unmount(v.dirs[node]))
	out, err := exec.Command("e2fsck", "-fy", img).CombinedOutput()
	var exit *exec.ExitError
	require.Truef(v.t, err == nil || errors.As(err, &exit) && exit.ExitCode() < 4, "e2fsck: %v: %s", err, out)
	v.must("mount", "-o", "loop,errors=remount-ro", img, v.dirs[node])
}

// close ends the playground first: nothing must work in what is unmounted.
func (v *Volumes) close() {
	for node, is := range v.held {
		if is {
			v.Thaw(node)
		}
	}
	if _, err := os.Stat(filepath.Join(v.c.Dir, "plan.json")); err == nil {
		if _, err := v.c.Command(DownLimit, "playground", "down", "--dir", v.c.Dir); err != nil {
			v.t.Errorf("take the playground down: %v", err)
		}
	}
	for node, dir := range v.dirs {
		if err := v.unmount(dir); err != nil {
			v.t.Errorf("unmount the volume of %s: %v", node, err)
		}
	}
}

func (v *Volumes) unmount(dir string) error {
	var err error
	for range 50 { // a process that has just ended may hold it for a moment
		var out []byte
		if out, err = exec.Command("umount", dir).CombinedOutput(); err == nil {
			return nil
		}
		err = fmt.Errorf("%w: %s", err, out)
		time.Sleep(100 * time.Millisecond)
	}
	return errors.Join(err, exec.Command("umount", "-l", dir).Run())
}
