package snapshot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errFault = errors.New("injected fault")

// faulty is a Store whose reads and writes can be disturbed.
type faulty struct {
	Store
	get func(key string, body io.ReadCloser) (io.ReadCloser, error)
	put func(key string, r io.Reader) io.Reader
	new func(key string) error // after the write: its answer is lost
	// refuse, if it returns an error, is the answer to a Put that nothing was written of.
	refuse func(key string) error
	del    func(key string) error
}

func (f faulty) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	body, n, err := f.Store.Get(ctx, key)
	if err == nil && f.get != nil {
		whole := body
		if body, err = f.get(key, body); err != nil {
			whole.Close()
		}
	}
	return body, n, err
}

func (f faulty) Put(ctx context.Context, key string, r io.Reader) error {
	if f.refuse != nil {
		if err := f.refuse(key); err != nil {
			return err
		}
	}
	if f.put != nil {
		r = f.put(key, r)
	}
	return f.Store.Put(ctx, key, r)
}

func (f faulty) PutNew(ctx context.Context, key string, data []byte) error {
	err := f.Store.PutNew(ctx, key, data)
	if err == nil && f.new != nil {
		err = f.new(key)
	}
	return err
}

func (f faulty) Delete(ctx context.Context, key string) error {
	if f.del != nil {
		if err := f.del(key); err != nil {
			return err
		}
	}
	return f.Store.Delete(ctx, key)
}

// failAfter delivers n bytes and then the error.
func failAfter(r io.Reader, n int64, err error) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), readerFunc(func([]byte) (int, error) { return 0, err }))
}

// ioBody is what Get returns.
type ioBody = io.ReadCloser

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type body struct {
	io.Reader
	io.Closer
}

func TestRestoreOfDamagedSnapshots(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		m := create(t, s)
		third := m.Parts[2].Key
		whole := get(t, s, third)
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 1
		for name, c := range map[string]struct {
			data []byte
			want error
			says string
		}{
			"flipped bit":  {flipped, ErrCorrupt, m.Parts[2].SHA256},
			"another part": {get(t, s, m.Parts[3].Key), ErrCorrupt, m.Parts[3].SHA256},
			"too long":     {append(bytes.Clone(whole), 0), ErrCorrupt, "sha256"},
			"cut short":    {whole[:len(whole)-1], ErrIncomplete, "ends after"},
			"missing":      {nil, ErrIncomplete, "missing"},
		} {
			require.NoError(t, s.Delete(t.Context(), third))
			if c.data != nil {
				put(t, s, third, c.data)
			}
			dest := filepath.Join(t.TempDir(), "data")
			err := Restore(t.Context(), s, m, dest, RestoreOptions{})
			require.ErrorIs(t, err, c.want, name)
			require.ErrorContains(t, err, third, name)
			require.ErrorContains(t, err, c.says, name)
			requireGone(t, dest)
		}
		put(t, s, third, whole)
		forged := m
		forged.Files++
		dest := filepath.Join(t.TempDir(), "data")
		require.ErrorIs(t, Restore(t.Context(), s, forged, dest, RestoreOptions{}), ErrIncomplete)
		forged = m
		forged.Parts = m.Parts[:len(m.Parts)-1]
		forged.StoredBytes -= m.Parts[len(m.Parts)-1].Size
		require.Error(t, Restore(t.Context(), s, forged, dest, RestoreOptions{}))
		requireGone(t, dest)
		require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{}))
	})
}

func TestRestoreSurvivesBrokenTransfers(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	var tries sync.Map
	f := faulty{Store: s, get: func(key string, b io.ReadCloser) (io.ReadCloser, error) {
		n, _ := tries.LoadOrStore(key, new(atomic.Int32))
		switch n.(*atomic.Int32).Add(1) {
		case 1:
			return body{failAfter(b, 1000, errFault), b}, nil
		case 2:
			return body{io.LimitReader(b, 1000), b}, nil // a truncated answer without an error
		}
		return b, nil
	}}
	dest := filepath.Join(t.TempDir(), "data")
	require.NoError(t, Restore(t.Context(), f, m, dest, RestoreOptions{}))
	require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest))

	f.get = func(key string, b io.ReadCloser) (io.ReadCloser, error) {
		return body{failAfter(b, 1000, errFault), b}, nil
	}
	dest = filepath.Join(t.TempDir(), "data")
	require.ErrorIs(t, Restore(t.Context(), f, m, dest, RestoreOptions{}), errFault, "not for ever")
	requireGone(t, dest)
}

