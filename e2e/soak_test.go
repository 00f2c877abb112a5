package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// scenario is something that happens to a cluster, a number of times. It returns one line per round for the report.
type scenario struct {
	name string
	says string // what it shows
	soak int    // rounds under `make soak`
	run  func(t *testing.T, rounds int) []string
}

// scenarios are those that are worth many rounds. The tests run each with few.
func scenarios() []scenario {
	return []scenario{
		{name: "fresh-start", soak: 30, run: freshStarts,
			says: "three empty nodes started in the same instant: one primary, two standbys, identical data, one database initialised"},
		{name: "fresh-start-without-store", soak: 10, run: freshStartsWithoutStore,
			says: "the same while the snapshot store refuses, hangs or is slow for the first 20 s: nobody gives up, nobody starts a database of its own"},
		{name: "primary-killed", soak: 20, run: primaryKilled,
			says: "guard, agent and mysqld of the primary killed under writers: one new primary, the rest follows, nothing acknowledged is lost, the old one comes back as a standby"},
		{name: "founder-killed", soak: 10, run: founderKilled,
			says: "the node that creates the first database is killed at it: the cluster comes up without a step by hand"},
		{name: "sole-acker", soak: 5, run: soleAckers,
			says: "the only standby that acknowledges is restarted, in order or killed, then the primary dies for good: nothing is lost (two nodes; three with one down)"},
		{name: "agent-restarted", soak: 10, run: agentRestarted,
			says: "the agent of the primary, then of a standby, killed under writers: the next one goes on with the running mysqld, no write fails, no new term, no receiver restarted"},
		{name: "consul-away", soak: 1, run: consulAway,
			says: "Consul killed, then frozen, for five minutes each under writers with policy keep: no write fails, no failover, no pause above 100 ms, or above what the machine itself does to the writes"},
		{name: "commit-pauses", soak: 4, run: commitPauses,
			says: "writers, a minute each with innodb_log_writer_threads as we set it and as MySQL does with few cores: pauses above 95 ms, beside those in which nothing could be stored on the machine, none of them with our setting"},
		{name: "primary-stopped", soak: 10, run: stoppedInParts,
			says: "agent, mysqld, or all of the primary stopped with SIGSTOP beyond the lease: killed by the guard, a new primary, nothing lost, and what wakes up is fenced within 300 ms"},
		{name: "snapshot-races", soak: 50, run: snapshotRaces,
			says: "a node starts without data while the snapshot is missing, half written, being retired, or older than the primary's binary logs: it always ends as a good replica"},
		{name: "snapshot-kills", soak: 40, run: snapshotKills,
			says: "agent, mysqld, node or store hit at random points of taking (every other round) and restoring a snapshot: nothing half is listed, no scratch files stay, the next snapshot works"},
		{name: "point-in-time", soak: 4, run: pointsInTime,
			says: "writers, a failover, then all nodes and Consul destroyed: five random points of the history come back from the S3 server exact to the transaction, the end lacks at most what the archive interval says"},
		{name: "standbys-without-a-disk", soak: 4, run: standbysWithoutADisk,
			says: "the disks of both standbys are full, every other time for a moment only: the primary goes on alone, and they are standbys again when there is room and mysqld has noticed"},
		{name: "containers", soak: 10, run: containersFaulted,
			says: "real containers of the compose file: the primary killed, stopped, paused, cut off in several ways, behind a lossy and a slow link (losses made by nftables), with a writer; every acknowledged write read back"},
		{name: "rolling-upgrade", soak: 5, run: containersReplaced,
			says: "every container made anew on its own volume under a writer, replicas first, the primary last, as an upgrade of the image does: nothing acknowledged is lost"},
		{name: "containers-power-cut", soak: 10, run: containersPowerCut,
			says: "every container of the compose file killed and started again in any order"},
		{name: "compose-v2", soak: 1, run: composeV2,
			says: "the compose file by Compose v2, with a writer: up with three containers, five, two, three, down without -v, and up from the snapshot"},
		{name: "switchovers", soak: 100, run: switchovers,
			says: "planned switchovers by command under writers, one after another on one cluster, to the best standby and to a named one in turn: one term each, no acknowledged write lost, none that was acknowledged failed"},
		{name: "quiet-hour", soak: quietMinutes(), run: quietHour,
			says: "normal life with planned switchovers, a minute a round, under the published alert rules in a real Prometheus: none fires"},
		{name: "faults", soak: 10, run: manyFaults,
			says: "frozen primary, agents killed, power cut of all nodes, Consul killed, one after another on one cluster under writers"},
	}
}

// TestSoak runs scenarios many times and writes what it saw to reports/; `make soak NAME=…` picks one.
func TestSoak(t *testing.T) {
	if os.Getenv("AUTOPILOT_TEST_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			began, source := time.Now(), harness.Commit(t)
			if n, err := strconv.Atoi(os.Getenv("SOAK_ROUNDS")); err == nil && n > 0 {
				s.soak = n
			}
			lines := s.run(t, s.soak)
			if !t.Failed() {
				writeReport(t, s, began, source, lines)
			}
		})
	}
}

// writeReport leaves a file that is kept with the source: what was run, on which state of it, and what came out.
func writeReport(t *testing.T, s scenario, began time.Time, source string, lines []string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n", s.name, s.says)
	fmt.Fprintf(&b, "- date: %s\n- commit: %s\n- rounds: %d, all passed, in %v\n", began.UTC().Format("2006-01-02 15:04 MST"), source, s.soak,
		time.Since(began).Round(time.Second))
	fmt.Fprintf(&b, "- command: `make soak NAME='%s$$' SOAK_ROUNDS=%d`\n\n", s.name, s.soak)
	for _, l := range lines {
		fmt.Fprintf(&b, "- %s\n", l)
	}
	require.NoError(t, os.MkdirAll("reports", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("reports", s.name+".md"), []byte(b.String()), 0o644))
}
