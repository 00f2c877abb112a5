package cluster

import (
	"testing"

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
	add(k.History()+"1", []byte("{"))
	add(k.History()+"2", Encode(HistoryEntry{Why: "no time"}))
	add(k.Settings(), []byte("["))
	add(k.Pause(), []byte("["))
	add(k.Removed("db9~1~u"), nil)
	v, x, err := k.Parse(election.View{KVs: kvs})
	require.NoError(t, err)
	require.Len(t, v.Requests, 1, "unfinished ones")
	require.Equal(t, uint64(7), v.Requests[0].Ver)
	require.Len(t, x.Requests, 2)
	require.Empty(t, x.History())
	require.Len(t, x.HistoryKeys(), 2, "so that they are forgotten too some day")
	require.True(t, v.Paused)
	require.True(t, v.Removed["db9~1~u"])
	require.Contains(t, x.SettingsTrouble, "mysql/shop/settings")

	d := Build("shop", v, x, "", "")
	require.Contains(t, d.Problems[len(d.Problems)-1].What, "settings cannot be read")
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
