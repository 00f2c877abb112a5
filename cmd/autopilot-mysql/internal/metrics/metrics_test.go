package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// scrape returns every sample, by its name with labels.
func scrape(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	out := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") {
			out[strings.TrimPrefix(line[:i], namespace+"_")] = strings.TrimSpace(line[i+1:])
		}
	}
	return out
}

func primary() Sample {
	me, other := roles.NewInc("db1", 0, "u1"), roles.NewInc("db2", 0, "u2")
	n := roles.Node{Inc: me, Name: "db1", State: roles.Primary, Healthy: true, Open: 4, Session: "s", PIDs: roles.PIDs{Agent: os.Getpid()}}
	return Sample{
		Node: n, Leads: true, LeaseLeft: 1700 * time.Millisecond, Holds: 2200 * time.Millisecond, GuardKills: 2, Now: now, Age: time.Second,
		View: roles.View{OK: true, Leader: roles.Leader{Holder: me, Session: "s"}, Sync: roles.Sync{Term: 4, Primary: me, Members: []roles.Inc{me, other}, Acks: 1},
			Nodes: map[roles.Inc]roles.Node{me: n, other: {Inc: other, Name: "db2", State: roles.Standby}}},
		Extra:  cluster.Extra{Snapshot: &cluster.LastSnapshot{At: now.Add(-time.Hour), Bytes: 1000}},
		Status: mysql.Status{Version: "9.7.4", Source: mysql.SourceStatus{Clients: 1, YesTx: 7}},
		MySQL:  roles.MySQL{Running: true, Ready: true, K: 1, Streams: map[string]bool{"db2": true}},
	}
}

func TestPrimary(t *testing.T) {
	got := scrape(t, New(Build{Node: "db1", Cluster: "shop", Version: "v1"}, func() (Sample, bool) { return primary(), true }))
	for name, want := range map[string]string{
		`info{cluster="shop",mysql_version="9.7.4",node="db1",version="v1"}`: "1", `state{state="primary"}`: "1", `state{state="standby"}`: "0",
		"healthy": "1", "leads": "1", "lease_age_seconds": "0.5", "lease_remaining_seconds": "1.7", "term": "4", "ack_member": "1",
		"ack_set_members": "2", "ack_set_acks": "1", "cluster_has_primary": "1", `cluster_nodes{state="down"}`: "1", `cluster_nodes{state="primary"}`: "1",
		"snapshot_age_seconds": "3600", "snapshot_bytes": "1000", "guard_kills_total": "2", "mysqld_up": "1", "mysqld_semisync_clients": "1",
		"mysqld_semisync_acknowledged_total": "7", `mysqld_streams{follower="db2"}`: "1", "consul_up": "1", "cluster_paused": "0",
	} {
		require.Equal(t, want, got[name], name)
	}
	require.NotContains(t, got, "lag_seconds")
	require.NotContains(t, got, "mysqld_receiver_up")
	require.Contains(t, got, `process_resident_bytes{process="agent"}`)
	require.NotEqual(t, "0", got["process_goroutines"])
	require.Contains(t, got, "process_goroutines")
	require.NotContains(t, got, `process_resident_bytes{process="mysqld"}`, "there is none")
}

// TestACutOffNodeVouchesForItselfAlone: what it read of the others before hides no loss from whoever is alerted.
func TestACutOffNodeVouchesForItselfAlone(t *testing.T) {
	s := primary()
	s.View.OK = false
	has := func() string {
		return scrape(t, New(Build{}, func() (Sample, bool) { return s, true }))["cluster_has_primary"]
	}
	require.Equal(t, "1", has(), "it goes on as its policy says")
	s.Node.State, s.Node.Open = roles.Standby, 0
	require.Equal(t, "0", has())
}

