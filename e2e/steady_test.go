package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// What a node may ask of Consul in a steady minute with a lease of 3 s, blocking queries and the catalog aside. A follower
// renews its session 120 times, which it must; a primary also proves that it holds the lock. Measured when this was
// written: 126 and 276 without clients, and 30 more with them: every node's record then says every other second how far it is. The
// bounds leave room for a few requests that are repeated, not for a new habit. Of its mysqld a primary asks everything 120 times, a follower 60 times.
const (
	followerPerMinute = 190
	primaryPerMinute  = 420
	followerLooks     = 85
	primaryLooks      = 145
	steadyFor         = 20 * time.Second
)

// TestSteadyRequests: a cluster in which clients write and nothing else happens asks little of Consul and of its servers, and changes
// nothing in Consul but how far everybody is.
func TestSteadyRequests(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3})
	load.Start(t, c)
	for try := 1; !steadyOnce(t, c); try++ {
		require.Less(t, try, 5, "it never stays as it is for %v", steadyFor)
	}
	c.Down()
}

// steadyOnce measures, and returns false if something happened meanwhile that is not steady.
func steadyOnce(t *testing.T, c *harness.Cluster) bool {
	var d harness.Document
	waitFor(t, "nothing to change in Consul any more", func() bool {
		d = c.WaitWhole(3)
		before := indexes(c)
		time.Sleep(2 * time.Second) // a steady moment
		return fmt.Sprint(before) == fmt.Sprint(indexes(c))
	})
	versions, before, lookedBefore, began := fmt.Sprint(indexes(c)), map[string]float64{}, map[string]float64{}, time.Now()
	for _, n := range d.Nodes {
		before[n.Name], lookedBefore[n.Name] = consulRequests(t, n), asked(t, c, n)
	}
	time.Sleep(steadyFor) // what is measured
	made, looked, took := map[string]float64{}, map[string]float64{}, time.Since(began)
	for _, n := range d.Nodes {
		made[n.Name], looked[n.Name] = consulRequests(t, n)-before[n.Name], asked(t, c, n)-lookedBefore[n.Name]
	}
	if fmt.Sprint(indexes(c)) != versions {
		return false
	}
	for _, n := range d.Nodes {
		perMinute, limit, most := made[n.Name]/took.Minutes(), float64(followerPerMinute), float64(followerLooks)
		if n.Name == d.Primary {
			limit, most = primaryPerMinute, primaryLooks
		}
		looks := looked[n.Name] / took.Minutes()
		t.Logf("%s (%s): %.0f requests to Consul and %.0f looks at mysqld a minute", n.Name, n.State, perMinute, looks)
		require.LessOrEqual(t, looks, most, "%s (%s)", n.Name, n.State)
		require.Positive(t, looks, "the counter counts")
		require.LessOrEqual(t, perMinute, limit, "%s (%s)", n.Name, n.State)
		require.Positive(t, perMinute, "the counter counts")
	}
	return true
}

// indexes are the versions of the records that tell of a change of the cluster: who leads, who acknowledges, whether a
// snapshot is being taken. What nodes say about themselves is brought up to date now and then.
func indexes(c *harness.Cluster) (out []uint64) {
	keys := c.Keys()
	for _, name := range []string{"leader", "sync", "snapshot/last", "snapshot/lock"} {
		out = append(out, keys[name].Index)
	}
	return out
}

// asked is how often a node has asked its mysqld for everything so far, as mysqld counts one statement of that.
func asked(t *testing.T, c *harness.Cluster, n harness.Node) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(c.RootValue(n.Name, "SELECT COUNT_STAR FROM performance_schema.events_statements_summary_global_by_event_name WHERE EVENT_NAME = 'statement/sql/show_replica_status'"), 64)
	require.NoError(t, err)
	return v
}

var requestCount = regexp.MustCompile(`^autopilot_mysql_consul_request_seconds_count\{.*\} (\S+)$`)

// consulRequests is how many requests to Consul a node has made so far, as its metrics say.
func consulRequests(t *testing.T, n harness.Node) (sum float64) {
	t.Helper()
	resp, err := http.Get("http://" + n.HTTP + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 4<<20))
	for lines.Scan() {
		if m := requestCount.FindStringSubmatch(lines.Text()); m != nil {
			v, err := strconv.ParseFloat(m[1], 64)
			require.NoError(t, err)
			sum += v
		}
	}
	require.NoError(t, lines.Err())
	return sum
}
