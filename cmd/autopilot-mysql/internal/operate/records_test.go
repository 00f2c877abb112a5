package operate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestPauseAndResume(t *testing.T) {
	w := newWorld(t)
	was, err := w.desk("ann").Resume(t.Context())
	require.NoError(t, err)
	require.False(t, was)

	p, former, err := w.desk("ann").Pause(t.Context(), "rack")
	require.NoError(t, err)
	require.False(t, former)
	require.Equal(t, "rack", p.Reason)
	again, former, err := w.desk("bob").Pause(t.Context(), "mine")
	require.NoError(t, err)
	require.True(t, former, "the first one's pause stays")
	require.Equal(t, p, again)

	was, err = w.desk("bob").Resume(t.Context())
	require.NoError(t, err)
	require.True(t, was)
	past, err := w.desk("bob").History(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, past.Entries, 2)
	require.Equal(t, cluster.HistoryPause, past.Entries[0].Kind)
	require.Equal(t, "automatic failover was paused by ann: rack", past.Entries[0].Why)
	require.Equal(t, "the pause was ended by bob", past.Entries[1].Why)
	require.Equal(t, uint64(3), past.Entries[1].Term)
}

func TestAPauseThatNobodyCanReadIsAPause(t *testing.T) {
	w := newWorld(t)
	ok, _, err := w.Txn(t.Context(), election.Set(w.keys.Pause(), []byte("made by hand")))
	require.NoError(t, err)
	require.True(t, ok)
	_, former, err := w.desk("ann").Pause(t.Context(), "")
	require.NoError(t, err)
	require.True(t, former)
}

func TestSet(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	now, err := d.Set(t.Context(), []string{"acks=2", "max_lag=20s"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"acks": "2", "max-lag": "20s"}, now)
	now, err = d.Set(t.Context(), []string{"acks="})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"max-lag": "20s"}, now)
	stored, err := d.Shared(t.Context())
	require.NoError(t, err)
	require.Equal(t, now, stored)

	for change, c := range map[string]struct {
		code int
		says string
	}{
		"acks":          {cli.Usage, `"acks" is not KEY=VALUE`},
		"port=7":        {cli.Usage, "port is not a setting of the whole cluster; there are: acks, alone, "},
		"acks=0":        {cli.Usage, "use 1 to 32"},
		"acks=many":     {cli.Usage, "acks=many is not a whole number"},
		"max-ackers=1":  {cli.Done, ""},
		"policy=lax":    {cli.Usage, "not one of keep, strict"},
		"lease=5s":      {cli.Refused, "guard unsafe-setting: lease changes only while no node runs, and db1 does"},
		"lease=1ms":     {cli.Usage, "use 1s to 60s"},
		"max-lag=-1s":   {cli.Usage, "is not positive"},
		"alone=refuse":  {cli.Done, ""},
		"policy=strict": {cli.Done, ""},
	} {
		_, err := d.Set(t.Context(), []string{change})
		require.Equal(t, c.code, codeOf(err), "%s: %v", change, err)
		if err != nil {
			require.ErrorContains(t, err, c.says)
		}
	}
	_, err = d.Set(t.Context(), []string{"acks=2"})
	require.ErrorContains(t, err, "max-ackers", "together they contradict each other")
	_, err = d.Set(t.Context(), []string{"acks=1", "acks=2"})
	require.ErrorContains(t, err, "given twice")

	for _, n := range []string{"db1", "db2", "db3"} {
		w.kill(n)
	}
	_, err = d.Set(t.Context(), []string{"lease=5s"})
	require.NoError(t, err, "while no node runs")
}

func TestSetLeavesGarbageAlone(t *testing.T) {
	w := newWorld(t)
	ok, _, err := w.Txn(t.Context(), election.Set(w.keys.Settings(), []byte("{")))
	require.NoError(t, err)
	require.True(t, ok)
	_, err = w.desk("ann").Set(t.Context(), []string{"acks=2"})
	require.ErrorContains(t, err, "repair or delete that key; nothing was changed")
	_, err = w.desk("ann").Shared(t.Context())
	require.ErrorContains(t, err, "mysql/shop/settings")
}

func TestTwoOperatorsWhoSetDifferentThingsBothGetTheirs(t *testing.T) {
	w := newWorld(t)
	errs := make(chan error, 2)
	for _, change := range []string{"acks=2", "max-lag=20s"} {
		go func() {
			_, err := w.desk("op").Set(t.Context(), []string{change})
			errs <- err
		}()
	}
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
	require.Equal(t, map[string]string{"acks": "2", "max-lag": "20s"}, w.extra().Settings)
}

func TestHistoryIsReadOldestFirst(t *testing.T) {
	w := newWorld(t)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const many = 20
	for i := range many {
		e := cluster.HistoryEntry{At: start.Add(time.Duration(i) * time.Second), Kind: cluster.HistoryLost, Node: "db1", Term: uint64(i)}
		ok, why, err := w.Txn(t.Context(), w.keys.WriteHistory(e))
		require.NoError(t, err)
		require.True(t, ok, why)
	}
	past, err := w.desk("ann").History(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, past.Entries, many)
	require.Equal(t, uint64(many-1), past.Entries[many-1].Term)
	past, err = w.desk("ann").History(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, past.Entries, 3)
	require.Equal(t, uint64(many-3), past.Entries[0].Term)
	require.Equal(t, []roles.Request{}, past.Open)
}
