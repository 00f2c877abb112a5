package mysql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func readTrimmed(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

// Trap 9: a copy of a replica brings its replication channel along, configured and unusable (1872), and its locked
// accounts. It is cloned by a scratch server, so the closed one it replaces need not be opened, and mysqld does not end.
func TestTrap09_a_clone_of_a_replica_follows_after_a_reset(t *testing.T) {
	p, f := opsPair(t, false)
	p.exec("INSERT INTO t.t VALUES (1, 'x')")
	all := p.st().Executed
	f.until("executed", func(st Status) bool { return st.Executed.Contains(all) })

	c := procConfig(t)
	require.NoError(t, CloneFrom(procContext(t), c, procAddr(f.cfg), procCreds, c.DataDir()))
	uuid, err := NewServerUUID(c)
	require.NoError(t, err)
	require.NoError(t, WriteConfig(c))
	g := &opsNode{t: t, name: "g", cfg: c}
	g.boot()
	st := g.st()
	require.Equal(t, uuid, st.UUID)
	require.NotEqual(t, f.st().UUID, st.UUID, "with the donor's identity it would take the donor's place at the source")
	require.NotNil(t, st.Replica, "it brings the donor's channel along")
	require.True(t, st.Position().Contains(all))
	_, err = g.db.ExecContext(procContext(t), "START REPLICA")
	require.Error(t, err, "the reason for the reset")

	g.ok(g.ResetReplica)
	p.feed(g, true)
	require.NoError(t, p.SetSource(procContext(t), true, 1))
	p.exec("INSERT INTO t.t VALUES (2, 'acknowledged by the copy')")
	require.Equal(t, 1, p.st().Source.Clients)
}

// Trap 21: GTIDs may carry tags. Such a transaction is one like any other in a position, in a history, and in what is
// left to apply, though one tag's numbers say nothing about another's.
func TestTrap21_tagged_transactions_count_like_others(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	p.exec("INSERT INTO t.t VALUES (1, 'untagged')")
	plain := p.st().Executed
	f.until("executed", func(st Status) bool { return st.Executed.Contains(plain) })
	f.exec("STOP REPLICA SQL_THREAD")
	p.exec("SET gtid_next='AUTOMATIC:blue'; INSERT INTO t.t VALUES (2, 'tagged'); SET gtid_next='AUTOMATIC'")
	all := p.st().Executed
	require.Contains(t, all.String(), ":blue:1")
	require.False(t, plain.Contains(all), "the tagged one has number 1 as well")
	st := f.until("received", func(st Status) bool { return st.Position().Contains(all) })
	require.EqualValues(t, 1, st.Undrained().Count(), "%s", st.Undrained())
	require.ErrorIs(t, f.ResetReplica(ctx), ErrUndrained)
	f.ok(f.StartApplier)
	f.ok(f.WaitDrained)
	require.Equal(t, "2", f.value("SELECT COUNT(*) FROM t.t"))

	require.NoError(t, f.StopReceiver(ctx))
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (3, 'untagged, waits')")
	p.until("a waiter", func(st Status) bool { return st.Source.WaitSessions == 1 })
	history, _, err := History(ctx, procAddr(p.cfg), procCreds)
	require.NoError(t, err)
	require.True(t, history.Contains(f.st().Position()), "%s and %s", history, f.st().Position())
	require.EqualValues(t, 1, history.Subtract(f.st().Position()).Count())
	require.NoError(t, f.Follow(ctx, p.source(f, true)))
	require.NoError(t, <-insert)
	files, err := p.BinlogFilesHolding(ctx, all.Subtract(plain))
	require.NoError(t, err)
	require.NotEmpty(t, files)
}

// Trap 23: a receiver drops events that carry its own server_id. A former primary whose disk lost the end of its binary log
// would follow, catch up and acknowledge with a hole in its history, which others hold because it wrote it.
func TestTrap23_a_former_primary_gets_back_what_its_disk_lost(t *testing.T) {
	p, f := opsPair(t, false)
	p.exec("INSERT INTO t.t VALUES (1, 'kept')")
	older := filepath.Join(t.TempDir(), "older")
	p.restart(func() { copyDir(t, p.cfg.DataDir(), older) })
	p.open()
	p.exec("INSERT INTO t.t VALUES (2, 'lost')")
	p.exec("INSERT INTO t.t VALUES (3, 'lost')")
	all := p.st().Executed
	f.until("executed", func(st Status) bool { return st.Executed.Contains(all) })

	p.restart(func() {
		require.NoError(t, os.RemoveAll(p.cfg.DataDir()))
		copyDir(t, older, p.cfg.DataDir())
	})
	require.EqualValues(t, 2, all.Subtract(p.st().Position()).Count(), "the disk lost them")
	f.ok(f.StopReplica)
	f.open()
	f.exec("INSERT INTO t.t VALUES (4, 'the next term')")
	all = f.st().Executed
	f.feed(p, true)
	p.until("executed", func(st Status) bool { return st.Executed.Contains(all) })
	require.Equal(t, "4", p.value("SELECT COUNT(*) FROM t.t"))
}

// Trap 24: a server that is killed at once when it starts leaves a binary log without GTIDs, and the next start looks no
// further: what the recovery before has committed is in the log before it and in the data, and no more in gtid_executed.
func TestTrap24_a_start_that_was_killed_forgets_no_GTID(t *testing.T) {
	p, f := opsPair(t, true)
	p.exec("INSERT INTO t.t VALUES (1, 'acknowledged')")
	f.ok(f.StopReceiver)
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (2, 'waits')")
	p.waiter()
	p.restart(func() {})
	require.Error(t, <-insert)
	all := p.st().Executed
	require.Equal(t, "2", p.value("SELECT COUNT(*) FROM t.t"), "committed by the recovery")

	// As if it had been killed then: the table does not have it yet, and the new log has nothing but what format it has.
	p.ok(p.ReadOnlyOff)
	p.exec("SET sql_log_bin=0; DELETE FROM mysql.gtid_executed; FLUSH ENGINE LOGS")
	p.restart(func() {
		data := p.cfg.DataDir()
		logs := strings.Fields(readTrimmed(t, filepath.Join(data, "binlog.index")))
		const header = 127
		require.NoError(t, os.Truncate(filepath.Join(data, logs[len(logs)-1]), header))
	})
	require.Equal(t, "2", p.value("SELECT COUNT(*) FROM t.t"))
	require.True(t, p.st().Executed.Contains(all), "%s of %s", p.st().Executed, all)
}
