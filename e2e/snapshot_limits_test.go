package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// growthMiB is how much binary log TestSnapshots lets grow until a snapshot is due: far more than its writers write.
const growthMiB = 128

// takenAfterBinlog writes so much binary log that a snapshot is due, long before its time.
func takenAfterBinlog(t *testing.T, c *harness.Cluster, s snapshots) {
	t.Helper()
	d := c.WaitWhole(2)
	before := s.list()[0].ID // not the document's, which follows within moments
	db := c.RootDB(d.Primary)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), harness.ReadyLimit)
	defer cancel()
	_, err := db.ExecContext(ctx, "CREATE TABLE app.growth (b LONGBLOB)")
	require.NoError(t, err)
	grow := func() {
		_, err := db.ExecContext(ctx, "INSERT INTO app.growth VALUES (REPEAT('x', 1048576))")
		require.NoError(t, err)
	}
	for range growthMiB {
		grow()
	}
	// A node counts from when it first looks after the last snapshot, so a little more than the limit may be needed.
	waitFor(t, "a snapshot because of the binary log", func() bool { grow(); return s.list()[0].ID != before })
	said := false
	for _, n := range d.Nodes {
		said = said || strings.Contains(c.Log(n.Name), "so much binary log was written since the last one")
	}
	require.True(t, said, "the reason is in the log")
	c.Wait("the document to name it", harness.FailoverLimit, func(d harness.Document) bool { return d.Snapshot.ID == s.list()[0].ID })
}

// scratchDisk is the nodes' directory for clones, on a file system of its own if this user can make one.
type scratchDisk struct {
	t     *testing.T
	dir   string
	small bool // its size can be changed
}

// newScratch is as large as anybody needs it.
func newScratch(t *testing.T) scratchDisk {
	t.Helper()
	dir, err := os.MkdirTemp("", "scratch")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := scratchDisk{t: t, dir: dir}
	if os.Geteuid() != 0 {
		return s
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Logf("no file system of its own for the scratch directory: %s", out)
		return s
	}
	t.Cleanup(func() {
		waitFor(t, "the scratch directory to be unmounted", func() bool { return exec.Command("umount", dir).Run() == nil })
	})
	s.small = true
	return s
}

func (d scratchDisk) resize(size string) {
	d.t.Helper()
	out, err := exec.Command("mount", "-o", "remount,size="+size, d.dir).CombinedOutput()
	require.NoError(d.t, err, "%s", out)
}

// left are the files below it.
func (d scratchDisk) left() (files []string) {
	d.t.Helper()
	require.NoError(d.t, filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}))
	return files
}

// runsShort makes the directory too small for a clone: nothing is begun, the reason is said, the database does not care.
func (d scratchDisk) runsShort(c *harness.Cluster, s snapshots) {
	d.t.Helper()
	waitFor(d.t, "no scratch files", func() bool { return len(d.left()) == 0 })
	if !d.small {
		return
	}
	before := s.list()
	d.resize("48m")
	out, err := s.run("create", "--timeout", snapshotLimit.String())
	require.Error(d.t, err, out)
	require.Contains(d.t, out, "not enough space")
	require.Contains(d.t, out, d.dir)
	require.Empty(d.t, d.left())
	require.Equal(d.t, before, s.list())
	waitFor(d.t, "the database to be well", func() bool { return strings.Contains(s.status(), `"health": "well"`) })
	d.resize("4g")
	s.create()
	require.Greater(d.t, len(s.list()), len(before))
	waitFor(d.t, "no scratch files", func() bool { return len(d.left()) == 0 })
}
