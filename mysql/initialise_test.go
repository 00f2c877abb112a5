package mysql

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Killed half-way, called again: the second call makes a complete database, the first left no data.
func TestInitialiseMayBeKilledAndCalledAgain(t *testing.T) {
	c := procConfig(t)
	ctx, cancel := context.WithCancel(procContext(t))
	result := make(chan error, 1)
	go func() { result <- Initialise(ctx, c) }()
	begun := filepath.Join(c.Dir, "init.tmp", "ibdata1")
	require.Eventually(t, func() bool { _, err := os.Stat(begun); return err == nil }, limit, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	require.NoDirExists(t, c.DataDir())

	// A killed agent cleans nothing up.
	require.NoError(t, os.MkdirAll(filepath.Join(c.Dir, "init.tmp", "mysql"), 0o750))
	writeFile(t, filepath.Join(c.Dir, "init.tmp"), "ibdata1", "torn", 0o640)
	require.NoError(t, Initialise(procContext(t), c))
	require.FileExists(t, filepath.Join(c.DataDir(), "ibdata1"))
	require.NoDirExists(t, filepath.Join(c.Dir, "init.tmp"))
	id, err := ServerUUID(c)
	require.NoError(t, err)
	require.NoError(t, uuid.Validate(id))

	require.ErrorIs(t, Initialise(procContext(t), c), ErrDataExists)
	require.NoError(t, DiscardUnfinished(c), "never bootstrapped: may be made again")
	require.NoDirExists(t, c.DataDir())
}

func TestInitialiseNeverTouchesData(t *testing.T) {
	c := plainConfig()
	c.Dir = t.TempDir()
	require.NoError(t, os.MkdirAll(c.DataDir(), 0o755))
	writeFile(t, c.DataDir(), "ibdata1", "precious", 0o644)
	require.ErrorIs(t, Initialise(procContext(t), c), ErrDataExists)
	require.ErrorContains(t, DiscardUnfinished(c), "not an unfinished database")
	data, err := os.ReadFile(filepath.Join(c.DataDir(), "ibdata1"))
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))
}

func TestInitialiseShowsWhyInOneLine(t *testing.T) {
	c := procConfig(t)
	c.Extra = []string{"--innodb-page-size=5000"}
	err := Initialise(procContext(t), c)
	t.Log(err)
	require.ErrorContains(t, err, "initialise database")
	require.ErrorContains(t, err, "5000")
	require.NotContains(t, err.Error(), "\n")
	require.NoDirExists(t, c.DataDir())

	c = procConfig(t)
	writeFile(t, c.Dir, "file", "", 0o644)
	c.Dir = filepath.Join(c.Dir, "file")
	require.Error(t, Initialise(procContext(t), c))
}

func TestServerUUIDIsFreshEveryTime(t *testing.T) {
	c := plainConfig()
	c.Dir = t.TempDir()
	require.NoError(t, os.MkdirAll(c.DataDir(), 0o755))
	_, err := ServerUUID(c)
	require.ErrorIs(t, err, fs.ErrNotExist)
	first, err := NewServerUUID(c)
	require.NoError(t, err)
	second, err := NewServerUUID(c)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	read, err := ServerUUID(c)
	require.NoError(t, err)
	require.Equal(t, second, read)

	writeFile(t, c.DataDir(), "auto.cnf", "[auto]\nserver_uuid = 3E11FA47-71CA-11E1-9E33-C80AA9429562\n", 0o644)
	read, err = ServerUUID(c)
	require.NoError(t, err)
	require.Equal(t, "3e11fa47-71ca-11e1-9e33-c80aa9429562", read)
	writeFile(t, c.DataDir(), "auto.cnf", "[auto]\n", 0o644)
	_, err = ServerUUID(c)
	require.ErrorContains(t, err, "holds none")
}
