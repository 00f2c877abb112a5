package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestPrimaryWithoutADisk: a primary whose disk is full, does not answer, or has become read-only answers on and commits
// nothing. Another one takes over with every acknowledged write, the old one says what is wrong with it, and it comes back
// by itself as soon as its disk does.
func TestPrimaryWithoutADisk(t *testing.T) {
	c := harness.New(t, nil)
	v := harness.NewVolumes(t, c, "node1", "node2", "node3")
	// A lease that is longer than the fence waits for a process that cannot end: the lock has to be let go of, not to run out.
	require.NoError(t, c.Begin(harness.Options{Nodes: 3, Lease: 8 * time.Second, RestartAfter: "1s"}))
	for _, f := range []struct {
		name, says   string
		inflict, end func(t *testing.T, node string)
	}{
		{"full", "no space is left on ", func(_ *testing.T, n string) { v.Fill(n) }, func(_ *testing.T, n string) { v.Free(n) }},
		{"frozen", "does not", func(_ *testing.T, n string) { v.Freeze(n) }, func(_ *testing.T, n string) { v.Thaw(n) }},
		{"read-only", "read-only file system", func(_ *testing.T, n string) { v.Break(n) }, func(t *testing.T, n string) {
			c := c.On(t)
			c.Stop(n)
			v.Repair(n)
			c.Start(n)
		}},
	} {
		ok := t.Run(f.name, func(t *testing.T) {
			c := c.On(t)
			before := c.WaitWhole(3)
			w := load.Start(t, c)
			at := time.Now()
			f.inflict(t, before.Primary)
			after := c.WaitNewPrimary(before.Primary, before.Term)
			w.WaitAcksSince(at, 100)
			t.Logf("%s after %v; gap %v", after.Primary, time.Since(at).Round(time.Millisecond), w.Gap(at).Round(time.Millisecond))
			c.Wait("the old primary says what is wrong with its disk", harness.FailoverLimit, func(d harness.Document) bool {
				return strings.Contains(d.Node(before.Primary).Reason, f.says)
			})
			waitFor(t, "the status tells what to do about it", func() bool { return strings.Contains(c.Status(), "free or repair its disk") })
			f.end(t, before.Primary)
			d := c.WaitWhole(3)
			require.Equal(t, "standby", d.Node(before.Primary).State, "the old primary: %s", d.Line())
			w.WaitAcks(20)
			w.Verify(c)
		})
		if !ok {
			return
		}
	}
	c.Down()
}

// standbysWithoutADisk: standbys that can store nothing acknowledge nothing. The primary goes on without them, as the
// setting alone says, and takes them back when their disks do. In every other round there is room again before that:
// mysqld tries a full disk only once a minute, and no commit waits for that long either. A round takes minutes, so make
// soak runs it.
func standbysWithoutADisk(t *testing.T, rounds int) []string {
	var lines []string
	for i := range rounds {
		t.Run(fmt.Sprintf("round-%d", i+1), func(t *testing.T) {
			c := harness.New(t, nil)
			v := harness.NewVolumes(t, c, "node1", "node2", "node3")
			require.NoError(t, c.Begin(harness.Options{Nodes: 3, RestartAfter: "1s"}))
			before := c.WaitWhole(3)
			w := load.Start(t, c)
			each := func(do func(string)) {
				for _, n := range before.Others() {
					do(n.Name)
				}
			}
			at := time.Now()
			each(v.Fill)
			says, atOnce := "no space is left on ", i%2 == 1
			if atOnce {
				waitFor(t, "both found no space", func() bool { return strings.Count(c.Status(), "("+says) >= 2 })
				each(v.Free)
				says = "tries again once a minute"
			}
			c.Wait("the primary goes on alone", harness.FailoverLimit, func(d harness.Document) bool {
				return d.Primary == before.Primary && len(d.AckSet.Members) == 1
			})
			w.WaitAcksSince(time.Now(), 100)
			gap := w.Gap(at).Round(time.Millisecond)
			require.Contains(t, c.Status(), says)
			if !atOnce {
				each(v.Free)
			}
			d := c.WaitWhole(3)
			require.Equal(t, before.Primary, d.Primary)
			require.Equal(t, before.Term, d.Term)
			w.WaitAcks(20)
			w.Verify(c)
			c.Down()
			lines = append(lines, fmt.Sprintf("round %d: room again at once: %t; gap %v, nothing lost, whole again after %v", i+1, atOnce, gap, time.Since(at).Round(time.Second)))
		})
	}
	return lines
}

// connectionsLease is short enough for the test to outlast three, and long enough for a machine that does other things too.
const connectionsLease = 10 * time.Second

// TestConnectionsUsedUp: a server that has no connection left for clients is busy, not dead.
func TestConnectionsUsedUp(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 2, Lease: connectionsLease, RestartAfter: "1s"})
	before := c.WaitWhole(2)
	w := load.Start(t, c) // they have their connections already
	c.Root(before.Primary, "CREATE USER hog IDENTIFIED BY 'hog'", "GRANT ALL ON "+before.Database+".* TO hog")
	refused := c.UseUpConnections(before.Node(before.Primary), []string{before.User, "hog"}, []string{before.Password, "hog"})
	t.Logf("the last error: %v", refused)
	at := time.Now()
	for time.Since(at) < 3*connectionsLease {
		w.WaitAcks(20)
		c.Remains(before)
	}
	c.Wait("the primary is healthy", harness.FailoverLimit, func(d harness.Document) bool { return d.Node(before.Primary).Healthy })
	w.Verify(c)
	c.Down()
}
