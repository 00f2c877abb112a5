package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestUpkeep: what a node does beside its decisions neither stops the loop nor makes a living server look dead.
func TestUpkeep(t *testing.T) {
	lab := newTrapLab(t)
	t.Run("accounts that cannot be read", func(t *testing.T) { accountsLocked(t, lab) })
	t.Run("disabled events are noted", func(t *testing.T) { eventsAreNoted(t, lab) })
	t.Run("draining does not stop the loop", func(t *testing.T) { drainsInSteps(t, lab) })
}

// accountsLocked: somebody locks the table of accounts. (A waiting CREATE USER does not, it only keeps logins out: measured.)
func accountsLocked(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.lead(f)
	user := p.creds.Node("f")
	var c accounts
	known, err := c.look(p.ctx(), p.srv)
	for ; known == nil; known, err = c.look(p.ctx(), p.srv) { // slow is not wrong
		require.NoError(t, p.ctx().Err(), "%v", err)
	}
	require.Equal(t, map[string]bool{user: false}, known)
	for last := c.begun; time.Since(c.at) < accountsEvery; time.Sleep(accountsEvery / 20) { // turns of the loop
		known, _ = c.look(p.ctx(), p.srv)
		require.Equal(t, map[string]bool{user: false}, known)
		if time.Since(last) < accountsEvery {
			require.Equal(t, last, c.begun, "what nobody has changed is not read on every turn")
		}
	}
	before := c.begun
	_, _ = c.look(p.ctx(), p.srv) // slow is not wrong
	require.True(t, c.begun.After(before), "but now and then")

	conn, err := p.db(trapCreds.Admin(), trapCreds.Password).Conn(p.ctx())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(p.ctx(), "LOCK TABLES mysql.user WRITE")
	require.NoError(t, err)
	_, err = p.srv.ReplicationAccounts(p.ctx())
	require.Error(t, err, "the list hangs behind it until the lock's own limit")
	c.note(user, true)
	for range 8 {
		known, _ = c.look(p.ctx(), p.srv)
		require.Equal(t, map[string]bool{user: true}, known, "what was known, with this agent's own change")
	}
	_, err = p.srv.Status(p.ctx())
	require.NoError(t, err, "it is alive")
	_, err = conn.ExecContext(p.ctx(), "UNLOCK TABLES")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		known, _ = c.look(p.ctx(), p.srv)
		return !known[user]
	}, trapLimit, 20*time.Millisecond, "a fresh list counts again")
}

func eventsAreNoted(t *testing.T, lab *trapLab) {
	p := lab.start(t, "p")
	p.serve()
	admin := p.db(trapCreds.Admin(), trapCreds.Password)
	p.exec(admin, "CREATE EVENT app.e ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")
	var n notes
	noted := func() (count int) {
		_ = admin.QueryRowContext(p.ctx(), "SELECT COUNT(*) FROM autopilot.disabled_events").Scan(&count)
		return count
	}
	require.Eventually(t, func() bool {
		n.look(p.ctx(), election.Boottime(), p.srv, p.Log)
		return noted() == 1
	}, trapLimit, 50*time.Millisecond)
}

// drainsInSteps: a follower whose applier cannot get on gives the loop back again and again, and gives up in time.
func drainsInSteps(t *testing.T, lab *trapLab) {
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.serve()
	p.feed(f, false)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	first := p.look().Executed
	f.until("executed", func(st mysql.Status) bool { return st.Executed.Contains(first) })
	admin := f.db(trapCreds.Admin(), trapCreds.Password)
	conn, err := admin.Conn(f.ctx())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(f.ctx(), "LOCK TABLES app.t READ")
	require.NoError(t, err)
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	all := p.look().Executed
	f.until("received", func(st mysql.Status) bool { return st.Position().Contains(all) })

	facts := roles.Facts{Disk: roles.Disk{Promised: 5}}
	f.Settings.DrainTimeout = time.Hour
	for range 3 {
		require.ErrorIs(t, f.drain(f.ctx(), facts), errAgain)
		require.Zero(t, f.noDrain)
	}
	f.Settings.DrainTimeout = time.Nanosecond
	err = f.drain(f.ctx(), facts)
	require.ErrorContains(t, err, "drain-timeout")
	require.Equal(t, uint64(5), f.noDrain)
	_, err = conn.ExecContext(f.ctx(), "UNLOCK TABLES")
	require.NoError(t, err)
	f.Settings.DrainTimeout = time.Hour
	for err = f.drain(f.ctx(), facts); errors.Is(err, errAgain); err = f.drain(f.ctx(), facts) {
		require.NoError(t, f.ctx().Err())
	}
	require.NoError(t, err)
	require.True(t, f.look().Executed.Contains(all))
}