func TestRestoreUsesNoByteOfAnUncheckedPart(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	release := make(chan struct{})
	var opened atomic.Int32
	f := faulty{Store: s, get: func(key string, b io.ReadCloser) (io.ReadCloser, error) {
		if key == m.key() {
			return b, nil
		}
		opened.Add(1)
		if key != m.Parts[0].Key {
			return b, nil
		}
		last := m.Parts[0].Size - 1
		return body{io.MultiReader(io.LimitReader(b, last), readerFunc(func(p []byte) (int, error) { <-release; return b.Read(p) })), b}, nil
	}}
	dest := filepath.Join(t.TempDir(), "data")
	done := make(chan error, 1)
	go func() { done <- Restore(t.Context(), f, m, dest, RestoreOptions{}) }()
	require.Eventually(t, func() bool { return opened.Load() == fetchAhead+1 }, 20*time.Second, time.Millisecond)
	requireEmpty(t, filepath.Join(dest+workSuffix, "data"))
	require.EqualValues(t, fetchAhead+1, opened.Load(), "no more than that on disk")
	close(release)
	require.NoError(t, <-done)
}

func TestCreateWhenTheStoreFails(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		for name, f := range map[string]faulty{
			"third part fails at byte 500": {Store: s, put: func(key string, r io.Reader) io.Reader {
				if strings.Contains(key, "part-00003") {
					return failAfter(r, 500, errFault)
				}
				return r
			}},
			"a part is stored short": {Store: s, put: func(key string, r io.Reader) io.Reader {
				if strings.Contains(key, "part-00002") {
					short := io.LimitReader(r, 500)
					return readerFunc(func(p []byte) (int, error) {
						n, err := short.Read(p)
						if err == io.EOF {
							_, _ = io.Copy(io.Discard, r)
						}
						return n, err
					})
				}
				return r
			}},
			"answers to the manifest lost": {Store: s, new: func(string) error { return errFault },
				get: func(string, io.ReadCloser) (io.ReadCloser, error) { return nil, errFault }},
		} {
			o := options(t)
			_, err := Create(t.Context(), f, tree{seed: 1, bytes: 900 << 10}, o)
			require.Error(t, err, name)
			if name == "a part is stored short" {
				require.ErrorIs(t, err, ErrIncomplete)
			} else {
				require.ErrorIs(t, err, errFault, name)
			}
			requireEmpty(t, o.ScratchDir)
			if f.new == nil {
				require.Empty(t, keys(t, s, ""), name)
				continue
			}
			list, bad, err := List(t.Context(), s, "shop")
			require.NoError(t, err)
			require.Empty(t, list)
			require.Empty(t, bad)
			require.NotEmpty(t, keys(t, s, ""), "parts stay while the manifest may still arrive")
			require.NoError(t, removeAll(t.Context(), s, must(s.List(t.Context(), ""))))
		}
	})
}

func TestPruneInterruptedLeavesNothingHalfListed(t *testing.T) {
	s := newDir(t)
	old := create(t, s)
	time.Sleep(2 * time.Millisecond)
	last := create(t, s)
	left := 4
	f := faulty{Store: s, del: func(string) error {
		if left--; left < 0 {
			return errFault
		}
		return nil
	}}
	removed, err := Prune(t.Context(), f, "shop", 1, nil)
	require.ErrorIs(t, err, errFault)
	require.Equal(t, []string{old.ID}, removed)
	list, bad, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Equal(t, []Manifest{last}, list)
	require.NotEmpty(t, keys(t, s, old.dir()))
	// The leftovers are orphans now, and go when they are old enough.
	_, err = Retire(t.Context(), s, "shop", Retention{Keep: 1, OrphanAge: time.Nanosecond})
	require.NoError(t, err)
	require.Empty(t, keys(t, s, old.dir()))
}

// slow makes every read take a moment, so that a cancelled context finds the
// work in the middle of anything.
func slow(s Store) faulty {
	wait := func(r io.Reader) io.Reader {
		return readerFunc(func(p []byte) (int, error) {
			time.Sleep(time.Duration(rand.IntN(2)) * time.Millisecond)
			return r.Read(p[:min(len(p), 20<<10)])
		})
	}
	return faulty{Store: s,
		get: func(_ string, b io.ReadCloser) (io.ReadCloser, error) { return body{wait(b), b}, nil },
		put: func(_ string, r io.Reader) io.Reader { return wait(r) },
	}
}

