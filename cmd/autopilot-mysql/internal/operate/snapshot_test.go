package operate

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// unreachable is a store that a write does not get to any more.
type unreachable struct{ *election.Memory }

func (unreachable) Txn(context.Context, ...election.Op) (bool, string, error) {
	return false, "", fmt.Errorf("%w: connection refused", election.ErrUnreachable)
}

func TestSnapshotIsAskedForLikeAnythingElse(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	_, _, err := d.TakeSnapshot(t.Context(), "db9")
	require.Equal(t, cli.Usage, codeOf(err))
	require.EqualError(t, err, "take snapshot: there is no node db9; there are: db1, db2, db3")
	w.kill("db2")
	_, _, err = d.TakeSnapshot(t.Context(), "db2")
	require.Equal(t, cli.Refused, codeOf(err))
	require.ErrorContains(t, err, "take snapshot (db2): refused by guard node-down: db2 is not running")

	d.DryRun = true
	r, plan, err := d.TakeSnapshot(t.Context(), "db3")
	require.NoError(t, err)
	require.Empty(t, r.ID)
	require.Equal(t, "db3 takes a snapshot", plan)
	require.Empty(t, w.extra().SnapshotRequests, "a dry run writes nothing")

	d.DryRun = false
	r, plan, err = d.TakeSnapshot(t.Context(), "")
	require.NoError(t, err)
	require.Contains(t, plan, "the standby that lags least")
	require.Len(t, w.extra().SnapshotRequests, 1)
	require.Equal(t, r.ID, w.extra().SnapshotRequests[0].ID)
	require.Equal(t, "ann", w.extra().SnapshotRequests[0].By)

	_, err = d.Show(t.Context(), r.ID)
	require.Equal(t, cli.Unknown, codeOf(err))
	r.State, r.Taker, r.Outcome, r.Changed = cluster.RequestFailed, "db3", "its disk is full", time.Now()
	w.put(w.keys.SnapshotRequest(r.ID), r)
	got, err := d.Show(t.Context(), r.ID) // before the history knows
	require.Equal(t, cli.Failed, codeOf(err))
	require.EqualError(t, err, "take snapshot (db3): its disk is full")
	require.Equal(t, cluster.OrderSnapshot, got.Request.Kind)

	for _, n := range []string{"db1", "db3"} {
		w.kill(n)
	}
	_, _, err = d.TakeSnapshot(t.Context(), "")
	require.Equal(t, cli.Refused, codeOf(err))
	require.ErrorContains(t, err, "no node is running that could take it")
}

// TestASnapshotThatWasNotAskedFor: only an answer that got lost is an unknown outcome.
func TestASnapshotThatWasNotAskedFor(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	d.Store = unreachable{w.Memory}
	_, _, err := d.TakeSnapshot(t.Context(), "")
	require.Equal(t, cli.Failed, codeOf(err), "nothing was sent")
	require.ErrorContains(t, err, "nothing was changed; name the Consul servers with --consul")

	d.Store = w.Memory
	for _, applied := range []bool{true, false} {
		w.LoseNextTxn("", applied)
		r, _, err := d.TakeSnapshot(t.Context(), "")
		if applied {
			require.NoError(t, err, "it was looked up")
			require.Equal(t, r.ID, w.extra().SnapshotRequests[0].ID)
			continue
		}
		require.Equal(t, cli.Unknown, codeOf(err))
		require.ErrorContains(t, err, "autopilot-mysql history --request "+r.ID)
	}
}
