package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const patience = 2 * time.Second

// newWatch is a watch over the in-memory store, in simulated time. It runs until the test ends.
func newWatch(t *testing.T, m *election.Memory) *watch {
	t.Helper()
	return newWatchThatWakes(t, m, func() {})
}

func newWatchThatWakes(t *testing.T, m *election.Memory, wake func()) *watch {
	t.Helper()
	began := time.Now()
	w := &watch{store: m.Node("n1"), keys: cluster.KeysOf("main"), wake: wake, now: func() time.Duration { return time.Since(began) + time.Hour }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// put writes a record as somebody else does.
func put(t *testing.T, m *election.Memory, key string, record any) {
	t.Helper()
	ok, why, err := m.Txn(t.Context(), election.Set(key, cluster.Encode(record)))
	require.NoError(t, err)
	require.True(t, ok, why)
	synctest.Wait()
}

func TestWatchShowsAChangeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		w := newWatch(t, m)
		synctest.Wait()
		put(t, m, w.keys.Sync(), roles.Sync{Term: 3, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}})
		v, _, _, err := w.current(patience)
		require.NoError(t, err)
		require.True(t, v.OK)
		require.Equal(t, uint64(3), v.Sync.Term)
	})
}

// Whoever has offered the term waits for the lock and the record of the term alone.
func TestASparedNodeIsWokenByTheLockAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		var count atomic.Int32
		w := newWatchThatWakes(t, m, func() { count.Add(1) })
		synctest.Wait()
		wakes := func(key string, record any) int {
			before := count.Load()
			put(t, m, key, record)
			return int(count.Load() - before)
		}
		inc := roles.NewInc("n1", 1, "11111111-1111-4111-8111-111111111111")
		sync := roles.Sync{Term: 3, Primary: inc, Members: []roles.Inc{inc}}
		require.Equal(t, 1, wakes(w.keys.Node(inc), roles.Node{Inc: inc, Name: "n1"}), "an ordinary one")
		require.Equal(t, 1, wakes(w.keys.Sync(), sync))
		w.spare.Store(true)
		require.Zero(t, wakes(w.keys.Node(inc), roles.Node{Inc: inc, Name: "n1", Healthy: true}))
		v, _, _, err := w.current(patience)
		require.NoError(t, err)
		require.True(t, v.Nodes[inc].Healthy, "it is known all the same")
		sync.Term++
		require.Equal(t, 1, wakes(w.keys.Sync(), sync))
		require.Equal(t, 1, wakes(w.keys.Leader(), inc))
		w.spare.Store(false)
		require.Equal(t, 1, wakes(w.keys.Node(inc), roles.Node{Inc: inc, Name: "n1"}))
		before := count.Load()
		time.Sleep(3 * watchMax)
		require.Equal(t, before, count.Load(), "nothing has changed")
	})
}

// What nodes tell only to people wakes nobody.
func TestANodeIsNotWokenByWhatOnlyPeopleLookAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		var count atomic.Int32
		w := newWatchThatWakes(t, m, func() { count.Add(1) })
		synctest.Wait()
		inc := roles.NewInc("n1", 1, "11111111-1111-4111-8111-111111111111")
		n := roles.Node{Inc: inc, Name: "n1", State: roles.Standby, Executed: "u:1-5", Reason: "following n2"}
		wakes := func(key string, record any) int {
			before := count.Load()
			put(t, m, key, record)
			return int(count.Load() - before)
		}
		require.Equal(t, 1, wakes(w.keys.Node(inc), n))
		n.Executed, n.LagSeconds, n.Reason = "u:1-6", 1, "still following n2"
		require.Zero(t, wakes(w.keys.Node(inc), n))
		v, _, _, err := w.current(patience)
		require.NoError(t, err)
		require.Equal(t, "u:1-6", v.Nodes[inc].Executed, "it is known all the same")
		n.Healthy = true
		require.Equal(t, 1, wakes(w.keys.Node(inc), n))
		require.Equal(t, 1, wakes(w.keys.Leader(), inc))
		require.Equal(t, 1, wakes(w.keys.Prefix+"archive/last", "of whatever"), "any other record counts")
		ok, why, err := m.Txn(t.Context(), election.Delete(w.keys.Node(inc)))
		require.NoError(t, err)
		require.True(t, ok, why)
		before := count.Load()
		synctest.Wait()
		m.Partition("n1", true)
		time.Sleep(watchMax + readTimeout)
		m.Partition("n1", false)
		time.Sleep(watchRetry + time.Second)
		require.Greater(t, count.Load(), before+1, "of an outage and its end it hears")
	})
}

// Whoever leaves an election to others is not woken by it, and asks Consul for what changed a few times a second only.
func TestANodeApartIsNotWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		var count atomic.Int32
		w := newWatchThatWakes(t, m, func() { count.Add(1) })
		synctest.Wait()
		before := count.Load()
		require.False(t, w.listen(false, true))
		inc := roles.NewInc("n1", 1, "11111111-1111-4111-8111-111111111111")
		put(t, m, w.keys.Leader(), inc)
		put(t, m, w.keys.Sync(), roles.Sync{Term: 3, Primary: inc, Members: []roles.Inc{inc}})
		put(t, m, w.keys.Sync(), roles.Sync{Term: 4, Primary: inc, Members: []roles.Inc{inc}})
		v, _, _, err := w.current(patience)
		require.NoError(t, err)
		require.Less(t, v.Sync.Term, uint64(4), "it rests")
		time.Sleep(apartRest)
		synctest.Wait()
		v, _, _, err = w.current(patience)
		require.NoError(t, err)
		require.Equal(t, uint64(4), v.Sync.Term)
		require.Equal(t, before, count.Load())
		require.True(t, w.listen(false, false), "it has missed something")
		require.False(t, w.listen(false, false))
	})
}

