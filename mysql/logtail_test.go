package mysql

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// tailState reads the state of a node's binary logs.
func tailState(n *opsNode) LogState {
	n.t.Helper()
	st, err := n.LogState(procContext(n.t))
	require.NoError(n.t, err)
	return st
}

// tailPieces takes everything that is committed now, in pieces of about maxBytes, as files in dir.
func tailPieces(t testing.TB, tail *Tail, st LogState, maxBytes int64, dir string) (files []string, held gtid.Set) {
	t.Helper()
	for {
		p, some, err := tail.Next(st, maxBytes)
		require.NoError(t, err)
		if !some {
			return files, held
		}
		var buf bytes.Buffer
		require.NoError(t, tail.Write(&buf, p))
		path := filepath.Join(dir, fmt.Sprintf("p%04d", len(files)))
		require.NoError(t, os.WriteFile(path, buf.Bytes(), 0o640))
		require.Equal(t, tail.Before().String(), p.Before.String())
		require.EqualValues(t, p.Transactions, p.GTIDs.Count())
		tail.Done(p)
		files, held = append(files, path), held.Union(p.GTIDs)
	}
}

// history writes everything a binary log has a form of its own for.
func history(n *opsNode) {
	n.t.Helper()
	n.exec("CREATE DATABASE h; CREATE TABLE h.t (i INT PRIMARY KEY, s LONGTEXT)")
	for i := range 5 {
		n.exec(fmt.Sprintf("INSERT INTO h.t VALUES (%d, 'plain')", i))
	}
	n.exec("SET SESSION gtid_next='AUTOMATIC:some_tag'; INSERT INTO h.t VALUES (100, 'tagged'); INSERT INTO h.t VALUES (101, 'tagged'); SET SESSION gtid_next='AUTOMATIC'")
	n.exec("SET SESSION gtid_next='3e11fa47-71ca-11e1-9e33-c80aa9429562:other:7'; INSERT INTO h.t VALUES (102, 'given'); SET SESSION gtid_next='AUTOMATIC'")
	n.exec("FLUSH BINARY LOGS")
	n.exec("SET SESSION binlog_transaction_compression=ON; INSERT INTO h.t VALUES (200, REPEAT('x', 300000)); SET SESSION binlog_transaction_compression=OFF")
	n.exec("INSERT INTO h.t VALUES (201, REPEAT('y', 3000000))")
	n.exec("XA START 'x'; INSERT INTO h.t VALUES (300, 'xa'); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'")
	n.exec("CREATE USER somebody@localhost IDENTIFIED BY 'somepass'; GRANT SELECT ON h.* TO somebody@localhost")
	n.exec("FLUSH BINARY LOGS")
	n.exec("UPDATE h.t SET s='changed' WHERE i < 3; DELETE FROM h.t WHERE i=4")
}

const historySum = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT(i, s)))) FROM h.t"

// TestTailHoldsWhatIsExecuted: pieces of any size hold exactly gtid_executed, once each, in order, with commit times; mysqlbinlog
// reads the same GTIDs from them.
func TestTailHoldsWhatIsExecuted(t *testing.T) {
	n := opsStart(t, "p")
	n.open()
	began := time.Now()
	history(n)
	for _, size := range []int64{1, 4000, 1 << 30} {
		st := tailState(n)
		tail, err := StartTail(st, gtid.Set{})
		require.NoError(t, err)
		defer tail.Close()
		dir := t.TempDir()
		files, held := tailPieces(t, tail, st, size, dir)
		executed := gtid.MustParse(n.value("SELECT @@GLOBAL.gtid_executed"))
		require.Equal(t, executed.String(), held.String(), "pieces of %d bytes", size)
		require.Equal(t, "1", n.value(fmt.Sprintf("SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, '%s')", held)))
		if size == 1 {
			require.Len(t, files, int(executed.Count()), "one transaction each")
		}
		require.Equal(t, executed.String(), byMysqlbinlog(t, files).String())
	}
	st := tailState(n)
	tail, err := StartTail(st, gtid.Set{})
	require.NoError(t, err)
	defer tail.Close()
	p, some, err := tail.Next(st, 1<<30)
	require.NoError(t, err)
	require.True(t, some)
	require.WithinRange(t, p.FirstAt, began.Add(-time.Minute), p.LastAt)
	require.WithinRange(t, p.LastAt, p.FirstAt, time.Now().Add(time.Minute))
}

