package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

func testCAS(t *testing.T, e env) {
	k := e.key("k")
	require.False(t, e.txn(t, election.CAS(k, 7, []byte("x"))), "no key, but an index")
	require.True(t, e.txn(t, election.CAS(k, 0, []byte("one"))), "create")
	require.False(t, e.txn(t, election.CAS(k, 0, []byte("x"))), "create twice")
	first := e.get(t, "k")
	require.True(t, e.txn(t, election.CAS(k, first.ModifyIndex, []byte("two"))))
	require.False(t, e.txn(t, election.CAS(k, first.ModifyIndex, []byte("x"))), "stale")
	second := e.get(t, "k")
	require.Equal(t, "two", string(second.Value))
	require.Greater(t, second.ModifyIndex, first.ModifyIndex)
	require.Equal(t, first.CreateIndex, second.CreateIndex)
}

func testSameContent(t *testing.T, e env) {
	k := e.key("k")
	require.True(t, e.txn(t, election.CAS(k, 0, []byte("same"))))
	index := e.get(t, "k").ModifyIndex
	require.True(t, e.txn(t, election.CAS(k, index, []byte("same"))))
	require.True(t, e.txn(t, election.Set(k, []byte("same"))))
	require.Equal(t, index, e.get(t, "k").ModifyIndex, "a write of the same content is no new version")
	require.True(t, e.txn(t, election.CAS(k, index, []byte("other"))), "and does not fence a write in flight")
}

func testAtomic(t *testing.T, e env) {
	require.True(t, e.txn(t, election.Set(e.key("a"), []byte("old")), election.Set(e.key("b"), nil)))
	before := e.get(t, "a")
	ok, why, err := e.Store.Txn(t.Context(), election.Set(e.key("a"), []byte("new")), election.Delete(e.key("b")),
		election.Set(e.key("c"), nil), election.CAS(e.key("a"), before.ModifyIndex+1000, []byte("x")))
	require.NoError(t, err)
	require.False(t, ok)
	require.Contains(t, why, "cas "+e.key("a"), "the reason names the step")
	require.Equal(t, before, e.get(t, "a"))
	e.get(t, "b")
	e.absent(t, "c")
	require.True(t, e.txn(t, election.Set(e.key("a"), []byte("new")), election.Set(e.key("c"), []byte("new"))))
	require.Equal(t, e.get(t, "a").ModifyIndex, e.get(t, "c").ModifyIndex, "one transaction, one index")
}

func testDelete(t *testing.T, e env) {
	k := e.key("k")
	require.True(t, e.txn(t, election.Delete(k)), "nothing there")
	require.True(t, e.txn(t, election.DeleteCAS(k, 7)), "nothing there")
	require.True(t, e.txn(t, election.Set(k, []byte("v"))))
	index := e.get(t, "k").ModifyIndex
	require.False(t, e.txn(t, election.DeleteCAS(k, index+1000)))
	e.get(t, "k")
	require.True(t, e.txn(t, election.DeleteCAS(k, index)))
	e.absent(t, "k")
	require.Greater(t, e.view(t).Index, index, "a deletion moves the index of the prefix")
	require.True(t, e.txn(t, election.Set(k, []byte("v")), election.Delete(k)))
	e.absent(t, "k")
}

func testCheckIndex(t *testing.T, e env) {
	k, other := e.key("k"), e.key("other")
	require.False(t, e.txn(t, election.CheckIndex(k, 7), election.Set(other, nil)))
	require.True(t, e.txn(t, election.CheckIndex(k, 0), election.Set(other, []byte("1"))), "0 demands that there is none")
	require.True(t, e.txn(t, election.Set(k, []byte("v"))))
	index := e.get(t, "k").ModifyIndex
	require.False(t, e.txn(t, election.CheckIndex(k, 0), election.Set(other, nil)))
	require.False(t, e.txn(t, election.CheckIndex(k, index+1000), election.Set(other, nil)))
	require.True(t, e.txn(t, election.CheckIndex(k, index), election.Set(other, []byte("2"))))
	require.Equal(t, "2", string(e.get(t, "other").Value))
}

func testValues(t *testing.T, e env) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, value := range map[string][]byte{"nil": nil, "empty": {}, "bytes": all, "text": []byte(`{"a":"ü\n"}`)} {
		require.True(t, e.txn(t, election.Set(e.key(name), value)))
		got := e.get(t, name).Value
		require.Equal(t, string(value), string(got), name)
		if len(value) == 0 {
			require.Nil(t, got, name)
		}
	}
}

func testPrefix(t *testing.T, e env) {
	require.Empty(t, e.view(t).KVs)
	require.True(t, e.txn(t, election.Set(e.key("nodes/a"), nil), election.Set(e.key("nodes/b"), nil), election.Set(e.key("node"), nil)))
	v, err := e.Store.Read(t.Context(), e.key("nodes/"), false)
	require.NoError(t, err)
	require.Len(t, v.KVs, 2)
	require.Contains(t, v.KVs, e.key("nodes/a"))
}
