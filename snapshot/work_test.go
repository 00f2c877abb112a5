package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestTwoRestoresIntoOneDestination: the second is refused and the first does not notice.
func TestTwoRestoresIntoOneDestination(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	dest := filepath.Join(t.TempDir(), "data")
	inside, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		if key == m.Parts[4].Key {
			once.Do(func() { close(inside) })
			<-goOn
		}
		return b, nil
	}}
	done := make(chan error, 1)
	go func() { done <- Restore(t.Context(), f, m, dest, RestoreOptions{}) }()
	<-inside
	require.ErrorIs(t, Restore(t.Context(), s, m, dest, RestoreOptions{}), ErrBusy)
	require.ErrorIs(t, CleanRestore(dest), ErrBusy)
	close(goOn)
	require.NoError(t, <-done)
	require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest))
	require.NoDirExists(t, dest+workSuffix)
}

// TestWorkHasOneOwner: many come and go, never two are in, and nobody who goes takes away what belongs to the next.
func TestWorkHasOneOwner(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "data")
	var in, turns atomic.Int32
	turn := func() error {
		w, err := openWork(dest)
		if errors.Is(err, ErrBusy) {
			return nil
		}
		if err != nil {
			return err
		}
		turns.Add(1)
		if n := in.Add(1); n != 1 {
			err = fmt.Errorf("%d are in", n)
		}
		err = errors.Join(err, os.Mkdir(w.data(), 0o750))
		for i := range 20 {
			err = errors.Join(err, os.WriteFile(filepath.Join(w.data(), strconv.Itoa(i)), nil, 0o600))
		}
		if there, e := measure(w.data()); e != nil || there.files != 20 {
			err = errors.Join(err, e, fmt.Errorf("%d files are there", there.files))
		}
		in.Add(-1)
		return errors.Join(err, w.remove())
	}
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			for turns.Load() < 200 {
				if err := turn(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	require.NoDirExists(t, dest+workSuffix)
}

// TestRestoreCountsWhatIsThere: the space looked for is that of what is missing.
func TestRestoreCountsWhatIsThere(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, 7, dest, nil)
	w, err := openWork(dest)
	require.NoError(t, err)
	defer w.leave()
	all, err := (&restoring{m: m, work: &work{dir: t.TempDir()}}).needs()
	require.ErrorIs(t, err, fs.ErrNotExist)
	missing, err := (&restoring{m: m, work: w}).needs()
	require.NoError(t, err)
	require.Greater(t, all, m.Bytes)
	require.Less(t, missing, all-500<<10)
}

// TestRestoreEndedByItsContextIsKept, and CleanRestore is how to give it up.
func TestRestoreEndedByItsContextIsKept(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	dest := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := Restore(ctx, s, m, dest, RestoreOptions{Progress: func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, Begun(dest))
	require.NoError(t, CleanRestore(dest))
	requireGone(t, dest)
	require.NoError(t, CleanRestore(dest))
}

// TestKilledWhenItHadSucceeded: what is left of it goes with the next attempt.
func TestKilledWhenItHadSucceeded(t *testing.T) {
	s := newDir(t)
	m := create(t, s)
	dest := filepath.Join(t.TempDir(), "data")
	interrupted(t, s, m, len(m.Parts)-1, dest, nil)
	require.NoError(t, os.Rename(filepath.Join(dest+workSuffix, "data"), dest))
	require.ErrorIs(t, Restore(t.Context(), s, m, dest, RestoreOptions{}), ErrExists)
	require.NoDirExists(t, dest+workSuffix)
	require.DirExists(t, dest)
}