// byMysqlbinlog is what the server's own tool finds in the files.
func byMysqlbinlog(t testing.TB, files []string) (set gtid.Set) {
	t.Helper()
	path, err := procMysqld()
	require.NoError(t, err)
	tool := findBeside(path, "mysqlbinlog")
	if tool == "" {
		t.Log("no mysqlbinlog here; not compared with it")
		tool = filepath.Join(filepath.Dir(path), "mysqlbinlog")
	}
	out, err := exec.CommandContext(procContext(t), tool, append([]string{"--verify-binlog-checksum"}, files...)...).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, "SET @@SESSION.GTID_NEXT= '"); ok && !strings.HasPrefix(text, "AUTOMATIC") {
			text, _, _ = strings.Cut(text, "'")
			set = set.Union(gtid.MustParse(text))
		}
	}
	return set
}

// TestTailStopsBeforeWhatWaits: a commit that waits for its acknowledgement is in the file and not in any piece.
func TestTailStopsBeforeWhatWaits(t *testing.T) {
	primary, follower := opsPair(t, true)
	primary.exec("CREATE DATABASE h; CREATE TABLE h.t (i INT PRIMARY KEY)")
	follower.ok(follower.StopReceiver)
	waits := background(t, procAdmin(t, primary.cfg), "INSERT INTO h.t VALUES (1)")
	primary.until("one commit waits", func(st Status) bool { return st.Source.WaitSessions == 1 })
	st := tailState(primary)
	tail, err := StartTail(st, gtid.Set{})
	require.NoError(t, err)
	defer tail.Close()
	_, held := tailPieces(t, tail, st, 1<<30, t.TempDir())
	require.EqualValues(t, 2, held.Count(), "the statements before: %s", held)
	require.NoError(t, follower.startReceiver(procContext(t)))
	require.NoError(t, <-waits)
	require.Eventually(t, func() bool {
		_, more := tailPieces(t, tail, tailState(primary), 1<<30, t.TempDir())
		held = held.Union(more)
		return held.Count() == 3
	}, limit, 10*time.Millisecond)
}

// TestTailGoesOn: a tail begins behind what is held, follows rotations, survives a purge of the file it is in, and says so when
// the next one is gone.
func TestTailGoesOn(t *testing.T) {
	n := opsStart(t, "p")
	n.open()
	history(n)
	st := tailState(n)
	first, err := StartTail(st, gtid.Set{})
	require.NoError(t, err)
	defer first.Close()
	_, held := tailPieces(t, first, st, 1<<30, t.TempDir())

	n.exec("INSERT INTO h.t VALUES (400, 'later')")
	st = tailState(n)
	again, err := StartTail(st, held)
	require.NoError(t, err)
	defer again.Close()
	_, more := tailPieces(t, again, st, 1<<30, t.TempDir())
	require.EqualValues(t, 1, more.Count(), "%s", more)

	n.exec("INSERT INTO h.t VALUES (401, 'purged, but open'); FLUSH BINARY LOGS; INSERT INTO h.t VALUES (402, 'purged'); FLUSH BINARY LOGS; INSERT INTO h.t VALUES (403, 'stays')")
	st = tailState(n)
	newest := filepath.Base(st.Files[len(st.Files)-1])
	n.exec("PURGE BINARY LOGS TO '" + newest + "'")
	st = tailState(n)
	p, some, err := again.Next(st, 1<<30)
	require.NoError(t, err)
	require.True(t, some, "the open file is still readable")
	again.Done(p)
	_, _, err = again.Next(st, 1<<30)
	require.ErrorIs(t, err, ErrPurged)
	restarted, err := StartTail(st, again.Before())
	require.NoError(t, err)
	defer restarted.Close()
	missing := restarted.Before().Subtract(again.Before())
	require.EqualValues(t, 1, missing.Count(), "the purged transaction is known to be missing: %s", missing)
}

