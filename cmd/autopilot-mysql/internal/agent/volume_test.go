package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVolumeHangs: a look that does not end is told of while it hangs, and the answer counts again when it has come.
func TestVolumeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		v := newVolume("/d", func() {})
		v.probe = func() (string, error) { return "", <-answer }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); v.run(ctx) }()
		time.Sleep(volumeHangs / 2)
		require.Empty(t, v.unfit())
		time.Sleep(volumeHangs)
		require.Equal(t, "a write to /d does not end", v.unfit())
		answer <- nil
		synctest.Wait()
		require.Empty(t, v.unfit())
		time.Sleep(volumeEvery)
		answer <- errors.New("writing to /d fails: read-only file system")
		synctest.Wait()
		require.Contains(t, v.unfit(), "read-only")
		cancel()
		close(answer)
		<-ended
	})
}

// TestVolumeFull looks at a real, small file system: full is full, and a little freed space does not make it usable.
func TestVolumeFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount file systems")
	}
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	t.Cleanup(func() {
		out, err := exec.Command("umount", dir).CombinedOutput()
		require.NoError(t, err, string(out))
	})
	v := newVolume(dir, func() {})
	look := func() string {
		say, err := v.look()
		require.NoError(t, err)
		v.set(say)
		return say
	}
	require.Empty(t, look())
	fill := filepath.Join(dir, "fill")
	out, err = exec.Command("fallocate", "-l", "398M", fill).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "no space is left on "+dir, look())
	require.NoError(t, os.Truncate(fill, 370<<20))
	require.NotEmpty(t, look(), "30 MiB are not enough to come back to")
	require.NoError(t, os.Truncate(fill, 300<<20))
	require.Empty(t, look())

	out, err = exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, dir+" is read-only", look())
}

// TestSaveDoesNotHang: the loop goes on although the disk does not, and nothing is written behind the back of a write that
// has not ended.
func TestSaveDoesNotHang(t *testing.T) {
	dir := t.TempDir()
	d := &disk{dir: dir}
	d.hangs = make(chan error, 1)
	require.ErrorContains(t, d.save(func(s *diskState) { s.Promised = 7 }), "has still not ended")
	require.Zero(t, d.s.Promised, "what is not durable is not acted on")
	d.hangs <- nil
	require.NoError(t, d.save(func(s *diskState) { s.Promised = 8 }))
	require.Equal(t, uint64(8), d.s.Promised)
}
