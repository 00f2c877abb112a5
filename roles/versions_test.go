package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestVersionsOfData: which server may open whose data.
func TestVersionsOfData(t *testing.T) {
	for _, c := range []struct {
		was, now string
		refused  string // "" for allowed
	}{
		{"9.7.4", "9.7.4", ""},
		{"9.7.4", "9.7.5", ""},
		{"9.7.4-2", "9.7.4-3-log", ""},
		{"9.7.5", "9.7.4", ""}, // back within a long-term series
		{"8.4.9", "8.4.3", ""},
		{"9.2.0", "9.1.0", "no way back"}, // innovation releases never go back
		{"9.2.1", "9.2.0", "no way back"},
		{"9.7.0", "9.6.0", "no way back"},
		{"9.7.0", "8.4.9", "no way back"},
		{"8.4.9", "9.0.1", ""},
		{"8.4.9", "9.6.0", ""},
		{"8.4.9", "9.7.0", ""}, // from one long-term series to the next
		{"9.1.0", "9.7.0", ""},
		{"9.7.0", "10.2.0", ""},
		{"8.4.9", "10.0.0", "by way of 9.7"},
		{"9.6.0", "10.0.0", "by way of 9.7"},
		{"8.0.40", "8.4.0", ""},
		{"8.0.40", "9.0.0", "by way of 8.4"},
		{"8.0.40", "9.7.0", "by way of 8.4"},
		{"8.3.0", "9.0.0", "by way of 8.4"},
		{"9.10.0", "9.9.0", "no way back"}, // numbers, not texts
		{"9.9.0", "9.10.0", ""},
		{"", "9.7.4", ""}, // unknown: mysqld looks for itself
		{"9.7.4", "", ""},
		{"nine", "9.7.4", ""},
		{"9.7", "9.6.0", ""},
	} {
		err := roles.MayOpenData(c.was, c.now)
		if c.refused == "" {
			require.NoError(t, err, "%s → %s", c.was, c.now)
		} else {
			require.ErrorContains(t, err, c.refused, "%s → %s", c.was, c.now)
		}
	}
}

// TestVersionsOfReplication: who may follow whom.
func TestVersionsOfReplication(t *testing.T) {
	for _, c := range []struct {
		source, replica string
		refused         string
	}{
		{"9.7.4", "9.7.4", ""},
		{"9.7.9", "9.7.1", ""}, // patches of a series follow each other
		{"9.7.1", "9.7.9", ""},
		{"8.4.9", "9.0.0", ""},
		{"8.4.9", "9.7.0", ""},
		{"9.7.0", "8.4.9", "must not be older"},
		{"9.1.0", "9.0.0", "must not be older"},
		{"9.10.0", "9.9.0", "must not be older"},
		{"8.0.40", "9.7.0", "the series 8.4 between them"},
		{"8.4.0", "10.1.0", "the series 9.7 between them"},
		{"", "9.7.0", ""},
		{"9.7.0", "", ""},
	} {
		err := roles.MayReplicate(c.source, c.replica)
		if c.refused == "" {
			require.NoError(t, err, "%s ← %s", c.source, c.replica)
		} else {
			require.ErrorContains(t, err, c.refused, "%s ← %s", c.source, c.replica)
		}
	}
}

// TestSwitchoverAcrossVersions: an operator does not make anybody follow a newer series; patches do not matter.
func TestSwitchoverAcrossVersions(t *testing.T) {
	for _, c := range []struct{ a, b, c, refused string }{
		{"9.7.4", "9.7.4", "9.7.4", ""},
		{"9.7.4", "9.7.9", "9.7.1", ""},
		{"9.7.4", "8.4.9", "9.7.4", ""}, // to the older one: everybody may follow it
		{"8.4.9", "9.7.4", "9.7.4", "stop a instead"},
		{"8.4.9", "9.7.4", "8.4.9", "upgrade the replicas first"},
	} {
		v := three()
		for i, version := range map[roles.Inc]string{self: c.a, peer: c.b, stranger: c.c} {
			edit(v, i, func(n *roles.Node) { n.Version = version })
		}
		r := roles.Refuse(roles.Request{Kind: roles.RequestSwitchover, Node: v.Nodes[peer].Name}, v)
		if c.refused == "" {
			require.Nil(t, r, "%+v", c)
			continue
		}
		require.NotNil(t, r, "%+v", c)
		require.Equal(t, roles.GuardVersions, r.Guard)
		require.Contains(t, r.Why, c.refused)
	}
}
