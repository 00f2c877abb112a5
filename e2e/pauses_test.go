package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

const (
	// pausesFor is how long each setting is looked at; the pauses, where there are any, are 10 s to a minute apart.
	pausesFor = time.Minute
	// missed is how long InnoDB waits for a wake-up that it missed (log0write.cc: 100 ms), less what the clocks may say.
	missed = 95 * time.Millisecond
	// spoilt is how much of such a pause the disk may have taken for it to be called the disk's.
	spoilt = 20 * time.Millisecond
)

// commitPauses counts, with nothing wrong, how often nobody's commit comes back for 100 ms: with the redo log written by
// InnoDB's threads for it, as our servers have it, and by the sessions themselves.
func commitPauses(t *testing.T, rounds int) (lines []string) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease})
	d := c.WaitWhole(3)
	require.Equal(t, "ON", c.RootValue(d.Primary, "SELECT @@innodb_log_writer_threads"), "as we set it")
	stalls := harness.WatchStalls(t, t.TempDir())
	w := load.StartPatient(t, c)
	for i := range rounds {
		for _, threads := range []string{"ON", "OFF"} {
			c.Root(d.Primary, "SET GLOBAL innodb_log_writer_threads="+threads)
			from, acks := time.Now(), len(w.Acks())
			time.Sleep(pausesFor) // the time that is looked at
			var own, disk int
			for _, p := range w.Pauses(from, time.Now(), missed) {
				if stalls.Within(p.From, p.To) > spoilt {
					disk++
				} else {
					own++
				}
			}
			lines = append(lines, fmt.Sprintf("round %d, innodb_log_writer_threads=%s: %d commits in %v, %d pauses above %v, and %d of the machine's disk",
				i+1, threads, len(w.Acks())-acks, pausesFor, own, missed, disk))
			t.Log(lines[len(lines)-1])
			if threads == "ON" {
				require.Zero(t, own, "a pause with our setting that is not the machine's")
			}
		}
	}
	require.Zero(t, w.Verify(c).Failures)
	c.Down()
	return lines
}
