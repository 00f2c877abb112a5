package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestForeignDirectoryIsRefusedAndUntouched(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ibdata1"), []byte("theirs"), 0o600))
	_, err := openDisk(dir, "main", "n1")
	var r *Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, 3, r.Code)
	require.Contains(t, r.Error(), "ibdata1")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestLeftoversOfAKilledCreationAreOurs(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "init.tmp"), 0o700))
	d, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	require.NoError(t, d.claim())
	require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700)) // a database whose birth was interrupted

	d, err = openDisk(dir, "main", "n1")
	require.NoError(t, err)
	require.Equal(t, roles.DataEmpty, d.facts().Data, "data counts only once the state says so")
}

func TestStateOfAnotherClusterOrNodeIsRefused(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	require.NoError(t, d.claim())
	for _, other := range [][2]string{{"shop", "n1"}, {"main", "n2"}} {
		_, err := openDisk(dir, other[0], other[1])
		var r *Refusal
		require.ErrorAs(t, err, &r)
		require.Equal(t, 3, r.Code)
	}
}

func TestPromiseAndSyncSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	sync := roles.Sync{Ver: 7, Term: 3, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u", "n2~1~v"}, Acks: 1}
	require.NoError(t, d.save(func(s *diskState) { s.Promised, s.LastSync, s.HasData, s.UUID, s.Rebuilds = 4, sync, true, "u", 1 }))

	d, err = openDisk(dir, "main", "n1")
	require.NoError(t, err)
	require.Equal(t, uint64(4), d.facts().Promised)
	require.Equal(t, sync, d.facts().LastSync, "its version too")
	require.Equal(t, roles.Inc("n1~1~u"), d.inc())
}

func TestARebootVoidsEarlierAcknowledgements(t *testing.T) {
	d, err := openDisk(t.TempDir(), "main", "n1")
	require.NoError(t, err)
	require.NoError(t, d.noteBoot())
	require.False(t, d.facts().Void, "nothing was acknowledged without data")

	require.NoError(t, d.save(func(s *diskState) { s.HasData, s.BootID = true, bootID() }))
	require.NoError(t, d.noteBoot())
	require.False(t, d.facts().Void, "the same boot")

	require.NoError(t, d.save(func(s *diskState) { s.BootID = "an earlier boot" }))
	require.NoError(t, d.noteBoot())
	require.True(t, d.facts().Void)
}

func TestDirectoryKeepsItsName(t *testing.T) {
	dir := t.TempDir()
	require.Empty(t, NameOnDisk(dir))
	d, err := openDisk(dir, "main", "first-host")
	require.NoError(t, err)
	require.NoError(t, d.claim())
	require.Equal(t, "first-host", NameOnDisk(dir))
}

func TestADirectoryHasOneUserAndOneIdentity(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	require.NoError(t, d.claim())
	id := d.s.DirID
	require.NotEmpty(t, id)

	twin, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	var r *Refusal
	require.ErrorAs(t, twin.claim(), &r)
	require.Equal(t, 3, r.Code)

	require.NoError(t, d.lock.Close()) // as the end of the process does
	require.NoError(t, twin.claim())
	require.Equal(t, id, twin.s.DirID, "it is the same node come back")
}
