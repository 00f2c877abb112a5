package operate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const uuid = "0000000a-0000-0000-0000-000000000000"

// world is a cluster's records without a cluster: db1 leads, db2 and db3 acknowledge.
type world struct {
	*election.Memory
	t    *testing.T
	keys cluster.Keys

	mu   sync.Mutex
	said []string
}

func inc(name string) roles.Inc { return roles.NewInc(name, 1, "uuid-"+name) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Memory: election.NewMemory(), t: t, keys: cluster.KeysOf("shop")}
	sync := roles.Sync{Term: 3, Primary: inc("db1"), Members: []roles.Inc{inc("db1"), inc("db2"), inc("db3")}, Acks: 1}
	w.put(w.keys.Cluster(), roles.Cluster{ID: "c"})
	w.put(w.keys.Sync(), sync)
	for _, m := range sync.Members {
		n := roles.Node{Inc: m, Name: m.Name(), State: roles.Standby, Healthy: true, Armed: true, Caught: true, Follows: inc("db1"), FollowTerm: 3}
		if m == sync.Primary {
			n.State, n.Open = roles.Primary, 3
		}
		s := w.Session(m.Name(), 0)
		require.NoError(t, s.Open(t.Context()))
		ok, err := s.Acquire(t.Context(), w.keys.Node(m), cluster.Encode(n))
		require.NoError(t, err)
		require.True(t, ok)
		if m == sync.Primary {
			ok, err := s.Acquire(t.Context(), w.keys.Leader(), []byte(m))
			require.NoError(t, err)
			require.True(t, ok)
		}
	}
	return w
}

func (w *world) put(key string, value any) {
	w.t.Helper()
	ok, why, err := w.Txn(w.t.Context(), election.Set(key, cluster.Encode(value)))
	require.NoError(w.t, err)
	require.True(w.t, ok, why)
}

// kill ends a node's session, as its death would.
func (w *world) kill(name string) { w.Expire(name + "-session-" + name[2:]) }

// seal publishes what a node holds for term 4.
func (w *world) seal(name, pos string) {
	w.put(w.keys.Seal(inc(name)), roles.Seal{Promise: 4, Position: gtid.MustParse(pos)})
}

// loseRecord takes the record of the ack set away; these nodes see it, and say what they remember.
func (w *world) loseRecord(names ...string) {
	last := w.view().Sync
	ok, _, err := w.Txn(w.t.Context(), election.Delete(w.keys.Sync()))
	require.NoError(w.t, err)
	require.True(w.t, ok)
	for _, n := range names {
		r := w.view().Nodes[inc(n)]
		r.LastSync, r.Misses = &last, true
		w.put(w.keys.Node(inc(n)), r)
	}
}

func (w *world) desk(by string) *Desk {
	return &Desk{Store: w.Memory, Cluster: "shop", By: by, Now: time.Now, Say: func(s string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said = append(w.said, s)
	}}
}

func (w *world) heard(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.said, func(s string) bool { return strings.Contains(s, text) })
}

// extra reads the records.
func (w *world) extra() cluster.Extra {
	w.t.Helper()
	v, err := w.Read(context.Background(), w.keys.Prefix, true)
	require.NoError(w.t, err)
	_, x, err := w.keys.Parse(v)
	require.NoError(w.t, err)
	return x
}

// view reads what decisions need.
func (w *world) view() roles.View {
	w.t.Helper()
	v, err := w.Read(context.Background(), w.keys.Prefix, true)
	require.NoError(w.t, err)
	view, _, err := w.keys.Parse(v)
	require.NoError(w.t, err)
	return view
}

// await waits until there is a request in a state.
func (w *world) await(state roles.RequestState) roles.Request {
	w.t.Helper()
	var found roles.Request
	require.Eventually(w.t, func() bool {
		for _, r := range w.extra().Requests {
			if r.State == state {
				found = r
				return true
			}
		}
		return false
	}, 30*time.Second, 5*time.Millisecond, string(state))
	return found
}

// move is what the responsible node does.
func (w *world) move(r roles.Request, change func(*roles.Request)) roles.Request {
	w.t.Helper()
	change(&r)
	ok, why, err := w.Txn(context.Background(), election.CAS(w.keys.Request(r.ID), r.Ver, cluster.Encode(r)))
	require.NoError(w.t, err)
	require.True(w.t, ok, why)
	for _, now := range w.extra().Requests {
		if now.ID == r.ID {
			return now
		}
	}
	return r
}

func ask(kind roles.RequestKind, node string) Ask {
	return Ask{What: string(kind), Wait: true, Request: roles.Request{Kind: kind, Node: node, Timeout: time.Minute}}
}

func codeOf(err error) int {
	var e *cli.Error
	if err == nil {
		return cli.Done
	}
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

type reply struct {
	a   Answer
	err error
}

func (w *world) do(ctx context.Context, by string, a Ask) <-chan reply {
	out := make(chan reply, 1)
	go func() {
		answer, err := w.desk(by).Do(ctx, a)
		out <- reply{answer, err}
	}()
	return out
}
