package snapshot

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// mixed is a Source of all that is hard to cut: a file of several units, one with holes, long names (which take several
// headers), sizes at the edges of blocks, and many small files.
func mixed(large, small int) tree {
	return tree{seed: 5, bytes: large, after: func(dir string) {
		must(0, os.MkdirAll(filepath.Join(dir, "shop", strings.Repeat("deep", 40)), 0o750))
		for i := range small {
			data := bytes.Repeat([]byte{byte(i)}, i*97%1500)
			must(0, os.WriteFile(filepath.Join(dir, "shop", fmt.Sprintf("t%04d.ibd", i)), data, 0o640))
		}
		for _, n := range []int{1, 511, 512, 513, 1024} {
			must(0, os.WriteFile(filepath.Join(dir, "shop", strings.Repeat("deep", 40), fmt.Sprintf("%d", n)), bytes.Repeat([]byte("x"), n), 0o640))
		}
		holes := must(os.Create(filepath.Join(dir, "shop", "holes.ibd")))
		for _, at := range []int64{0, 5000, 80_000, 200_001} {
			must(holes.WriteAt([]byte("page"), at))
		}
		must(0, holes.Truncate(300_007))
		must(0, holes.Chmod(0o640))
		must(0, holes.Close())
	}}
}

// until is a store that has only the first parts of a snapshot, for the time being.
func until(s Store, m Manifest, parts int) faulty {
	return faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		for _, p := range m.Parts[parts:] {
			if key == p.Key {
				return nil, fs.ErrPermission // not tried again
			}
		}
		return b, nil
	}}
}

// counting counts what is fetched.
type counting struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counting) store(s Store) faulty {
	c.of = map[string]int{}
	return faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.of[key]++
		return b, nil
	}}
}

// interrupted begins a restore and lets it end behind so many parts.
func interrupted(t *testing.T, s Store, m Manifest, parts int, dest string, keys *Keys) {
	t.Helper()
	err := Restore(t.Context(), until(s, m, parts), m, dest, RestoreOptions{Keys: keys})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoDirExists(t, dest)
	require.True(t, Begun(dest))
}

func TestRestoreResumesBehindEveryPart(t *testing.T) {
	mine, _ := newKeys(t)
	phrase, err := ParseKeys(KeyOptions{Passphrase: "correct horse"})
	require.NoError(t, err)
	src := mixed(300<<10, 100)
	want := wantTree(t, src)
	for name, c := range map[string]struct {
		keys *Keys
		unit int64
	}{"plain": {nil, 40_000}, "keys": {mine, 100_000}, "passphrase": {phrase, 250_000}} {
		t.Run(name, func(t *testing.T) {
			s := newDir(t)
			o := options(t)
			o.Keys, o.PartBytes = c.keys, c.unit
			m, err := Create(t.Context(), s, src, o)
			require.NoError(t, err)
			require.Greater(t, len(m.Parts), 3)
			for n := 1; n < len(m.Parts); n++ {
				dest := filepath.Join(t.TempDir(), "data")
				interrupted(t, s, m, n, dest, c.keys)
				var notes []string
				var fetched counting
				var progress []int64
				require.NoError(t, Restore(t.Context(), fetched.store(s), m, dest, RestoreOptions{Keys: c.keys,
					Note:     func(line string) { notes = append(notes, line) },
					Progress: func(done, _ int64) { progress = append(progress, done) }}))
				require.Equal(t, stored(m.Parts[:n]), progress[0], "what is there counts")
				require.Equal(t, m.StoredBytes, progress[len(progress)-1])
				require.Equal(t, []string{fmt.Sprintf("resumes: %d of %d parts are there", n, len(m.Parts))}, notes)
				for i, p := range m.Parts {
					require.Equal(t, map[bool]int{true: 0, false: 1}[i < n], fetched.of[p.Key], "part %d", i+1)
				}
				require.Equal(t, want, sums(t, dest), "behind part %d", n)
				require.Less(t, blocks(t, filepath.Join(dest, "shop/holes.ibd")), int64(100_000), "its holes")
				require.NoDirExists(t, dest+workSuffix)
			}
		})
	}
}

func stored(parts []Part) (sum int64) {
	for _, p := range parts {
		sum += p.Size
	}
	return sum
}

