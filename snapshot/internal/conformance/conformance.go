// Package conformance holds what every snapshot store has to do. A new kind of store runs it from its tests.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Large is more than any store sends in one request of ours: 8 MiB twice and a bit.
const Large = 2*(8<<20) + 5

var errFault = errors.New("injected fault")

// Run checks one store. open returns a store that is empty, and of which nobody else knows.
func Run(t *testing.T, open func(t *testing.T) snapshot.Store) {
	for name, check := range map[string]func(*testing.T, snapshot.Store){
		"ReadAndWrite": readAndWrite, "List": list, "ManyObjects": manyObjects, "CreateOnly": createOnly, "OneWinner": oneWinner,
		"BrokenWrites": brokenWrites, "Keys": checkKeys, "DirectoriesComeAndGo": directoriesComeAndGo, "Snapshot": wholeSnapshot,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

// Get reads an object whole.
func Get(t *testing.T, s snapshot.Store, key string) []byte {
	t.Helper()
	body, size, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	defer body.Close()
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	require.EqualValues(t, len(data), size)
	return data
}

func keysOf(t *testing.T, s snapshot.Store, prefix string) []string {
	t.Helper()
	objects, err := s.List(t.Context(), prefix)
	require.NoError(t, err)
	out := []string{}
	for _, o := range objects {
		out = append(out, o.Key)
	}
	return out
}

func readAndWrite(t *testing.T, s snapshot.Store) {
	ctx := t.Context()
	_, _, err := s.Get(ctx, "a/none")
	require.ErrorIs(t, err, snapshot.ErrNotFound)
	require.NoError(t, s.Delete(ctx, "a/none"))
	require.Empty(t, keysOf(t, s, ""))
	large := bytes.Repeat([]byte("0123456789abcdefg"), Large/17)
	for key, data := range map[string][]byte{"a/empty": {}, "a/b/large": large, "ab/c": []byte("x"), "ab/exact": large[:8<<20]} {
		require.NoError(t, s.Put(ctx, key, io.MultiReader(bytes.NewReader(data))), key)
		require.True(t, bytes.Equal(data, Get(t, s, key)), key)
	}
	require.NoError(t, s.Put(ctx, "ab/c", strings.NewReader("replaced")))
	require.Equal(t, "replaced", string(Get(t, s, "ab/c")))
	require.NoError(t, s.Put(ctx, "a/b/large", strings.NewReader("small now")))
	require.Equal(t, "small now", string(Get(t, s, "a/b/large")))
	require.NoError(t, s.Delete(ctx, "ab/c"))
	_, _, err = s.Get(ctx, "ab/c")
	require.ErrorIs(t, err, snapshot.ErrNotFound)
	_, _, err = s.Get(ctx, "a/b")
	require.ErrorIs(t, err, snapshot.ErrNotFound, "what looks like a directory is no object")
	require.NotContains(t, s.URL(), "secret")
}

func list(t *testing.T, s snapshot.Store) {
	for _, key := range []string{"a/b/x", "a/e", "ab/c", "a/b-c/y", "z"} {
		require.NoError(t, s.Put(t.Context(), key, strings.NewReader(key)))
	}
	for prefix, want := range map[string][]string{
		"": {"a/b-c/y", "a/b/x", "a/e", "ab/c", "z"}, "a/": {"a/b-c/y", "a/b/x", "a/e"}, "a": {"a/b-c/y", "a/b/x", "a/e", "ab/c"},
		"a/b": {"a/b-c/y", "a/b/x"}, "a/b/": {"a/b/x"}, "a/e": {"a/e"}, "nothing/": {}, "a/e/": {},
	} {
		require.Equal(t, want, keysOf(t, s, prefix), prefix)
	}
	objects, err := s.List(t.Context(), "a/b/")
	require.NoError(t, err)
	require.EqualValues(t, len("a/b/x"), objects[0].Size)
	require.WithinDuration(t, time.Now(), objects[0].Modified, time.Minute)
}

// manyObjects are more than any store lists in one answer.
func manyObjects(t *testing.T, s snapshot.Store) {
	const count = 1003
	require.Empty(t, keysOf(t, s, ""))
	var wg sync.WaitGroup
	next := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range next {
				if err := s.Put(t.Context(), fmt.Sprintf("many/%04d", i), strings.NewReader("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	wg.Wait()
	got := keysOf(t, s, "many/")
	require.Len(t, got, count)
	for i, key := range got {
		require.Equal(t, fmt.Sprintf("many/%04d", i), key)
	}
}

func createOnly(t *testing.T, s snapshot.Store) {
	ctx := t.Context()
	require.NoError(t, s.PutNew(ctx, "n/x", []byte("1")))
	require.ErrorIs(t, s.PutNew(ctx, "n/x", []byte("2")), snapshot.ErrExists)
	require.ErrorIs(t, s.PutNew(ctx, "n/x", []byte("1")), snapshot.ErrExists)
	require.Equal(t, "1", string(Get(t, s, "n/x")))
	require.NoError(t, s.Delete(ctx, "n/x"))
	require.NoError(t, s.PutNew(ctx, "n/x", []byte("3")))
}

func oneWinner(t *testing.T, s snapshot.Store) {
	require.Empty(t, keysOf(t, s, ""))
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := s.PutNew(t.Context(), "k/one", fmt.Appendf(nil, "%d", i))
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, snapshot.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
}

// brokenWrites leave nothing behind, wherever they break.
func brokenWrites(t *testing.T, s snapshot.Store) {
	ctx := t.Context()
	for _, n := range []int{0, 2, 9 << 20, Large} {
		broken := io.MultiReader(io.LimitReader(zeros{}, int64(n)), failing{})
		require.ErrorIs(t, s.Put(ctx, "n/fails", broken), errFault, "after %d bytes", n)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, s.Put(gone, "n/gone", strings.NewReader("abc")), context.Canceled)
	require.ErrorIs(t, s.PutNew(gone, "n/gone", []byte("abc")), context.Canceled)
	midway, cancel := context.WithCancel(ctx)
	require.Error(t, s.Put(midway, "n/midway", io.MultiReader(io.LimitReader(zeros{}, 9<<20), calls(cancel), io.LimitReader(zeros{}, 9<<20))))
	require.Empty(t, keysOf(t, s, ""))
	require.NoError(t, s.Put(ctx, "n/whole", strings.NewReader("abc")))
	require.Error(t, s.Put(ctx, "n/whole", io.MultiReader(strings.NewReader("xyz"), failing{})))
	require.Equal(t, "abc", string(Get(t, s, "n/whole")), "a replacement that breaks replaces nothing")
}

// zeros never ends; failing fails at once; calls calls a function and ends.
type (
	zeros   struct{}
	failing struct{}
	calls   func()
)

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
func (failing) Read([]byte) (int, error) { return 0, errFault }
func (f calls) Read([]byte) (int, error) { f(); return 0, io.EOF }

func checkKeys(t *testing.T, s snapshot.Store) {
	ctx := t.Context()
	for _, key := range []string{"", "/x", "../x", "a/../../x", "a//b", "a/", "."} {
		require.Error(t, s.Put(ctx, key, strings.NewReader("x")), key)
		require.Error(t, s.PutNew(ctx, key, nil), key)
		require.Error(t, s.Delete(ctx, key), key)
		_, _, err := s.Get(ctx, key)
		require.Error(t, err, key)
	}
}

// directoriesComeAndGo writes and removes in the same places from several sides, so that what a store keeps as a
// directory vanishes under a writer. A server that keeps objects as files may answer such a write with a conflict, in
// which case it succeeds when it is repeated, as every caller does.
func directoriesComeAndGo(t *testing.T, s snapshot.Store) {
	require.Empty(t, keysOf(t, s, ""))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("d/e/f/%d", i)
			for range 15 {
				again(t, func() error { return s.Put(t.Context(), key, strings.NewReader("x")) })
				again(t, func() error { return s.Delete(t.Context(), key) })
			}
		})
	}
	wg.Wait()
	require.Empty(t, keysOf(t, s, ""))
}

// again repeats what fails, as callers do.
func again(t *testing.T, f func() error) {
	var err error
	for range 10 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error(err)
}

// source is a small data directory.
type source struct{}

// CloneLocal implements snapshot.Source.
func (source) CloneLocal(_ context.Context, dir string) (gtid.Set, error) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	return gtid.Set{}, errors.Join(os.Mkdir(dir, 0o750), os.Mkdir(filepath.Join(dir, "shop"), 0o750),
		os.WriteFile(filepath.Join(dir, "ibdata1"), data, 0o640), os.WriteFile(filepath.Join(dir, "shop", "t.ibd"), data[:1<<20], 0o640))
}

// wholeSnapshot takes, lists, restores, verifies and removes snapshots.
func wholeSnapshot(t *testing.T, s snapshot.Store) {
	ctx := t.Context()
	var all []snapshot.Manifest
	for range 2 {
		m, err := snapshot.Create(ctx, s, source{}, snapshot.CreateOptions{Cluster: "shop", ClusterID: "c", Node: "n", MySQLVersion: "9.7.4",
			ScratchDir: filepath.Join(t.TempDir(), "scratch"), PartBytes: 256 << 10})
		require.NoError(t, err)
		all = append(all, m)
		time.Sleep(2 * time.Millisecond) // times in manifests have milliseconds
	}
	require.NoError(t, snapshot.RecordVerification(ctx, s, all[1], snapshot.Verification{OK: true, By: "test"}))
	found, bad, err := snapshot.List(ctx, s, "shop")
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Len(t, found, 2)
	require.Equal(t, all[1].ID, found[0].ID)
	require.True(t, found[0].Verified.OK)
	dest := filepath.Join(t.TempDir(), "data")
	require.NoError(t, snapshot.Restore(ctx, s, found[0], dest, snapshot.RestoreOptions{}))
	got, err := os.ReadFile(filepath.Join(dest, "ibdata1"))
	require.NoError(t, err)
	require.Len(t, got, 3<<20)
	removed, err := snapshot.Prune(ctx, s, "shop", 1, nil)
	require.NoError(t, err)
	require.Equal(t, []string{all[0].ID}, removed)
	require.Empty(t, keysOf(t, s, "shop/snapshots/"+all[0].ID+"/"))
}
