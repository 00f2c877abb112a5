package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// outage is how long Consul is away: many leases, and under `make soak` five minutes.
func outage() time.Duration {
	if os.Getenv("AUTOPILOT_TEST_SOAK") != "" {
		return 5 * time.Minute
	}
	return 45 * time.Second // more than two leases
}

// soakPause is the longest pause in the writes that is allowed when nothing else runs on the machine, beside what its disk
// takes for itself.
const soakPause = 100 * time.Millisecond

// TestConsulAway: with policy keep not one write fails while Consul is away, and none when it is back.
func TestConsulAway(t *testing.T) { consulAway(t, 1) }

func consulAway(t *testing.T, rounds int) []string {
	consul := harness.NewConsul(t, nil)
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, Consul: consul.Addr})
	var lines []string
	for i := range rounds {
		for _, way := range []struct {
			name       string
			away, back func()
		}{
			{"killed", consul.Kill, consul.Start},
			{"frozen", consul.Freeze, consul.Thaw},
		} {
			t.Run(fmt.Sprintf("%s, round %d", way.name, i+1), func(t *testing.T) {
				lines = append(lines, outageOnce(t, c.On(t), way.name, way.away, way.back))
			})
		}
	}
	if !t.Failed() {
		c.Down()
	}
	return lines
}

func outageOnce(t *testing.T, c *harness.Cluster, name string, away, back func()) string {
	before := c.WaitWhole(3)
	stalls := harness.WatchStalls(t, t.TempDir())
	w := load.StartPatient(t, c)
	time.Sleep(5 * time.Second)
	ordinary := w.Gap(time.Time{}) // what this machine does to the writes by itself
	at := time.Now()
	away()
	time.Sleep(outage()) // the length of the outage is what this is about
	during := w.Gap(at)
	returned := time.Now()
	back()
	w.WaitAcksSince(time.Now().Add(5*time.Second), 50)
	after := c.WaitWhole(3)
	since := w.Gap(returned)
	require.Equal(t, before.Primary, after.Primary, "no failover")
	require.Equal(t, before.Node(before.Primary).Pids, after.Node(after.Primary).Pids)
	t.Logf("longest pause before %v, during %v, after %v", ordinary, during, since)
	v := w.Verify(c)
	require.Zero(t, v.Failures, "not one write fails")
	pauses := ""
	if os.Getenv("AUTOPILOT_TEST_SOAK") != "" {
		for _, p := range w.Pauses(at, time.Now(), soakPause) {
			disk := stalls.Within(p.From, p.To)
			line := fmt.Sprintf("a pause of %v, for %v of which nothing could be stored on this machine", p.To.Sub(p.From), disk)
			t.Log(line)
			pauses += "; " + line
			require.LessOrEqual(t, p.To.Sub(p.From)-disk, soakPause, "a pause that is not the machine's")
		}
	}
	return fmt.Sprintf("Consul %s for %v: term %d, then %d; longest pause before %v, during %v, after %v; %v%s", name, outage(), before.Term, after.Term,
		ordinary.Round(time.Millisecond), during.Round(time.Millisecond), since.Round(time.Millisecond), v, pauses)
}

// TestStrictStopsWithoutConsul: with policy strict nobody is acknowledged anything once the lease has run out without
// Consul; when it is back, the cluster is by itself, and nothing is lost.
func TestStrictStopsWithoutConsul(t *testing.T) {
	consul := harness.NewConsul(t, nil)
	c := harness.Up(t, harness.Options{Nodes: 3, Consul: consul.Addr, NodeArgs: []string{"--policy", "strict"}})
	before := c.WaitWhole(3)
	w := load.StartPatient(t, c)
	w.WaitAcks(20)
	consul.Kill()
	waitFor(t, "nobody is acknowledged anything any more", func() bool {
		acks := w.Acks()
		return time.Since(acks[len(acks)-1].At) > 5*time.Second
	})
	for _, n := range before.Nodes {
		require.Error(t, writeAt(before, n), "%s takes a write", n.Name)
	}
	count := len(w.Acks())
	time.Sleep(5 * time.Second)
	require.Len(t, w.Acks(), count)
	consul.Start()
	w.WaitAcksSince(time.Now(), 50)
	after := c.WaitWhole(3)
	require.Greater(t, after.Term, before.Term, "whoever stopped has to be elected again")
	w.Verify(c)
	c.Down()
}

// writeAt tries one write at one server.
func writeAt(d harness.Document, n harness.Node) error {
	db, err := harness.Open(d, n.MySQL)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, load.Insert(time.Now().UnixNano()))
	return err
}
