package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/binlog"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/binlog/binlogtest"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// noon is when the first transaction of the tests was committed; number n followed n seconds later.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// numbers is a set of transactions of the one server there is, "1-5:7".
func numbers(text string) gtid.Set {
	if text == "" {
		return gtid.Set{}
	}
	return gtid.MustParse(binlogtest.Server + ":" + text)
}

// someLine is the n-th life of the cluster.
func someLine(n int) Line {
	return Line{Cluster: "shop", ClusterID: fmt.Sprintf("id-%d", n), CreatedAt: noon.Add(time.Duration(n-1)*time.Hour - time.Minute)}
}

// putLog archives the transactions first..last as a chunk of a primary whose log holds before in front of them.
func putLog(t *testing.T, s Store, keys *Keys, line Line, term, seq uint64, before string, first, last int) Chunk {
	t.Helper()
	m := &binlogtest.Maker{Checksum: true}
	m.Begin(0, make([]byte, 8))
	for n := first; n <= last; n++ {
		m.Transaction(n, noon.Add(time.Duration(n)*time.Second), 100)
	}
	c := Chunk{Line: line, Term: term, Seq: seq, Node: "n1", ServerUUID: binlogtest.Server, MySQLVersion: "9.7.4", File: "binlog.000001", Start: 158, End: 158 + int64(m.Len()),
		Before: numbers(before), GTIDs: numbers(fmt.Sprintf("%d-%d", first, last)), Transactions: last - first + 1,
		FirstAt: noon.Add(time.Duration(first) * time.Second), LastAt: noon.Add(time.Duration(last) * time.Second)}
	got, err := PutChunk(t.Context(), s, c, LogOptions{SpoolDir: t.TempDir(), Keys: keys}, func(w io.Writer) error {
		_, err := w.Write(m.Bytes())
		return err
	})
	require.NoError(t, err)
	return got
}

func openLog(t *testing.T, s Store, line Line, term uint64, set string) {
	t.Helper()
	require.NoError(t, OpenTerm(t.Context(), s, Opening{Line: line, Term: term, Node: "n1", At: noon, GTIDs: numbers(set)}))
}

func readLogs(t *testing.T, s Store) *Log {
	t.Helper()
	l, err := ReadLog(t.Context(), s, "shop", 0)
	require.NoError(t, err)
	return l
}

// fetched runs a plan and returns what it handed out.
func fetched(t *testing.T, s Store, keys *Keys, p LogPlan) (Fetched, gtid.Set, error) {
	t.Helper()
	dir := t.TempDir()
	var all gtid.Set
	f, err := p.Fetch(t.Context(), s, LogOptions{SpoolDir: dir, Keys: keys}, dir, func(files []string, holds gtid.Set) error {
		var batch gtid.Set
		for _, name := range files {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			_, err = binlog.Filter(io.Discard, bytes.NewReader(data), func(x binlog.Transaction) (bool, error) {
				batch = batch.Union(x.GTID)
				return true, nil
			})
			require.NoError(t, err)
			require.NoError(t, os.Remove(name))
		}
		require.True(t, batch.Equal(holds), "%s, told %s", batch, holds)
		all = all.Union(batch)
		return nil
	})
	entries, rerr := os.ReadDir(dir)
	require.NoError(t, rerr)
	if err == nil {
		require.Empty(t, entries, "nothing is left behind")
	}
	return f, all, err
}

// from is a snapshot of the n-th line with these transactions.
func from(n int, set string) Manifest {
	return Manifest{ID: "s", Cluster: "shop", ClusterID: fmt.Sprintf("id-%d", n), CreatedAt: noon.Add(time.Duration(n-1) * time.Hour), GTIDLower: numbers(set)}
}

func plan(t *testing.T, s Store, m Manifest, target Target) LogPlan {
	t.Helper()
	return readLogs(t, s).Plan(m, m.GTIDLower, target)
}

func toGTIDs(set string) Target {
	g := numbers(set)
	return Target{GTIDs: &g}
}

func toSecond(n int, more time.Duration) Target {
	return Target{Time: noon.Add(time.Duration(n)*time.Second + more)}
}

// requireReaches demands that the plan leads to exactly this set.
func requireReaches(t *testing.T, s Store, m Manifest, target Target, want string) Fetched {
	t.Helper()
	p := plan(t, s, m, target)
	require.NoError(t, p.Why())
	f, all, err := fetched(t, s, nil, p)
	require.NoError(t, err)
	require.Equal(t, numbers(want).String(), all.Union(m.GTIDLower).String())
	require.Equal(t, all.String(), f.GTIDs.String())
	return f
}

