package mysql

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCloneFromCopiesAClosedDonor(t *testing.T) {
	donor := procRunning(t)
	admin := procAdmin(t, donor)
	procExec(t, admin, "SET GLOBAL super_read_only=OFF; CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY); INSERT INTO app.t VALUES (7); SET GLOBAL super_read_only=ON")
	executed := procValue(t, admin, "SELECT @@gtid_executed")

	copied := procConfig(t)
	require.NoError(t, CloneFrom(procContext(t), copied, procAddr(donor), procCreds, copied.DataDir()))
	require.NoDirExists(t, filepath.Join(copied.Dir, "scratch"))
	require.NoFileExists(t, filepath.Join(copied.DataDir(), "auto.cnf"))

	id, err := NewServerUUID(copied)
	require.NoError(t, err)
	require.NoError(t, WriteConfig(copied))
	procStart(t, copied)
	db := procAdmin(t, copied)
	require.Equal(t, "7", procValue(t, db, "SELECT id FROM app.t"))
	require.Equal(t, id, procValue(t, db, "SELECT @@server_uuid"))
	require.Equal(t, executed, procValue(t, db, "SELECT @@gtid_executed"))
}

func TestCloneFromFailuresAreClearAndLeaveNothing(t *testing.T) {
	donor := procRunning(t)
	wrong := procCreds
	wrong.Password = "wrong-one"
	for name, tc := range map[string]struct {
		addr  string
		creds Credentials
		want  error
	}{
		"password": {procAddr(donor), wrong, ErrAccessDenied},
		"nobody":   {"127.0.0.1:1", procCreds, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			c := procConfig(t)
			err := CloneFrom(procContext(t), c, tc.addr, tc.creds, c.DataDir())
			t.Log(err)
			require.ErrorIs(t, err, tc.want)
			require.NotContains(t, err.Error(), tc.creds.Password)
			entries, err := os.ReadDir(c.Dir)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

func TestCloneFromEndsWithItsContext(t *testing.T) {
	c := procConfig(t)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond) // in the middle of initialise
	defer cancel()
	err := CloneFrom(ctx, c, "127.0.0.1:1", procCreds, c.DataDir())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	entries, err := os.ReadDir(c.Dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestCloneFromNeverTouchesExistingData(t *testing.T) {
	c := procConfig(t)
	require.NoError(t, os.MkdirAll(c.DataDir(), 0o755))
	require.ErrorContains(t, CloneFrom(procContext(t), c, "127.0.0.1:1", procCreds, c.DataDir()), "exists already")
	require.DirExists(t, c.DataDir())
}