func TestCancelledAtAnyPointLeavesNothing(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		f := slow(s)
		src := tree{seed: 1, bytes: 900 << 10}
		ctx := func(limit time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(limit))))
		}
		begun := time.Now()
		o := options(t)
		whole, err := Create(t.Context(), f, src, o)
		require.NoError(t, err)
		took := time.Since(begun)
		begun = time.Now()
		dest := filepath.Join(t.TempDir(), "data")
		require.NoError(t, Restore(t.Context(), f, whole, dest, RestoreOptions{}))
		restored := time.Since(begun)
		want := sums(t, dest)
		for range 15 {
			c, cancel := ctx(took)
			m, err := Create(c, f, src, o)
			cancel()
			requireEmpty(t, o.ScratchDir)
			list, bad, e := List(t.Context(), s, "shop")
			require.NoError(t, e)
			require.Empty(t, bad)
			if err == nil { // it was quicker than the deadline
				require.Equal(t, []Manifest{m, whole}, list)
				require.NoError(t, removeAll(t.Context(), s, must(s.List(t.Context(), m.dir()))))
				continue
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, []Manifest{whole}, list)
			// A server may still carry out what was under way when its client hung up: at most that many parts, never a
			// manifest. Retire removes them (TestPrune).
			late := slices.DeleteFunc(must(s.List(t.Context(), "")), func(o Object) bool { return strings.HasPrefix(o.Key, whole.dir()) })
			require.LessOrEqual(t, len(late), partUploads)
			for _, o := range late {
				require.Contains(t, o.Key, "/part-")
			}
			require.NoError(t, removeAll(t.Context(), s, late))
		}
		for range 15 {
			require.NoError(t, os.RemoveAll(dest))
			c, cancel := ctx(restored)
			err := Restore(c, f, whole, dest, RestoreOptions{})
			cancel()
			if err != nil { // what is left of it the next one goes on with
				require.NoDirExists(t, dest)
				continue
			}
			require.NoDirExists(t, dest+workSuffix)
			require.Equal(t, want, sums(t, dest))
		}
		require.NoError(t, CleanRestore(dest))
		require.NoDirExists(t, dest+workSuffix)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestTransfersGoOnAfterAnOutage: while the store is away parts are tried again, and those that were stored are not sent
// a second time; the same for a restore.
func TestTransfersGoOnAfterAnOutage(t *testing.T) {
	s := newDir(t)
	var mu sync.Mutex
	stored, refused, fetched := map[string]int{}, 0, map[string]int{}
	f := faulty{Store: s, refuse: func(key string) error {
		mu.Lock()
		defer mu.Unlock()
		if len(stored) >= 3 && refused < 12 {
			refused++
			return errFault
		}
		stored[key]++
		return nil
	}}
	o := options(t)
	o.Patience = time.Minute
	src := tree{seed: 1, bytes: 900 << 10}
	m, err := Create(t.Context(), f, src, o)
	require.NoError(t, err)
	require.Equal(t, 12, refused)
	for key, n := range stored {
		require.Equal(t, 1, n, key)
	}
	refused = 0
	f = faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(fetched) >= 3 && refused < 12 && key != m.key() {
			refused++
			return nil, errFault
		}
		fetched[key]++
		return b, nil
	}}
	dest := filepath.Join(t.TempDir(), "data")
	require.NoError(t, Restore(t.Context(), f, m, dest, RestoreOptions{Patience: time.Minute}))
	require.Equal(t, wantTree(t, src), sums(t, dest))
	for key, n := range fetched {
		require.Equal(t, 1, n, key)
	}
}

// TestLostAnswersToTheManifest: the answer to writing it is lost, and it turns out that it is there.
func TestLostAnswersToTheManifest(t *testing.T) {
	s := newDir(t)
	lost := 0
	f := faulty{Store: s, new: func(string) error { lost++; return errFault }}
	m, err := Create(t.Context(), f, tree{bytes: 1000}, options(t))
	require.NoError(t, err)
	require.Equal(t, 1, lost)
	list, _, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Equal(t, []Manifest{m}, list)
}