func TestLogToEveryPoint(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		line := someLine(1)
		openLog(t, s, line, 1, "")
		putLog(t, s, nil, line, 1, 1, "", 1, 4)
		putLog(t, s, nil, line, 1, 2, "1-4", 5, 9)
		openLog(t, s, line, 2, "1-9")
		putLog(t, s, nil, line, 2, 1, "1-7", 8, 12) // 8 and 9 for the second time
		requireReaches(t, s, from(1, "1-2"), Target{}, "1-12")
		for n := 2; n <= 12; n++ {
			requireReaches(t, s, from(1, "1-2"), toGTIDs(fmt.Sprintf("1-%d", n)), fmt.Sprintf("1-%d", n))
			f := requireReaches(t, s, from(1, "1-2"), toSecond(n, 0), fmt.Sprintf("1-%d", n))
			requireReaches(t, s, from(1, "1-2"), toSecond(n, 999*time.Millisecond), fmt.Sprintf("1-%d", n))
			if n < 12 {
				require.Equal(t, numbers(fmt.Sprint(n+1)).String(), f.Next.GTID.String(), "the first that was left out")
			}
		}
		requireReaches(t, s, from(1, "1-2"), toGTIDs("1-5:7-8"), "1-5:7-8") // one left out on purpose
		require.ErrorContains(t, plan(t, s, from(1, "1-2"), toGTIDs("1")).Why(), "not wanted")
		require.ErrorIs(t, plan(t, s, from(1, "1-2"), toGTIDs("1-13")).Why(), ErrGap)
	})
}

// TestLogOfDeposedPrimary: what a deposed primary archived and the cluster's history lacks is never restored on the way to a
// later term, whenever it was archived.
func TestLogOfDeposedPrimary(t *testing.T) {
	s, line := newDir(t), someLine(1)
	openLog(t, s, line, 1, "")
	putLog(t, s, nil, line, 1, 1, "", 1, 9)
	openLog(t, s, line, 2, "1-6") // 7 to 9 were given up
	requireReaches(t, s, from(1, ""), Target{}, "1-6")
	putLog(t, s, nil, line, 2, 1, "1-6", 20, 22)
	putLog(t, s, nil, line, 1, 2, "1-9", 10, 11) // late, by a frozen one
	requireReaches(t, s, from(1, ""), Target{}, "1-6:20-22")
	openLog(t, s, line, 3, "1-5:20-21") // and now 6 and 22, which were in the opening before
	requireReaches(t, s, from(1, ""), Target{}, "1-5:20-21")
	requireReaches(t, s, from(1, ""), toSecond(30, 0), "1-5:20-21")
}

// TestLogWithADamagedOpening: without what a term began with nobody knows what was given up then. Only a later term that can
// be read, or an exact set, leads on.
func TestLogWithADamagedOpening(t *testing.T) {
	s, line := newDir(t), someLine(1)
	openLog(t, s, line, 1, "")
	putLog(t, s, nil, line, 1, 1, "", 1, 9)
	openLog(t, s, line, 2, "1-6") // 7 to 9 were given up
	putLog(t, s, nil, line, 2, 1, "1-6", 20, 22)
	key := Opening{Line: line, Term: 2}.key()
	put(t, s, key, get(t, s, key)[:20])
	for _, target := range []Target{{}, toSecond(30, 0)} {
		require.ErrorContains(t, plan(t, s, from(1, ""), target).Why(), key)
	}
	requireReaches(t, s, from(1, ""), toGTIDs("1-6:20-21"), "1-6:20-21")
	requireReaches(t, s, from(1, ""), toGTIDs("1-5"), "1-5")

	openLog(t, s, line, 3, "1-6:20-22")
	requireReaches(t, s, from(1, ""), Target{}, "1-6:20-22")
	requireReaches(t, s, from(1, ""), toSecond(30, 0), "1-6:20-22")
}

