package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// tarball compresses the entries as a snapshot is.
func tarball(t *testing.T, entries ...tar.Header) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	enc, err := newCompressor(&buf)
	require.NoError(t, err)
	tw := tar.NewWriter(enc)
	for _, h := range entries {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "content"
		}
		h.Size = int64(len(body))
		require.NoError(t, tw.WriteHeader(&h))
		_, err := io.WriteString(tw, body)
		require.NoError(t, err)
	}
	require.NoError(t, tw.Close())
	require.NoError(t, enc.Close())
	return &buf
}

func TestUnpackRefusesWhatLeadsOut(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	for name, entries := range map[string][]tar.Header{
		"parent":            {reg("../out")},
		"inside then up":    {reg("a/../../out")},
		"absolute":          {reg("/out")},
		"dots":              {reg("..")},
		"symbolic link":     {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}},
		"through a link":    {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, reg("l/out")},
		"hard link":         {reg("a"), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}},
		"device":            {{Typeflag: tar.TypeChar, Name: "d", Devmajor: 1, Devminor: 3}},
		"pipe":              {{Typeflag: tar.TypeFifo, Name: "p"}},
		"same name twice":   {reg("a"), reg("a")},
		"file as directory": {reg("a"), reg("a/b")},
	} {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		require.NoError(t, os.Mkdir(root, 0o750))
		_, err := unpackTree(tarball(t, entries...), root)
		require.Error(t, err, name)
		if name != "file as directory" {
			require.ErrorIs(t, err, ErrCorrupt, name)
		}
		require.NoFileExists(t, filepath.Join(base, "out"), name)
	}
	require.NoFileExists(t, "/out")
}

func TestUnpackTakesWhatOtherTarsWrite(t *testing.T) {
	root := t.TempDir()
	got, err := unpackTree(tarball(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700},
		tar.Header{Typeflag: tar.TypeDir, Name: "./locked/", Mode: 0},
		tar.Header{Typeflag: tar.TypeReg, Name: "./locked/a", Mode: 0o4777},
		tar.Header{Typeflag: tar.TypeReg, Name: "no/entry/for/b", Mode: 0},
	), root)
	require.NoError(t, err)
	require.Equal(t, totals{files: 2, bytes: 14}, got)
	for name, mode := range map[string]os.FileMode{"locked/a": 0o770, "no/entry/for/b": 0o600} {
		st, err := os.Stat(filepath.Join(root, name))
		require.NoError(t, err)
		require.Zero(t, st.Mode()&^mode, "%s has %s", name, st.Mode())
	}
}

func TestUnpackRefusesAStreamCutShort(t *testing.T) {
	whole, err := io.ReadAll(tarball(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o644}))
	require.NoError(t, err)
	for n := 1; n < len(whole); n++ { // nothing at all is for the manifest to notice
		_, err := unpackTree(bytes.NewReader(whole[:n]), t.TempDir())
		require.Error(t, err, "%d of %d bytes", n, len(whole))
	}
}

// sparseTree is a Source of 200 MiB with few blocks on the disk.
type sparseTree struct{ size int64 }

func (s sparseTree) CloneLocal(_ context.Context, dir string) (gtid.Set, error) {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return gtid.Set{}, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "big.ibd"), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return gtid.Set{}, err
	}
	defer f.Close()
	for at := int64(0); at < s.size; at += s.size / 5 {
		if _, err := f.WriteAt([]byte(strings.Repeat("page", 1000)), at); err != nil {
			return gtid.Set{}, err
		}
	}
	return gtid.Set{}, f.Truncate(s.size)
}

