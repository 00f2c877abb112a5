package history

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// good is a history without a fault: two terms, the second one of b.
func good() ([]Write, map[int64]bool, []Opening) {
	acks := []Write{
		{ID: 1, Began: at(10), Acked: at(20), From: "a"},
		{ID: 2, Began: at(30), Acked: at(40), From: "a"},
		{ID: 3, Began: at(110), Acked: at(120), From: "b"},
	}
	openings := []Opening{{Term: 1, Addr: "a", At: at(0)}, {Term: 2, Addr: "b", At: at(100)}}
	return acks, map[int64]bool{1: true, 2: true, 3: true, 99: true}, openings // 99: its client never got an answer
}

func TestNothingLost(t *testing.T) {
	acks, have, openings := good()
	require.Empty(t, Lost(acks, have, openings))
}

func TestLostWriteIsFlagged(t *testing.T) {
	acks, have, openings := good()
	delete(have, 2)
	lost := Lost(acks, have, openings)
	require.Len(t, lost, 1)
	require.Equal(t, int64(2), lost[0].ID)
	require.False(t, lost[0].Deposed)
	require.Equal(t, uint64(1), lost[0].Term)
}

func TestAckByDeposedPrimaryIsFlagged(t *testing.T) {
	acks, have, openings := good()
	acks = append(acks, Write{ID: 4, Began: at(50), Acked: at(130), From: "a"})
	lost := Lost(acks, have, openings)
	require.Len(t, lost, 1)
	require.True(t, lost[0].Deposed)
	require.Equal(t, uint64(2), lost[0].Term)
	require.Contains(t, lost[0].String(), "a deposed primary")

	// The same acknowledgement is fine when the new history holds the write.
	have[4] = true
	require.Empty(t, Lost(acks, have, openings))
}

func TestGaps(t *testing.T) {
	acks, _, _ := good()
	gaps := Gaps(acks, t0, 1)
	require.Len(t, gaps, 1)
	require.Equal(t, 80*time.Millisecond, gaps[0].Length())
	require.Empty(t, Gaps(acks, at(500), 1))
}

// chain is a register's history without a fault: 0 → 1 → 2 → 3, the last two overlapping.
func chain() []Txn {
	return []Txn{
		{Began: at(0), Ended: at(10), Read: 0, Wrote: 1, Known: true, From: "a"},
		{Began: at(20), Ended: at(40), Read: 1, Wrote: 2, Known: true, From: "a"},
		{Began: at(30), Ended: at(50), Read: 2, Wrote: 3, Known: true, From: "a"},
	}
}

func TestGoodRegister(t *testing.T) {
	require.Empty(t, Registers(chain(), map[int]int64{0: 3}))
}

// An outcome nobody knows is right either way, also long after the client gave up.
func TestUnknownOutcomes(t *testing.T) {
	unknown := Txn{Began: at(60), Ended: at(70), Read: 3, Wrote: 4}
	txns := append(chain(), unknown)
	require.Empty(t, Registers(txns, map[int]int64{0: 3}), "it did not happen")
	require.Empty(t, Registers(txns, map[int]int64{0: 4}), "it happened last")
	later := Txn{Began: at(500), Ended: at(510), Read: 4, Wrote: 5, Known: true}
	require.Empty(t, Registers(append(txns, later), map[int]int64{0: 5}), "it happened and was overwritten")
	between := Txn{Began: at(100), Ended: at(110), Read: 3, Wrote: 3_0, Known: true}
	require.NotEmpty(t, Registers(append(txns, between, later), map[int]int64{0: 5}), "it read 3, which was overwritten by 30")
	// It may take effect long after its client gave up.
	late := []Txn{
		{Began: at(0), Ended: at(10), Read: 0, Wrote: 1, Known: true},
		{Began: at(40), Ended: at(50), Read: 1, Wrote: 2, Known: true},
		{Began: at(20), Ended: at(30), Read: 2, Wrote: 3},
	}
	require.Empty(t, Registers(late, map[int]int64{0: 3}))
	late[2].Known = true
	require.NotEmpty(t, Registers(late, map[int]int64{0: 3}), "a known one ends when its client is told")
	// A row of unknown ones, of which only the last was seen.
	row := append(chain(), unknown, Txn{Began: at(80), Ended: at(90), Read: 4, Wrote: 6})
	require.Empty(t, Registers(row, map[int]int64{0: 6}))
}

func TestBadRegistersAreFlagged(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]Txn) []Txn
		final  int64
		says   string
	}{
		"stale read: the value before the last one": {
			func(ts []Txn) []Txn {
				return append(ts, Txn{Began: at(60), Ended: at(70), Read: 2, Wrote: 4, Known: true, From: "old"})
			}, 4, "two read 2"},
		"lost update: the last commit is gone": {
			func(ts []Txn) []Txn { return ts }, 2, "committed and never seen again"},
		"lost update in the middle": {
			func(ts []Txn) []Txn {
				return append(ts, Txn{Began: at(60), Ended: at(70), Read: 3, Wrote: 4, Known: true}, Txn{Began: at(80), Ended: at(90), Read: 3, Wrote: 5, Known: true})
			}, 5, "two read 3"},
		"read before it was written": {
			func(ts []Txn) []Txn { ts[1].Began, ts[1].Ended = at(60), at(70); ts[2].Ended = at(50); return ts }, 3, "read before it was written"},
		"read of nobody's value": {
			func(ts []Txn) []Txn { ts[0].Read = 77; return ts }, 3, "nobody wrote"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := Registers(c.change(chain()), map[int]int64{0: c.final})
			require.Len(t, bad, 1)
			require.Contains(t, bad[0], c.says)
		})
	}
	require.Len(t, Registers(chain(), nil), 1, "a row that is gone")
}

// Keys are judged one by one: a fault of one is not hidden by the others.
func TestRegistersByKey(t *testing.T) {
	txns := chain()
	for _, x := range chain() {
		x.Key = 7
		txns = append(txns, x)
	}
	require.Empty(t, Registers(txns, map[int]int64{0: 3, 7: 3}))
	bad := Registers(txns, map[int]int64{0: 3, 7: 2})
	require.Len(t, bad, 1)
	require.Contains(t, bad[0], "register 7")
}