// TestLogGap: a chunk that is gone, cut short, flipped or swapped is never passed over in silence.
func TestLogGap(t *testing.T) {
	build := func(t *testing.T) (Store, []Chunk) {
		s, line := newDir(t), someLine(1)
		openLog(t, s, line, 1, "")
		return s, []Chunk{putLog(t, s, nil, line, 1, 1, "", 1, 3), putLog(t, s, nil, line, 1, 2, "1-3", 4, 6), putLog(t, s, nil, line, 1, 3, "1-6", 7, 9)}
	}
	t.Run("record gone", func(t *testing.T) {
		s, c := build(t)
		require.NoError(t, s.Delete(t.Context(), c[1].key()))
		p := plan(t, s, from(1, "1"), Target{})
		var gap *GapError
		require.ErrorAs(t, p.Why(), &gap)
		require.Equal(t, numbers("4-6").String(), gap.Missing.String())
		require.Equal(t, numbers("1-3").String(), gap.Reach.String())
		requireReaches(t, s, from(1, "1"), toGTIDs("1-3"), "1-3") // in front of it
		requireReaches(t, s, from(1, "1"), toSecond(2, 0), "1-2") // in front of it
		requireReaches(t, s, from(1, "1-6"), Target{}, "1-9")     // a later snapshot leads beyond it
		_, _, err := fetched(t, s, nil, plan(t, s, from(1, "1"), toSecond(3, 0)))
		require.ErrorIs(t, err, ErrGap, "4 may have been committed in that second, too")
	})
	t.Run("data gone", func(t *testing.T) {
		s, c := build(t)
		require.NoError(t, s.Delete(t.Context(), c[1].Parts[0].Key))
		require.Len(t, readLogs(t, s).Bad, 1)
		require.ErrorIs(t, plan(t, s, from(1, ""), Target{}).Why(), ErrGap)
	})
	t.Run("last one unreadable", func(t *testing.T) {
		s, c := build(t)
		put(t, s, c[2].key(), []byte("{}"))
		err := plan(t, s, from(1, ""), Target{}).Why()
		require.ErrorIs(t, err, ErrGap)
		require.ErrorContains(t, err, c[2].key())
		requireReaches(t, s, from(1, ""), toGTIDs("1-6"), "1-6")
	})
	for name, damage := range map[string]func(b []byte) []byte{
		"flipped":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":      func(b []byte) []byte { return b[:len(b)-1] },
		"appended": func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s, c := build(t)
			key := c[1].Parts[0].Key
			put(t, s, key, damage(get(t, s, key)))
			p := plan(t, s, from(1, ""), Target{})
			err := p.Why()
			if err == nil {
				_, _, err = fetched(t, s, nil, p)
			}
			require.Error(t, err)
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrGap), "%v", err)
		})
	}
	t.Run("record flipped", func(t *testing.T) {
		s, c := build(t)
		whole := get(t, s, c[1].key())
		for i := 0; i < len(whole); i += 7 {
			bad := bytes.Clone(whole)
			bad[i] ^= 4
			put(t, s, c[1].key(), bad)
			require.Error(t, plan(t, s, from(1, ""), Target{}).Why(), "byte %d", i)
		}
	})
	t.Run("other transactions under the record", func(t *testing.T) {
		s, c := build(t)
		lie := c[1]
		lie.GTIDs, lie.Before = numbers("4-5"), numbers("1-3")
		lie.Transactions = 2
		data, err := sealJSON(lie)
		require.NoError(t, err)
		put(t, s, c[1].key(), data)
		_, _, err = fetched(t, s, nil, plan(t, s, from(1, ""), toGTIDs("1-5")))
		require.ErrorIs(t, err, ErrCorrupt)
	})
}

// TestLogOfALaterLine: a cluster that began with restored data goes on in a line of its own; the end is that line's, and an
// instant belongs to the line that existed then.
func TestLogOfALaterLine(t *testing.T) {
	s, old, young := newDir(t), someLine(1), someLine(2)
	openLog(t, s, old, 1, "")
	putLog(t, s, nil, old, 1, 1, "", 1, 9)
	openLog(t, s, young, 1, "1-5") // begun with a recovery to 5; 6 to 9 were given up
	putLog(t, s, nil, young, 1, 1, "1-5", 4000, 4002)
	requireReaches(t, s, from(1, "1"), Target{}, "1-5:4000-4002")
	requireReaches(t, s, from(1, "1"), toSecond(8, 0), "1-8") // as it was then
	requireReaches(t, s, from(1, "1"), toSecond(4001, 0), "1-5:4000-4001")
	requireReaches(t, s, from(1, "1"), toGTIDs("1-9"), "1-9")       // the given up branch, by name
	requireReaches(t, s, from(2, "1-5"), Target{}, "1-5:4000-4002") // nothing of the old line is applied to a snapshot of the new one
	p := plan(t, s, Manifest{ID: "x", ClusterID: "unknown", CreatedAt: noon.Add(30 * time.Minute), GTIDLower: numbers("1-5")}, Target{})
	require.NoError(t, p.Why())
	require.Equal(t, numbers("1-5:4000-4002").String(), p.Reach.String(), "a line without an archive is placed by its snapshot's time")
	p = plan(t, s, Manifest{ID: "x", ClusterID: "unknown", CreatedAt: noon.Add(3 * time.Hour), GTIDLower: numbers("1-5")}, Target{})
	require.Equal(t, numbers("1-5").String(), p.Reach.String(), "what older lines archived is not applied to it")
}

