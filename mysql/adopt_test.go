package mysql

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAdopt: data of a server that is not ours is looked at, refused with what to change, and otherwise given the cluster's
// accounts; its history stays what it was.
func TestAdopt(t *testing.T) {
	c := procFresh(t) // initialised, and nothing of ours in it
	ctx := procContext(t)
	theirs := c // our own options would not let such a table be made
	theirs.Extra = []string{"--disabled-storage-engines="}
	stop := procStart(t, theirs)
	root := procDB(t, c, "root", "")
	procExec(t, root, "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; CREATE DATABASE shop; CREATE TABLE shop.t (i INT PRIMARY KEY); INSERT INTO shop.t VALUES (1); "+
		"CREATE TABLE shop.old (i INT) ENGINE=MyISAM; CREATE USER repl_admin@'%'; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1 FOR CHANNEL 'other'")
	end := func() {
		t.Helper()
		procExec(t, root, "SHUTDOWN")
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(c.Dir, "run", "mysqld.pid"))
			return os.IsNotExist(err)
		}, limit, 20*time.Millisecond)
		stop()
	}
	executed := procValue(t, root, "SELECT @@GLOBAL.gtid_executed")
	end()

	var no *NotAdoptableError
	_, err := Adopt(ctx, c, c.DataDir(), procCreds)
	require.ErrorAs(t, err, &no)
	require.Len(t, no.Problems, 3)
	require.Contains(t, err.Error(), "shop.old (MyISAM): only InnoDB")
	require.Contains(t, err.Error(), "replication channels other")
	require.Contains(t, err.Error(), "repl_admin@%")

	stop = procStart(t, c)
	procExec(t, root, "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; SET sql_log_bin=0; DROP TABLE shop.old; DROP USER repl_admin@'%'; RESET REPLICA ALL FOR CHANNEL 'other'; "+
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1")
	end()
	found, err := Adopt(ctx, c, c.DataDir(), procCreds)
	require.NoError(t, err)
	require.Equal(t, executed, found.Executed.String())
	_, err = Adopt(ctx, c, c.DataDir(), procCreds)
	require.NoError(t, err, "again, after a break")

	stop = procStart(t, c)
	n := Open(c, procCreds)
	defer n.Close()
	require.NoError(t, n.Ready(ctx))
	st, err := n.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, executed, st.Executed.String())
	require.Nil(t, st.Replica, "the channel is forgotten")
	require.Equal(t, "1", procValue(t, procAdmin(t, c), "SELECT COUNT(*) FROM shop.t"))
	stop()

	require.NoError(t, os.WriteFile(filepath.Join(c.DataDir(), "ibdata1"), []byte("not a tablespace"), 0o640))
	_, err = Adopt(ctx, c, c.DataDir(), procCreds)
	require.ErrorIs(t, err, ErrNoStart)
}
