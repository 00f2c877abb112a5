package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// What begin began is not what the node says of itself before it is durable; what is saved next waits for it, and none of
// the two is lost.
func TestWhatIsBeingSaved(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	first, next := roles.Sync{Ver: 5, Term: 1, Primary: "n1~1~u"}, roles.Sync{Ver: 9, Term: 2, Primary: "n1~1~u"}
	require.NoError(t, d.save(func(s *diskState) { s.LastSync = first }))

	require.NoError(t, d.begin(func(s *diskState) { s.LastSync = next }))
	require.Equal(t, first, d.s.LastSync)
	require.Equal(t, next, d.facts().LastSync)
	require.NoError(t, d.save(func(s *diskState) { s.Promised = 2 }))
	require.Equal(t, next, d.s.LastSync)

	again, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	require.Equal(t, next, again.s.LastSync)
	require.Equal(t, uint64(2), again.s.Promised)

	require.NoError(t, d.begin(func(s *diskState) { s.LastSync = first }))
	require.Eventually(t, func() bool { return d.look() == nil && d.pending == nil }, time.Minute, time.Millisecond)
	require.Equal(t, first, d.s.LastSync)
}

// A record that could not be written is not remembered, and a node that does not remember its term does not open it.
func TestWhatCouldNotBeSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "n1")
	require.NoError(t, os.Mkdir(dir, 0o755))
	d, err := openDisk(dir, "main", "n1")
	require.NoError(t, err)
	first, next := roles.Sync{Ver: 5, Term: 1, Primary: "n1~1~u"}, roles.Sync{Ver: 9, Term: 2, Primary: "n1~1~u"}
	require.NoError(t, d.save(func(s *diskState) { s.LastSync = first }))
	require.NoError(t, os.Rename(dir, dir+".gone"))
	require.NoError(t, d.begin(func(s *diskState) { s.LastSync = next }))
	a := &Agent{disk: d}
	require.ErrorContains(t, a.termOnDisk(t.Context(), next), "no such file")
	require.Equal(t, first, d.facts().LastSync)
	require.ErrorContains(t, a.termOnDisk(t.Context(), next), "on disk is")
	require.NoError(t, os.Rename(dir+".gone", dir))
	require.NoError(t, d.save(func(s *diskState) { s.LastSync = next }))
	require.ErrorContains(t, a.termOnDisk(t.Context(), next), "promise of term 0")
	require.NoError(t, d.save(func(s *diskState) { s.Promised = 2 }))
	require.NoError(t, a.termOnDisk(t.Context(), next))
}

// A takeover does not begin on a disk that does not answer, and an opening waits for it no longer than its lease.
func TestADiskThatDoesNotAnswer(t *testing.T) {
	d, err := openDisk(t.TempDir(), "main", "n1")
	require.NoError(t, err)
	slow := make(chan error, 1)
	d.pending = &saving{next: diskState{Promised: 2}, done: slow}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, d.finish(ctx), context.DeadlineExceeded)
	require.Zero(t, d.s.Promised)
	slow <- nil
	require.NoError(t, d.answers(), "it came true after all")
	require.Equal(t, uint64(2), d.s.Promised)

	hung := make(chan error, 1)
	d.hangs = hung
	require.ErrorContains(t, d.answers(), "the disk does not answer")
	require.ErrorContains(t, d.save(func(s *diskState) { s.Promised = 3 }), "the disk does not answer")
	require.Equal(t, uint64(2), d.s.Promised)
	hung <- nil
	require.NoError(t, d.save(func(s *diskState) { s.Promised = 3 }))
}
