package mysql

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

func TestEndWrites_returns_the_whole_history(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	app := p.app()
	client, err := app.Conn(ctx)
	require.NoError(t, err)
	defer client.Close()
	_, err = client.ExecContext(ctx, "INSERT INTO t.t VALUES (1, 'a')")
	require.NoError(t, err)

	history, err := p.EndWrites(ctx)
	require.NoError(t, err)
	require.Equal(t, p.st().Executed.String(), history.String())
	_, err = client.ExecContext(ctx, "INSERT INTO t.t VALUES (2, 'b')")
	require.Error(t, err)
	require.NoError(t, client.PingContext(ctx), "clients stay: writes may come back")
	f.applies(history)
	require.True(t, f.st().Executed.Equal(history))
	again, err := p.EndWrites(ctx)
	require.NoError(t, err)
	require.True(t, again.Equal(history))

	p.ok(p.OfflineOn)
	p.ok(p.BeginWrites)
	_, err = app.ExecContext(ctx, "INSERT INTO t.t VALUES (2, 'b')")
	require.NoError(t, err)
	require.False(t, p.st().Executed.Equal(history))
}

// A commit that finds no acknowledgement is in the binary log and not in gtid_executed: an offer without it would lose it.
func TestEndWrites_waits_for_a_commit_under_way(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	f.ok(f.StopReceiver)
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (1, 'late')")
	p.until("a waiter", func(st Status) bool { return st.Source.WaitSessions == 1 })

	_, err := p.EndWrites(ctx)
	require.Error(t, err, "it gives up after a second")
	st := p.until("mysqld goes on as before", func(st Status) bool { return !st.SuperReadOnly && !st.ReadOnly })
	require.Equal(t, 1, st.Source.WaitSessions)

	p.feed(f, true)
	require.NoError(t, <-insert)
	history, err := p.EndWrites(ctx)
	require.NoError(t, err)
	f.applies(history)
	require.Equal(t, "1", f.value("SELECT COUNT(*) FROM t.t"))
}

func TestWaitExecuted_ends_with_its_context(t *testing.T) {
	n := opsStart(t, "n")
	coming := gtid.MustParse(n.st().UUID + ":1-1000000")
	_, err := n.WaitExecuted(within(t, 300*time.Millisecond), coming)
	require.Error(t, err)
	n.applies(n.st().Executed)
}

// What is waited for may be there while there is more, or while what was received is not executed: who takes over has to see.
func TestHeld_is_everything(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	app := p.app()
	procExec(t, app, "INSERT INTO t.t VALUES (1, 'a')")
	first := p.st().Executed
	f.applies(first)
	held, err := f.WaitExecuted(ctx, first)
	require.NoError(t, err)
	require.NoError(t, held.Exactly(first))
	require.Equal(t, On, held.Receiver)

	f.exec("STOP REPLICA SQL_THREAD")
	procExec(t, app, "INSERT INTO t.t VALUES (2, 'b')") // acknowledged, and not executed at f
	all := p.st().Executed
	held, err = f.WaitExecuted(ctx, first)
	require.NoError(t, err)
	require.Equal(t, all.Subtract(first).String(), held.Undrained().String())
	require.ErrorContains(t, held.Exactly(first), "not "+first.String())
	require.ErrorContains(t, held.Exactly(all), "not executed yet")

	f.exec("START REPLICA SQL_THREAD")
	f.applies(all)
	f.ok(f.StopReceiver)
	held, err = f.Held(ctx)
	require.NoError(t, err)
	require.Equal(t, Off, held.Receiver)
	require.NoError(t, held.Exactly(all))
	require.True(t, held.Half.IsEmpty())

	held, err = p.Held(ctx)
	require.NoError(t, err)
	require.Equal(t, Off, held.Receiver, "it has no channel")
	require.NoError(t, held.Exactly(all))
}

// A chain: the follower of a follower, let in by a server that is not open, acknowledges as soon as that is a source.
func TestLetIn_at_a_server_that_is_not_open(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	third := opsStart(t, "third")
	user := procCreds.Node("third")
	require.NoError(t, f.LetIn(ctx, []string{user}))
	st := f.st()
	require.True(t, st.SuperReadOnly && st.ReadOnly)
	accounts, err := f.ReplicationAccounts(ctx)
	require.NoError(t, err)
	locked, exists := accounts[user]
	require.True(t, exists && !locked)
	require.Empty(t, p.st().Executed.Subtract(f.st().Executed).String(), "nothing of it is in a binary log")

	require.NoError(t, third.Follow(ctx, f.source(third, true)))
	f.until("the chain", func(st Status) bool { return st.Source.Clients == 1 && len(st.DumpUsers) == 1 })
	third.until("armed", func(st Status) bool { return st.Replica.Armed })

	history, err := p.EndWrites(ctx)
	require.NoError(t, err)
	f.applies(history)
	for _, do := range []func(context.Context) error{f.OfflineOn, f.StopReceiver, f.ReadOnlyOff} {
		f.ok(do)
	}
	require.NoError(t, f.KillDumpThreadsBut(ctx, []string{user}))
	require.Equal(t, []string{user}, f.st().DumpUsers, "the spared stream lives")
	require.NoError(t, f.SetSource(ctx, true, 1))
	f.ok(f.OfflineOff)
	_, err = f.app().ExecContext(ctx, "INSERT INTO t.t VALUES (7, 'new term')")
	require.NoError(t, err)
	require.NotZero(t, f.st().Source.YesTx)
}

// A delay on commits is for the moment before a hand-over: whatever the server becomes next, it is gone.
func TestThrottle_slows_commits_down_and_ends_with_the_role(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	const slow = 40 * time.Millisecond
	delay := func(n *opsNode) string { return n.value("SELECT @@GLOBAL.binlog_group_commit_sync_delay") }
	throttled := func(n *opsNode) {
		t.Helper()
		require.NoError(t, n.Throttle(ctx, slow))
		require.Equal(t, "40000", delay(n))
	}
	throttled(p)
	began := time.Now()
	p.exec("INSERT INTO t.t VALUES (1, 'slow')")
	require.GreaterOrEqual(t, time.Since(began), slow)
	require.NoError(t, p.Throttle(ctx, 0))
	require.Equal(t, "0", delay(p))

	throttled(p)
	f.ok(f.StopReceiver)
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (2, 'waits for its acknowledgement')")
	p.until("a waiter", func(st Status) bool { return st.Source.WaitSessions == 1 })
	_, err := p.EndWrites(ctx)
	require.Error(t, err)
	require.Equal(t, "0", delay(p), "writes could not be ended, and go on")
	p.feed(f, true)
	require.NoError(t, <-insert)

	throttled(p)
	_, err = p.EndWrites(ctx)
	require.NoError(t, err)
	require.Equal(t, "0", delay(p), "writes have ended")

	throttled(p)
	p.ok(p.DisableEvents)
	require.Equal(t, "0", delay(p), "it begins to follow")

	throttled(p)
	p.ok(p.ReadOnlyOff)
	require.Equal(t, "0", delay(p), "it is the primary of another term")
}

func TestThrottle_is_at_least_what_the_user_wants(t *testing.T) {
	n := opsStart(t, "n", "--binlog-group-commit-sync-delay=2000")
	delay := func() string { return n.value("SELECT @@GLOBAL.binlog_group_commit_sync_delay") }
	for _, to := range []struct {
		delay time.Duration
		want  string
	}{{time.Millisecond, "2000"}, {5 * time.Millisecond, "5000"}, {0, "2000"}} {
		require.NoError(t, n.Throttle(procContext(t), to.delay))
		require.Equal(t, to.want, delay())
	}
}
