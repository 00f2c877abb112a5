package snapshot

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fabricate stores a tiny snapshot of the given time.
func fabricate(t *testing.T, s Store, at time.Time, change func(*Manifest)) Manifest {
	t.Helper()
	m := Manifest{Format: FormatVersion, Cluster: "shop", ClusterID: "id-1", Node: "n1", CreatedAt: at, Compression: CompressionZstd}
	m.ID = newID(at)
	if change != nil {
		change(&m)
	}
	body := "part of " + m.ID
	m.Parts = []Part{{Key: m.partKey(1), Size: int64(len(body)), SHA256: sumOf([]byte(body)), Raw: 1024}}
	m.StoredBytes = int64(len(body))
	require.NoError(t, s.Put(t.Context(), m.Parts[0].Key, strings.NewReader(body)))
	require.NoError(t, m.publish(t.Context(), s, 0))
	return m
}

// TestRetention has a snapshot every twelve hours for forty days.
func TestRetention(t *testing.T) {
	s := newDir(t)
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) // a Monday
	byAge := map[int]string{}                             // hours → id
	for h := 0; h < 40*24; h += 12 {
		byAge[h] = fabricate(t, s, now.Add(-time.Duration(h)*time.Hour), nil).ID
	}
	kept := func(r Retention) (hours []int) {
		verdicts, err := Judge(t.Context(), s, "shop", r)
		require.NoError(t, err)
		require.Len(t, verdicts, 80)
		why := map[string]Verdict{}
		for _, v := range verdicts {
			require.NotEmpty(t, v.Why)
			why[v.ID] = v
		}
		for h := 0; h < 40*24; h += 12 {
			if why[byAge[h]].Keep {
				hours = append(hours, h)
			}
		}
		return hours
	}
	require.Equal(t, []int{0, 12, 24}, kept(Retention{Keep: 3}))
	require.Equal(t, []int{0}, kept(Retention{Keep: -5}), "one always stays")
	require.Equal(t, []int{0, 12, 24, 48}, kept(Retention{Keep: 2, Daily: 3}), "18:00 of each day is its newest")
	require.Equal(t, []int{0, 24, 7*24 + 24, 14*24 + 24}, kept(Retention{Keep: 1, Weekly: 4}), "Sunday 18:00 is a week's newest")
	require.Equal(t, []int{0, 12, 240}, kept(Retention{Keep: 2, Protect: map[string]bool{byAge[240]: true}}))

	m := manifestOf(t, s, byAge[360])
	require.NoError(t, RecordVerification(t.Context(), s, m, Verification{OK: true}))
	require.Equal(t, []int{0, 360}, kept(Retention{Keep: 1}), "the newest verified one stays")
	require.NoError(t, RecordVerification(t.Context(), s, manifestOf(t, s, byAge[0]), Verification{Why: "bad page"}))
	require.Equal(t, []int{12, 360}, kept(Retention{Keep: 1}), "a damaged one does not count, and goes")

	removed, err := Retire(t.Context(), s, "shop", Retention{Keep: 1})
	require.NoError(t, err)
	require.Len(t, removed, 78)
	list, bad, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Equal(t, []string{byAge[12], byAge[360]}, []string{list[0].ID, list[1].ID})
	require.True(t, list[1].Verified.OK)
}

func manifestOf(t *testing.T, s Store, id string) Manifest {
	t.Helper()
	list, _, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	for _, m := range list {
		if m.ID == id {
			return m
		}
	}
	require.Failf(t, "no such snapshot", "%s", id)
	return Manifest{}
}

// TestRetentionSpares what is the only usable snapshot, also of a former cluster of the same name.
func TestRetentionSpares(t *testing.T) {
	s := newDir(t)
	at := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	former := fabricate(t, s, at.Add(-time.Hour), func(m *Manifest) { m.ClusterID = "id-0" })
	var newest Manifest
	for i := range 3 {
		newest = fabricate(t, s, at.Add(time.Duration(i)*time.Minute), nil)
	}
	removed, err := Retire(t.Context(), s, "shop", Retention{Keep: 1})
	require.NoError(t, err)
	require.Len(t, removed, 2)
	list, _, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []string{newest.ID, former.ID}, []string{list[0].ID, list[1].ID})

	// All of this cluster's are damaged: better than nothing.
	require.NoError(t, RecordVerification(t.Context(), s, list[0], Verification{Why: "bad page"}))
	removed, err = Retire(t.Context(), s, "shop", Retention{Keep: 1})
	require.NoError(t, err)
	require.Empty(t, removed)
}

