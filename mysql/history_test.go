package mysql

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// The write that waits for its ACK is in the binary log but not in gtid_executed: a replica may have
// it, and must not look errant because of that.
func TestHistoryCoversWritesThatWaitForTheirACK(t *testing.T) {
	c := procRunning(t)
	db := procAdmin(t, c)
	procExec(t, db, "SET GLOBAL super_read_only=OFF; CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY)")
	procExec(t, db, "SET GLOBAL rpl_semi_sync_source_enabled=ON") // no replica is there, so every commit waits

	for _, statement := range []string{"INSERT INTO app.t VALUES (1)", "INSERT INTO app.t VALUES (2)", "CREATE TABLE app.u (id INT PRIMARY KEY)"} {
		go func() { _, _ = db.Exec(statement) }() // ends with its server
	}
	uuid := procValue(t, db, "SELECT @@server_uuid")
	want := gtid.MustParse(uuid + ":1-5")
	var history gtid.Set
	require.Eventually(t, func() bool {
		var err error
		history, _, err = History(procContext(t), procAddr(c), procCreds)
		require.NoError(t, err)
		return history.Equal(want)
	}, limit, 20*time.Millisecond)
	owned, err := parseOwned(procValue(t, db, "SELECT @@GLOBAL.gtid_owned"))
	require.NoError(t, err)
	require.Equal(t, uuid+":3-5", owned.String())
	require.Equal(t, uuid+":1-2", procValue(t, db, "SELECT @@gtid_executed"))
}

func TestHistoryErrorsTellWhatIsWrong(t *testing.T) {
	c := procRunning(t)
	wrong := procCreds
	wrong.Password = "wrong-one"
	_, _, err := History(procContext(t), procAddr(c), wrong)
	require.ErrorIs(t, err, ErrAccessDenied)
	require.NotContains(t, err.Error(), "wrong-one")

	_, _, err = History(procContext(t), "127.0.0.1:1", procCreds)
	require.ErrorIs(t, err, ErrUnreachable)

	procExec(t, procAdmin(t, c), "SET GLOBAL super_read_only=OFF; SET sql_log_bin=0; ALTER USER repl@'%' ACCOUNT LOCK")
	_, _, err = History(procContext(t), procAddr(c), procCreds)
	require.ErrorIs(t, err, ErrAccountLocked)
}

func TestHistoryEndsAtItsDeadlineWhenTheServerHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never says a word
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, _, err = History(ctx, l.Addr().String(), procCreds)
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestHistoryReadsWhatIsPurged(t *testing.T) {
	c := procRunning(t)
	db := procAdmin(t, c)
	procExec(t, db, "SET GLOBAL super_read_only=OFF; CREATE DATABASE app; FLUSH BINARY LOGS; CREATE DATABASE app2")
	procExec(t, db, "PURGE BINARY LOGS TO '"+lastBinlog(t, c)+"'")
	uuid := procValue(t, db, "SELECT @@server_uuid")
	history, purged, err := History(procContext(t), procAddr(c), procCreds)
	require.NoError(t, err)
	require.Equal(t, uuid+":1-2", history.String())
	require.Equal(t, uuid+":1", purged.String())
}

func lastBinlog(t *testing.T, c Config) string {
	var file string
	var rest [4]any
	row := procAdmin(t, c).QueryRow("SHOW BINARY LOG STATUS")
	require.NoError(t, row.Scan(&file, &rest[0], &rest[1], &rest[2], &rest[3]))
	return file
}

func TestParseOwned(t *testing.T) {
	const u = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	for text, want := range map[string]string{
		"":                              "",
		u + ":5#17":                     u + ":5",
		u + ":5#17:6#18:9#1":            u + ":5-6:9",
		u + ":5#17#18":                  u + ":5",
		u + ":tag:5#17,\n" + u + ":7#2": u + ":7:tag:5",
	} {
		set, err := parseOwned(text)
		require.NoError(t, err, text)
		require.Equal(t, want, set.String(), text)
	}
	_, err := parseOwned("ANONYMOUS")
	require.Error(t, err)
}
