package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBinlogFiles: the list grows with what is written and ends where the binary log ends.
func TestBinlogFiles(t *testing.T) {
	n := opsStart(t, "binlogs")
	ctx := procContext(t)
	procExec(t, n.db, "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; FLUSH BINARY LOGS; INSERT INTO t.t VALUES (1000001, REPEAT('x', 5000))")
	files, err := n.BinlogFiles(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 2)
	last := files[len(files)-1]
	end, err := n.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.Equal(t, end.File, last.Name)
	require.Equal(t, end.Pos, last.Size)
	require.Greater(t, last.Size, uint64(5000))
	require.WithinDuration(t, time.Now(), last.Modified, limit)
}

// TestRotateBinlog: at a server that follows, nothing is in the new file that a receiver would have to read past.
func TestRotateBinlog(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	p.exec("INSERT INTO t.t VALUES (1, 'before')")
	f.applies(p.st().Executed)
	before, err := f.BinlogFiles(ctx)
	require.NoError(t, err)
	executed := f.st().Executed

	require.NoError(t, f.RotateBinlog(ctx))
	after, err := f.BinlogFiles(ctx)
	require.NoError(t, err)
	require.Len(t, after, len(before)+1)
	st := f.st()
	require.True(t, st.SuperReadOnly)
	require.Equal(t, executed.String(), st.Executed.String(), "no transaction of its own")
	files, err := f.BinlogFilesHolding(ctx, executed)
	require.NoError(t, err)
	for _, file := range files {
		require.NotEqual(t, after[len(after)-1].Name, filepath.Base(file))
	}
}

// TestNewestBinlog: the last line of an index, however long the index is and however the line is written.
func TestNewestBinlog(t *testing.T) {
	dir := t.TempDir()
	index := filepath.Join(dir, "binlog.index")
	newest := func(text string) string {
		t.Helper()
		require.NoError(t, os.WriteFile(index, []byte(text), 0o600))
		path, err := newestBinlog("binlog.index", dir)
		require.NoError(t, err)
		all, err := binlogFiles(index, dir)
		require.NoError(t, err)
		if len(all) > 0 {
			require.Equal(t, all[len(all)-1], path)
		}
		return path
	}
	require.Empty(t, newest(""))
	require.Equal(t, filepath.Join(dir, "binlog.000001"), newest("./binlog.000001\n"))
	require.Equal(t, "/elsewhere/binlog.000002", newest("./binlog.000001\n/elsewhere/binlog.000002\n"))
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, "./binlog.%06d\n", i+1)
	}
	require.Equal(t, filepath.Join(dir, "binlog.100000"), newest(many.String()))
	long := "/" + strings.Repeat("d", longestPath-20) + "/binlog.000003"
	require.Equal(t, long, newest("./binlog.000002\n"+long+"\n"))
	_, err := newestBinlog("missing.index", dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}