// TestWhatIsNotKnownIsAbsent: a zero would be a claim.
func TestWhatIsNotKnownIsAbsent(t *testing.T) {
	s := primary()
	s.Node.State, s.Node.LagSeconds, s.Leads, s.MySQL.Ready, s.Extra.Snapshot = roles.Standby, -1, false, false, nil
	got := scrape(t, New(Build{}, func() (Sample, bool) { return s, true }))
	for _, name := range []string{"lag_seconds", "lease_age_seconds", "lease_remaining_seconds", "snapshot_age_seconds", "mysqld_transactions", "mysqld_semisync_clients"} {
		require.NotContains(t, got, name)
	}
	require.Equal(t, "0", got["mysqld_up"])
	s.Node.LagSeconds, s.MySQL.Ready, s.Status.Replica = 3, true, &mysql.ReplicaStatus{Receiver: mysql.On}
	got = scrape(t, New(Build{}, func() (Sample, bool) { return s, true }))
	require.Equal(t, []string{"3", "1", "0"}, []string{got["lag_seconds"], got["mysqld_receiver_up"], got["mysqld_applier_up"]})
	got = scrape(t, New(Build{}, func() (Sample, bool) { return Sample{}, false }))
	require.NotContains(t, got, "healthy", "before the first turn nothing is known")
}

func TestEvents(t *testing.T) {
	m := New(Build{}, func() (Sample, bool) { return Sample{}, false })
	require.Equal(t, "0", scrape(t, m)[`snapshots_total{result="failed"}`])
	m.Transition(engine.Transition[roles.State, roles.Event]{From: roles.Failover, To: roles.Primary, On: roles.Won, Took: 20 * time.Millisecond})
	m.Transition(engine.Transition[roles.State, roles.Event]{From: roles.Primary, To: roles.Failover, On: roles.LeaseLost})
	m.Snapshot(time.Minute, nil)
	m.Snapshot(time.Hour, errors.New("disk full"))
	got := scrape(t, m)
	for name, want := range map[string]string{
		`transitions_total{event="won",from="failover",to="primary"}`: "1", `transitions_total{event="lease-lost",from="primary",to="failover"}`: "1",
		"promotions_total": "1", "promotion_seconds": "0.02", `snapshots_total{result="ok"}`: "1", `snapshots_total{result="failed"}`: "1",
		"snapshot_duration_seconds": "60",
	} {
		require.Equal(t, want, got[name], name)
	}
}

func TestConsulIsMeasured(t *testing.T) {
	m := New(Build{}, func() (Sample, bool) { return Sample{}, false })
	memory := election.NewMemory()
	store, session := m.Store(memory), m.Session(memory.Session("db1", time.Minute))
	ctx := t.Context()
	require.NoError(t, session.Open(ctx))
	require.NoError(t, session.Pass(ctx))
	held, err := session.Acquire(ctx, "p/leader", nil)
	require.NoError(t, err)
	require.True(t, held)
	ok, _, err := store.Txn(ctx, election.Set("p/a", []byte("1")))
	require.NoError(t, err)
	require.True(t, ok)
	v, err := store.Read(ctx, "p/", true)
	require.NoError(t, err)
	require.Len(t, v.KVs, 2)
	require.NoError(t, session.Destroy(ctx))
	require.Error(t, session.Pass(ctx))
	got := scrape(t, m)
	for op, want := range map[string]string{opRead: "1", opTxn: "1", opAcquire: "1", opPass: "2"} {
		require.Equal(t, want, got[`consul_request_seconds_count{op="`+op+`"}`], op)
	}
	require.Equal(t, "1", got[`consul_errors_total{op="pass"}`])
	require.Equal(t, "0", got[`consul_errors_total{op="read"}`])
}

// TestReferenceNamesEverything that a scrape can show, with names as Prometheus wants them.
func TestReferenceNamesEverything(t *testing.T) {
	var b strings.Builder
	require.NoError(t, WriteReference(&b))
	for name := range scrape(t, New(Build{}, func() (Sample, bool) { return primary(), true })) {
		name = regexp.MustCompile(`(_bucket|_sum|_count)?(\{.*)?$`).ReplaceAllString(name, "")
		require.Contains(t, b.String(), "| `"+namespace+"_"+name+"` |", name)
	}
	for line := range strings.Lines(b.String()) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		require.Regexp(t, "^\\| `autopilot_mysql_[a-z_]+`$", cells[0])
		require.Equal(t, cells[1] == "counter", strings.HasSuffix(cells[0], "_total`"), line)
		require.Regexp(t, `\. \|\n$`, line, "a help is a sentence")
	}
}
