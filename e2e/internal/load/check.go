package load

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// Verdict is what a comparison of the books with the servers found.
type Verdict struct {
	Acknowledged int
	Failures     int
	Gap          time.Duration // longest, over the whole time
	Lost         map[string]int
}

// String is the verdict in one line.
func (v Verdict) String() string {
	return fmt.Sprintf("%d acknowledged, %d failed, longest gap %v, lost per node %v", v.Acknowledged, v.Failures, v.Gap.Round(time.Millisecond), v.Lost)
}

// Verify stops the clients, waits until all running nodes have the same history, and demands that each holds every
// acknowledged write, whoever acknowledged it.
func (w *Writers) Verify(c *harness.Cluster) Verdict {
	w.t.Helper()
	w.Stop()
	c.WaitSame()
	v := Verdict{Acknowledged: len(w.Acks()), Failures: w.Failures(), Gap: w.Gap(time.Time{}), Lost: map[string]int{}}
	lost := 0
	for _, n := range c.Doc().Nodes {
		if n.State == "down" {
			continue
		}
		missing := w.lacking(n)
		v.Lost[n.Name] = len(missing)
		lost += len(missing)
		for i, a := range missing {
			if i == 10 {
				break
			}
			w.t.Logf("%s lacks %d, acknowledged at %s by %s", n.Name, a.ID, a.At.UTC().Format(time.RFC3339Nano), a.From)
		}
	}
	require.Zerof(w.t, lost, "acknowledged writes are lost: %v", v)
	w.t.Logf("%v", v)
	return v
}

// lacking are the acknowledged writes that a node does not have and does not get: one that has just come back may be on
// its way there.
func (w *Writers) lacking(n harness.Node) []Ack {
	w.t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(100 * time.Millisecond) {
		missing, err := w.missing(n.MySQL)
		if err == nil && len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			require.NoErrorf(w.t, err, "compare %s", n.Name)
			return missing
		}
	}
}

// missing are the acknowledged writes that a server does not have.
func (w *Writers) missing(addr string) ([]Ack, error) {
	db, err := harness.Open(w.doc, addr)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT id FROM "+Table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		have[id] = true
	}
	var out []Ack
	for _, a := range w.Acks() {
		if !have[a.ID] {
			out = append(out, a)
		}
	}
	return out, rows.Err()
}
