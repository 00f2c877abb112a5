package agent

import (
	"context"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// TestTraps: the traps of MySQL whose protection is a rule of the agent, on real servers. The list is docs/traps.md; most
// of it is shown in package mysql.
func TestTraps(t *testing.T) {
	lab := newTrapLab(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *trapLab)
	}{
		{"07 what only an old primary has is archived and its data given up", oldPrimaryIsGivenUp},
		{"08 a snapshot that the binary logs do not reach is passed over", snapshotOutOfReach},
		{"09 a copy forgets the channel of its origin", copyForgetsItsChannel},
		{"14 a former source applies what it receives", formerSourceApplies},
		{"15 the source side stays on while commits wait", sourceStaysOn},
		{"16 a server with waiting commits gets no SIGTERM", noSigterm},
		{"18 everybody is locked out behind a waiting CREATE USER", lockedOutBehindCreateUser},
		{"20 a torn relay log makes a node void", tornRelayLog},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, lab) })
	}
}

// waiting is a primary at which a client waits for an acknowledgement that nobody gives, and its follower.
func waiting(t *testing.T, lab *trapLab) (p, f *trapNode, client <-chan error) {
	t.Helper()
	p, f = lab.start(t, "p"), lab.start(t, "f")
	p.lead(f)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	f.ok(f.srv.StopReceiver)
	client = p.write("INSERT INTO app.t VALUES (2)")
	p.until("a waiter", func(st mysql.Status) bool { return st.Source.WaitSessions == 1 })
	return p, f, client
}

func oldPrimaryIsGivenUp(t *testing.T, lab *trapLab) {
	p, f, client := waiting(t, lab)
	p.die()
	require.Error(t, <-client)
	f.ok(f.srv.WaitDrained)
	f.serve()
	f.exec(f.app, "INSERT INTO app.t VALUES (3)")

	p.boot()
	p.connect()
	p.Snapshots = store(t)
	p.attic.store = p.Snapshots
	h := f.leads(p)
	diverged, err := p.compare(p.ctx(), h)
	require.NoError(t, err)
	require.True(t, diverged, "it would go on with a row that no other server has")
	p.finish()
	require.Equal(t, roles.DataCondemned, p.disk.facts().Data)
	require.NoError(t, p.attic.work(p.ctx()))
	kept, err := p.Snapshots.List(p.ctx(), "main/archive/")
	require.NoError(t, err)
	require.NotEmpty(t, kept)
}

