package mysql

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Trap 22: a source that dies in the middle of sending a transaction leaves its beginning in the relay logs. The applier
// executes that, keeps its locks for ever, and asked to stop it waits a minute for the end.
func TestTrap22_half_a_transaction_is_dropped(t *testing.T) {
	const least = 30 * time.Second // half of what the trap takes

	t.Run("a new primary serves its rows", func(t *testing.T) {
		_, f, _ := halfReceived(t)
		ctx, at := within(t, limit), time.Now()
		require.NoError(t, f.DropHalf(ctx))
		require.Less(t, time.Since(at), least)
		require.Nil(t, f.st().Replica)
		f.open()
		f.exec("SET SESSION innodb_lock_wait_timeout=1; INSERT INTO t.t VALUES (10, 'in the way')")
		require.NoError(t, f.DropHalf(ctx), "there is nothing left to do")

		followsAnother(t, f)
	})
	t.Run("a node stops, and gets it whole from the next source", func(t *testing.T) {
		p, f, all := halfReceived(t)
		ctx, at := within(t, limit), time.Now()
		require.NoError(t, f.StopReplica(ctx))
		require.Less(t, time.Since(at), least)
		p.Close()
		p.boot()
		p.open()
		require.NoError(t, f.Follow(ctx, p.source(f, false)))
		f.until("executed", func(st Status) bool { return st.Executed.Contains(all) })
		require.Equal(t, "392", f.value("SELECT COUNT(*) FROM t.t"))
	})
}

// followsAnother makes f follow a primary that has never seen the transaction either.
func followsAnother(t *testing.T, f *opsNode) {
	t.Helper()
	q, ctx := opsStart(t, "q"), within(t, limit)
	q.open()
	require.NoError(t, q.EnsureAccount(ctx, procCreds.Node("f"), false))
	q.exec("INSERT INTO t.t VALUES (2, 'later')")
	require.NoError(t, f.Follow(ctx, q.source(f, true)))
	later := q.st().Executed
	st := f.until("executed", func(st Status) bool { return st.Executed.Contains(later) })
	require.Zero(t, st.Replica.SQLErrno, st.Replica.SQLError)
}

// halfReceived is a follower that has received the beginning of the last transaction of a primary that was killed.
func halfReceived(t *testing.T) (p, f *opsNode, all gtid.Set) {
	p, f = opsStart(t, "p"), opsStart(t, "f")
	p.open()
	ctx := within(t, limit)
	require.NoError(t, p.EnsureAccount(ctx, procCreds.Node("f"), false))
	cut := newLink(t, procAddr(p.cfg))
	src := p.source(f, false)
	src.Port = cut.port()
	require.NoError(t, f.Follow(ctx, src))
	p.exec("INSERT INTO t.t VALUES (1, 'whole')")
	whole := p.st().Executed
	f.until("executed", func(st Status) bool { return st.Executed.Contains(whole) })

	cut.left.Store(1 << 20) // of about 3 MiB
	p.exec("INSERT INTO t.t WITH RECURSIVE n AS (SELECT 10 i UNION ALL SELECT i+1 FROM n WHERE i < 400) SELECT i, REPEAT('x', 8000) FROM n")
	all = p.st().Executed
	f.until("in the middle of it", func(Status) bool {
		return cut.left.Load() < 0 && f.value("SELECT COUNT(*) FROM performance_schema.replication_applier_status_by_worker WHERE APPLYING_TRANSACTION <> ''") == "1"
	})
	require.True(t, f.st().Replica.Half.IsEmpty(), "the rest may still come")
	p.stop()
	cut.close()

	require.NoError(t, f.StopReceiver(ctx))
	st := f.st()
	half := all.Subtract(whole)
	require.True(t, st.Replica.Half.Equal(half), "%s instead of %s", st.Replica.Half, half)
	require.True(t, st.Position().Equal(whole), "half a transaction is not held")
	require.NoError(t, f.WaitDrained(ctx))
	return p, f, all
}