// TestReplay: archived pieces applied to an older copy give the same data and exactly the same position, in several batches, and
// leave a data directory that a node can go on with.
func TestReplay(t *testing.T) {
	n := opsStart(t, "p")
	n.open()
	history(n)
	st := tailState(n)
	tail, err := StartTail(st, gtid.Set{})
	require.NoError(t, err)
	defer tail.Close()
	files, held := tailPieces(t, tail, st, 1000, t.TempDir())
	want := n.value(historySum)

	c := procConfig(t)
	out, err := exec.Command("cp", "-a", opsData(t), c.DataDir()).CombinedOutput()
	require.NoError(t, err, string(out))
	r, err := StartReplay(procContext(t), c, c.DataDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Kill()) }()
	half := len(files) / 2
	before, err := r.Executed(procContext(t))
	require.NoError(t, err)
	require.True(t, before.IsEmpty(), before)
	require.NoError(t, r.Apply(procContext(t), files[:half], byMysqlbinlog(t, files[:half])))
	require.NoError(t, r.Apply(procContext(t), files[half:], held))
	got, err := r.Executed(procContext(t))
	require.NoError(t, err)
	require.Equal(t, held.String(), got.String())
	require.NoError(t, r.Close(procContext(t)))
	left, err := filepath.Glob(filepath.Join(c.DataDir(), "relay*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoFileExists(t, filepath.Join(c.DataDir(), "auto.cnf"))

	_, err = NewServerUUID(c)
	require.NoError(t, err)
	require.NoError(t, WriteConfig(c))
	b := &opsNode{t: t, name: "b", cfg: c}
	b.boot()
	b.open()
	require.Equal(t, want, b.value(historySum))
	require.Equal(t, held.String(), gtid.MustParse(b.value("SELECT @@GLOBAL.gtid_executed")).String())
	require.Equal(t, "0", b.value("SELECT COUNT(*) FROM mysql.user WHERE user='"+replayUser+"'"))
	require.Equal(t, "1", b.value("SELECT COUNT(*) FROM mysql.user WHERE user='somebody'"))
	require.Nil(t, b.st().Replica, "no channel is left")
	b.exec("INSERT INTO h.t VALUES (999, 'goes on')")

	// What a copy brought along is in no file of it, and still in front of everything it writes.
	st = tailState(b)
	own, err := StartTail(st, held)
	require.NoError(t, err)
	defer own.Close()
	p, some, err := own.Next(st, 1<<30)
	require.NoError(t, err)
	require.True(t, some)
	require.Equal(t, held.String(), p.Before.String())
	require.Equal(t, 1, p.Transactions)
}

// TestReplayFails: a transaction that cannot be applied is named, with the server's words.
func TestReplayFails(t *testing.T) {
	n := opsStart(t, "p")
	n.open()
	history(n)
	st := tailState(n)
	tail, err := StartTail(st, gtid.Set{})
	require.NoError(t, err)
	defer tail.Close()
	files, held := tailPieces(t, tail, st, 1, t.TempDir())
	c := procConfig(t)
	out, err := exec.Command("cp", "-a", opsData(t), c.DataDir()).CombinedOutput()
	require.NoError(t, err, string(out))
	r, err := StartReplay(procContext(t), c, c.DataDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Kill()) }()
	err = r.Apply(procContext(t), append([]string{files[0]}, files[2:]...), held) // without CREATE TABLE
	require.ErrorContains(t, err, "h.t")
	require.ErrorContains(t, err, "the applier stopped before")
}
