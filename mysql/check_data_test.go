package mysql

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCheckData looks at clones of a running server: a good one, one with a
// damaged page, one whose table is cut short, and one no server starts on.
func TestCheckData(t *testing.T) {
	n := opsStart(t, "check")
	ctx := procContext(t)
	procExec(t, n.db, "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; SET cte_max_recursion_depth=20000; "+
		"INSERT INTO t.t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) SELECT i, REPEAT('x', 200) FROM n")
	cloned := filepath.Join(n.cfg.Dir, "cloned")
	before, err := n.CloneLocal(ctx, cloned)
	require.NoError(t, err)
	settle(t, n.cfg, cloned)

	look := func(spoil func(dir string)) (DataReport, error) {
		c := Config{Dir: filepath.Join(n.cfg.Dir, "look"), Mysqld: n.cfg.Mysqld, Small: true}
		require.NoError(t, ScratchDir(c))
		data := filepath.Join(c.Dir, "data")
		copyTree(t, cloned, data)
		spoil(data)
		last := -1
		r, err := CheckData(ctx, c, data, func(done, total int) { require.LessOrEqual(t, done, total); last = done })
		if err == nil && len(r.Problems) == 0 {
			require.Equal(t, r.Tables, last)
		}
		return r, err
	}
	good, err := look(func(string) {})
	require.NoError(t, err)
	require.Empty(t, good.Problems)
	require.GreaterOrEqual(t, good.Rows, int64(5000))
	require.Greater(t, good.Tables, 20)
	require.True(t, good.Executed.Contains(before), "%s, %s", good.Executed, before)

	ibd := func(dir string) string { return filepath.Join(dir, "t", "t.ibd") }
	bad, err := look(func(dir string) {
		data, err := os.ReadFile(ibd(dir))
		require.NoError(t, err)
		for i := 10 * 16384; i < len(data)-100; i += 16384 {
			data[i+3000] ^= 0xff
		}
		require.NoError(t, os.WriteFile(ibd(dir), data, 0o640))
	})
	require.NoError(t, err)
	require.NotEmpty(t, bad.Problems)
	require.Contains(t, strings.Join(bad.Problems, "; "), "`t`.`t`")

	bad, err = look(func(dir string) { require.NoError(t, os.Remove(ibd(dir))) })
	require.NoError(t, err)
	require.Contains(t, strings.Join(bad.Problems, "; "), "`t`.`t`")

	_, err = look(func(dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, "ibdata1"), 1<<16)) })
	require.ErrorIs(t, err, ErrNoStart)
}

// settle starts a server on a clone and ends it gracefully: until then the redo
// log holds all of the new pages, and would repair what the test damages.
func settle(t *testing.T, of Config, data string) {
	t.Helper()
	s := scratch{Config: of, dir: filepath.Join(of.Dir, "settle")}
	require.NoError(t, os.Mkdir(s.dir, 0o750))
	server, err := startChild(exec.CommandContext(procContext(t), s.Mysqld, s.checkArgs(data)...), &lineTail{})
	require.NoError(t, err)
	s.server = server
	defer server.stop()
	require.NoError(t, s.ready(procContext(t)))
	db := s.db()
	defer db.Close()
	procExec(t, db, "SHUTDOWN")
	select {
	case <-server.done:
	case <-procContext(t).Done():
		require.Fail(t, "mysqld does not end")
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
}
