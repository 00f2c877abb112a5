package mysql

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAccounts_lock_takes_the_ACKs_away(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	user := procCreds.Node("f")
	before := p.st().Executed
	accounts, err := p.ReplicationAccounts(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{user: false}, accounts)

	require.NoError(t, p.LockAccounts(ctx, []string{user, procCreds.Node("nobody")}))
	require.Equal(t, 1, p.st().Source.Clients, "a stream that runs goes on")
	require.NoError(t, p.KillDumpThreads(ctx, []string{user}))
	st := p.st()
	require.Empty(t, st.DumpUsers)
	p.until("no acker", func(st Status) bool { return st.Source.Clients == 0 })
	f.until("refused", func(st Status) bool {
		return st.Replica.Receiver == Connecting && st.Replica.IOErrno == errnoAccountLocked
	})
	require.NoError(t, p.EnsureAccount(ctx, user, false))
	accounts, err = p.ReplicationAccounts(ctx)
	require.NoError(t, err)
	require.True(t, accounts[user], "only UnlockAccount unlocks")

	require.NoError(t, p.UnlockAccount(ctx, user))
	f.until("back", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	require.NoError(t, p.EnsureAccount(ctx, user, true))
	require.NoError(t, p.EnsureAccount(ctx, procCreds.Node("g"), true))
	require.NoError(t, p.KillDumpThreads(ctx, nil))
	accounts, err = p.ReplicationAccounts(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{user: true, procCreds.Node("g"): true}, accounts)
	require.True(t, p.st().Executed.Equal(before), "all of it unlogged")

	require.NoError(t, p.LockAccounts(ctx, []string{user}))
	require.NoError(t, p.KillDumpThreads(ctx, []string{user}))
	require.NoError(t, p.DropAccount(ctx, user))
	require.NoError(t, p.DropAccount(ctx, user), "again")
	accounts, err = p.ReplicationAccounts(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{procCreds.Node("g"): true}, accounts)
	require.True(t, p.st().Executed.Equal(before), "this unlogged too")
	require.Error(t, p.DropAccount(ctx, "x' OR"))

	require.NoError(t, p.OpenAccounts(ctx, nil))
	require.NoError(t, p.OpenAccounts(ctx, []string{procCreds.Node("g"), user}))
	accounts, err = p.ReplicationAccounts(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{user: false, procCreds.Node("g"): false}, accounts, "also one that was not there")
	f.until("back with a new account", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	require.True(t, p.st().Executed.Equal(before), "unlogged")
	require.Error(t, p.OpenAccounts(ctx, []string{"x' OR"}))

	require.Error(t, p.LockAccounts(ctx, []string{"x' OR"}))
	require.Error(t, p.UnlockAccount(ctx, procCreds.Node("missing")))
	require.NotContains(t, p.UnlockAccount(ctx, procCreds.Node("missing")).Error(), procPassword)
}

// Trap 12.
func TestEvents_follow_the_role(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	p.exec("CREATE EVENT t.e1 ON SCHEDULE EVERY 1 HOUR DO SET @x = 1")
	p.exec("SET sql_mode='ANSI_QUOTES', time_zone='+05:00'; CREATE DEFINER=app@localhost EVENT t.`odd ``name` ON SCHEDULE EVERY 1 DAY DO SET @x = 2")
	p.exec("CREATE EVENT t.off ON SCHEDULE EVERY 1 HOUR DISABLE DO SET @x = 3")
	require.NoError(t, p.NoteDisabledEvents(ctx))
	all := p.st().Executed
	require.NoError(t, p.NoteDisabledEvents(ctx))
	require.True(t, p.st().Executed.Equal(all), "nothing new, nothing logged")
	f.until("replicated", func(st Status) bool {
		require.Empty(t, st.Replica.SQLError)
		return st.Executed.Contains(all)
	})
	status := "SELECT GROUP_CONCAT(EVENT_NAME, ' ', STATUS ORDER BY EVENT_NAME SEPARATOR ', ') FROM information_schema.events"
	const waiting = "e1 REPLICA_SIDE_DISABLED, odd `name REPLICA_SIDE_DISABLED, off REPLICA_SIDE_DISABLED"
	const running = "e1 ENABLED, odd `name ENABLED, off DISABLED"
	require.Equal(t, waiting, f.value(status))

	require.NoError(t, f.StopReceiver(ctx))
	require.NoError(t, f.ReadOnlyOff(ctx))
	require.NoError(t, f.EnableEvents(ctx))
	require.Equal(t, running, f.value(status))
	require.Equal(t, "ON", f.value("SELECT @@event_scheduler"))
	require.Equal(t, "app@localhost ANSI_QUOTES +05:00",
		f.value("SELECT CONCAT_WS(' ', DEFINER, SQL_MODE, TIME_ZONE) FROM information_schema.events WHERE EVENT_NAME LIKE 'odd%'"))
	require.Equal(t, "Y", f.value("SELECT IF(@@sql_mode LIKE '%STRICT%', 'Y', 'N')"))

	require.NoError(t, f.OfflineOff(ctx))
	require.Error(t, f.DisableEvents(ctx), "clients could write meanwhile")
	require.NoError(t, f.SealStart(ctx))
	require.NoError(t, f.DisableEvents(ctx))
	require.Equal(t, "e1 REPLICA_SIDE_DISABLED, odd `name REPLICA_SIDE_DISABLED, off DISABLED", f.value(status))
	st := f.st()
	require.True(t, st.SuperReadOnly && st.ReadOnly)
	require.True(t, st.Executed.Equal(all), "unlogged")
	require.NoError(t, f.DisableEvents(ctx), "again")
}

func TestCloneLocal(t *testing.T) {
	n := opsStart(t, "n")
	n.open()
	n.exec("INSERT INTO t.t VALUES (1, 'a')")
	n.ok(n.SealStart)
	dir := filepath.Join(n.cfg.Dir, "scratch")
	set, err := n.CloneLocal(procContext(t), dir)
	require.NoError(t, err)
	require.True(t, set.Equal(n.st().Executed))
	require.FileExists(t, filepath.Join(dir, "mysql.ibd"))
	require.NoFileExists(t, filepath.Join(dir, "auto.cnf"))
	_, err = n.CloneLocal(within(t, 10*time.Second), dir)
	require.Error(t, err, "the target exists")
	_, err = n.CloneLocal(procContext(t), "relative")
	require.Error(t, err)

	// A caller without a deadline, as the agent is: the limit of ordinary statements must not end a clone.
	n.slow.limit = time.Millisecond
	_, err = n.CloneLocal(context.Background(), filepath.Join(n.cfg.Dir, "again"))
	require.NoError(t, err)
}
