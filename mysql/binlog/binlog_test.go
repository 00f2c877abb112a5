package binlog

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/binlog/binlogtest"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

const someServer = binlogtest.Server

var first = time.Date(2026, 11, 23, 13, 7, 33, 579460000, time.UTC)

// logOf is a file with count transactions, a second apart.
func logOf(checksum bool, count int, flags uint16) *binlogtest.Maker {
	m := &binlogtest.Maker{Checksum: checksum}
	m.Begin(flags, make([]byte, 8))
	for i := range count {
		m.Transaction(i+1, first.Add(time.Duration(i)*time.Second), 1000+i)
	}
	return m
}

func open(t *testing.T, data []byte) *File {
	t.Helper()
	f, err := Open(bytes.NewReader(data))
	require.NoError(t, err)
	return f
}

func TestFileFindsTransactions(t *testing.T) {
	for _, checksum := range []bool{true, false} {
		m := logOf(checksum, 3, inUse)
		f := open(t, m.Bytes())
		require.True(t, f.Previous.IsEmpty())
		at, scan := f.First, f.Scan(f.First)
		for i := range 3 {
			x, err := scan.Next()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%s:%d", someServer, i+1), x.GTID.String())
			require.Equal(t, first.Add(time.Duration(i)*time.Second), x.Committed)
			require.Equal(t, at, x.Start)
			at = x.End
		}
		require.EqualValues(t, m.Len(), at)
		_, err := scan.Next()
		require.ErrorIs(t, err, io.EOF)
		_, err = f.Scan(f.First + headerSize).Next()
		require.ErrorIs(t, err, ErrDamaged, "not the beginning of an event")
	}
}

// TestTaggedEvent: the very bytes MySQL 9.7.4 wrote for "…:tag_one:1" and for the set in front of the file after it.
func TestTaggedEvent(t *testing.T) {
	body := []byte{
		0x02, 0x76, 0x00, 0x00, 0x00, 0x02, 0x51, 0x03, 0x69, 0x03, 0x10, 0x88, 0x9d, 0x03, 0x7c, 0x22, 0xc5, 0x03, 0x31, 0x02, 0xcc, 0x04, 0xf1, 0x03,
		0x00, 0x00, 0x00, 0x02, 0x04, 0x04, 0x06, 0x0e, 't', 'a', 'g', '_', 'o', 'n', 'e', 0x08, 0x0c, 0x0a, 0x24, 0x0c, 0x7f,
		0x49, 0x91, 0xee, 0x46, 0xf1, 0x60, 0x06, 0x10, 0x6d, 0x04, 0x12, 0x83, 0x12, 0x0b,
	}
	l, err := parseLead(typeTaggedGTID, body)
	require.NoError(t, err)
	require.Equal(t, "d4da0844-e73e-11f1-8c66-02fc00000001:tag_one:1", l.gtid.String())
	require.EqualValues(t, 283, l.length)
	require.Equal(t, "2026-11-23T13:07:33.688649Z", l.committed.Format(time.RFC3339Nano))
	for i := range body {
		_, err := parseLead(typeTaggedGTID, body[:i])
		require.ErrorIs(t, err, ErrDamaged, "cut to %d bytes", i)
	}
	previous := append([]byte{1, 2, 0, 0, 0, 0, 0, 1}, binlogtest.UUID[:]...)
	previous = append(previous, 0)
	span := func(first, end byte) {
		previous = append(previous, 1, 0, 0, 0, 0, 0, 0, 0, first, 0, 0, 0, 0, 0, 0, 0, end, 0, 0, 0, 0, 0, 0, 0)
	}
	span(1, 9)
	previous = append(append(append(previous, binlogtest.UUID[:]...), 0x0e), "tag_one"...)
	span(1, 3)
	set, err := parsePrevious(previous)
	require.NoError(t, err)
	require.Equal(t, someServer+":1-8:tag_one:1-2", set.String())
	_, err = parsePrevious(append(previous, 0))
	require.ErrorIs(t, err, ErrDamaged)
}

func TestOriginalCommitTimeCounts(t *testing.T) {
	l, err := parseLead(typeGTID, binlogtest.GTIDBody(5, uint64(first.UnixMicro())+7_000_000, uint64(first.UnixMicro()), 70_000))
	require.NoError(t, err)
	require.Equal(t, first, l.committed)
	require.EqualValues(t, 70_000, l.length)
}

