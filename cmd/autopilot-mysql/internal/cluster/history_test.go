package cluster

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestGarbageBesideTheProtocolBlindsNobody: requests, history and settings written by hand must not stop the agents, which
// take no decision of the protocol from them.
func TestGarbageBesideTheProtocolBlindsNobody(t *testing.T) {
	k := KeysOf("shop")
	kvs := map[string]election.KV{}
	add := func(key string, value []byte) { kvs[key] = election.KV{Key: key, Value: value, ModifyIndex: 7} }
	add(k.Request("1"), Encode(roles.Request{ID: "1", Kind: roles.RequestRebuild, State: roles.RequestOpen}))
	add(k.Request("2"), Encode(roles.Request{ID: "2", State: roles.RequestDone}))
	add(k.Request("3"), []byte("{"))
	add(k.Request("4"), Encode(roles.Request{ID: "another", State: roles.RequestOpen}))
	add(k.Settings(), []byte("["))
	add(k.Pause(), []byte("["))
	add(k.Removed("db9~1~u"), nil)
	v, x, err := k.Parse(election.View{KVs: kvs})
	require.NoError(t, err)
	require.Len(t, v.Requests, 1, "unfinished ones")
	require.Equal(t, uint64(7), v.Requests[0].Ver)
	require.Len(t, x.Requests, 2)
	require.True(t, v.Paused)
	require.True(t, v.Removed["db9~1~u"])
	require.Contains(t, x.SettingsTrouble, "mysql/shop/settings")

	d := Build("shop", v, x, "", "")
	require.Contains(t, d.Problems[len(d.Problems)-1].What, "settings cannot be read")
}

// TestTheHistoryForgetsTheOldest, also what nobody can read.
func TestTheHistoryForgetsTheOldest(t *testing.T) {
	k := KeysOf("shop")
	require.NotContains(t, k.History(), k.Prefix, "it is not read along with the records")
	v := election.View{KVs: map[string]election.KV{}}
	for i := range HistoryKeep + 70 {
		e := HistoryEntry{At: time.Unix(int64(i), 0).UTC(), Node: "db1", Term: uint64(i)}
		v.KVs[k.HistoryKey(e)] = election.KV{Key: k.HistoryKey(e), Value: Encode(e)}
	}
	torn, timeless := k.HistoryKey(HistoryEntry{At: time.Unix(2, 0), Node: "db1"}), k.History()+"2000"
	v.KVs[torn] = election.KV{Key: torn, Value: []byte("{")}
	v.KVs[timeless] = election.KV{Key: timeless, Value: Encode(HistoryEntry{Why: "no time"})}
	entries := ParseHistory(v)
	require.Len(t, entries, HistoryKeep+69)
	require.Equal(t, uint64(0), entries[0].Term)
	require.Equal(t, uint64(3), entries[2].Term)
	require.Len(t, TrimHistory(v), 60, "as many as one transaction takes")
	for range 60 {
		delete(v.KVs, slices.Min(slices.Collect(maps.Keys(v.KVs))))
	}
	require.Len(t, TrimHistory(v), 11)
	require.Empty(t, TrimHistory(election.View{}))
}

func TestSettingsAreReadInBothSpellings(t *testing.T) {
	k := KeysOf("shop")
	_, x, err := k.Parse(election.View{KVs: map[string]election.KV{k.Settings(): {Key: k.Settings(), Value: []byte(`{"max_lag":"20s","acks":2}`)}}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"max-lag": "20s", "acks": "2"}, x.Settings)
}

func TestARemovedNodeIsNotShownOnceItHasEnded(t *testing.T) {
	v := well()
	v.Removed = map[roles.Inc]bool{inc("db2"): true}
	v.Sync = v.Sync.Without(inc("db2"))
	require.Len(t, Build("shop", v, Extra{}, "", "").Nodes, 3, "it still runs")
	change(v, "db2", die)
	require.Len(t, Build("shop", v, Extra{}, "", "").Nodes, 2)
}

func TestPhasesLeaveOutWhatWasNotSeen(t *testing.T) {
	require.Equal(t, "seal 1, elect 2, drain 0, promote 3, open 4 ms", Phases{Detect: -1, Seal: 1, Elect: 2, Promote: 3, Open: 4}.String())
}

func TestARequestsEndInTheHistory(t *testing.T) {
	e := RequestEntry("db1", 3, roles.Request{ID: "1", Kind: roles.RequestRebuild, Node: "db2", By: "ann", State: roles.RequestRefused, Guard: "primary", Outcome: "it leads"})
	require.Equal(t, "rebuild db2: refused by guard primary: it leads", e.Why)
	require.Equal(t, "ann", e.By)
}
