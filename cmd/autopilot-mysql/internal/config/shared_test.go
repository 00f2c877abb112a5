package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func started(t *testing.T, args ...string) (*Settings, *Report) {
	t.Helper()
	s, r, err := Load(args, []string{"MYSQL_REPL_PASSWORD=repl", "AUTOPILOT_BIND=127.0.0.1"})
	require.NoError(t, err)
	return s, r
}

func TestTheClustersValuesWinOverTheNodes(t *testing.T) {
	s, report := started(t, "--acks", "1", "--max-lag", "3s", "--name", "n")
	got, err := WithShared(*s, map[string]string{"acks": "3", "alone": "refuse", "name": "other", "not-known-here": "1"})
	require.NoError(t, err)
	require.Equal(t, 3, got.Acks)
	require.Equal(t, 6, got.MaxAckers, "it follows acks unless somebody set it")
	require.Equal(t, "refuse", got.Alone)
	require.Equal(t, 3*time.Second, got.MaxLag)
	require.Equal(t, "n", got.Name, "a node's own settings are its own")
	require.Equal(t, 1, s.Acks, "what it was started with stays")

	report.Overlay(map[string]string{"acks": "3", "name": "other"})
	require.Contains(t, report.Values, Value{Name: "acks", Value: "3", Source: "cluster"})
	require.Contains(t, report.Values, Value{Name: "name", Value: "n", Source: "flag --name"})
}

func TestValuesThatCannotBeUsed(t *testing.T) {
	s, _ := started(t, "--max-ackers", "2")
	for _, bad := range []map[string]string{{"acks": "3"}, {"acks": "x"}, {"policy": "lax"}, {"lease": "1ms"}, {"max-lag": "0s"}} {
		_, err := WithShared(*s, bad)
		require.Error(t, err, bad)
	}
	require.NoError(t, CheckShared(map[string]string{"acks": "3"}))
	require.Error(t, CheckShared(map[string]string{"acks": "3", "max-ackers": "2"}))
	require.NoError(t, CheckShared(nil))
}

func TestSharedListsDeclaredSettingsOnly(t *testing.T) {
	require.Subset(t, Shared(), []string{"acks", "alone", "lease", "max-ackers", "max-lag", "policy"})
	for _, name := range Shared() {
		require.NoError(t, CheckShared(map[string]string{}), name)
	}
	require.True(t, OnlyAtStart("lease"))
	require.False(t, OnlyAtStart("acks"))
}
