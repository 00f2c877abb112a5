package snapshot

import (
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

func TestLogIsEncrypted(t *testing.T) {
	s, line := newDir(t), someLine(1)
	keys, _ := newKeys(t)
	c := putLog(t, s, keys, line, 1, 1, "", 1, 3)
	require.True(t, strings.HasSuffix(c.Parts[0].Key, ".binlog.zst.age"))
	require.True(t, bytes.HasPrefix(get(t, s, c.Parts[0].Key), []byte("age-encryption.org/v1")))
	p := plan(t, s, from(1, ""), Target{})
	_, all, err := fetched(t, s, keys, p)
	require.NoError(t, err)
	require.Equal(t, numbers("1-3").String(), all.String())
	_, _, err = fetched(t, s, nil, p)
	require.ErrorIs(t, err, ErrNoKey)
}

// TestFetchIsPatient: a store that fails for a while in the middle of a recovery does not end it, and what is fetched counts
// for the limit.
func TestFetchIsPatient(t *testing.T) {
	s := newDir(t)
	c := threes(t, s, someLine(1), 2)
	p := plan(t, s, from(1, ""), Target{})
	for patience, want := range map[time.Duration]error{0: errFault, time.Minute: nil} {
		var tries atomic.Int32
		f := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
			if key == c[1].Parts[0].Key && tries.Add(1) <= transferAttempts {
				return nil, errFault
			}
			return b, nil
		}}
		o := LogOptions{SpoolDir: t.TempDir(), Patience: patience, Rate: NewLimiter(1 << 20)}
		got, err := p.Fetch(t.Context(), f, o, t.TempDir(), func([]string, gtid.Set) error { return nil })
		require.ErrorIs(t, err, want)
		require.Equal(t, want == nil, got.Transactions == 6)
		require.False(t, o.Rate.next.IsZero(), "the limit was asked")
	}
}

// TestReadLogIsPatient: an opening that cannot be read for a while is read later; one that cannot be read at all is no
// opening that is not there.
func TestReadLogIsPatient(t *testing.T) {
	s, line := newDir(t), someLine(1)
	openLog(t, s, line, 1, "")
	putLog(t, s, nil, line, 1, 1, "1-1", 1, 3)
	for patience, want := range map[time.Duration]error{0: errFault, time.Minute: nil} {
		var tries atomic.Int32
		f := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
			if path.Base(key) == openingName && tries.Add(1) <= transferAttempts {
				return nil, errFault
			}
			return b, nil
		}}
		l, err := ReadLog(t.Context(), f, "shop", patience)
		require.ErrorIs(t, err, want)
		if want != nil {
			require.ErrorContains(t, err, openingName)
			continue
		}
		require.Len(t, l.Openings, 1)
		require.Len(t, l.Chunks, 1)
	}
}

// TestPutChunkFails: a chunk whose writing breaks is not listed.
func TestPutChunkFails(t *testing.T) {
	s := newDir(t)
	broken := errors.New("broken")
	_, err := PutChunk(t.Context(), s, Chunk{Line: someLine(1), Term: 1, Seq: 1, GTIDs: numbers("1"), Transactions: 1}, LogOptions{SpoolDir: t.TempDir()}, func(w io.Writer) error {
		_, _ = w.Write(make([]byte, 1<<20))
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.Empty(t, readLogs(t, s).Chunks)
}