// TestUnpackerGoesOnAnywhere cuts a stream into the smallest units there can be, lets one unpacker work up to each of
// them and somewhat further, and another one go on.
func TestUnpackerGoesOnAnywhere(t *testing.T) {
	src := tree{seed: 2, bytes: 700, after: func(dir string) {
		must(0, os.Remove(filepath.Join(dir, "mysql/a.ibd")))
		must(0, os.Remove(filepath.Join(dir, "#innodb_redo/#ib_redo0")))
		must(0, os.WriteFile(filepath.Join(dir, strings.Repeat("long", 30)), []byte("longer"), 0o640))
		must(0, os.WriteFile(filepath.Join(dir, "holes"), []byte("p"), 0o640))
		must(0, os.Truncate(filepath.Join(dir, "holes"), 12_301))
	}}
	want := wantTree(t, src)
	dir := filepath.Join(t.TempDir(), "src")
	_, err := src.CloneLocal(t.Context(), dir)
	require.NoError(t, err)
	for _, size := range []int64{1, 3, 100, 511, 512, 513, 4096, 5000} {
		units := unitsOf(t, dir, size)
		root := t.TempDir()
		u := must(newUnpacker(root, place{}, false))
		step := 1 + len(units)/150
		for n := range units {
			require.NoError(t, u.unit(bytes.NewReader(units[n])))
			if n%step > 0 || n == len(units)-1 {
				continue
			}
			at := u.here()
			// It gets further than anybody knows of: into the next unit, or through it.
			next := units[n+1]
			_ = u.unit(bytes.NewReader(next[:rand.IntN(len(next)+1)]))
			_ = u.settle()()
			u.Close()
			u = must(newUnpacker(root, at, true))
		}
		require.Nil(t, u.File)
		require.NoError(t, u.settle()())
		require.Equal(t, totals{u.Files, u.Bytes}, must(measure(root)))
		u.Close()
		require.Equal(t, want, sums(t, root), "units of %d bytes", size)
	}
}

// unitsOf are the units of a directory.
func unitsOf(t *testing.T, dir string, size int64) (out [][]byte) {
	t.Helper()
	c := &inMemory{size: size}
	_, err := packTree(t.Context(), c, dir, nil)
	require.NoError(t, err)
	return append(c.units, c.cur)
}

// inMemory is a cuttable that keeps the units.
type inMemory struct {
	size  int64
	units [][]byte
	cur   []byte
}

func (c *inMemory) Write(p []byte) (int, error) {
	c.cur = append(c.cur, p...)
	return len(p), nil
}

func (c *inMemory) place() (int64, error) {
	if int64(len(c.cur)) >= c.size {
		c.units, c.cur = append(c.units, c.cur), nil
	}
	return c.size - int64(len(c.cur)), nil
}

// TestRestoreWithAJournalThatIsDamaged: wherever it is torn or garbled, the restore comes to the same end.
func TestRestoreWithAJournalThatIsDamaged(t *testing.T) {
	s := newDir(t)
	src := mixed(100<<10, 20)
	want := wantTree(t, src)
	o := options(t)
	o.PartBytes = 80_000
	m, err := Create(t.Context(), s, src, o)
	require.NoError(t, err)
	base := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, len(m.Parts)-2, base, nil)
	journal := must(os.ReadFile(filepath.Join(base+workSuffix, "journal")))
	lines := bytes.Count(journal, []byte("\n"))
	require.Equal(t, len(m.Parts)-1, lines, "one for the snapshot and one for every part")
	finish := func(what string, damaged []byte) string {
		dest := filepath.Join(t.TempDir(), "data")
		require.NoError(t, exec.CommandContext(t.Context(), "cp", "-a", base+workSuffix, dest+workSuffix).Run())
		require.NoError(t, os.WriteFile(filepath.Join(dest+workSuffix, "journal"), damaged, 0o640))
		note := ""
		require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{Note: func(line string) { note += line }}), what)
		require.Equal(t, want, sums(t, dest), what)
		require.NoDirExists(t, dest+workSuffix)
		require.NotEmpty(t, note, what)
		return note
	}
	for n := 0; n <= len(journal); n += 1 + rand.IntN(60) {
		good := bytes.Count(journal[:n], []byte("\n")) - 1
		note := finish(fmt.Sprintf("torn at byte %d", n), journal[:n])
		if good > 0 {
			require.Contains(t, note, fmt.Sprintf("resumes: %d of", good))
		} else {
			require.Contains(t, note, "begins anew")
		}
	}
	for n := 0; n < len(journal); n += 1 + rand.IntN(60) {
		garbled := bytes.Clone(journal)
		garbled[n] ^= 1 << rand.IntN(7)
		good := bytes.Count(journal[:n], []byte("\n")) - 1
		note := finish(fmt.Sprintf("garbled at byte %d", n), garbled)
		if good > 0 {
			require.Contains(t, note, fmt.Sprintf("resumes: %d of", good))
		} else {
			require.Contains(t, note, "begins anew")
		}
	}
	all := bytes.SplitAfter(journal, []byte("\n"))
	swapped := bytes.Join([][]byte{all[0], all[2], all[1], all[3]}, nil)
	require.Contains(t, finish("a part that comes again", swapped), "resumes: 2 of")
	// What follows a garbled line must not come back when the line is written anew: its files are written anew, too.
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, 5, dest, nil)
	name := filepath.Join(dest+workSuffix, "journal")
	garbled := must(os.ReadFile(name))
	garbled[bytes.Index(garbled, []byte(`{"parts":3`))+2] ^= 1
	require.NoError(t, os.WriteFile(name, garbled, 0o640))
	interrupted(t, s, m, 3, dest, nil)
	require.Equal(t, 4, bytes.Count(must(os.ReadFile(name)), []byte("\n")), "three parts")
	require.NoError(t, CleanRestore(dest))

	head, err := m.identity()
	require.NoError(t, err)
	head.Journal++
	later := append(must(sealLine("", head)), bytes.Join(all[1:], nil)...)
	require.Contains(t, finish("a later format", later), "of format 2")
	head.Journal, head.Manifest = journalFormat, sumOf(nil)
	other := append(must(sealLine("", head)), bytes.Join(all[1:], nil)...)
	require.Contains(t, finish("another manifest", other), "another snapshot with the same id")
}

