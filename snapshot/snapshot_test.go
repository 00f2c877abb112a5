package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

func TestCreateListRestore(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		none, bad, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Empty(t, none)
		require.Empty(t, bad)

		o := options(t)
		var last, total int64
		o.Progress = func(d, n int64) { require.GreaterOrEqual(t, d, last); last, total = d, n }
		src := tree{seed: 1, bytes: 900 << 10}
		m, err := Create(t.Context(), s, src, o)
		require.NoError(t, err)
		require.Equal(t, m.Bytes, last)
		require.Equal(t, m.Bytes, total)
		require.Equal(t, someGTIDs, m.GTIDLower.String())
		require.Greater(t, len(m.Parts), 5)
		requireEmpty(t, o.ScratchDir)

		list, bad, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Empty(t, bad)
		require.Equal(t, []Manifest{m}, list)
		other, _, err := List(t.Context(), s, "sho")
		require.NoError(t, err)
		require.Empty(t, other, "a cluster whose name is a prefix sees nothing")

		dest := filepath.Join(t.TempDir(), "data")
		last = 0
		require.NoError(t, Restore(t.Context(), s, list[0], dest, RestoreOptions{Progress: o.Progress}))
		require.Equal(t, m.StoredBytes, last)
		require.Equal(t, wantTree(t, src), sums(t, dest))
		require.NoDirExists(t, dest+workSuffix)
		require.ErrorIs(t, Restore(t.Context(), s, m, dest, RestoreOptions{}), ErrExists)
		require.Equal(t, wantTree(t, src), sums(t, dest), "a refused restore leaves what is there")
	})
}

func TestCreateFailures(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		for name, src := range map[string]tree{
			"clone fails":     {bytes: 10, err: errors.New("no")},
			"symbolic link":   {bytes: 10, after: func(d string) { require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(d, "x"))) }},
			"nothing in it":   {bytes: 10, after: func(d string) { require.NoError(t, os.RemoveAll(d)); require.NoError(t, os.Mkdir(d, 0o700)) }},
			"nothing written": {bytes: 10, after: func(d string) { os.RemoveAll(d) }},
		} {
			o := options(t)
			_, err := Create(t.Context(), s, src, o)
			require.Error(t, err, name)
			requireEmpty(t, o.ScratchDir)
			require.Empty(t, keys(t, s, ""), name)
		}
		for _, cluster := range []string{"", "..", "a/b", ".hidden"} {
			o := options(t)
			o.Cluster = cluster
			_, err := Create(t.Context(), s, tree{bytes: 10}, o)
			require.ErrorContains(t, err, "check cluster")
		}
	})
}

func TestCreateRemovesScratchOfAKilledOne(t *testing.T) {
	o := options(t)
	left := filepath.Join(o.ScratchDir, scratchPrefix+"old", "ibdata1")
	require.NoError(t, os.MkdirAll(filepath.Dir(left), 0o700))
	require.NoError(t, os.WriteFile(left, []byte("x"), 0o600))
	_, err := Create(t.Context(), newDir(t), tree{bytes: 10}, o)
	require.NoError(t, err)
	requireEmpty(t, o.ScratchDir)
}

func TestListNamesWhatItCannotRead(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		m := create(t, s)
		broken := func(change func(*Manifest)) []byte {
			c := m
			c.Parts = append([]Part{}, m.Parts...)
			change(&c)
			data, err := sealJSON(c)
			require.NoError(t, err)
			return data
		}
		flipped := bytes.Replace(broken(func(*Manifest) {}), []byte(":1-77"), []byte(":1-97"), 1)
		want := map[string]string{
			"garbage":  "corrupt",
			"newer":    "format 3",
			"rawless":  "does not say how much",
			"stranger": `belongs to cluster "other"`,
			"renamed":  "calls itself",
			"escape":   "does not lie under",
			"sums":     "add up",
			"sha":      "sha256",
			"flipped":  "checksum",
			"cut":      "corrupt",
			"method":   `encryption "rot13" is not known`,
		}
		for id, data := range map[string][]byte{
			"garbage":  []byte("{"),
			"newer":    []byte(`{"format":3,"id":{"other":"shape"}}`),
			"rawless":  broken(func(c *Manifest) { c.Parts[1].Raw = 0 }),
			"stranger": broken(func(c *Manifest) { c.Cluster = "other" }),
			"renamed":  broken(func(c *Manifest) {}),
			"escape":   broken(func(c *Manifest) { c.Parts[1].Key = "shop/snapshots/other/part-00001.tar.zst" }),
			"sums":     broken(func(c *Manifest) { c.StoredBytes++ }),
			"sha":      broken(func(c *Manifest) { c.Parts[0].SHA256 = "00" }),
			"flipped":  flipped,
			"cut":      flipped[:40],
			"method":   broken(func(c *Manifest) { c.Encryption = &Encryption{Method: "rot13"} }),
		} {
			put(t, s, "shop/snapshots/"+id+"/manifest.json", data)
		}
		holed := create(t, s)
		require.NoError(t, s.Delete(t.Context(), holed.Parts[4].Key))
		list, bad, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Equal(t, []Manifest{m}, list)
		require.Len(t, bad, len(want)+1)
		require.ErrorIs(t, errors.Join(bad...), ErrIncomplete)
		require.ErrorContains(t, errors.Join(bad...), holed.Parts[4].Key+" is missing")
		for id, words := range want {
			found := false
			for _, e := range bad {
				found = found || strings.Contains(e.Error(), "snapshots/"+id+"/manifest.json") && strings.Contains(e.Error(), words)
			}
			require.True(t, found, "%s (%s) in %v", id, words, bad)
		}
	})
}

