package snapshot

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLimiterHoldsBack: what is read through it takes at least its time.
func TestLimiterHoldsBack(t *testing.T) {
	const rate = 1 << 20
	l := NewLimiter(rate)
	begun := time.Now()
	n, err := io.Copy(io.Discard, l.reader(t.Context(), bytes.NewReader(make([]byte, 256<<10))))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begun), passing(n-limitPiece, rate), "the last piece passes when the others' time is over")
}

// TestRateIsForEveryByte: nothing of a snapshot goes to the store, or comes from it, beside the limiter.
func TestRateIsForEveryByte(t *testing.T) {
	const rate = 8 << 20
	s := newDir(t)
	o := options(t)
	o.Rate = NewLimiter(rate)
	begun := time.Now()
	m, err := Create(t.Context(), s, tree{seed: 1, bytes: 900 << 10}, o)
	require.NoError(t, err)
	require.False(t, o.Rate.next.Before(begun.Add(passing(m.StoredBytes, rate))), "creating")
	l := NewLimiter(rate)
	begun = time.Now()
	require.NoError(t, Restore(t.Context(), s, m, filepath.Join(t.TempDir(), "data"), RestoreOptions{Rate: l}))
	require.False(t, l.next.Before(begun.Add(passing(m.StoredBytes, rate))), "restoring")
}

// passing is how long so many bytes take, but for what rounding may cost.
func passing(bytes int64, rate float64) time.Duration {
	return time.Duration(float64(bytes)/rate*float64(time.Second)) - time.Millisecond
}
