package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/s3server"
)

// archiveEvery is the archive interval of the test's cluster.
const archiveEvery = 4 * time.Second

// point is an instant of the history, and what the table of the writes held then.
type point struct {
	gtid  string
	at    time.Time
	holds string
}

// writesSum tells two contents of the table of the writes apart.
const writesSum = "SELECT CONCAT(COUNT(*), ' writes, ', COALESCE(SUM(CRC32(id)), 0)) FROM app." + load.Table

// TestPointInTime is one round of pointsInTime.
func TestPointInTime(t *testing.T) { pointsInTime(t, 1) }

// pointsInTime: clients write all the time, a failover comes in the middle, and then every node and Consul are
// destroyed; only an S3 server is left. Five random points of the history come back exact to the transaction, a new
// cluster begins with one of them, and another one with the end, which lacks nothing that was older than the archive
// interval.
func pointsInTime(t *testing.T, rounds int) (lines []string) {
	for i := range rounds {
		lines = append(lines, fmt.Sprintf("round %d: %s", i+1, pointInTime(t)))
	}
	return lines
}

func pointInTime(t *testing.T) string {
	s3 := s3server.Start(t)
	store := s3server.URL(s3.Addr, "history")
	o := harness.Options{Nodes: 3, Lease: patientLease, Store: store, Env: s3server.Env(), NodeArgs: []string{"--archive-interval=" + archiveEvery.String()}}
	c := harness.Up(t, o)
	c.Wait("a snapshot", harness.FailoverLimit, func(d harness.Document) bool { return d.Snapshot.ID != "" })
	w := load.Start(t, c)
	points := markPoints(t, c, w)
	c.WaitWhole(3)
	last := points[len(points)-1].at
	complete := waitArchived(t, c, func(at time.Time) bool { return at.After(last) && time.Since(at) < archiveEvery })
	w.WaitAcks(50)
	c.KillAll("node1", "node2", "node3")
	w.Stop()
	c.Down()
	plan, err := os.ReadFile(filepath.Join(c.Dir, "plan.json"))
	require.NoError(t, err)
	destroy(t, c)

	adopt := recoverPoints(t, c, store, points)
	require.NoError(t, c.Begin(o))
	c.WaitWhole(3)
	lost := missing(t, c, w.Acks())
	for _, a := range lost {
		require.True(t, a.At.After(complete), "a write that was acknowledged at %s is lost; the archive was complete up to %s", a.At, complete)
	}
	came := fmt.Sprintf("five points exact to the transaction; %d acknowledged writes, the last %d of them lost with all nodes: %s",
		len(w.Acks()), len(lost), lostSpan(w.Acks(), lost))
	t.Log(came)
	if os.Getenv("AUTOPILOT_TEST_SOAK") != "" { // how long it takes to kill them all is a matter of the machine
		require.LessOrEqual(t, lostFor(w.Acks(), lost), 3*archiveEvery, "far more than the interval")
	}
	c.WaitSame()
	load.Start(t, c).Verify(c)
	c.Down()

	adopted(t, plan, adopt, points[len(points)-1])
	return came
}

// markPoints remembers five random points of the history, with a failover between the second and the third.
func markPoints(t *testing.T, c *harness.Cluster, w *load.Writers) (points []point) {
	t.Helper()
	mark := func(n int) {
		for range n {
			w.WaitAcks(20 + rand.IntN(200))
			points = append(points, markPoint(t, c, c.Led().Primary))
		}
	}
	mark(2)
	before := c.Led()
	c.Kill(before.Primary)
	killed := time.Now()
	c.WaitNewPrimary(before.Primary, before.Term)
	w.WaitAcksSince(killed, 50)
	mark(3)
	return points
}

// recoverPoints recovers to each of them and returns the data of the last.
func recoverPoints(t *testing.T, c *harness.Cluster, store string, points []point) (adopt string) {
	t.Helper()
	for i, p := range points {
		target := []string{"--to-gtid", p.gtid}
		if i%2 == 1 {
			target = []string{"--to-time", p.at.Format(time.RFC3339Nano)}
		}
		into := filepath.Join(t.TempDir(), "data")
		out := recoverTo(t, c, store, into, target...)
		got, gtids := look(t, c, into)
		require.Equal(t, p.holds, got, "point %d, %v: %s", i, target, out)
		if i%2 == 0 {
			require.Equal(t, p.gtid, gtids, "point %d, %v: %s", i, target, out)
			adopt = into
		}
	}
	return adopt
}

// markPoint remembers an instant of the history in which nobody writes to the table.
func markPoint(t *testing.T, c *harness.Cluster, primary string) point {
	t.Helper()
	db := c.RootDB(primary)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), harness.FailoverLimit)
	defer cancel()
	conn, err := db.Conn(ctx)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(ctx, "LOCK TABLES app."+load.Table+" READ")
	require.NoError(t, err)
	var p point
	var micros int64
	require.NoError(t, conn.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&p.gtid))
	require.NoError(t, conn.QueryRowContext(ctx, "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)").Scan(&micros))
	require.NoError(t, conn.QueryRowContext(ctx, writesSum).Scan(&p.holds))
	_, err = conn.ExecContext(ctx, "UNLOCK TABLES")
	require.NoError(t, err)
	p.gtid, p.at = strings.ReplaceAll(p.gtid, "\n", ""), time.UnixMicro(micros).UTC()
	return p
}

