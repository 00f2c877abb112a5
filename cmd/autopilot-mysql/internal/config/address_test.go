package config

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdvertiseByInterface(t *testing.T) {
	ip := netip.MustParseAddr
	nics := func() ([]nic, error) {
		return []nic{
			{"lo", []netip.Addr{ip("127.0.0.1"), ip("::1")}},
			{"eth0", []netip.Addr{ip("10.1.2.3"), ip("10.1.2.4"), ip("fe80::1"), ip("fd00::7")}},
			{"eth1", []netip.Addr{ip("192.168.9.9")}},
		}, nil
	}
	for given, want := range map[string]string{
		"auto":                   "10.1.2.3",
		"eth0":                   "10.1.2.3",
		"eth1":                   "192.168.9.9",
		"eth0:inet":              "10.1.2.3",
		"eth0:inet6":             "fd00::7", // not the link-local one
		"eth0[1]":                "10.1.2.4",
		"192.168.0.0/16":         "192.168.9.9",
		"fd00::/8":               "fd00::7",
		"inet":                   "10.1.2.3",
		"inet6":                  "fd00::7",
		"static:db1.example":     "db1.example",
		"eth7,eth1":              "192.168.9.9",
		"eth0[9], 172.16.0.0/12": "", // nothing there
		"eth7":                   "",
		"db1":                    "db1", // a host name
		"db1.example.net":        "db1.example.net",
		"203.0.113.5":            "203.0.113.5",
	} {
		r := &resolver{byName: map[string]*field{}, report: &Report{}}
		s := &Settings{Advertise: given, Bind: "*"}
		r.deriveAdvertise(s, nics)
		if want == "" {
			require.ErrorContains(t, r.problems.err(), "eth1 192.168.9.9", given)
			continue
		}
		require.NoError(t, r.problems.err(), given)
		require.Equal(t, want, s.Advertise, given)
	}
	r := &resolver{byName: map[string]*field{}, report: &Report{}}
	r.deriveAdvertise(&Settings{Advertise: auto, Bind: "*"}, func() ([]nic, error) { return nil, errors.New("not allowed") })
	require.ErrorContains(t, r.problems.err(), "not allowed")
}

func TestPortOfAScheduler(t *testing.T) {
	s, report := mustLoad(t, nil, "AUTOPILOT_PORT=env:PORT0", "AUTOPILOT_HTTP=env:PORT1", "PORT0=31337", "PORT1=31338", "AUTOPILOT_BIND=127.0.0.1")
	require.Equal(t, 31337, s.Port)
	require.Equal(t, 31337, s.AdvertisePort)
	require.Equal(t, "127.0.0.1:31338", s.HTTP)
	require.Equal(t, "127.0.0.1:31338", s.HTTPAdvertise)
	require.Contains(t, report.Values, Value{Name: "port", Value: "31337", Source: "environment AUTOPILOT_PORT"})

	_, _, err := Load(nil, []string{"MYSQL_REPL_PASSWORD=x", "AUTOPILOT_PORT=env:PORT0"})
	require.ErrorContains(t, err, "AUTOPILOT_PORT=env:PORT0 names the variable PORT0, which is not set")
	s, _ = mustLoad(t, nil, "MYSQL_USER=a", "MYSQL_PASSWORD=env:HOME", "HOME=/root")
	require.EqualValues(t, "env:HOME", s.Password, "everything else is taken literally")
}

func TestNameIsGivenOrFound(t *testing.T) {
	s, _ := mustLoad(t, []string{"--name", "db1"})
	require.True(t, s.NameGiven)
	s, _ = mustLoad(t, nil)
	require.False(t, s.NameGiven)
	require.NotEmpty(t, s.Name)
}
