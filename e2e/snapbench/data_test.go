package snapbench

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	tables = 8
	// rowBytes is about what a row of sysbench's table takes on disk, its index included.
	rowBytes = 256
	batch    = 1000
)

// fill makes sysbench's tables, sbtest1 … sbtest8, of so many MiB together and returns the bytes of their files. The rows
// of the first are inserted; the others are copies of its file, which saves minutes. Nothing of it is in the binary log:
// other nodes get it with the snapshot.
func fill(t testing.TB, c *harness.Cluster, mib int) (bytes int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	db := c.RootDB(c.Doc().Primary)
	defer db.Close()
	conn := unlogged(ctx, t, db)
	defer conn.Close()
	do := func(statement string) {
		t.Helper()
		_, err := conn.ExecContext(ctx, statement)
		require.NoError(t, err, statement)
	}
	do("CREATE DATABASE sbtest")
	for i := 1; i <= tables; i++ {
		do(fmt.Sprintf("CREATE TABLE sbtest.sbtest%d (id INT NOT NULL PRIMARY KEY, k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', KEY k_1 (k))", i))
	}
	rows := mib << 20 / tables / rowBytes
	do("ALTER INSTANCE DISABLE INNODB REDO_LOG")
	insert(ctx, t, db, rows)
	do("ALTER INSTANCE ENABLE INNODB REDO_LOG")
	var dir string
	require.NoError(t, conn.QueryRowContext(ctx, "SELECT @@datadir").Scan(&dir))
	dir = filepath.Join(dir, "sbtest")
	for i := 2; i <= tables; i++ {
		do(fmt.Sprintf("ALTER TABLE sbtest.sbtest%d DISCARD TABLESPACE", i))
	}
	do("FLUSH TABLES sbtest.sbtest1 FOR EXPORT")
	for i := 2; i <= tables; i++ {
		for _, ext := range []string{".ibd", ".cfg"} {
			n := copyFile(t, filepath.Join(dir, "sbtest1"+ext), filepath.Join(dir, fmt.Sprintf("sbtest%d%s", i, ext)))
			if ext == ".ibd" {
				bytes = n * tables
			}
		}
	}
	do("UNLOCK TABLES")
	for i := 2; i <= tables; i++ {
		do(fmt.Sprintf("ALTER TABLE sbtest.sbtest%d IMPORT TABLESPACE", i))
		require.NoError(t, os.Remove(filepath.Join(dir, fmt.Sprintf("sbtest%d.cfg", i))))
	}
	var n int
	require.NoError(t, conn.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM sbtest.sbtest%d", tables)).Scan(&n))
	require.Equal(t, rows/batch*batch, n)
	return bytes
}

// unlogged is a session whose statements no binary log has.
func unlogged(ctx context.Context, t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(ctx)
	require.NoError(t, err)
	_, err = conn.ExecContext(ctx, "SET SESSION sql_log_bin=0, unique_checks=0")
	require.NoError(t, err)
	return conn
}

// insert fills the first table from two sides.
func insert(ctx context.Context, t testing.TB, db *sql.DB, rows int) {
	t.Helper()
	const sides = 2
	var g errgroup.Group
	for side := range sides {
		conn := unlogged(ctx, t, db)
		g.Go(func() error {
			defer conn.Close()
			r := rand.New(rand.NewPCG(uint64(side), 1))
			for i := side; i < rows/batch; i += sides {
				if _, err := conn.ExecContext(ctx, rowsFrom(r, i*batch, rows)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}

// rowsFrom is one statement with the next rows, of sysbench's making: groups of eleven random digits.
func rowsFrom(r *rand.Rand, first, rows int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO sbtest.sbtest1 VALUES ")
	groups := func(count int) {
		for i := range count {
			if i > 0 {
				b.WriteByte('-')
			}
			fmt.Fprintf(&b, "%011d", r.Int64N(100_000_000_000))
		}
	}
	for i := range batch {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "(%d,%d,'", first+i+1, r.IntN(rows)+1)
		groups(10)
		b.WriteString("','")
		groups(5)
		b.WriteString("')")
	}
	return b.String()
}

func copyFile(t testing.TB, from, to string) int64 {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	require.NoError(t, err)
	n, err := io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	return n
}
