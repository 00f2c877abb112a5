package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// byHand is what somebody does to the cluster's records in Consul. It returns what shows that it has been repaired.
type byHand struct {
	name string
	do   func(t *testing.T, c *harness.Cluster) (repaired func() bool)
}

func hands() []byHand {
	return []byHand{
		{"session of the primary destroyed", func(_ *testing.T, c *harness.Cluster) func() bool {
			old := c.Keys()["leader"].Session
			c.Consul(http.MethodPut, "/v1/session/destroy/"+old, nil)
			return func() bool { now := c.Keys()["leader"].Session; return now != "" && now != old }
		}},
		{"lock deleted", func(_ *testing.T, c *harness.Cluster) func() bool {
			c.Consul(http.MethodDelete, "/v1/kv/"+c.Prefix()+"leader", nil)
			return func() bool { return c.Keys()["leader"].Session != "" }
		}},
		{"check of the primary's session deregistered", func(t *testing.T, c *harness.Cluster) func() bool {
			old := c.Keys()["leader"].Session
			var info []struct{ ServiceChecks []struct{ ID string } }
			require.NoError(t, json.Unmarshal(c.Consul(http.MethodGet, "/v1/session/info/"+old, nil), &info))
			c.Consul(http.MethodPut, "/v1/agent/check/deregister/"+info[0].ServiceChecks[0].ID, nil)
			return func() bool { now := c.Keys()["leader"].Session; return now != "" && now != old }
		}},
		{"the catalog names another primary", falseCatalog},
		{"garbage in every record", garbageEverywhere},
		{"session of a standby destroyed", func(_ *testing.T, c *harness.Cluster) func() bool {
			n := standby(c.WaitWhole(3))
			old := c.Record(n.Name).Session
			c.Consul(http.MethodPut, "/v1/session/destroy/"+old, nil)
			return func() bool { now := c.Record(n.Name).Session; return now != "" && now != old }
		}},
		{"record of a standby deleted", func(_ *testing.T, c *harness.Cluster) func() bool {
			n := standby(c.WaitWhole(3))
			c.Consul(http.MethodDelete, "/v1/kv/"+c.Prefix()+c.Record(n.Name).Key, nil)
			return func() bool { return c.Record(n.Name).Session != "" }
		}},
	}
}

// falseCatalog takes the primary's entry out of the catalog and puts one of a server that nobody listens at there, healthy
// for whoever asks. Nodes trust the lock: nobody follows it. The true entry comes back by itself.
func falseCatalog(t *testing.T, c *harness.Cluster) func() bool {
	d := c.WaitWhole(3)
	entries := func() (all []struct {
		Service struct {
			ID   string
			Port int
		}
	}) {
		require.NoError(t, json.Unmarshal(c.Consul(http.MethodGet, "/v1/health/service/mysql-primary?passing=1", nil), &all))
		return all
	}
	own := entries()
	waitFor(t, "one primary in the catalog", func() bool { own = entries(); return len(own) == 1 }) // what was done before may still show
	c.Consul(http.MethodPut, "/v1/agent/service/deregister/"+own[0].Service.ID, nil)
	c.Consul(http.MethodPut, "/v1/agent/service/register", []byte(`{"ID":"impostor","Name":"mysql-primary","Address":"127.0.0.1","Port":9}`))
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // long enough to be believed
		for _, n := range d.Others() {
			port := c.RootValue(n.Name, "SELECT PORT FROM performance_schema.replication_connection_configuration WHERE CHANNEL_NAME = ''")
			require.Equal(t, portOf(d.Node(d.Primary).MySQL), port, "%s follows the primary", n.Name)
		}
	}
	c.Consul(http.MethodPut, "/v1/agent/service/deregister/impostor", nil)
	return func() bool { now := entries(); return len(now) == 1 && now[0].Service.ID == own[0].Service.ID }
}

// garbageEverywhere writes nonsense over all records at once, the lock included.
func garbageEverywhere(_ *testing.T, c *harness.Cluster) func() bool {
	const nonsense = "!! somebody was here"
	var spoilt []string
	for name := range c.Keys() {
		if name == "leader" || name == "sync" || name == "cluster" || strings.HasPrefix(name, "nodes/") {
			spoilt = append(spoilt, name)
			c.Consul(http.MethodPut, "/v1/kv/"+c.Prefix()+name, []byte(nonsense))
		}
	}
	return func() bool {
		keys := c.Keys()
		for _, name := range spoilt {
			if string(keys[name].Value) == nonsense {
				return false
			}
		}
		return true
	}
}

// triesByHand: a follower waits 0.3 s for a primary to take its lost lock back. A busy machine may take longer, and the
// failover that follows is right as well; but it must not be the rule.
const triesByHand = 6

// TestConsulRecordsTouchedByHand: whatever somebody does to them, the primary goes on, no write fails, and the records are
// as they should be again.
func TestConsulRecordsTouchedByHand(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease})
	for _, h := range hands() {
		t.Run(h.name, func(t *testing.T) {
			for try := 1; ; try++ {
				if why := h.touch(t, c.On(t)); why == "" {
					return
				} else {
					require.Less(t, try, triesByHand, why)
					t.Logf("try %d: %s", try, why)
				}
			}
		})
	}
	if !t.Failed() {
		c.Down()
	}
}

// touch returns in which way the cluster was disturbed; "" if it was not. Nothing may be lost in either case.
func (h byHand) touch(t *testing.T, c *harness.Cluster) string {
	before := c.WaitWhole(3)
	w := load.StartPatient(t, c)
	at := time.Now()
	repaired := h.do(t, c)
	waitFor(t, "the records are repaired", repaired)
	w.WaitAcksSince(time.Now(), 50)
	after := c.WaitWhole(3)
	gap := w.Gap(at)
	v := w.Verify(c)
	t.Logf("term %d, then %d; gap %v", before.Term, after.Term, gap)
	switch {
	case after.Primary != before.Primary:
		return fmt.Sprintf("%s was the primary, then %s", before.Primary, after.Primary)
	case after.Node(after.Primary).Pids != before.Node(before.Primary).Pids:
		return fmt.Sprintf("processes of the primary: %v, then %v", before.Node(before.Primary).Pids, after.Node(after.Primary).Pids)
	case v.Failures > 0:
		return fmt.Sprintf("%d writes failed", v.Failures)
	}
	return ""
}