// blocks is how much a file takes on the disk, in bytes.
func blocks(t *testing.T, name string) int64 {
	t.Helper()
	st, err := os.Stat(name)
	require.NoError(t, err)
	return st.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestSparseFilesStaySparse(t *testing.T) {
	s := newDir(t)
	src := sparseTree{size: 32<<20 + 123}
	m, err := Create(t.Context(), s, src, options(t))
	require.NoError(t, err)
	require.Equal(t, src.size, m.Bytes)
	require.Less(t, m.StoredBytes, int64(1<<20))
	dest := filepath.Join(t.TempDir(), "data")
	require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{}))
	require.Less(t, blocks(t, filepath.Join(dest, "big.ibd")), int64(1<<20))
	want := filepath.Join(t.TempDir(), "want")
	_, err = src.CloneLocal(t.Context(), want)
	require.NoError(t, err)
	require.Equal(t, sums(t, want), sums(t, dest))
}

// TestPlainFilesKeepTheirBlocks: a file that had its blocks gets them back, so
// that mysqld does not meet a full disk where it had room.
func TestPlainFilesKeepTheirBlocks(t *testing.T) {
	s := newDir(t)
	const size = 4 << 20
	src := tree{bytes: 10, after: func(dir string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "zeros"), make([]byte, size), 0o600))
	}}
	m, err := Create(t.Context(), s, src, options(t))
	require.NoError(t, err)
	dest := filepath.Join(t.TempDir(), "data")
	require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{}))
	require.GreaterOrEqual(t, blocks(t, filepath.Join(dest, "zeros")), int64(size))
}

// peak runs f and returns by how much the heap in use grew at most.
func peak(t *testing.T, f func()) uint64 {
	t.Helper()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	f()
	close(stop)
	wg.Wait()
	return most - min(most, before.HeapInuse)
}

// TestMemoryIsBounded moves 200 MiB, of which 48 MiB do not compress, and
// demands that the heap never holds more than the buffers of one transfer.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 200 MiB")
	}
	s := newDir(t)
	src := tree{seed: 9, bytes: 48 << 20, after: func(dir string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
		require.NoError(t, os.Truncate(filepath.Join(dir, "sparse"), 150<<20))
	}}
	prepared := filepath.Join(t.TempDir(), "prepared")
	_, err := src.CloneLocal(t.Context(), prepared)
	require.NoError(t, err)
	o := options(t)
	o.PartBytes = 8 << 20
	var m Manifest
	made := peak(t, func() { m, err = Create(t.Context(), s, moved(prepared), o) })
	require.NoError(t, err)
	require.Greater(t, m.StoredBytes, int64(48<<20))
	dest := filepath.Join(t.TempDir(), "data")
	restored := peak(t, func() { err = Restore(t.Context(), s, m, dest, RestoreOptions{}) })
	require.NoError(t, err)
	t.Logf("heap grew by %d KiB in Create, %d KiB in Restore", made>>10, restored>>10)
	require.Less(t, made, uint64(24<<20))
	require.Less(t, restored, uint64(24<<20))
}

// TestMemoryOfPassphrasesIsBounded: every part needs 32 MiB for its key, one at a time.
func TestMemoryOfPassphrasesIsBounded(t *testing.T) {
	s := newDir(t)
	o := options(t)
	var err error
	o.Keys, err = ParseKeys(KeyOptions{Passphrase: "correct horse"})
	require.NoError(t, err)
	var m Manifest
	made := peak(t, func() { m, err = Create(t.Context(), s, tree{bytes: 900 << 10}, o) })
	require.NoError(t, err)
	require.Greater(t, len(m.Parts), 5)
	restored := peak(t, func() {
		err = Restore(t.Context(), s, m, filepath.Join(t.TempDir(), "data"), RestoreOptions{Keys: o.Keys})
	})
	require.NoError(t, err)
	t.Logf("heap grew by %d KiB in Create, %d KiB in Restore", made>>10, restored>>10)
	require.Less(t, made, uint64(56<<20))
	require.Less(t, restored, uint64(56<<20))
}

// moved is a Source whose clone was prepared before.
type moved string

func (m moved) CloneLocal(_ context.Context, dir string) (gtid.Set, error) {
	return gtid.Set{}, os.Rename(string(m), dir)
}
