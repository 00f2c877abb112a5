package consul_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

func TestServices(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	s := c.Services()
	primary := election.Service{ID: "mysql-primary-a", Name: "mysql-primary", Address: "10.0.0.1", Port: 3306,
		Tags: []string{"term-7"}, Meta: map[string]string{"state": "primary"}, TTL: limit, Pass: true}
	healthy := func(name string) []election.Instance {
		found, err := s.Healthy(t.Context(), name)
		require.NoError(t, err)
		return found
	}
	comes := func(name string, n int) {
		t.Helper()
		require.True(t, waitFor(func() bool { return len(healthy(name)) == n }), "%d of %s", n, name)
	}
	require.Empty(t, healthy("mysql-primary"))
	require.ErrorIs(t, s.Pass(t.Context(), primary.ID, ""), election.ErrRefused)
	require.NoError(t, s.Register(t.Context(), primary))
	comes("mysql-primary", 1)
	require.Equal(t, []election.Instance{{ID: primary.ID, Name: "mysql-primary", Address: "10.0.0.1", Port: 3306,
		Tags: []string{"term-7"}, Meta: map[string]string{"state": "primary"}}}, healthy("mysql-primary"))

	// Registering again updates in place.
	primary.Meta = map[string]string{"state": "primary", "term": "8"}
	require.NoError(t, s.Register(t.Context(), primary))
	require.True(t, waitFor(func() bool {
		return len(healthy("mysql-primary")) == 1 && healthy("mysql-primary")[0].Meta["term"] == "8"
	}))

	require.NoError(t, s.Fail(t.Context(), primary.ID, "lease lost"))
	comes("mysql-primary", 0)
	require.NoError(t, s.Pass(t.Context(), primary.ID, "back"))
	comes("mysql-primary", 1)

	// An agent that forgot it is told again, by either report, in the state reported.
	for _, report := range []struct {
		do   func() error
		want int
	}{
		{func() error { return s.Pass(t.Context(), primary.ID, "") }, 1},
		{func() error { return s.Fail(t.Context(), primary.ID, "") }, 0},
	} {
		require.NoError(t, raw(t, srv).Agent().ServiceDeregister(primary.ID))
		comes("mysql-primary", 0)
		require.NoError(t, report.do())
		known, err := raw(t, srv).Agent().Services()
		require.NoError(t, err)
		require.Contains(t, known, primary.ID)
		comes("mysql-primary", report.want)
	}

	require.NoError(t, s.Deregister(t.Context(), primary.ID))
	require.NoError(t, s.Deregister(t.Context(), primary.ID), "twice is fine")
	known, err := raw(t, srv).Agent().Services()
	require.NoError(t, err)
	require.NotContains(t, known, primary.ID)
}

// A restart with empty data makes Consul forget everything.
func TestServicesAfterWipe(t *testing.T) {
	srv := startServer(t, nil)
	s := client(t, consul.Config{}, srv).Services()
	require.NoError(t, s.Register(t.Context(), election.Service{ID: "mysql-a", Name: "mysql", TTL: limit, Pass: true}))
	srv.kill()
	require.Error(t, s.Pass(t.Context(), "mysql-a", ""))
	srv.wipe(t)
	srv.start(t)
	require.True(t, waitFor(func() bool { return s.Pass(t.Context(), "mysql-a", "") == nil }))
	require.True(t, waitFor(func() bool {
		found, err := s.Healthy(t.Context(), "mysql")
		return err == nil && len(found) == 1
	}))
}

// A dead node's service turns critical by itself, and watchers are woken.
func TestServiceLapses(t *testing.T) {
	s := client(t, consul.Config{}, startServer(t, nil)).Services()
	_, index, err := s.WaitHealthy(t.Context(), "mysql", 0, time.Second)
	require.NoError(t, err)
	require.NoError(t, s.Register(t.Context(), election.Service{ID: "mysql-a", Name: "mysql", TTL: patience, Pass: true}))
	seen := 0
	for end := time.Now().Add(limit); seen < 2 && time.Now().Before(end); {
		var found []election.Instance
		found, index, err = s.WaitHealthy(t.Context(), "mysql", index, limit)
		require.NoError(t, err)
		if (seen == 0) == (len(found) == 1) {
			seen++ // there, then gone
		}
	}
	require.Equal(t, 2, seen)
}

func TestDeadNodeDoesNotHideTheServicesOfOthers(t *testing.T) {
	srv := startServer(t, nil)
	c := client(t, consul.Config{}, srv)
	dead := c.Session("dead", params(t, time.Second), "mysql/main/")
	require.NoError(t, dead.Open(t.Context()))
	require.NoError(t, c.Services().Register(t.Context(), election.Service{ID: "mysql-b", Name: "mysql", TTL: 2 * limit, Pass: true}))

	gone := func() bool {
		entry, _, err := raw(t, srv).Session().Info(dead.ID(), nil)
		return err == nil && entry == nil
	}
	require.True(t, waitFor(gone), "its check lapses and its session ends")
	require.True(t, waitFor(func() bool {
		found, err := c.Services().Healthy(t.Context(), "mysql")
		return err == nil && len(found) == 1
	}), "and the other's service is there")
}
