package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// alertLimit is within what a broken thing is an alert, with the shortened rules.
const alertLimit = 3 * time.Minute

// shortened are the published rules without their patience: nothing else of them is changed.
func shortened(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(harness.AlertsFile())
	require.NoError(t, err)
	rules := regexp.MustCompile(`(?m)^(\s+for: )\w+$`).ReplaceAllString(string(b), "${1}0s")
	for from, to := range map[string]string{"> 172800": "> 5", "> 1209600": "> 5", "lag_seconds > 30": "lag_seconds > 2"} {
		require.Contains(t, rules, from)
		rules = strings.ReplaceAll(rules, from, to)
	}
	return rules
}

// alarms sees alerts fire.
type alarms struct {
	t    *testing.T
	c    *harness.Cluster
	p    *harness.Prometheus
	seen map[string]bool
	told []string // what was broken, and what fired
}

// fire waits until all of these have been seen firing at the same moment.
func (a *alarms) fire(what string, names ...string) {
	a.t.Helper()
	for deadline := time.Now().Add(alertLimit); ; time.Sleep(200 * time.Millisecond) {
		now, missing := a.p.Firing(), ""
		for _, n := range now {
			a.seen[n] = a.seen[n] || slices.Contains(names, strings.TrimPrefix(n, alertPrefix))
		}
		for _, n := range names {
			if !a.seen[alertPrefix+n] {
				missing += " " + n
			}
		}
		if missing == "" {
			a.told = append(a.told, what+": "+strings.Join(names, ", "))
			a.t.Log(a.told[len(a.told)-1])
			return
		}
		require.Truef(a.t, time.Now().Before(deadline), "%s: not within %v:%s; firing: %v; %s", what, alertLimit, missing, now, a.c.Doc().Line())
	}
}

// silent waits until none of these fires.
func (a *alarms) silent(names ...string) {
	a.t.Helper()
	waitFor(a.t, "silence", func() bool {
		return !slices.ContainsFunc(a.p.Firing(), func(n string) bool { return slices.Contains(names, strings.TrimPrefix(n, alertPrefix)) })
	})
}

const alertPrefix = "AutopilotMySQL"

// alerts breaks what each of the published alerts is about, on a real cluster under a real Prometheus, and sees it fire. In
// the end each query of the published dashboard has something to show. It returns what fired by what.
func alerts(t *testing.T) []string {
	harness.MonitoringTool(t, "prometheus")
	rules := shortened(t)
	c := harness.Up(t, harness.Options{Nodes: 3, NodeArgs: []string{"--archive-interval", "1s"}})
	w := load.Start(t, c)
	a := &alarms{t: t, c: c, p: harness.StartPrometheus(t, c, rules), seen: map[string]bool{}}
	s := snapshotsOf(t, c)
	s.must("verify", "--mysqld", harness.Mysqld(t))
	a.fire("a snapshot that was verified and is old", "SnapshotOld", "SnapshotUnverified")

	_, err := c.Command(time.Minute, "pause", "--consul", c.Doc().Consul, "--cluster", c.Doc().Cluster)
	require.NoError(t, err)
	a.fire("paused", "Paused")
	resume := func() {
		_, err := c.Command(time.Minute, "resume", "--consul", c.Doc().Consul, "--cluster", c.Doc().Cluster)
		require.NoError(t, err)
	}
	resume()
	a.silent("Paused")

	d := c.WaitWhole(3)
	release := c.Hold(d.Others()[0].Name, "LOCK TABLES `"+d.Database+"`.`"+load.Table+"` READ")
	a.fire("a follower that cannot apply", "Lagging")
	release()
	c.WaitWhole(3)

	a.storeLost(s)
	a.damaged(s)

	pid := c.ConsulPid()
	c.Signal(pid, syscall.SIGSTOP)
	a.fire("Consul does not answer", "ConsulUnreachable")
	c.Signal(pid, syscall.SIGCONT)
	d = c.WaitWhole(3)

	for _, n := range d.Others() {
		c.Stop(n.Name)
	}
	a.fire("both standbys stopped", "Unprotected", "NodeDown", "NodeNotAnswering")
	for _, n := range d.Others() {
		c.Start(n.Name)
	}
	d = c.WaitWhole(3)

	frozen := d.Node(d.Primary)
	c.Signal(frozen.Pids.Agent, syscall.SIGSTOP)
	c.WaitNewPrimary(d.Primary, d.Term)
	c.Signal(frozen.Pids.Agent, syscall.SIGCONT)
	a.fire("the primary's agent frozen", "FailedOver", "GuardKilled")
	d = c.WaitWhole(3)

	_, err = c.Command(time.Minute, "pause", "--consul", d.Consul, "--cluster", d.Cluster)
	require.NoError(t, err)
	c.Stop(d.Primary)
	a.fire("paused, and the primary stopped", "NoPrimary", "NodeUnhealthy")
	resume()
	c.Start(d.Primary)
	c.WaitWhole(3)
	a.silent("NoPrimary", "NodeUnhealthy", "NodeDown", "NodeNotAnswering", "Unprotected", "StoreDown", "ArchiveStopped", "Paused", "Lagging", "ConsulUnreachable")
	require.Empty(t, a.p.Broken())
	for _, name := range harness.AlertNames(rules) {
		require.True(t, a.seen[name], "nothing here breaks what %s is about", name)
	}
	queries := a.dashboard()
	w.Verify(c)
	return append(a.told, queries)
}

// storeLost replaces the store's directory by a file, until the archive would lose transactions.
func (a *alarms) storeLost(s snapshots) {
	a.t.Helper()
	store := strings.TrimPrefix(a.c.Doc().Store, "file://")
	require.NoError(a.t, os.Rename(store, store+".away"))
	require.NoError(a.t, os.WriteFile(store, nil, 0o600))
	out, err := s.run("create", "--timeout", snapshotLimit.String())
	require.Error(a.t, err, out)
	a.fire("the store is gone", "StoreDown", "SnapshotsFail", "ArchiveStopped")
	primary := a.c.Led().Primary
	a.c.Root(primary, "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
	a.c.Root(primary, "PURGE BINARY LOGS BEFORE NOW() - INTERVAL 1 SECOND")
	a.fire("what is not archived is in the oldest log", "ArchiveIncomplete")
	require.NoError(a.t, os.Remove(store))
	require.NoError(a.t, os.Rename(store+".away", store))
	s.create()
	a.silent("StoreDown", "SnapshotsFail", "ArchiveStopped")
}

// damaged spoils the newest snapshot's data and has it verified.
func (a *alarms) damaged(s snapshots) {
	a.t.Helper()
	store := strings.TrimPrefix(a.c.Doc().Store, "file://")
	files, err := filepath.Glob(filepath.Join(store, "*/snapshots/"+s.list()[0].ID+"/*"))
	require.NoError(a.t, err)
	largest, size := "", int64(0)
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Size() > size {
			largest, size = f, st.Size()
		}
	}
	require.NotEmpty(a.t, largest)
	f, err := os.OpenFile(largest, os.O_WRONLY, 0)
	require.NoError(a.t, err)
	_, err = f.WriteAt([]byte("this was data"), size/2)
	require.NoError(a.t, err)
	require.NoError(a.t, f.Close())
	out, err := s.run("verify", "--mysqld", harness.Mysqld(a.t))
	require.Error(a.t, err, out)
	a.fire("a damaged snapshot", "SnapshotDamaged")
}
