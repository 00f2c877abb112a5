package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netfault"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/s3server"
)

// storeAway is how long the snapshot store misbehaves after the nodes were started.
const storeAway = 20 * time.Second

// TestFreshStart: all nodes of a new cluster are started in the same instant.
func TestFreshStart(t *testing.T) { freshStarts(t, 2) }

// TestFreshStartWithoutStore: the same, and the snapshot store cannot be used at first.
func TestFreshStartWithoutStore(t *testing.T) { freshStartsWithoutStore(t, 1) }

// TestFounderKilled: the node that creates the first database dies at it.
func TestFounderKilled(t *testing.T) { founderKilled(t, 1) }

func freshStarts(t *testing.T, rounds int) []string {
	var lines []string
	for i := range rounds {
		t.Run(fmt.Sprintf("round-%d", i+1), func(t *testing.T) {
			spy := harness.NewSpy(t, t.TempDir())
			began := time.Now()
			c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, Mysqld: spy.Path})
			took := time.Since(began)
			lines = append(lines, fmt.Sprintf("round %d: ready in %v, %s", i+1, took.Round(time.Second), requireFresh(t, c, spy)))
		})
	}
	return lines
}

func freshStartsWithoutStore(t *testing.T, rounds int) []string {
	var lines []string
	s3 := s3server.Start(t)
	modes := []struct {
		name string
		mode netfault.Mode
	}{{"hangs", netfault.Hang}, {"refuses", netfault.Refuse}, {"is slow", netfault.Slow}}
	for i := range rounds {
		m := modes[i%len(modes)]
		t.Run(fmt.Sprintf("round-%d", i+1), func(t *testing.T) {
			proxy := netfault.New(t, s3.Addr)
			proxy.Set(m.mode)
			spy := harness.NewSpy(t, t.TempDir())
			c := harness.New(t, s3server.Env())
			began := time.Now()
			up := make(chan error, 1)
			go func() {
				up <- c.Begin(harness.Options{Nodes: 3, Lease: patientLease, Mysqld: spy.Path, Store: s3server.URL(proxy.Addr(), fmt.Sprintf("fresh-%d", i))})
			}()
			time.Sleep(storeAway) // the fault itself, not a wait for something
			proxy.Set(netfault.Pass)
			require.NoError(t, <-up)
			lines = append(lines, fmt.Sprintf("round %d: the store %s for %v, ready in %v, %s", i+1, m.name, storeAway,
				time.Since(began).Round(time.Second), requireFresh(t, c, spy)))
		})
	}
	return lines
}

// requireFresh demands what every fresh start has to come to, and says it.
func requireFresh(t *testing.T, c *harness.Cluster, spy harness.Spy) string {
	t.Helper()
	c = c.On(t)
	d := c.WaitWhole(3)
	calls := spy.Initialised(t)
	require.Len(t, calls, 1, "databases that were initialised: %v", calls)
	require.Contains(t, calls[0], "/"+d.Primary+"/", "the primary made the only database")
	same := c.WaitSame()
	require.NotContains(t, same.GTID, ",", "all transactions come from one server: %s", same.GTID)
	w := load.Start(t, c)
	v := w.Verify(c)
	for _, n := range d.Nodes {
		require.NotContains(t, c.Log(n.Name), "ended with status", "a node gave up")
	}
	require.NotContains(t, supervisorLog(t, c), " is down:", "a node gave up")
	return fmt.Sprintf("one database initialised, then %d acknowledged writes on all nodes", v.Acknowledged)
}

func supervisorLog(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, "supervisor.log"))
	require.NoError(t, err)
	return string(b)
}

// founderKilled kills the node that initialises the first database while it does so. It is started again by itself;
// whichever node makes the database in the end, there is one cluster.
func founderKilled(t *testing.T, rounds int) []string {
	var lines []string
	for i := range rounds {
		t.Run(fmt.Sprintf("round-%d", i+1), func(t *testing.T) {
			spy := harness.NewSpy(t, t.TempDir())
			c := harness.New(t, nil)
			began := time.Now()
			up := make(chan error, 1)
			go func() {
				up <- c.Begin(harness.Options{Nodes: 3, Lease: patientLease, Mysqld: spy.Path, RestartAfter: "1s"})
			}()
			pid := waitInitialising(t, c)
			// Later rounds let it come further; all of them end before a creation does.
			into := time.Duration(i%10) * 300 * time.Millisecond
			time.Sleep(into)
			d := c.Doc()
			killed := ""
			for _, n := range d.Nodes {
				if strings.Contains(pid, "/"+n.Name+"/") {
					killed = n.Name
				}
			}
			require.NotEmpty(t, killed, pid)
			c.Kill(killed)
			require.NoError(t, <-up)
			d = c.WaitWhole(3)
			same := c.WaitSame()
			require.NotContains(t, same.GTID, ",", "all transactions come from one server: %s", same.GTID)
			load.Start(t, c).Verify(c)
			lines = append(lines, fmt.Sprintf("round %d: %s killed %v into its creation of the database, %s is primary, ready in %v", i+1, killed, into, d.Primary,
				time.Since(began).Round(time.Second)))
		})
	}
	return lines
}

// waitInitialising returns the arguments of the mysqld that initialises a database.
func waitInitialising(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(20 * time.Millisecond) {
		for pid, args := range c.Processes() {
			if strings.Contains(args, "--initialize") && syscall.Kill(pid, 0) == nil {
				return args
			}
		}
		require.True(t, time.Now().Before(deadline), "nobody initialises a database")
	}
}