func TestCopyAndFilter(t *testing.T) {
	for _, checksum := range []bool{true, false} {
		m := logOf(checksum, 5, inUse)
		f := open(t, m.Bytes())
		second, err := f.Scan(must(t, f, f.First).End).Next()
		require.NoError(t, err)
		fourth := must(t, f, must(t, f, second.End).End)
		var piece bytes.Buffer
		require.NoError(t, f.Copy(&piece, second.Start, fourth.End))
		copied := open(t, piece.Bytes())
		require.Zero(t, piece.Bytes()[len(Magic)+flagsAt]&inUse, "the copy is not in use")
		require.Equal(t, m.Bytes()[second.Start:fourth.End], piece.Bytes()[copied.First:], "byte for byte")

		var out bytes.Buffer
		var asked []string
		n, err := Filter(&out, &piece, func(x Transaction) (bool, error) {
			asked = append(asked, x.GTID.String())
			return !strings.HasSuffix(x.GTID.String(), ":3"), nil
		})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, []string{someServer + ":2", someServer + ":3", someServer + ":4"}, asked)
		kept := open(t, out.Bytes())
		require.Equal(t, someServer+":2", must(t, kept, kept.First).GTID.String())
		require.Equal(t, someServer+":4", must(t, kept, must(t, kept, kept.First).End).GTID.String())
	}
}

func must(t *testing.T, f *File, at int64) Transaction {
	t.Helper()
	x, err := f.Scan(at).Next()
	require.NoError(t, err)
	return x
}

// TestDamage: no flipped bit and no cut of a file with checksums goes through a copy or a filter unnoticed.
func TestDamage(t *testing.T) {
	m := logOf(true, 3, 0)
	whole := m.Bytes()
	f := open(t, whole)
	all := must(t, f, must(t, f, must(t, f, f.First).End).End)
	keep := func(Transaction) (bool, error) { return false, nil } // also what is left out is verified
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		_, ferr := Filter(io.Discard, bytes.NewReader(bad), keep)
		require.Error(t, ferr, "byte %d flipped", i)
		g, err := Open(bytes.NewReader(bad))
		if err == nil {
			err = g.Copy(io.Discard, f.First, all.End)
		}
		require.Error(t, err, "byte %d flipped", i)
	}
	ends := map[int64]bool{int64(len(whole)): true, f.First: true}
	for at := f.First; at < all.End; {
		at = must(t, f, at).End
		ends[at] = true
	}
	for i := range whole {
		_, err := Filter(io.Discard, bytes.NewReader(whole[:i]), keep)
		switch at := int64(i); {
		case ends[at]: // whole transactions: whoever knows what should be there notices
			require.NoError(t, err, "cut to %d", i)
		case at == f.First-int64(headerSize+8+checksumSize): // right behind the format description
		default:
			require.ErrorIs(t, err, ErrTorn, "cut to %d", i)
		}
	}
}

func TestRefused(t *testing.T) {
	_, err := Open(strings.NewReader(encryptedMagic + strings.Repeat("x", 600)))
	require.ErrorIs(t, err, ErrEncrypted)
	_, err = Open(strings.NewReader("#!/bin/sh something else"))
	require.ErrorIs(t, err, ErrDamaged)
	_, err = Open(strings.NewReader(""))
	require.ErrorIs(t, err, ErrTorn)
	m := logOf(true, 1, 0)
	end := int64(m.Len())
	m.Event(typeAnonymousGTID, 0, binlogtest.GTIDBody(1, 1, 0, 100))
	f := open(t, m.Bytes())
	_, err = f.Scan(end).Next()
	require.ErrorIs(t, err, ErrNoGTID)
	_, err = Filter(io.Discard, bytes.NewReader(m.Bytes()), func(Transaction) (bool, error) { return true, nil })
	require.ErrorIs(t, err, ErrNoGTID)
}