func snapshotOutOfReach(t *testing.T, lab *trapLab) {
	p := lab.start(t, "p")
	p.serve()
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	old := p.look().Executed
	copied := filepath.Join(p.mycfg.Dir, "old-copy")
	_, err := p.srv.CloneLocal(p.ctx(), copied)
	require.NoError(t, err)
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	admin := p.db(trapCreds.Admin(), trapCreds.Password)
	p.exec(admin, "FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
	p.exec(p.app, "INSERT INTO app.t VALUES (3)")
	executed, purged, err := mysql.History(p.ctx(), p.leads().MySQL, p.creds)
	require.NoError(t, err)
	require.False(t, old.Contains(purged))

	g := lab.node(t, "g", "")
	g.Snapshots = store(t)
	for why, set := range map[string]gtid.Set{
		"has purged the binary logs":               old,
		"holds transactions the primary never had": executed.Union(gtid.MustParse("00000000-0000-0000-0000-000000000001:1")),
	} {
		m := snapshot.Manifest{ID: "s1", ClusterID: "c", GTIDLower: set}
		require.ErrorContains(t, g.tryRestore(g.ctx(), m, "c", purged, executed, func(string) {}), why)
		require.NoDirExists(t, g.restoreDir())
	}

	// What would come of it: the copy cannot follow any more (1236), and is given up instead of waiting for ever.
	n := lab.node(t, "n", copied)
	n.disk.s.Fresh = true
	n.boot()
	n.connect()
	n.ok(func(ctx context.Context) error { return p.srv.EnsureAccount(ctx, p.creds.Node("n"), false) })
	n.ok(func(ctx context.Context) error {
		return n.srv.Follow(ctx, mysql.Source{Host: "127.0.0.1", Port: p.mycfg.Port, User: p.creds.Node("n"), Password: p.creds.Password, ConnectRetry: connectRetry})
	})
	n.until("refused", func(st mysql.Status) bool { return st.Replica.IOErrno == 13114 || st.Replica.IOErrno == 1236 })
	diverged, err := n.compare(n.ctx(), p.leads(n))
	require.NoError(t, err)
	require.True(t, diverged)
	require.Equal(t, roles.DataCondemned, n.disk.facts().Data)
}

func copyForgetsItsChannel(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.serve()
	p.feed(f, false)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	all := p.look().Executed
	f.until("executed", func(st mysql.Status) bool { return st.Executed.Contains(all) })
	copied := filepath.Join(f.mycfg.Dir, "copy")
	_, err := f.srv.CloneLocal(f.ctx(), copied) // under super_read_only
	require.NoError(t, err)

	g := lab.node(t, "g", copied)
	g.disk.s.Fresh = true
	g.boot()
	g.connect()
	st := g.look()
	require.Nil(t, st.Replica, "its origin's channel, with its origin's account")
	require.True(t, st.Executed.Contains(all))
	require.False(t, g.disk.s.Fresh)
	p.lead(g)
	p.exec(p.app, "INSERT INTO app.t VALUES (2)") // acknowledged by the copy
}

func formerSourceApplies(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.ok(func(ctx context.Context) error { return p.srv.SetSource(ctx, true, 1) }) // it was a primary, and fenced in order
	p.look()
	f.serve()
	p.ok(p.closeAsReplica)
	f.feed(p, true)
	f.ok(func(ctx context.Context) error { return f.srv.SetSource(ctx, true, 1) })
	f.exec(f.app, "INSERT INTO app.t VALUES (1)")
	all := f.look().Executed
	p.until("applied", func(st mysql.Status) bool {
		require.Zero(t, st.Source.WaitSessions, "its applier waits for an acknowledgement of its own, and cannot be stopped")
		return st.Executed.Contains(all)
	})
	p.ok(p.srv.StopReplica)
}

func sourceStaysOn(t *testing.T, lab *trapLab) {
	p, _, client := waiting(t, lab)
	err := p.closeAsReplica(p.ctx())
	if err == nil {
		require.Error(t, <-client, "told that it is committed; nobody else has it")
	}
	require.ErrorIs(t, err, errNotNow)
	stillWaits(t, p, client)
	p.die()
	require.Error(t, <-client)
}

// stillWaits demands that a client has been told nothing.
func stillWaits(t *testing.T, p *trapNode, client <-chan error) {
	t.Helper()
	require.Equal(t, 1, p.look().Source.WaitSessions)
	select {
	case err := <-client:
		require.Fail(t, "a client was told an outcome", "%v: nobody but this server has its write", err)
	default:
	}
}

func noSigterm(t *testing.T, lab *trapLab) {
	p, _, client := waiting(t, lab)
	err := p.endMysqld(p.ctx())
	if err == nil {
		require.Error(t, <-client, "told that it is committed; nobody else has it")
	}
	require.ErrorContains(t, err, "SIGTERM")
	stillWaits(t, p, client)
	p.Agent.kill(p.ctx())
	<-p.exited
	require.Error(t, <-client, "told that it is committed; nobody else has it")
}

func lockedOutBehindCreateUser(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.lead(f)
	admin := p.db(trapCreds.Admin(), trapCreds.Password)
	f.ok(f.srv.StopReceiver)
	created := make(chan error, 1)
	ctx := p.ctx()
	go func() {
		_, err := admin.ExecContext(ctx, "CREATE USER somebody@localhost")
		created <- err
	}()
	p.until("a waiter", func(st mysql.Status) bool { return st.Source.WaitSessions == 1 })

	err := p.lockEverybody(p.ctx(), false)
	number, answered := mysql.ServerErrno(err)
	require.True(t, answered, "%v", err)
	require.Equal(t, 1205, number, "opening a term must not free those who wait")
	require.Equal(t, 1, p.look().Source.WaitSessions)

	require.NoError(t, p.lockEverybody(p.ctx(), true), "SELF: the record says that nobody else can win")
	require.NoError(t, <-created)
	accounts, err := p.srv.ReplicationAccounts(p.ctx())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{p.creds.Node("f"): true}, accounts, "verified, before anything else is decided")
	require.Empty(t, p.look().DumpUsers)
}

func tornRelayLog(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.lead(f)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	first := p.look().Executed
	f.until("executed", func(st mysql.Status) bool { return st.Executed.Contains(first) })
	admin := f.db(trapCreds.Admin(), trapCreds.Password)
	f.exec(admin, "STOP REPLICA SQL_THREAD")
	p.exec(p.app, "INSERT INTO app.t VALUES (2)") // acknowledged
	all := p.look().Executed
	f.until("received", func(st mysql.Status) bool { return st.Position().Contains(all) })
	require.False(t, f.disk.facts().Void)
	f.die()

	logs, err := filepath.Glob(filepath.Join(f.mycfg.DataDir(), "relay.0*"))
	require.NoError(t, err)
	sort.Strings(logs)
	newest := logs[len(logs)-1]
	info, err := os.Stat(newest)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(newest, info.Size()-7))

	f.boot()
	f.srv, f.connected = mysql.Open(f.mycfg, f.creds), false
	t.Cleanup(f.srv.Close)
	f.attached()
	require.False(t, f.look().Position().Contains(all), "mysqld starts as if nothing had happened")
	require.True(t, f.disk.facts().Void, "it acknowledged what it does not have: it must not vote")
}

// Trap 11: the receiver of a frozen primary must not have given up its connection when the lease is over: stopping it in
// the middle of connecting takes two seconds (measured), and SEAL waits for it.
func TestTrap11_receivers_outlast_the_lease(t *testing.T) {
	for _, c := range []time.Duration{time.Second, 3 * time.Second, 20 * time.Second} {
		p, err := election.ParamsFor(c)
		require.NoError(t, err)
		cfg := mysqlConfig(&config.Settings{}, p)
		require.GreaterOrEqual(t, cfg.ReplNetTimeout, c+2*time.Second)
	}
}
