package compose

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNewest: an old primary that comes back shows the cluster as it left it, whole and with itself at its head.
func TestNewest(t *testing.T) {
	before := Cluster{Primary: "a", Term: 1, Nodes: []Node{{Name: "a", State: "primary", MySQL: "172.18.0.5:3306"}}}
	now := Cluster{Primary: "b", Term: 2, Nodes: []Node{{Name: "b", State: "primary", MySQL: "172.18.0.6:3306"}, {Name: "a", State: "standby"}}}
	require.Equal(t, "b", newest([]Cluster{before, now}).Primary)
	require.Equal(t, "b", newest([]Cluster{now, before}).Primary)
}