func TestWatchIsOnlyAMemoryAfterItsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		w := newWatch(t, m)
		put(t, m, w.keys.Sync(), roles.Sync{Term: 3, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}})
		m.Partition("n1", true)
		time.Sleep(watchMax + time.Second) // the query that is under way may last that long
		_, err := w.refresh(t.Context())
		require.Error(t, err)
		time.Sleep(patience + time.Second)
		v, _, _, err := w.current(patience)
		require.Error(t, err)
		require.False(t, v.OK)
		require.Equal(t, uint64(3), v.Sync.Term, "what was known is still shown")

		m.Partition("n1", false)
		put(t, m, w.keys.Sync(), roles.Sync{Term: 4, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}})
		time.Sleep(2 * watchRetry)
		v, _, _, err = w.current(patience)
		require.NoError(t, err)
		require.True(t, v.OK)
		require.Equal(t, uint64(4), v.Sync.Term)
	})
}

func TestGarbageIsNeverTakenForAMissingRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		w := newWatch(t, m)
		put(t, m, w.keys.Sync(), roles.Sync{Term: 3, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}})
		put(t, m, w.keys.Sync(), "garbage")
		time.Sleep(patience + time.Second)
		v, _, _, err := w.current(patience)
		require.NoError(t, err)
		require.Len(t, v.Garbled, 1)
		require.Equal(t, roles.KeySync, v.Garbled[0].Key)
		require.NotZero(t, v.GarbledVer(roles.KeySync), "what is written over it is based on this very garbage")
	})
}

func TestAnOvertakenAnswerIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		keys := cluster.KeysOf("main")
		w := &watch{store: m.Node("n1"), keys: keys, wake: func() {}, now: election.Boottime}
		put(t, m, keys.Sync(), roles.Sync{Term: 3, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}})
		old, err := m.Read(t.Context(), keys.Prefix, true)
		require.NoError(t, err)
		put(t, m, keys.Sync(), roles.Sync{Term: 4, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}})
		_, err = w.refresh(t.Context())
		require.NoError(t, err)

		v, err := w.take(old, 1, nil) // a slow answer to a question asked before the refresh
		require.NoError(t, err)
		require.Equal(t, uint64(4), v.Sync.Term)
		v, err = w.take(old, w.index, nil) // asked after it: the store itself went back in time
		require.NoError(t, err)
		require.Equal(t, uint64(3), v.Sync.Term)
	})
}

func TestWatchCountsHowLongTheLockHasBeenFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		w := newWatch(t, m)
		s := m.Session("n2", 3*time.Second)
		require.NoError(t, s.Open(t.Context()))
		got, err := s.Acquire(t.Context(), w.keys.Leader(), []byte("n2~1~u"))
		require.NoError(t, err)
		require.True(t, got)
		synctest.Wait()
		v, _, free, _ := w.current(patience)
		require.False(t, v.Leader.Free())
		require.Zero(t, free)

		m.Expire(s.ID())
		synctest.Wait()
		time.Sleep(time.Second)
		v, _, free, _ = w.current(patience)
		require.True(t, v.Leader.Expired(), "its session ended: it did not let go by itself")
		require.Equal(t, time.Second, free)
	})
}

func TestAnOutageOfConsulIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		began := time.Now()
		w := &watch{store: m.Node("n1"), keys: cluster.KeysOf("main"), wake: func() {}, now: func() time.Duration { return time.Since(began) + time.Hour }}
		away := func(d time.Duration) {
			m.Partition("n1", true)
			_, err := w.refresh(t.Context())
			_, _ = w.take(election.View{}, 0, err)
			time.Sleep(d)
			m.Partition("n1", false)
		}
		_, err := w.refresh(t.Context())
		require.NoError(t, err)
		away(outageMin / 2)
		_, err = w.refresh(t.Context())
		require.NoError(t, err)
		require.Zero(t, w.sinceBack(), "a lost answer is no outage")
		away(outageMin)
		require.Zero(t, w.sinceBack(), "not back yet")
		_, err = w.refresh(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, time.Second, w.sinceBack())
	})
}

// A record that was just written is shown by the query that waits for changes; nobody asks for it, unless that query stays
// without an answer.
func TestWrittenIsShownByTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := election.NewMemory()
		w := newWatch(t, m)
		c := &counted{Store: m}
		asks := &watch{store: c, keys: w.keys, wake: func() {}, now: w.now} // nobody runs it
		record := func(term uint64) roles.Sync {
			return roles.Sync{Term: term, Primary: "n1~1~u", Members: []roles.Inc{"n1~1~u"}}
		}
		put(t, m, w.keys.Sync(), record(3))
		v, err := asks.refresh(t.Context())
		require.NoError(t, err)
		before := v.Sync.Ver
		c.take()

		go func() { _, _, _ = m.Txn(t.Context(), election.Set(w.keys.Sync(), cluster.Encode(record(4)))) }() // what is shown tells whether it did
		began := time.Now()
		v, err = w.written(t.Context(), before, record(4))
		require.NoError(t, err)
		require.Equal(t, uint64(4), v.Sync.Term)
		require.Less(t, time.Since(began), showLimit)

		v, err = asks.written(t.Context(), before, record(4)) // the old view shows another record, and nothing new comes
		require.NoError(t, err)
		require.Equal(t, uint64(4), v.Sync.Term)
		require.Equal(t, []string{"consul: read"}, c.take())

		v, err = asks.written(t.Context(), v.Sync.Ver, record(4)) // equal, but the version that is to be replaced
		require.NoError(t, err)
		require.Equal(t, []string{"consul: read"}, c.take(), "%+v", v.Sync)
	})
}