// TestRestoreOfAnotherSnapshotNext: nothing of the one before gets into it, or stays.
func TestRestoreOfAnotherSnapshotNext(t *testing.T) {
	s := newDir(t)
	older := create(t, s)
	src := mixed(300<<10, 50)
	o := options(t)
	newer, err := Create(t.Context(), s, src, o)
	require.NoError(t, err)
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, newer, 2, dest, nil)
	note := ""
	require.NoError(t, Restore(t.Context(), s, older, dest, RestoreOptions{Note: func(line string) { note += line }}))
	require.Contains(t, note, "it is of snapshot "+newer.ID)
	require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest))
	require.NoDirExists(t, dest+workSuffix)
	require.False(t, Begun(dest))
}

// TestRestoreWhoseDataIsGone: a journal alone proves nothing.
func TestRestoreWhoseDataIsGone(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	for name, harm := range map[string]func(work string) error{
		"all of it":  func(work string) error { return os.RemoveAll(filepath.Join(work, "data")) },
		"the file":   func(work string) error { return os.Remove(filepath.Join(work, "data/ibdata1")) },
		"half of it": func(work string) error { return os.Truncate(filepath.Join(work, "data/ibdata1"), 1000) },
		"a link": func(work string) error {
			return os.Symlink("/etc/passwd", must(work+"/data/ibdata1", os.Remove(work+"/data/ibdata1")))
		},
	} {
		dest := filepath.Join(t.TempDir(), "data")
		interrupted(t, s, m, 5, dest, nil)
		require.NoError(t, harm(dest+workSuffix), name)
		note := ""
		require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{Note: func(line string) { note += line }}), name)
		require.Contains(t, note, "begins anew", name)
		require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest), name)
	}
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, len(m.Parts)-1, dest, nil)
	require.NoError(t, os.Remove(filepath.Join(dest+workSuffix, "data/#innodb_redo/#ib_redo0")))
	require.ErrorIs(t, Restore(t.Context(), s, m, dest, RestoreOptions{}), ErrCorrupt, "a file of a part that was complete")
	requireGone(t, dest)
}

// TestDamageMetWhenResuming: it is named, and nothing is left.
func TestDamageMetWhenResuming(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, 4, dest, nil)
	sixth := get(t, s, m.Parts[5].Key)
	sixth[100] ^= 1
	put(t, s, m.Parts[5].Key, sixth)
	err := Restore(t.Context(), s, m, dest, RestoreOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, m.Parts[5].Key)
	requireGone(t, dest)

	// What has its sum, and is no frame.
	forged := m
	forged.Parts = append([]Part{}, m.Parts...)
	garbage := bytes.Repeat([]byte("garbage"), 100)
	put(t, s, m.Parts[5].Key, garbage)
	forged.StoredBytes += int64(len(garbage)) - m.Parts[5].Size
	forged.Parts[5].Size, forged.Parts[5].SHA256 = int64(len(garbage)), sumOf(garbage)
	interrupted(t, s, forged, 4, dest, nil)
	err = Restore(t.Context(), s, forged, dest, RestoreOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, m.Parts[5].Key)
	requireGone(t, dest)

	// What only the manifest can be wrong about.
	forged = m
	forged.Parts = append([]Part{}, m.Parts...)
	forged.Parts[2].Raw++
	err = Restore(t.Context(), s, forged, dest, RestoreOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, m.Parts[2].Key)
	requireGone(t, dest)
}

// TestRestoreOfThousandsOfSmallFiles, most of which share a part.
func TestRestoreOfThousandsOfSmallFiles(t *testing.T) {
	s := newDir(t)
	src := mixed(1000, 3000)
	o := options(t)
	o.PartBytes = 1 << 20
	m, err := Create(t.Context(), s, src, o)
	require.NoError(t, err)
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, 2, dest, nil)
	require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{}))
	require.Equal(t, wantTree(t, src), sums(t, dest))
}