func TestUsable(t *testing.T) {
	const u = "3e11fa47-71ca-11e1-9e33-c80aa9429562:"
	m := Manifest{ID: "x", GTIDLower: gtid.MustParse(u + "1-50")}
	for _, c := range []struct{ purged, executed, why string }{
		{"", u + "1-60", ""},
		{u + "1-50", u + "1-50", ""},
		{u + "1-51", u + "1-60", "too old"},
		{"", u + "1-49", "never had: " + u + "50"},
	} {
		err := Usable(m, gtid.MustParse(c.purged), gtid.MustParse(c.executed))
		if c.why == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.why)
		}
	}
}

func TestPrune(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		var all []Manifest
		for range 5 {
			m := create(t, s)
			all = append(all, m)
			time.Sleep(2 * time.Millisecond) // times in manifests have milliseconds
		}
		put(t, s, "shop/snapshots/unreadable/manifest.json", []byte("{"))
		put(t, s, "shop/snapshots/unreadable/part-00001.tar.zst", []byte("x"))
		put(t, s, "shop/snapshots/orphan/part-00001.tar.zst", []byte("x"))
		put(t, s, "shopping/snapshots/orphan/part-00001.tar.zst", []byte("x"))
		// The newest is broken: it must not count, and goes.
		require.NoError(t, s.Delete(t.Context(), all[4].Parts[3].Key))

		removed, err := Prune(t.Context(), s, "shop", 2, map[string]bool{all[0].ID: true})
		require.NoError(t, err)
		require.Equal(t, []string{all[1].ID, all[4].ID}, removed)
		list, _, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Equal(t, []Manifest{all[3], all[2], all[0]}, list)
		require.Empty(t, keys(t, s, all[1].dir()))
		require.Empty(t, keys(t, s, all[4].dir()))
		require.Len(t, keys(t, s, "shop/snapshots/orphan/"), 1, "too young to go")

		time.Sleep(1100 * time.Millisecond) // S3 times have seconds
		removed, err = Retire(t.Context(), s, "shop", Retention{Keep: -1, OrphanAge: time.Nanosecond})
		require.NoError(t, err)
		require.Equal(t, []string{all[0].ID, all[2].ID, "orphan"}, removed, "the last one stays")
		require.Len(t, keys(t, s, "shop/snapshots/unreadable/"), 2)
		require.Len(t, keys(t, s, "shopping/"), 1)

		// Only a broken one left: nothing is removed.
		require.NoError(t, s.Delete(t.Context(), all[3].Parts[0].Key))
		removed, err = Prune(t.Context(), s, "shop", 1, nil)
		require.NoError(t, err)
		require.Empty(t, removed)
	})
}

func TestArchive(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "binlog.000001"), filepath.Join(dir, "binlog.000002")
		require.NoError(t, os.WriteFile(a, []byte("aaaa"), 0o600))
		require.NoError(t, os.WriteFile(b, []byte("bb"), 0o600))
		key, err := Archive(t.Context(), s, nil, "shop", "n1-term7", map[string]string{"gtid": "x:1"}, []string{a, b})
		require.NoError(t, err)
		require.Equal(t, "shop/archive/n1-term7.tar.zst", key)
		var rec ArchiveRecord
		require.NoError(t, json.Unmarshal(get(t, s, "shop/archive/n1-term7.json"), &rec))
		require.Equal(t, []string{"binlog.000001", "binlog.000002"}, rec.Files)
		require.EqualValues(t, 6, rec.Bytes)
		require.Equal(t, map[string]any{"gtid": "x:1"}, rec.Meta)
		require.Len(t, rec.Parts, 1)

		out := t.TempDir()
		r := newPartReader(t.Context(), inlet{store: s, spoolDir: t.TempDir()}, rec.Parts)
		defer r.Close()
		_, err = unpackTree(r, out)
		require.NoError(t, err)
		require.Equal(t, sums(t, dir), sums(t, out))

		_, err = Archive(t.Context(), s, nil, "shop", "n1-term7", nil, []string{b})
		require.ErrorIs(t, err, ErrExists)
		_, err = Archive(t.Context(), s, nil, "shop", "x", nil, []string{b, filepath.Join(dir, "gone")})
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = Archive(t.Context(), s, nil, "shop", "x", make(chan int), []string{b})
		require.ErrorContains(t, err, "encode meta")
		require.Len(t, keys(t, s, "shop/archive/"), 2, "a failed archive leaves nothing")
	})
}

func TestFind(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		_, err := Find(t.Context(), s, "shop", "")
		require.ErrorIs(t, err, ErrNotFound, "the store answers")
		m := create(t, s)
		got, err := Find(t.Context(), s, "shop", m.ID)
		require.NoError(t, err)
		require.Equal(t, m, got)
		_, err = Find(t.Context(), s, "shop", "20200101T000000Z-00000000")
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, s.Delete(t.Context(), m.Parts[1].Key))
		_, err = Find(t.Context(), s, "shop", m.ID)
		require.ErrorIs(t, err, ErrIncomplete)
		require.ErrorContains(t, err, m.Parts[1].Key)
	})
}