// TestRetentionKnowsVerifications: a verification that cannot be read is none that was never done. It may be what says that
// the newest snapshot is damaged, and then the older one is all there is.
func TestRetentionKnowsVerifications(t *testing.T) {
	s := newDir(t)
	at := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	good, bad := fabricate(t, s, at, nil), fabricate(t, s, at.Add(time.Hour), nil)
	require.NoError(t, RecordVerification(t.Context(), s, bad, Verification{Why: "bad page"}))
	f := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		if strings.HasSuffix(key, verifiedName) {
			return nil, errFault
		}
		return b, nil
	}}
	removed, err := Retire(t.Context(), f, "shop", Retention{Keep: 1})
	require.ErrorIs(t, err, errFault)
	require.ErrorContains(t, err, bad.ID)
	require.Empty(t, removed)
	_, err = Judge(t.Context(), f, "shop", Retention{Keep: 1})
	require.ErrorIs(t, err, errFault, "nor is it foretold")
	list, unusable, err := List(t.Context(), f, "shop")
	require.NoError(t, err, "who wants to restore is told what there is")
	require.Empty(t, unusable)
	require.Len(t, list, 2)
	removed, err = Retire(t.Context(), s, "shop", Retention{Keep: 1})
	require.NoError(t, err)
	require.Equal(t, []string{bad.ID}, removed)
	require.Equal(t, good.ID, manifestOf(t, s, good.ID).ID)
	// What is damaged says nothing, whenever it is read.
	put(t, s, good.dir()+verifiedName, []byte("torn"))
	_, err = Retire(t.Context(), s, "shop", Retention{Keep: 1})
	require.NoError(t, err)
}

// TestPruneSparesWhatIsBeingRead removes everything it may while a restore is in the middle of a snapshot, once with the
// reader known beforehand and once with one that comes between the look and the removal.
func TestPruneSparesWhatIsBeingRead(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		old := create(t, s)
		time.Sleep(2 * time.Millisecond) // times in manifests have milliseconds
		newer := create(t, s)
		reading, goOn := make(chan struct{}), make(chan struct{})
		f := faulty{Store: s, get: waitAt(old.Parts[1].Key, reading, goOn)}
		dest := filepath.Join(t.TempDir(), "data")
		done := make(chan error, 1)
		go func() { done <- Restore(t.Context(), f, old, dest, RestoreOptions{}) }()
		<-reading
		removed, err := Prune(t.Context(), s, "shop", 1, nil)
		require.NoError(t, err)
		require.Empty(t, removed)
		verdicts, err := Judge(t.Context(), s, "shop", Retention{Keep: 1})
		require.NoError(t, err)
		require.Contains(t, verdicts[1].Why, "read by a restore")
		close(goOn)
		require.NoError(t, <-done)
		require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest))

		// The reader comes when the manifest is about to go.
		reading, goOn = make(chan struct{}), make(chan struct{})
		f = faulty{Store: s, get: waitAt(old.Parts[1].Key, reading, goOn)}
		dest = filepath.Join(t.TempDir(), "data")
		late := faulty{Store: s, del: func(key string) error {
			if key == old.key() {
				go func() { done <- Restore(t.Context(), f, old, dest, RestoreOptions{}) }()
				<-reading
			}
			return nil
		}}
		removed, err = Prune(t.Context(), late, "shop", 1, nil)
		require.NoError(t, err)
		require.Equal(t, []string{old.ID}, removed)
		close(goOn)
		require.NoError(t, <-done, "its parts stayed")
		require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest))
		list, bad, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Empty(t, bad)
		require.Equal(t, newer.ID, list[0].ID)
		require.Len(t, list, 1)

		// And one that comes too late is told so.
		dest = filepath.Join(t.TempDir(), "data")
		require.ErrorIs(t, Restore(t.Context(), s, old, dest, RestoreOptions{}), ErrIncomplete)
		requireGone(t, dest)
	})
}

// waitAt stops a reader at an object until goOn is closed.
func waitAt(key string, reading, goOn chan struct{}) func(string, ioBody) (ioBody, error) {
	return func(k string, b ioBody) (ioBody, error) {
		if k == key {
			close(reading)
			<-goOn
		}
		return b, nil
	}
}

func TestReaderThatIsGoneDoesNotCount(t *testing.T) {
	now := time.Now()
	objects := []Object{{Key: "shop/snapshots/a/reading-1.json", Modified: now.Add(-readingStale)}, {Key: "shop/snapshots/a/part-00001.tar.zst", Modified: now}}
	require.False(t, read(objects, now))
	objects[0].Modified = now.Add(-readingRefresh)
	require.True(t, read(objects, now))
}

func TestRestoreFromAStoreThatTakesNoWrites(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	f := faulty{Store: s, refuse: func(key string) error {
		if strings.Contains(key, readingPrefix) {
			return fmt.Errorf("write %s: read-only", key)
		}
		return nil
	}}
	require.NoError(t, Restore(t.Context(), f, m, filepath.Join(t.TempDir(), "data"), RestoreOptions{}))
}

func TestNoSpaceIsNoticedBeforehand(t *testing.T) {
	s := newDir(t)
	o := options(t)
	o.DataBytes = 1 << 60
	_, err := Create(t.Context(), s, tree{bytes: 10, after: func(string) { t.Error("the clone was begun") }}, o)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, o.ScratchDir)
	require.Empty(t, keys(t, s, ""))

	m := create(t, s)
	m.Bytes = 1 << 60
	dest := filepath.Join(t.TempDir(), "data")
	f := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		t.Errorf("%s was read", key)
		return b, nil
	}}
	require.ErrorIs(t, Restore(t.Context(), f, m, dest, RestoreOptions{}), ErrNoSpace)
	requireGone(t, dest)
}

func TestFence(t *testing.T) {
	s := newDir(t)
	o := options(t)
	o.Fence = func(context.Context) error {
		require.NotEmpty(t, keys(t, s, "shop/"), "all parts are stored before")
		return errFault
	}
	_, err := Create(t.Context(), s, tree{bytes: 900 << 10}, o)
	require.ErrorIs(t, err, errFault)
	require.Empty(t, keys(t, s, ""))
}