func FuzzFilter(f *testing.F) {
	f.Add(logOf(true, 2, 0).Bytes())
	f.Add(logOf(false, 2, inUse).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		var out, again bytes.Buffer
		var set gtid.Set
		n, err := Filter(&out, bytes.NewReader(data), func(x Transaction) (bool, error) {
			set = set.Union(x.GTID)
			return true, nil
		})
		if file, err := Open(bytes.NewReader(data)); err == nil {
			for at, i := file.First, 0; i < 100; i++ {
				x, err := file.Scan(at).Next()
				if err != nil {
					break
				}
				if x.End <= at {
					t.Fatalf("no progress at %d", at)
				}
				at = x.End
			}
		}
		if err != nil {
			return
		}
		// What went through once goes through again, unchanged.
		m, err := Filter(&again, bytes.NewReader(out.Bytes()), func(Transaction) (bool, error) { return true, nil })
		if err != nil || m != n || !bytes.Equal(out.Bytes(), again.Bytes()) {
			t.Fatalf("second pass: %d of %d transactions, %v", m, n, err)
		}
	})
}

func FuzzLead(f *testing.F) {
	f.Add(byte(typeGTID), binlogtest.GTIDBody(1, 1, 2, 3))
	f.Add(byte(typeTaggedGTID), []byte{2, 0x76, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		if l, err := parseLead(kind, body); err == nil && (l.length <= 0 || l.gtid.Count() != 1) {
			t.Fatalf("%s with %d bytes", l.gtid, l.length)
		}
		_, _ = parsePrevious(body)
	})
}

// mixed is a file larger than what is read at a time, with transactions that are larger than that themselves.
func mixed(checksum bool, count int) *binlogtest.Maker {
	m := &binlogtest.Maker{Checksum: checksum}
	m.Begin(0, make([]byte, 8))
	for i := range count {
		size := 100 + 37*i%900
		if i%50 == 49 {
			size = largestKnown + i
		}
		m.Transaction(i+1, first.Add(time.Duration(i)*time.Second), size)
	}
	return m
}

func TestLongerThanABuffer(t *testing.T) {
	const count = 400
	for _, checksum := range []bool{true, false} {
		m := mixed(checksum, count)
		f := open(t, m.Bytes())
		scan, at := f.Scan(f.First), f.First
		for i := range count {
			x, err := scan.Next()
			require.NoError(t, err)
			require.Equal(t, must(t, f, at), x, "read ahead or not")
			require.Equal(t, fmt.Sprintf("%s:%d", someServer, i+1), x.GTID.String())
			at = x.End
		}
		_, err := scan.Next()
		require.ErrorIs(t, err, io.EOF)
		require.EqualValues(t, m.Len(), at)

		var piece bytes.Buffer
		require.NoError(t, f.Copy(&piece, f.First, at))
		require.Equal(t, m.Bytes(), piece.Bytes())
		if checksum { // the last one is large
			bad := bytes.Clone(m.Bytes())
			bad[len(bad)-1000] ^= 1
			require.ErrorIs(t, open(t, bad).Copy(io.Discard, f.First, at), ErrDamaged)
			require.ErrorIs(t, open(t, bad[:len(bad)-1000]).Copy(io.Discard, f.First, at), ErrTorn)
		}
	}
}

// reads counts how often a file is read.
type reads struct {
	io.ReaderAt
	n int
}

func (r *reads) ReadAt(b []byte, at int64) (int, error) {
	r.n++
	return r.ReaderAt.ReadAt(b, at)
}

// TestCheap: the primary reads everything that is committed, all the time, on the machine that commits it.
func TestCheap(t *testing.T) {
	m := logOf(true, 1000, 0)
	file := &reads{ReaderAt: bytes.NewReader(m.Bytes())}
	f, err := Open(file)
	require.NoError(t, err)
	file.n = 0
	scan := testing.AllocsPerRun(1, func() {
		s := f.Scan(f.First)
		for range 1000 {
			if _, err := s.Next(); err != nil {
				panic(err)
			}
		}
	})
	buffers := m.Len()/largestKnown + 2
	require.LessOrEqual(t, file.n, 2*buffers, "reads of the file, in two rounds") // it read it three times for every transaction
	require.LessOrEqual(t, scan, 1000*3.0+10, "allocations, of which those of a GTID set remain")
	file.n = 0
	require.LessOrEqual(t, testing.AllocsPerRun(1, func() {
		if err := f.Copy(io.Discard, f.First, int64(m.Len())); err != nil {
			panic(err)
		}
	}), 10.0, "allocations")
	require.LessOrEqual(t, file.n, 2*buffers)
}
