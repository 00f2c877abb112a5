package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPruneLog(t *testing.T) {
	s, line := newDir(t), someLine(1)
	openLog(t, s, line, 1, "")
	for n := range 4 {
		putLog(t, s, nil, line, 1, uint64(n+1), fmt.Sprintf("1-%d", max(3*n, 1)), 3*n+1, 3*n+3)
	}
	prune := func(kept ...Manifest) int {
		n, err := PruneLog(t.Context(), s, "shop", kept)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, prune(), "without a snapshot everything may be needed")
	require.Zero(t, prune(from(1, "1-2")))
	older, newer := from(1, "1-7"), from(1, "1-12")
	newer.CreatedAt = newer.CreatedAt.Add(time.Minute)
	require.Equal(t, 2, prune(newer, older), "the oldest that is kept counts")
	requireReaches(t, s, older, Target{}, "1-12")
	objects, err := s.List(context.Background(), "shop/binlog/")
	require.NoError(t, err)
	require.Len(t, objects, 5, "two chunks and an opening")
}

// aged is a store in which what the function names was written two days ago.
type aged struct {
	Store
	old func(key string) bool
}

func (s aged) List(ctx context.Context, prefix string) ([]Object, error) {
	objects, err := s.Store.List(ctx, prefix)
	for i, o := range objects {
		if s.old(o.Key) {
			objects[i].Modified = o.Modified.Add(-2 * DefaultOrphanAge)
		}
	}
	return objects, err
}

// threes archives n chunks of three transactions each.
func threes(t *testing.T, s Store, line Line, n int) (out []Chunk) {
	t.Helper()
	openLog(t, s, line, 1, "")
	for i := range n {
		before := ""
		if i > 0 {
			before = fmt.Sprintf("1-%d", 3*i)
		}
		out = append(out, putLog(t, s, nil, line, 1, uint64(i+1), before, 3*i+1, 3*i+3))
	}
	return out
}

// TestPruneLogOfMany: an hour's pruning reads no more records than it removes, and one; and it does not wait for every
// removal by itself.
func TestPruneLogOfMany(t *testing.T) {
	s := newDir(t)
	threes(t, s, someLine(1), 40)
	var reads, deletes atomic.Int32
	crowd := make(chan struct{})
	f := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		reads.Add(1)
		return b, nil
	}, del: func(string) error {
		if deletes.Add(1) == logRemovers {
			close(crowd)
		}
		select {
		case <-crowd:
			return nil
		case <-time.After(time.Minute):
			return errors.New("there are not so many removals at a time")
		}
	}}
	n, err := PruneLog(t.Context(), f, "shop", []Manifest{from(1, "1-2")})
	require.NoError(t, err)
	require.Zero(t, n)
	require.EqualValues(t, 2, reads.Swap(0), "the opening, and the first record")
	n, err = PruneLog(t.Context(), f, "shop", []Manifest{from(1, "1-30")})
	require.NoError(t, err)
	require.Equal(t, 10, n)
	require.EqualValues(t, 12, reads.Load())
	requireReaches(t, s, from(1, "1-30"), Target{}, "1-120")
}

// TestPruneLogSparesWhatIsBeingRead: who recovers from a snapshot keeps the logs behind it, also when the snapshot was removed
// in the moment he came.
func TestPruneLogSparesWhatIsBeingRead(t *testing.T) {
	s := newDir(t)
	threes(t, s, someLine(1), 3)
	at := func(n int, set string) Manifest {
		return fabricate(t, s, noon.Add(time.Duration(n)*time.Minute), func(m *Manifest) { m.GTIDLower = numbers(set) })
	}
	old, newer := at(0, "1"), at(1, "1-9")
	release, err := Hold(t.Context(), s, old)
	require.NoError(t, err)
	prune := func() int {
		_, err := Retire(t.Context(), s, "shop", Retention{Keep: 1})
		require.NoError(t, err)
		kept, _, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		n, err := PruneLog(t.Context(), s, "shop", kept)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, prune())
	require.Equal(t, old.ID, manifestOf(t, s, old.ID).ID)
	require.NoError(t, s.Delete(t.Context(), old.key()))
	require.Zero(t, prune())
	_, err = Hold(t.Context(), s, old)
	require.ErrorIs(t, err, ErrIncomplete)
	release()
	require.Equal(t, 3, prune())
	require.Equal(t, newer.ID, manifestOf(t, s, newer.ID).ID)
}

// TestPruneLogOrphans: data that no record names goes when it is a day old, and what may belong to one stays.
func TestPruneLogOrphans(t *testing.T) {
	s := newDir(t)
	c := threes(t, s, someLine(1), 4)
	beside := func(seq int, name string) string { // data from an attempt that was not published
		key := fmt.Sprintf("%s%010d-%s.binlog.zst", c[0].termDir(1), seq, name)
		put(t, s, key, []byte("x"))
		return key
	}
	second, late, unpublished, young := beside(2, "old"), beside(3, "new"), beside(5, "old"), beside(5, "new")
	torn := beside(4, "old")
	put(t, s, c[3].key(), []byte("torn"))
	all := keys(t, s, "shop/binlog/")
	_, err := PruneLog(t.Context(), aged{s, func(key string) bool { return !strings.Contains(key, "-new") }}, "shop", []Manifest{from(1, "1")})
	require.NoError(t, err)
	want := slices.DeleteFunc(all, func(key string) bool { return key == second || key == unpublished })
	require.Equal(t, want, keys(t, s, "shop/binlog/"))
	require.Subset(t, want, []string{late, young, torn})
	requireReaches(t, s, from(1, "1"), toGTIDs("1-9"), "1-9")
}

// TestPruneLogPassesDamage: a damaged record stays until it is known that nobody needs what it held, and is no reason to
// keep everything behind it for ever; one that cannot be read now is.
func TestPruneLogPassesDamage(t *testing.T) {
	s := newDir(t)
	c := threes(t, s, someLine(1), 4)
	put(t, s, c[1].key(), []byte("torn"))
	away := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		if key == c[1].key() {
			return nil, errFault
		}
		return b, nil
	}}
	prune := func(s Store, set string) int {
		n, err := PruneLog(t.Context(), s, "shop", []Manifest{from(1, set)})
		require.NoError(t, err)
		return n
	}
	require.Zero(t, prune(s, "1-2"))
	n, err := PruneLog(t.Context(), away, "shop", []Manifest{from(1, "1-9")})
	require.ErrorIs(t, err, errFault)
	require.Equal(t, 1, n)
	require.Contains(t, keys(t, s, "shop/binlog/"), c[2].key())
	require.Zero(t, prune(s, "1-7"), "the third is needed, so the second may be")
	require.Equal(t, 2, prune(s, "1-9"))
	require.Empty(t, readLogs(t, s).Bad)
	requireReaches(t, s, from(1, "1-9"), Target{}, "1-12")
}
