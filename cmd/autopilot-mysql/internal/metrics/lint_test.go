package metrics

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestLint is Prometheus' own opinion of names, units, types and help.
func TestLint(t *testing.T) {
	follower := primary()
	follower.Node.State, follower.Status.Replica = roles.Standby, &mysql.ReplicaStatus{Receiver: mysql.On}
	for _, s := range []Sample{primary(), follower} {
		m := New(Build{Node: "db1"}, func() (Sample, bool) { return s, true })
		m.transitions.WithLabelValues("init", "primary", "won")
		problems, err := testutil.GatherAndLint(m.registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	}
}

func TestPromotion(t *testing.T) {
	m := New(Build{}, func() (Sample, bool) { return Sample{}, false })
	got := scrape(t, m)
	require.Equal(t, "0", got[`write_gap_seconds_count{kind="failover"}`], "there before the first, or nobody sees it grow")
	m.Promotion(true, nil, 12*time.Millisecond)
	m.Promotion(false, &cluster.Phases{Detect: 3000, Seal: 20, Elect: 5, Drain: -1, Promote: 30, Open: 2}, 3057*time.Millisecond)
	m.Promotion(false, nil, 0) // the first term of a cluster
	got = scrape(t, m)
	for name, want := range map[string]string{
		`write_gap_seconds_count{kind="planned"}`: "1", `write_gap_seconds_sum{kind="planned"}`: "0.012", `write_gap_seconds_count{kind="failover"}`: "1",
		`failover_phase_seconds_sum{phase="detect"}`: "3", `failover_phase_seconds_count{phase="drain"}`: "0", `failover_phase_seconds_sum{phase="promote"}`: "0.03",
	} {
		require.Equal(t, want, got[name], name)
	}
}

func TestLagInTransactions(t *testing.T) {
	s := primary()
	p := s.View.Nodes[s.View.Sync.Primary]
	p.Executed = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-10"
	s.View.Nodes[s.View.Sync.Primary] = p
	s.Node.State, s.Status.Executed = roles.Standby, gtid.MustParse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7")
	read := func() (Sample, bool) { return s, true }
	require.Equal(t, "3", scrape(t, New(Build{}, read))["lag_transactions"])
	s.View.Leader = roles.Leader{}
	require.NotContains(t, scrape(t, New(Build{}, read)), "lag_transactions", "nobody to compare with")
}

// TestMonitoringNamesWhatIsExported: the alert rules and the dashboard ask for metrics that exist, with labels that exist.
func TestMonitoringNamesWhatIsExported(t *testing.T) {
	var reference strings.Builder
	require.NoError(t, WriteReference(&reference))
	dir := filepath.Join("..", "..", "..", "..", "docs", "monitoring")
	for _, name := range []string{"alerts.yaml", "dashboard.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		if strings.HasSuffix(name, ".json") {
			require.True(t, json.Valid(b), name)
		}
		found := regexp.MustCompile(namespace+`_[a-z_]+`).FindAllString(string(b), -1)
		require.NotEmpty(t, found)
		for _, metric := range found {
			if !strings.Contains(reference.String(), "`"+metric+"`") {
				base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(metric, "")
				require.Contains(t, reference.String(), "| `"+base+"` | histogram |", "%s asks for %s", name, metric)
			}
		}
	}
}
