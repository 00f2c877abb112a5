package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func statusReader(m *election.Memory) reader {
	return reader{store: m, keys: cluster.KeysOf("shop"), o: cli.Status{Common: config.Common{Cluster: "shop", Consul: []string{"consul:8500"}}}}
}

func put(t *testing.T, m *election.Memory, key string, value []byte) {
	t.Helper()
	ok, why, err := m.Txn(t.Context(), election.Set(key, value))
	require.NoError(t, err)
	require.True(t, ok, why)
}

func TestStatusOfAClusterThatIsNotThere(t *testing.T) {
	m := election.NewMemory()
	_, _, err := statusReader(m).read(t.Context())
	require.EqualError(t, err, `read status: Consul knows no cluster "shop"; name it with --cluster, or start nodes: there is no cluster at all`)
	put(t, m, "mysql/main/pause", nil)
	put(t, m, "mysql/books/pause", nil)
	_, _, err = statusReader(m).read(t.Context())
	require.EqualError(t, err, `read status: Consul knows no cluster "shop"; name it with --cluster; there are: books, main`)
}

func TestStatusOfBrokenRecordsNamesTheKey(t *testing.T) {
	m := election.NewMemory()
	put(t, m, cluster.KeysOf("shop").Sync(), []byte("{"))
	put(t, m, cluster.KeysOf("shop").Cluster(), cluster.Encode(roles.Cluster{ID: "c"}))
	d, _, err := statusReader(m).read(t.Context())
	require.NoError(t, err)
	require.Equal(t, cluster.Broken, d.Health)
	require.Len(t, d.Problems, 2)
	require.Contains(t, d.Problems[0].What, "cannot be read")
	require.Contains(t, d.Problems[1].What, "Consul's record sync of the cluster cannot be read: it is not the JSON")
}

func TestStatusWithoutConsul(t *testing.T) {
	code, out, errs := call(t, "status", "--consul", "127.0.0.1:1")
	require.Equal(t, cli.Failed, code)
	require.Empty(t, out)
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	require.Contains(t, errs, "connection refused")
	require.Contains(t, errs, "--consul")
}

// page is what was written so far; safe for concurrent use.
type page struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

func TestStatusWatchShowsEveryChangeAndEndsQuietly(t *testing.T) {
	m := election.NewMemory()
	keys := cluster.KeysOf("shop")
	put(t, m, keys.Cluster(), cluster.Encode(roles.Cluster{ID: "c"}))
	r := statusReader(m)
	d, index, err := r.read(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &page{}, make(chan error, 1)
	go func() {
		ended <- r.watch(ctx, &cli.Invocation{Log: slog.New(slog.DiscardHandler)}, &show.Screen{W: out}, d, index)
	}()
	appears := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(out.String(), text) }, time.Minute, 5*time.Millisecond, text)
	}
	appears("no term has been opened")
	i := roles.NewInc("db1", 0, "u")
	put(t, m, keys.Node(i), cluster.Encode(roles.Node{Inc: i, Name: "db1", State: roles.Init}))
	appears("db1 is down")
	put(t, m, keys.Sync(), []byte("{"))
	appears("record sync of the cluster cannot be read")
	m.Partition("", true)
	appears("cannot tell at the moment: ")
	require.Eventually(t, func() bool { return strings.Count(out.String(), "cannot tell at the moment: ") > 2 }, 10*time.Second, 5*time.Millisecond, "each time it is tried")
	cancel()
	require.NoError(t, <-ended)
}

// TestStatusWatchGoesOnForPrograms: a document each time, so that nobody takes silence for a cluster that does not change.
func TestStatusWatchGoesOnForPrograms(t *testing.T) {
	m := election.NewMemory()
	put(t, m, cluster.KeysOf("shop").Cluster(), cluster.Encode(roles.Cluster{ID: "c"}))
	r := statusReader(m)
	d, index, err := r.read(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &page{}, make(chan error, 1)
	m.Partition("", true)
	go func() {
		ended <- r.watch(ctx, &cli.Invocation{Log: slog.New(slog.DiscardHandler)}, &show.Screen{W: out, JSON: true}, d, index)
	}()
	require.Eventually(t, func() bool { return strings.Count(out.String(), "this command cannot read Consul") > 1 }, 10*time.Second, 5*time.Millisecond)
	m.Partition("", false)
	require.Eventually(t, func() bool {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		var last cluster.Doc
		return json.Unmarshal([]byte(lines[len(lines)-1]), &last) == nil && len(last.Problems) == 1 && last.Cluster == "shop"
	}, 10*time.Second, 5*time.Millisecond, "and the truth again, though nothing has changed")
	cancel()
	require.NoError(t, <-ended)
}
