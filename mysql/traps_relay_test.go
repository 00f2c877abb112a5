package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests named TestTrapNN belong to the list in docs/traps.md: one trap of MySQL each, on a real server, through the
// function that holds the protection. What other tests of this room show already is only listed there.

// Trap 1: relay_log_recovery=ON would throw away, at the acker's next start, what it has acknowledged and not executed.
// It makes no difference whether it ended in order or was killed.
func TestTrap01_an_acker_keeps_what_it_acknowledged_over_a_restart(t *testing.T) {
	for name, end := range map[string]func(*opsNode){
		"killed":  func(f *opsNode) { f.stop() },
		"stopped": (*opsNode).shutdown,
	} {
		t.Run(name, func(t *testing.T) {
			p, f := opsPair(t, true)
			f.exec("STOP REPLICA SQL_THREAD")
			for i := range 3 { // each returns only after f has acknowledged it
				p.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, 'acknowledged')", i))
			}
			acknowledged := p.st().Executed
			end(f)
			f.Close()
			f.boot()
			require.True(t, f.st().Position().Contains(acknowledged), "the acker lacks %s", acknowledged.Subtract(f.st().Position()))

			p.stop() // for good: what f holds is all there is
			f.ok(f.StartApplier)
			f.ok(f.WaitDrained)
			require.Equal(t, "3", f.value("SELECT COUNT(*) FROM t.t"))
		})
	}
}

// shutdown ends mysqld in order, as an agent that is stopped does.
func (n *opsNode) shutdown() {
	n.t.Helper()
	_, err := n.db.ExecContext(procContext(n.t), "SHUTDOWN")
	require.NoError(n.t, err)
	require.Eventually(n.t, func() bool {
		_, err := os.Stat(filepath.Join(n.cfg.Dir, "run", "mysqld.pid"))
		return os.IsNotExist(err)
	}, limit, 20*time.Millisecond, "mysqld does not stop")
	n.stop()
}

// Trap 5: received is only a suffix. A node that was pointed at its source anew holds everything and has received next to
// nothing, so neither its position nor what it still has to apply can be read from received alone.
func TestTrap05_received_is_only_a_suffix(t *testing.T) {
	p, f := opsPair(t, false)
	for i := range 3 {
		p.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, 'x')", i))
	}
	first := p.st().Executed
	f.until("executed", func(st Status) bool { return st.Executed.Contains(first) })
	f.ok(f.ResetReplica)
	p.feed(f, false)
	require.True(t, f.st().Replica.Received.IsEmpty(), "received says nothing about what is held")
	require.True(t, f.st().Position().Contains(first))

	p.exec("INSERT INTO t.t VALUES (9, 'x')")
	all := p.st().Executed
	st := f.until("executed the last one", func(st Status) bool { return st.Executed.Contains(all) })
	require.EqualValues(t, 1, st.Replica.Received.Count(), "%s", st.Replica.Received)
	require.True(t, st.Undrained().IsEmpty(), "it is received and executed: nothing is left to do")
	require.NoError(t, f.WaitDrained(procContext(t)))
	require.True(t, st.Position().Contains(all))

	f.exec("STOP REPLICA SQL_THREAD")
	p.exec("INSERT INTO t.t VALUES (10, 'x')")
	all = p.st().Executed
	st = f.until("received", func(st Status) bool { return st.Position().Contains(all) })
	require.EqualValues(t, 1, st.Undrained().Count())
}

// Trap 7: after SIGKILL and restart a primary commits what nobody had acknowledged. Before that it is invisible, and
// nobody may read it afterwards either, until the node has been compared with the history that went on without it.
func TestTrap07_an_old_primary_comes_back_closed_and_with_its_difference_named(t *testing.T) {
	p, f := opsPair(t, true)
	p.exec("INSERT INTO t.t VALUES (1, 'acknowledged')")
	ctx := procContext(t)
	require.NoError(t, f.StopReceiver(ctx))
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (2, 'never acknowledged')")
	owned := p.waiter().Owned
	require.Equal(t, "1", p.value("SELECT COUNT(*) FROM t.t"), "before the acknowledgement it is invisible")
	history, _, err := History(ctx, procAddr(p.cfg), procCreds)
	require.NoError(t, err)
	require.True(t, history.Contains(owned), "who compares with a living primary must see what waits there")

	p.stop()
	require.Error(t, <-insert)
	p.Close()
	f.ok(f.WaitDrained)
	f.open()
	f.exec("INSERT INTO t.t VALUES (3, 'the history that went on')")

	p.boot()
	require.Equal(t, "2", p.value("SELECT COUNT(*) FROM t.t"), "now it is committed there")
	require.Error(t, p.app().PingContext(within(t, 5*time.Second)), "a client would read what is in no history")
	history, _, err = History(ctx, procAddr(f.cfg), procCreds)
	require.NoError(t, err)
	require.True(t, p.st().Position().Subtract(history).Equal(owned), "exactly the difference")
	files, err := p.BinlogFilesHolding(ctx, owned)
	require.NoError(t, err)
	require.NotEmpty(t, files, "and it can be archived")
}