func TestFindLogEnd(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		line := someLine(1)
		end, err := FindLogEnd(t.Context(), s, line, 1)
		require.NoError(t, err)
		require.Equal(t, LogEnd{}, end)
		openLog(t, s, line, 1, "")
		openLog(t, s, line, 1, "1-77") // the first record stays
		require.True(t, readLogs(t, s).Openings[0].GTIDs.IsEmpty())
		putLog(t, s, nil, line, 1, 1, "", 1, 3)
		c := putLog(t, s, nil, line, 1, 2, "1-3", 4, 6)
		end, err = FindLogEnd(t.Context(), s, line, 1)
		require.NoError(t, err)
		require.True(t, end.Opened)
		require.EqualValues(t, 2, end.Seq)
		require.Equal(t, numbers("1-6").String(), end.Last.After().String())
		for _, next := range []struct {
			line Line
			term uint64
		}{{line, 2}, {someLine(2), 1}} {
			end, err = FindLogEnd(t.Context(), s, next.line, next.term)
			require.NoError(t, err)
			require.False(t, end.Opened)
			require.Zero(t, end.Seq)
			require.Equal(t, c.key(), end.Last.key())
		}
		putLog(t, s, nil, someLine(2), 1, 1, "1-6", 7, 8)
		end, err = FindLogEnd(t.Context(), s, line, 2)
		require.NoError(t, err)
		require.Equal(t, c.key(), end.Last.key(), "what a later line archived is not in front of this term")
		_, err = PutChunk(t.Context(), s, c, LogOptions{SpoolDir: t.TempDir()}, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err })
		require.ErrorIs(t, err, ErrExists)
	})
}

// TestFindLogEndBehindDamage: records that are damaged or gone do not hide those in front of them, and their numbers stay
// taken; one that cannot be read now is no reason to archive anything twice.
func TestFindLogEndBehindDamage(t *testing.T) {
	s, line := newDir(t), someLine(1)
	c := threes(t, s, line, 4)
	torn := get(t, s, c[3].key())
	put(t, s, c[3].key(), torn[:len(torn)/2])
	renamed := bytes.Replace(get(t, s, c[2].key()), []byte(`"cluster": "shop"`), []byte(`"cluster": "shoq"`), 1)
	put(t, s, c[2].key(), renamed) // one flipped bit
	look := func(s Store, line Line, term uint64) LogEnd {
		end, err := FindLogEnd(t.Context(), s, line, term)
		require.NoError(t, err)
		return end
	}
	end := look(s, line, 1)
	require.EqualValues(t, 4, end.Seq)
	require.Equal(t, c[1].key(), end.Last.key())
	require.Equal(t, c[3].key(), end.Bad[0].Key)
	require.Len(t, end.Bad, 2)
	end = look(s, line, 2)
	require.Zero(t, end.Seq)
	require.Equal(t, c[1].key(), end.Last.key())
	gone := faulty{Store: s, get: func(key string, b ioBody) (ioBody, error) {
		if key == c[1].key() {
			return nil, ErrNotFound
		}
		return b, nil
	}}
	require.Equal(t, c[0].key(), look(gone, line, 1).Last.key())
	away := faulty{Store: s, get: func(string, ioBody) (ioBody, error) { return nil, errFault }}
	_, err := FindLogEnd(t.Context(), away, line, 1)
	require.ErrorIs(t, err, errFault)
	for _, x := range c {
		put(t, s, x.key(), nil)
	}
	end = look(s, someLine(2), 1)
	require.Nil(t, end.Last)
	require.Len(t, end.Bad, 4, "each once")
}
