package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestDifferences: what only one server has, wherever it lies, is kept before the data is given up.
func TestDifferences(t *testing.T) {
	lab := newTrapLab(t)
	t.Run("only received", func(t *testing.T) { onlyReceived(t, lab) })
	t.Run("purged", func(t *testing.T) { purged(t, lab) })
	t.Run("errant while following", func(t *testing.T) { errantWhileFollowing(t, lab) })
}

// onlyReceived: the difference was never applied, so it is in the relay log alone.
func onlyReceived(t *testing.T, lab *trapLab) {
	p, f, g := lab.start(t, "p"), lab.start(t, "f"), lab.start(t, "g")
	p.serve()
	p.feed(f, true)
	p.feed(g, true)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	all := p.look().Executed
	g.until("executed", func(st mysql.Status) bool { return st.Executed.Contains(all) })
	g.ok(g.srv.StopReceiver)
	f.exec(f.db(trapCreds.Admin(), trapCreds.Password), "STOP REPLICA SQL_THREAD")
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	all = p.look().Executed
	f.until("received", func(st mysql.Status) bool { return st.Position().Contains(all) })
	p.die()
	f.ok(f.srv.StopReceiver)
	g.serve()

	diverged, err := f.compare(f.ctx(), g.leads(f))
	require.NoError(t, err)
	require.True(t, diverged)
	f.finish()
	require.Equal(t, roles.DataCondemned, f.disk.facts().Data)
	kept, err := filepath.Glob(filepath.Join(f.attic.dir, "*", "relay.*"))
	require.NoError(t, err)
	require.NotEmpty(t, kept)
	var text string
	for _, file := range kept {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		text += string(b)
	}
	require.Contains(t, text, "app", "the events of the table are in it")
}

// purged: nothing holds the difference any more but the tables. Whether they are given up is for the settings to say.
func purged(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	f.serve()
	f.exec(f.app, "INSERT INTO app.t VALUES (1)")
	p.serve()
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	p.exec(p.db(trapCreds.Admin(), trapCreds.Password), "FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
	h := f.leads(p)
	p.disk.s.Led = true

	p.Settings.Errant = "report"
	diverged, err := p.compare(p.ctx(), h)
	require.NoError(t, err)
	require.True(t, diverged)
	p.finish()
	require.Equal(t, roles.DataOurs, p.disk.facts().Data, "not without a word")
	require.Contains(t, p.jobTrouble, "are purged, so it exists only in this node's tables")
	require.Contains(t, p.jobTrouble, "autopilot-mysql rebuild p")

	p.Settings.Errant = "rebuild"
	_, err = p.compare(p.ctx(), h)
	require.NoError(t, err)
	p.finish()
	require.Empty(t, p.jobTrouble)
	require.Equal(t, roles.DataCondemned, p.disk.facts().Data)
}

// errantWhileFollowing: the running follower finds what was written on it, and what the primary gets later settles it.
// Transactions on their way are never taken for errant ones.
func errantWhileFollowing(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.lead(f)
	h := p.leads(f)
	f.Settings.Errant = "report"
	_, err := f.machine.Fire(f.ctx(), roles.PrimaryFound, roles.Facts{Disk: roles.Disk{Data: roles.DataOurs}}, "test")
	require.NoError(t, err)
	view, err := f.watch.refresh(f.ctx())
	require.NoError(t, err)
	f.checked = checkedHistory{h.Inc, view.Sync.Term}
	look := func() string {
		m := f.render(f.look())
		m.Source = h.MySQL
		return f.lookForErrant(f.ctx(), election.Boottime(), view, m)
	}
	ctx, stop := context.WithCancel(f.ctx())
	written := make(chan struct{})
	go func() { // live traffic
		defer close(written)
		for i := 1000; ctx.Err() == nil; i++ {
			_, _ = p.app.ExecContext(ctx, "INSERT INTO app.t VALUES (?)", i)
		}
	}()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		require.Empty(t, look())
		f.checker.mu.Lock()
		f.checker.at = 0 // compare again at once
		f.checker.mu.Unlock()
	}
	stop()
	<-written

	admin := f.db(trapCreds.Admin(), trapCreds.Password)
	f.exec(admin, "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; CREATE DATABASE oops")
	require.Eventually(t, func() bool { return look() != "" }, trapLimit, 20*time.Millisecond)
	require.Equal(t, f.disk.s.UUID+":1", look())

	p.exec(p.db(trapCreds.Admin(), trapCreds.Password), "SET GTID_NEXT='"+look()+"'; BEGIN; COMMIT; SET GTID_NEXT='AUTOMATIC'")
	require.Eventually(t, func() bool { return look() == "" }, trapLimit, 20*time.Millisecond)
}
