package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionProblems(t *testing.T) {
	d := &Doc{Primary: "a", Nodes: []NodeDoc{{Name: "a", Version: "9.7.4"}, {Name: "b", Version: "8.4.9"}, {Name: "c", Version: "9.7.1"},
		{Name: "d", Version: "8.4.9", State: Down}, {Name: "e"}}}
	list := versionProblems(d)
	require.Len(t, list, 1)
	require.Equal(t, "b", list[0].Node)
	require.Contains(t, list[0].What, "must not be older")
	d.Primary = ""
	require.Empty(t, versionProblems(d), "nobody is followed")
}
