package mysql

import (
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
