package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestCooldown: the first failover is not held back, the second one is, says so with the command that overrides it, and
// comes when the time is over. A clean stop in the meantime is no failover and waits for nothing.
func TestCooldown(t *testing.T) {
	const cooldown = 90 * time.Second // three times what each half of this takes on a slow machine
	c := harness.Up(t, harness.Options{Nodes: 4, Lease: patientLease, RestartAfter: "0s", NodeArgs: []string{"--cooldown", cooldown.String(), "--max-ackers", "3"}})
	w := load.Start(t, c)
	whole := func(nodes int) harness.Document {
		return c.Wait("one write is on more than one node", harness.ReadyLimit, func(d harness.Document) bool {
			return d.Primary != "" && d.AckSet.Acks == 1 && len(d.AckSet.Members) == nodes && d.Count("standby") == nodes-1
		})
	}
	first := whole(4)
	c.Kill(first.Primary)
	second := c.WaitNewPrimary(first.Primary, first.Term)
	require.NotContains(t, c.Log(second.Primary), "failover held back", "the first one")
	w.WaitAcks(20)
	whole(3)

	c.Stop(second.Primary)
	third := c.WaitNewPrimary(second.Primary, second.Term)
	w.WaitAcks(20)
	require.NotContains(t, c.Log(third.Primary), "failover held back", "a clean stop")
	whole(2)

	c.Kill(third.Primary)
	waitFor(t, "the status says that the failover is held back", func() bool {
		s := c.Status()
		return strings.Contains(s, "held back for another") && strings.Contains(s, "autopilot-mysql failover --to ")
	})
	c.Wait("the failover when the time is over", cooldown+harness.FailoverLimit, func(d harness.Document) bool {
		return d.Primary != "" && d.Primary != third.Primary && d.Term > third.Term
	})
	w.WaitAcks(20)

	f := failovers(t, c)
	require.Equal(t, 2, f.LastHour, "the clean stop is not counted")
	require.Equal(t, cooldown.Milliseconds(), f.CooldownMS)
	require.Equal(t, third.Primary, f.Last.From)

	// Held back once more, and an operator who reads the status does not wait for it.
	c.Start(first.Primary)
	fourth := whole(2)
	c.Kill(fourth.Primary)
	waitFor(t, "the status says that this failover is held back too", func() bool { return strings.Contains(c.Status(), "held back for another") })
	id := killedTerminal(t, fourth, "failover") // and whose terminal ends before it is done
	c.Wait("the operator's failover", harness.FailoverLimit, func(d harness.Document) bool { return d.Primary == first.Primary && d.Term > fourth.Term })
	require.Less(t, time.Since(f.Last.At), cooldown, "the machine was so slow that the time was over")
	require.Contains(t, works(t, fourth, "history", "--request", id), first.Primary+" is the primary", "another terminal sees the outcome")
	w.WaitAcks(20)
	w.Verify(c)
	c.Down()
}

// failoversDoc is what status says about automatic failovers.
type failoversDoc struct {
	LastHour int `json:"last_hour"`
	Last     struct {
		At   time.Time `json:"at"`
		From string    `json:"from"`
	} `json:"last"`
	CooldownMS int64 `json:"cooldown_ms"`
}

func failovers(t *testing.T, c *harness.Cluster) failoversDoc {
	t.Helper()
	d := c.Doc()
	out, err := c.Command(30*time.Second, "status", "--consul", d.Consul, "--cluster", d.Cluster, "--output", "json")
	require.NoError(t, err)
	var status struct {
		Failovers failoversDoc `json:"failovers"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &status))
	return status.Failovers
}
