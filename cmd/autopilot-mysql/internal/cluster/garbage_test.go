package cluster

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

var keys = KeysOf("shop")

// stored is a whole cluster as Consul holds it.
func stored() election.View {
	v, kvs := well(), map[string]election.KV{}
	put := func(key string, value []byte, session string) {
		kvs[key] = election.KV{Key: key, Value: value, Session: session, ModifyIndex: uint64(10 + len(kvs))}
	}
	put(keys.Cluster(), Encode(v.Cluster), "")
	put(keys.Leader(), []byte(v.Leader.Holder), v.Leader.Session)
	put(keys.Sync(), Encode(v.Sync), "")
	for i, n := range v.Nodes {
		put(keys.Node(i), Encode(n), n.Session)
		put(keys.Seal(i), Encode(roles.Seal{Promise: 4}), "")
	}
	put(keys.SnapshotLast(), Encode(LastSnapshot{ID: "s1"}), "")
	return election.View{Index: 99, KVs: kvs}
}

// spoil writes over one key by hand: whoever holds it goes on holding it.
func spoil(v election.View, key, value string) uint64 {
	kv := v.KVs[key]
	kv.Value, kv.ModifyIndex = []byte(value), 77
	v.KVs[key] = kv
	return kv.ModifyIndex
}

func TestGarbageInAnyRecordIsNamedAndNotBelieved(t *testing.T) {
	db2 := inc("db2")
	for key, gone := range map[string]func(roles.View, Extra) bool{
		keys.Sync():         func(v roles.View, _ Extra) bool { return !v.Sync.Exists() },
		keys.Cluster():      func(v roles.View, _ Extra) bool { return v.Cluster == nil },
		keys.Seal(db2):      func(v roles.View, _ Extra) bool { _, ok := v.Seals[db2]; return !ok && len(v.Seals) == 2 },
		keys.SnapshotLast(): func(_ roles.View, x Extra) bool { return x.Snapshot == nil },
		keys.Node(db2): func(v roles.View, _ Extra) bool {
			return v.Unrecorded(db2) && v.Nodes[db2].Alive() && v.Nodes[db2].Name == "db2" && v.Nodes[db2].State == ""
		},
	} {
		for _, value := range []string{"", "  ", "garbage", "{", `{"term":"three"}`, `[]`, "\x00\xff", strings.Repeat("{", 100_000)} {
			raw := stored()
			ver := spoil(raw, key, value)
			v, x, err := keys.Parse(raw)
			require.NoError(t, err)
			require.True(t, v.OK)
			require.Len(t, v.Garbled, 1, "%s = %.20q", key, value)
			g := v.Garbled[0]
			require.Equal(t, key, keys.Prefix+g.Key)
			require.Equal(t, ver, g.Ver)
			require.Equal(t, ver, v.GarbledVer(g.Key))
			require.NotEmpty(t, g.Why)
			require.True(t, gone(v, x), "%s = %.20q is believed", key, value)
		}
	}
	for _, c := range [][2]string{
		{keys.Sync(), `{}`},
		{keys.Sync(), `{"term":3,"primary":"db1~0~u","members":["db2~0~u"]}`},
		{keys.Sync(), `{"term":3,"primary":"db1~0~u","members":["db1~0~u"],"acks":"one"}`},
		{keys.Node(db2), `{}`},
		{keys.Node(db2), string(Encode(roles.Node{Inc: roles.NewInc("db2", 5, "other"), Name: "db2"}))},
		{keys.Node(inc("db1")), string(Encode(roles.Node{Inc: db2, Name: "db2"}))},
		{keys.Node(inc("db10")), `{"inc":"` + string(inc("db10")) + `","name":"db3"}`},
	} {
		key, value := c[0], c[1]
		raw := stored()
		spoil(raw, key, value)
		v, _, err := keys.Parse(raw)
		require.NoError(t, err)
		require.Len(t, v.Garbled, 1, "%s = %s reads well and says nonsense", key, value)
		require.NotEqual(t, key == keys.Sync(), v.Sync.Exists(), "half of it is believed")
	}
}

func TestTheLockIsWhoseSessionItIs(t *testing.T) {
	raw := stored()
	spoil(raw, keys.Leader(), "garbage")
	v, _, err := keys.Parse(raw)
	require.NoError(t, err)
	h, ok := v.ValidPrimary()
	require.True(t, ok, "writing over the name takes the lock from nobody")
	require.Equal(t, "db1", h.Name)
	require.False(t, v.Leader.Missing)

	spoil(raw, keys.Leader(), string(inc("db2")))
	v, _, _ = keys.Parse(raw)
	require.Equal(t, inc("db1"), v.Leader.Holder, "nor gives it to somebody")

	delete(raw.KVs, keys.Leader())
	v, _, _ = keys.Parse(raw)
	require.True(t, v.Leader.Free())
	require.True(t, v.Leader.Expired(), "nobody let go of it")
	raw.KVs[keys.Leader()] = election.KV{Key: keys.Leader()}
	v, _, _ = keys.Parse(raw)
	require.False(t, v.Leader.Expired(), "released")
}

func TestARebuiltHolderIsShownUnderItsNewIncarnation(t *testing.T) {
	raw := stored()
	spoil(raw, keys.Leader(), "garbage")
	next := roles.NewInc("db1", 1, "uuid-new")
	raw.KVs[keys.Node(next)] = election.KV{Key: keys.Node(next), Value: Encode(roles.Node{Inc: next, Name: "db1"}), Session: "s-db1"}
	v, _, err := keys.Parse(raw)
	require.NoError(t, err)
	require.Equal(t, next, v.Leader.Holder)
}

func TestStatusNamesGarbageAndWhoRepairsIt(t *testing.T) {
	for key, want := range map[string][2]string{
		keys.Sync():            {"record sync ", "db1 writes it anew"},
		keys.Cluster():         {"record cluster ", "db1 writes it anew"},
		keys.Node(inc("db2")):  {"record nodes/db2~", "db2 writes it anew"},
		keys.Seal(inc("db10")): {"record seal/db10~", "db10 writes it anew"},
		keys.SnapshotLast():    {"record snapshot/last ", "the next snapshot"},
	} {
		raw := stored()
		spoil(raw, key, "x")
		v, x, err := keys.Parse(raw)
		require.NoError(t, err)
		d := Build("shop", v, x, "", "")
		found := false
		for _, p := range d.Problems {
			if strings.Contains(p.What, want[0]) {
				found = true
				if d.Primary != "" || !strings.Contains(want[1], "db1") {
					require.Contains(t, p.Next, want[1])
				} else {
					require.Contains(t, p.Next, "members of the last ack set")
				}
			}
		}
		require.True(t, found, "%s: %v", key, d.Problems)
	}
}