// waitArchived waits until the instant up to which everything is archived is as wanted.
func waitArchived(t *testing.T, c *harness.Cluster, ok func(time.Time) bool) time.Time {
	t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(100 * time.Millisecond) {
		out, err := c.Command(30*time.Second, "status", "--consul", c.Doc().Consul, "--cluster", c.Doc().Cluster, "--output", "json")
		require.NoError(t, err)
		var doc struct {
			Archive struct {
				CompleteAt time.Time `json:"complete_at"`
				Error, Gap string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(out), &doc), out)
		require.Empty(t, doc.Archive.Gap)
		if ok(doc.Archive.CompleteAt) {
			return doc.Archive.CompleteAt
		}
		require.Truef(t, time.Now().Before(deadline), "the archive does not come that far: %s, %s", doc.Archive.CompleteAt, doc.Archive.Error)
	}
}

// destroy removes everything but the store, and the plan: the passwords are in the restored data.
func destroy(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, dir := range []string{"nodes", "consul"} {
		require.NoError(t, os.RemoveAll(filepath.Join(c.Dir, dir)))
	}
}

// mysqldOf is the server the playground runs.
func mysqldOf(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	out, err := c.Command(5*time.Minute, "parts", "--env")
	require.NoError(t, err)
	for line := range strings.Lines(out) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "AUTOPILOT_TEST_MYSQLD="); ok {
			return path
		}
	}
	require.Fail(t, "no mysqld", out)
	return ""
}

// recoverTo is what an operator does when nothing is left but the store.
func recoverTo(t *testing.T, c *harness.Cluster, store, into string, target ...string) string {
	t.Helper()
	out, err := c.Command(harness.ReadyLimit, append([]string{"snapshot", "restore", "--store", store, "--cluster", "playground",
		"--mysqld", mysqldOf(t, c), "--into", into}, target...)...)
	require.NoError(t, err)
	return out
}

// look starts a server on restored data and reads it.
func look(t *testing.T, c *harness.Cluster, data string) (writes, gtids string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pitr") // t.TempDir is too long for a socket
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "data") // a server that ran on it changes it
	out, err := exec.Command("cp", "-a", data, copied).CombinedOutput()
	require.NoError(t, err, string(out))
	socket := filepath.Join(dir, "s")
	args := []string{"--no-defaults", "--datadir=" + copied, "--socket=" + socket, "--pid-file=" + filepath.Join(dir, "pid"), "--skip-networking", "--mysqlx=OFF",
		"--innodb-buffer-pool-size=64M", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--skip-replica-start", "--secure-file-priv=NULL"}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	cmd := exec.Command(mysqldOf(t, c), args...)
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.Logger = "root", c.RootPassword(), "unix", socket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(100 * time.Millisecond) {
		if err = db.Ping(); err == nil {
			break
		}
		require.Truef(t, time.Now().Before(deadline), "no server on %s: %v", data, err)
	}
	require.NoError(t, db.QueryRow(writesSum).Scan(&writes))
	require.NoError(t, db.QueryRow("SELECT @@GLOBAL.gtid_executed").Scan(&gtids))
	return writes, strings.ReplaceAll(gtids, "\n", "")
}

// missing are the acknowledged writes that the cluster does not hold, in the order of their acknowledgement.
func missing(t *testing.T, c *harness.Cluster, acks []load.Ack) (lost []load.Ack) {
	t.Helper()
	db := c.RootDB(c.Led().Primary)
	defer db.Close()
	rows, err := db.Query("SELECT id FROM app." + load.Table)
	require.NoError(t, err)
	defer rows.Close()
	have := map[int64]bool{}
	for rows.Next() {
		var id int64
		require.NoError(t, rows.Scan(&id))
		have[id] = true
	}
	require.NoError(t, rows.Err())
	for _, a := range acks {
		if !have[a.ID] {
			lost = append(lost, a)
		}
	}
	return lost
}

func lostFor(acks, lost []load.Ack) time.Duration {
	if len(lost) == 0 {
		return 0
	}
	return acks[len(acks)-1].At.Sub(lost[0].At)
}

func lostSpan(acks, lost []load.Ack) string {
	return fmt.Sprintf("those of the last %s, with an archive interval of %s", lostFor(acks, lost).Round(time.Millisecond), archiveEvery)
}

// adopted lets a new cluster, of the same passwords and with an empty Consul, begin with restored data.
func adopted(t *testing.T, plan []byte, data string, p point) {
	t.Helper()
	c := harness.New(t, nil)
	var doc map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(plan, &doc))
	var nodes []json.RawMessage
	require.NoError(t, json.Unmarshal(doc["Nodes"], &nodes))
	one, err := json.Marshal(nodes[:1])
	require.NoError(t, err)
	doc["Nodes"] = one
	edited, err := json.Marshal(doc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "plan.json"), edited, 0o600))
	volume := filepath.Join(c.Dir, "nodes", "node1")
	require.NoError(t, os.MkdirAll(volume, 0o755))
	out, err := exec.Command("cp", "-a", data, filepath.Join(volume, "adopt")).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, c.Begin(harness.Options{NodeArgs: []string{"--archive-interval=" + archiveEvery.String()}}))
	c.Add(1)
	c.WaitWhole(2)
	for _, n := range c.Doc().Nodes {
		require.Equal(t, p.holds, c.RootValue(n.Name, writesSum), "%s holds what was restored", n.Name)
		have := c.RootValue(n.Name, "SELECT GTID_SUBSET('"+p.gtid+"', @@GLOBAL.gtid_executed)")
		require.Equal(t, strconv.Itoa(1), have)
	}
	require.NoDirExists(t, filepath.Join(volume, "adopt"))
	load.Start(t, c).Verify(c)
}
