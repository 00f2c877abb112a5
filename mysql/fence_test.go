package mysql

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFence_with_an_acker_completes(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	app := p.app()
	_, err := app.ExecContext(ctx, "INSERT INTO t.t VALUES (1, 'a')")
	require.NoError(t, err)
	lock, err := app.Conn(ctx) // a client that would hold super_read_only up
	require.NoError(t, err)
	defer lock.Close()
	_, err = lock.ExecContext(ctx, "LOCK TABLES t.t WRITE")
	require.NoError(t, err)
	privileged, err := p.db.Conn(ctx) // has CONNECTION_ADMIN: offline_mode does not cut it
	require.NoError(t, err)
	defer privileged.Close()

	result, err := p.Fence(ctx)
	require.NoError(t, err)
	require.Zero(t, result.Waiters)
	st := p.st()
	require.True(t, st.OfflineMode && st.SuperReadOnly)
	require.Equal(t, 1, st.Source.Clients, "the acker's stream stays")
	require.Error(t, lock.PingContext(ctx))
	require.Error(t, privileged.PingContext(ctx))
	require.Equal(t, On, f.st().Replica.Receiver)
	_, err = p.Fence(ctx)
	require.NoError(t, err, "again")
}

func TestFence_names_the_step_when_a_waiter_is_left(t *testing.T) {
	p, f := opsPair(t, true)
	require.NoError(t, f.StopReceiver(procContext(t)))
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (1, 'never acknowledged')")
	p.until("a waiter", func(st Status) bool { return st.Source.WaitSessions == 1 })

	var result FenceResult
	for end := time.Now().Add(limit); result.Waiters == 0; { // the time of one may be over before it has come so far
		require.True(t, time.Now().Before(end), "it does not come to the waiter")
		var err error
		result, err = p.Fence(within(t, 700*time.Millisecond)) // less than lock_wait_timeout, which is 1 s
		var step *StepError
		require.ErrorAs(t, err, &step)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		if result.Waiters > 0 {
			// The session of the waiter cannot end; on a busy machine the budget is used up by waiting for that already.
			require.Contains(t, []string{"fence 2, kill sessions", "fence 3, no more writes"}, step.Step)
		}
	}
	require.Equal(t, 1, result.Waiters)
	require.Error(t, <-insert, "its client was cut without an OK")
	p.stop()
	require.Less(t, result.Took, limit)
}

func TestKillOtherAdmins_ends_a_previous_agent(t *testing.T) {
	n := opsStart(t, "n")
	ctx := procContext(t)
	previous := Open(n.cfg, procCreds)
	defer previous.Close()
	require.NoError(t, previous.Ready(ctx))
	sleeping := make(chan error, 1)
	go func() {
		_, err := previous.slow.query(ctx, "sleep", "SELECT SLEEP(600)")
		sleeping <- err
	}()
	require.Eventually(t, n.executes("SELECT SLEEP"), limit, 5*time.Millisecond)
	mine := n.own()
	require.NoError(t, n.KillOtherAdmins(ctx))
	require.Error(t, <-sleeping)
	require.Equal(t, mine, n.own(), "own sessions live")
	require.NoError(t, n.Ready(ctx))
	_, err := previous.Status(ctx)
	require.NoError(t, err, "closed connections are noticed and replaced")
}

func TestServer_gives_up_a_connection_without_an_answer(t *testing.T) {
	n := opsStart(t, "n")
	ctx := procContext(t)
	var unknown *UnknownError
	before := n.fence.size
	err := timesOut(t, n.executes("SELECT SLEEP"), func(ctx context.Context) error { return n.fence.exec(ctx, "sleep", "SELECT SLEEP(600)") })
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, "sleep", unknown.Op)
	require.Eventually(t, func() bool {
		ids := map[uint64]bool{}
		n.fence.ids(ids)
		return len(ids) == before
	}, limit, 5*time.Millisecond, "another one is opened in the background")
	require.Eventually(t, func() bool {
		return procValue(t, n.db, "SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO LIKE 'SELECT SLEEP%'") == "0"
	}, limit, 5*time.Millisecond, "its session is killed")

	n.stop()
	_, err = n.Status(ctx)
	require.ErrorIs(t, err, ErrUnavailable)
	require.NotErrorAs(t, err, &unknown)
	n.Close()
	n.boot()
	n.st()
}

// Trap 18: while a CREATE USER waits for its ACK nobody can log in. What was opened before works.
func TestServer_works_behind_a_waiting_CREATE_USER(t *testing.T) {
	p, f := opsPair(t, true)
	require.NoError(t, f.StopReceiver(procContext(t)))
	create := background(t, p.db, "CREATE USER somebody@localhost")
	p.until("a waiter", func(st Status) bool { return st.Source.WaitSessions == 1 })

	late := Open(p.cfg, procCreds)
	defer late.Close()
	require.Error(t, late.Ready(within(t, 500*time.Millisecond)), "logins hang")

	ctx := procContext(t)
	_, err := p.Status(ctx)
	require.NoError(t, err)
	require.NoError(t, p.KillDumpThreads(ctx, nil))
	err = p.LockAccounts(ctx, []string{procCreds.Node("f")})
	number, answered := ServerErrno(err)
	require.True(t, answered, "%v", err)
	require.Equal(t, 1205, number)
	require.NoError(t, p.SetSource(ctx, false, 0), "SELF: source off first, then lock again")
	require.NoError(t, <-create)
	require.NoError(t, p.LockAccounts(ctx, []string{procCreds.Node("f")}))
}
