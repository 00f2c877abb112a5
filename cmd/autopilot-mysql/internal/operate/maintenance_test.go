package operate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestMaintenanceOfANode(t *testing.T) { synctest.Test(t, maintenanceOfANode) }

func maintenanceOfANode(t *testing.T) {
	w := newWorld(t)
	ann := w.desk("ann")
	ann.DryRun = true
	_, _, err := ann.PauseNode(t.Context(), Maintenance{Node: "db2"})
	require.NoError(t, err)
	require.Empty(t, w.view().Maintenance, "a dry run changes nothing")
	ann.DryRun = false

	for node, c := range map[string]struct {
		code int
		says string
	}{
		"nobody": {cli.Usage, "there is no node nobody; there are: db1, db2, db3"},
		"db1":    {cli.Refused, "guard primary: db1 is the primary"},
	} {
		_, _, err := ann.PauseNode(t.Context(), Maintenance{Node: node})
		require.Equal(t, c.code, codeOf(err), "%s: %v", node, err)
		require.ErrorContains(t, err, c.says)
		_, err = ann.ResumeNode(t.Context(), "nobody")
		require.Equal(t, cli.Usage, codeOf(err))
	}

	// Nobody takes db2 out of the ack set in this world.
	_, former, err := ann.PauseNode(t.Context(), Maintenance{Node: "db2", Reason: "disk", Wait: 50 * time.Millisecond})
	require.Equal(t, cli.Unknown, codeOf(err))
	require.ErrorContains(t, err, "still in the ack set")
	require.False(t, former)
	p, former, err := w.desk("bob").PauseNode(t.Context(), Maintenance{Node: "db2", Reason: "mine"})
	require.NoError(t, err)
	require.True(t, former, "the first one's stays")
	require.Equal(t, "ann", p.By)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = w.desk("bob").PauseNode(ctx, Maintenance{Node: "db2", Force: true, Wait: time.Minute})
	require.Error(t, err)
	forced, former, err := w.desk("bob").PauseNode(t.Context(), Maintenance{Node: "db2", Reason: "mine", Force: true})
	require.NoError(t, err)
	require.False(t, former, "force is something else than what was asked before")
	require.True(t, forced.Force)
	require.True(t, w.view().Maintenance["db2"].Force)

	sync := w.view().Sync
	sync.Members = []roles.Inc{inc("db1"), inc("db3")}
	w.put(w.keys.Sync(), sync)
	_, _, err = ann.PauseNode(t.Context(), Maintenance{Node: "db3"})
	require.Equal(t, cli.Refused, codeOf(err), "it is the only one that acknowledges")
	require.ErrorContains(t, err, "guard ack-promise")
	require.ErrorContains(t, err, "autopilot-mysql pause db3 --force")
	_, _, err = ann.PauseNode(t.Context(), Maintenance{Node: "db3", Force: true})
	require.NoError(t, err)

	time.Sleep(time.Second) // of the simulated clock, by which the history is in order
	was, err := ann.ResumeNode(t.Context(), "db2")
	require.NoError(t, err)
	require.True(t, was)
	was, err = ann.ResumeNode(t.Context(), "db2")
	require.NoError(t, err)
	require.False(t, was)
	past, err := ann.History(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, "db2 was taken out of service by ann (disk)", past.Entries[0].Why)
	require.Equal(t, "db2 was put back into service by ann", past.Entries[len(past.Entries)-1].Why)

	for _, n := range []string{"db1", "db2", "db3"} {
		w.kill(n)
	}
	_, _, err = ann.PauseNode(t.Context(), Maintenance{Node: "db2"})
	require.ErrorContains(t, err, "guard no-primary")
}

func TestADryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	d.DryRun = true
	_, _, err := d.Pause(t.Context(), "")
	require.NoError(t, err)
	require.False(t, w.view().Paused)
	now, err := d.Set(t.Context(), []string{"acks=2"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"acks": "2"}, now, "what it would be")
	_, err = d.Set(t.Context(), []string{"lease=9s"})
	require.Equal(t, cli.Refused, codeOf(err), "and what would be refused")
	require.Empty(t, w.extra().Settings)
	d.DryRun = false
	_, _, err = d.Pause(t.Context(), "")
	require.NoError(t, err)
	d.DryRun = true
	was, err := d.Resume(t.Context())
	require.NoError(t, err)
	require.True(t, was)
	require.True(t, w.view().Paused)
	past, err := d.History(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, past.Entries, 1)
}
