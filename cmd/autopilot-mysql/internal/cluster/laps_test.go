package cluster

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLaps_are_read_as_they_were_written(t *testing.T) {
	e := HistoryEntry{Kind: HistoryPromotion, Laps: &Laps{{"transaction", 4.25}, {"admit clients", 0.5}}}
	b, err := json.Marshal(e)
	require.NoError(t, err)
	require.Contains(t, string(b), `"laps":[{"name":"transaction","ms":4.25},{"name":"admit clients","ms":0.5}]`)
	var again HistoryEntry
	require.NoError(t, json.Unmarshal(b, &again))
	require.Equal(t, e, again)
	require.Equal(t, "transaction 4.2, admit clients 0.5 ms", again.Laps.String())
	b, err = json.Marshal(HistoryEntry{Kind: HistoryLost})
	require.NoError(t, err)
	require.NotContains(t, string(b), "laps")
}
