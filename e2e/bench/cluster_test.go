package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// stand is a cluster of ours with clients that write to it.
type stand struct {
	*harness.Cluster
	t     testing.TB
	fleet *fleet
	end   context.CancelFunc
	nodes int
	stuck bool // a node stayed behind: the last look at what was lost is at the primary only
}

// usersLogs are what a user's nodes have: those of the tests rotate their binary logs every few seconds.
var usersLogs = []string{"--max-binlog-size=67108864"}

// setUp starts a cluster and its clients.
func setUp(t testing.TB, o harness.Options, writers int) *stand {
	t.Helper()
	o.MysqldArgs = append(o.MysqldArgs, usersLogs...)
	s := &stand{Cluster: harness.Up(t, o), t: t, nodes: o.Nodes}
	d := s.WaitWhole(s.nodes)
	open := func(addr string) (*sql.DB, error) { return harness.Open(d, addr) }
	require.NoError(t, makeTable(open, d.Node(d.Primary).MySQL))
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	s.fleet = start(inConsul(ctx, http.DefaultClient, d.Consul), open, writers)
	t.Cleanup(func() { s.fleet.stop(); cancel() })
	require.NoError(t, s.fleet.settle(time.Now(), time.Minute))
	return s
}

// phases adds the parts of an opening, and how long the clients then took to find it.
func (r *result) phases(prefix string, e harness.Promotion, g gap) {
	for _, p := range []string{"detect", "seal", "elect", "drain", "promote", "open"} {
		if v, ok := e.Phases[p+"_ms"]; ok && v >= 0 {
			r.of(prefix+"phase "+p, "ms").add(v)
		}
	}
	for _, l := range e.Laps {
		r.of(prefix+"phase "+l.Name, "ms").add(l.MS)
	}
	if d := g.Found.Sub(e.At); d > 0 {
		r.of(prefix+"phase discovery", "ms").took(d)
	}
}

// request is an operator's request as it lies in Consul.
type request struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Node    string    `json:"node,omitempty"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	State   string    `json:"state"`
	Outcome string    `json:"outcome,omitempty"`
	GapMS   float64   `json:"gap_ms,omitempty"`
}

// switchover asks for a planned one and returns its outcome.
func (s *stand) switchover(d harness.Document, to string) (request, error) {
	r := request{ID: fmt.Sprintf("%d", time.Now().UnixNano()), Kind: "switchover", Node: to, By: "bench", At: time.Now().UTC(), State: "open"}
	key := "/v1/kv/mysql/" + d.Cluster + "/requests/" + r.ID
	body, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	s.Consul(http.MethodPut, key+"?cas=0", body)
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(100 * time.Millisecond) {
		if b := s.Consul(http.MethodGet, key+"?raw", nil); len(bytes.TrimSpace(b)) > 0 {
			if err := json.Unmarshal(b, &r); err != nil {
				return r, err
			}
		}
		if r.State != "open" && r.State != "running" {
			return r, nil
		}
		if time.Now().After(deadline) {
			return r, fmt.Errorf("the request has no outcome: %+v", r)
		}
	}
}

// standbyOf is a node that could take over.
func standbyOf(d harness.Document) harness.Node {
	for _, n := range d.Nodes {
		if n.State == "standby" && n.Healthy {
			return n
		}
	}
	return harness.Node{}
}
