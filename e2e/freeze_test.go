package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// wakingLimit is how long a server that slept through its lease may live after it was woken. On a machine that does many
// other things as well only the order of things is tested, not the time.
func wakingLimit() time.Duration {
	if os.Getenv("AUTOPILOT_TEST_SOAK") != "" {
		return 300 * time.Millisecond
	}
	return harness.FailoverLimit
}

// TestPrimaryStoppedInParts: agent, mysqld, or all of the primary are stopped with SIGSTOP for longer than the lease.
func TestPrimaryStoppedInParts(t *testing.T) { stoppedInParts(t, 1) }

func stoppedInParts(t *testing.T, rounds int) []string {
	c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "1s"})
	var lines []string
	for i := range rounds {
		for _, s := range []struct {
			name string
			run  func(*testing.T, *harness.Cluster, *load.Writers) string
		}{
			{"agent alone", agentStopped}, {"mysqld alone", mysqldStopped}, {"whole node", nodeStopped},
		} {
			t.Run(fmt.Sprintf("%s, round %d", s.name, i+1), func(t *testing.T) {
				c := c.On(t)
				c.WaitWhole(3)
				w := load.Start(t, c)
				at := time.Now()
				said := s.run(t, c, w)
				w.WaitAcksSince(at, 50)
				c.WaitWhole(3)
				w.WaitAcks(20)
				lines = append(lines, fmt.Sprintf("%s: %s; %v", s.name, said, w.Verify(c)))
				t.Log(lines[len(lines)-1])
			})
		}
	}
	if !t.Failed() {
		c.Down()
	}
	return lines
}

// agentStopped: nobody proves anything any more, so the guard kills mysqld while the agent is still stopped.
func agentStopped(t *testing.T, c *harness.Cluster, _ *load.Writers) string {
	before := c.WaitWhole(3)
	old, at := primary(before), time.Now()
	c.Signal(old.Pids.Agent, syscall.SIGSTOP)
	waitFor(t, "the guard kills mysqld", func() bool { return dead(old.Pids.Mysqld) })
	took := time.Since(at)
	require.False(t, dead(old.Pids.Agent), "and the agent had no part in it")
	waitFor(t, "the guard to say why", func() bool {
		return strings.Contains(c.Log(old.Name), "killed: the deadline the agent last fed passed")
	})
	c.WaitNewPrimary(old.Name, before.Term)
	_ = syscall.Kill(old.Pids.Agent, syscall.SIGCONT) // its guard may have replaced it by now
	return fmt.Sprintf("mysqld killed %v after its agent was stopped", took.Round(time.Millisecond))
}

// mysqldStopped: a server that does not answer loses its lease, and is killed as it is.
func mysqldStopped(t *testing.T, c *harness.Cluster, _ *load.Writers) string {
	before := c.WaitWhole(3)
	old, at := primary(before), time.Now()
	c.Signal(old.Pids.Mysqld, syscall.SIGSTOP)
	waitFor(t, "the stopped mysqld is killed", func() bool { return dead(old.Pids.Mysqld) })
	took := time.Since(at)
	c.WaitNewPrimary(old.Name, before.Term)
	return fmt.Sprintf("killed %v after it was stopped", took.Round(time.Millisecond))
}

// nodeStopped: everything of the node sleeps until another one leads and has acknowledged writes. What its clients had
// sent before, and what they send when it wakes, must not be acknowledged unless the new history holds it.
func nodeStopped(t *testing.T, c *harness.Cluster, w *load.Writers) string {
	before := c.WaitWhole(3)
	old := primary(before)
	at := time.Now()
	ended := staleClient(t, w, before, old, at.UnixNano())
	c.Freeze(old)
	c.WaitNewPrimary(old.Name, before.Term)
	w.WaitAcksSince(at.Add(time.Second), 100)
	require.False(t, dead(old.Pids.Mysqld), "it sleeps")
	woken := time.Now()
	c.Resume(old)
	for !dead(old.Pids.Mysqld) && time.Since(woken) < harness.FailoverLimit {
		time.Sleep(time.Millisecond)
	}
	took := time.Since(woken)
	require.Less(t, took, wakingLimit(), "a server that slept through its lease lives too long")
	select {
	case <-ended:
	case <-time.After(harness.FailoverLimit):
		require.Fail(t, "a client of the old primary still writes there, or waits for ever")
	}
	return fmt.Sprintf("fenced %v after waking", took.Round(time.Millisecond))
}

// staleClient writes at one server and nowhere else, before, while and after it sleeps; what it is told counts.
func staleClient(t *testing.T, w *load.Writers, d harness.Document, n harness.Node, first int64) <-chan struct{} {
	t.Helper()
	db, err := harness.Open(d, n.MySQL)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*harness.FailoverLimit)
	t.Cleanup(cancel)
	conn, err := db.Conn(ctx)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer conn.Close()
		for id := first; id < first+100_000; id++ {
			if _, err := conn.ExecContext(ctx, load.Insert(id)); err != nil {
				return
			}
			w.Note(load.Ack{ID: id, At: time.Now(), From: n.MySQL})
		}
	}()
	return ended
}

// dead is true when a process executes nothing any more.
func dead(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return true
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	return ok && (rest[0] == 'Z' || rest[0] == 'X')
}
