package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// sizes are how much data there is beside the clients' rows, in MiB: what is given, or BENCH_SIZES.
func sizes(mib ...int) []int {
	words := strings.FieldsFunc(os.Getenv("BENCH_SIZES"), func(r rune) bool { return r == ',' || r == ' ' })
	var own []int
	for _, w := range words {
		if n, err := strconv.Atoi(w); err == nil && n >= 0 {
			own = append(own, n)
		}
	}
	if len(own) > 0 {
		return own
	}
	return mib
}

// restarts measures how long a node takes to be of use, by the size of the data: with its data after SIGKILL and after a
// graceful stop, and with an empty disk. It counts from the birth of the node's first process, as the kernel tells it.
// One client writes every 5 ms, so that there is something to acknowledge and no backlog that is the load's.
func restarts(t *testing.T, r *result) {
	s := setUp(t, harness.Options{Nodes: 3, RestartAfter: "0s"}, 0)
	ways := []struct {
		name string
		end  func(harness.Node)
	}{
		{"killed, with its data", func(n harness.Node) { s.Kill(n.Name) }},
		{"stopped gracefully, with its data", func(n harness.Node) { s.Stop(n.Name) }},
		{"killed, its disk empty", func(n harness.Node) { s.Kill(n.Name); empty(t, n.Datadir) }},
	}
	have := 0
	for _, mib := range sizes(0, 256, 1024) {
		s.grow(mib - have)
		have = max(have, mib)
		for range rounds(4) {
			for _, way := range ways {
				d, ok := s.calm(r)
				if !ok {
					s.shrink(r)
					return
				}
				n := standbyOf(d)
				way.end(n)
				acks, reads := s.comeBack(n)
				name := fmt.Sprintf("%d MiB, a standby %s: until ", have, way.name)
				r.of(name+"its acknowledgements count", "ms").took(acks)
				r.of(name+"readers find it", "ms").took(reads)
				t.Logf("%s: %sit acknowledges %v, until it is found %v", n.Name, name, acks.Round(time.Millisecond), reads.Round(time.Millisecond))
			}
		}
	}
	s.shrink(r)
}

// empty removes all files of a node.
func empty(t testing.TB, dir string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range all {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, f.Name())))
	}
}

// said is what the bench reads of a node's record.
type said struct {
	Inc   string
	Name  string
	State string
	Pids  struct{ Guard int }
}

// comeBack starts a node that is down and tells the ages of its first process when it is in the ack set as a standby, and
// when readers find it as well.
func (s *stand) comeBack(old harness.Node) (acks, reads time.Duration) {
	s.t.Helper()
	s.Start(old.Name)
	for deadline := time.Now().Add(harness.ReadyLimit); ; time.Sleep(10 * time.Millisecond) {
		keys := s.Keys()
		now := newest(keys, old)
		if acks == 0 && now.State == "standby" && isMember(keys, now.Inc) {
			acks = age(s.t, now.Pids.Guard)
		}
		if acks != 0 && s.isFound(old.Name) {
			return acks, age(s.t, now.Pids.Guard)
		}
		require.Truef(s.t, time.Now().Before(deadline), "%s does not come back: %+v", old.Name, now)
	}
}

// newest is the record of the node's run after old.
func newest(keys map[string]harness.Key, old harness.Node) said {
	for name, k := range keys {
		var x said
		if strings.HasPrefix(name, "nodes/") && k.Session != "" && json.Unmarshal(k.Value, &x) == nil && x.Name == old.Name && x.Pids.Guard != old.Pids.Guard {
			return x
		}
	}
	return said{}
}

func isMember(keys map[string]harness.Key, inc string) bool {
	var x struct{ Members []string }
	if json.Unmarshal(keys["sync"].Value, &x) != nil {
		return false
	}
	for _, m := range x.Members {
		if m == inc {
			return true
		}
	}
	return false
}

// isFound reports whether readers find a node in the catalog.
func (s *stand) isFound(node string) bool {
	s.t.Helper()
	var all []struct {
		Service struct{ Meta map[string]string }
	}
	require.NoError(s.t, json.Unmarshal(s.Consul(http.MethodGet, "/v1/health/service/mysql?passing=1", nil), &all))
	for _, x := range all {
		if x.Service.Meta["node"] == node {
			return true
		}
	}
	return false
}

// age is for how long a process has existed, to 10 ms.
func age(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	up, err := os.ReadFile("/proc/uptime")
	require.NoError(t, err)
	const startTime = 22 - 3 // of the fields behind the name; man 5 proc
	born, err := strconv.ParseFloat(strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[startTime], 64)
	require.NoError(t, err)
	now, err := strconv.ParseFloat(strings.Fields(string(up))[0], 64)
	require.NoError(t, err)
	return time.Duration((now - born/ticksPerSecond) * float64(time.Second))
}

// ballast is the table of the data that is only there.
const ballast = "bench_ballast"

// grow adds so many MiB that do not compress, by transactions that are replicated, and has a snapshot taken of what there
// is then: a node with an empty disk begins with the newest.
func (s *stand) grow(mib int) {
	s.t.Helper()
	if mib <= 0 {
		return
	}
	s.fleet.pause()
	defer s.fleet.resume()
	d := s.Doc()
	db, err := harness.Open(d, d.Node(d.Primary).MySQL)
	require.NoError(s.t, err)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+ballast+" (id BIGINT AUTO_INCREMENT PRIMARY KEY, data MEDIUMBLOB NOT NULL)")
	require.NoError(s.t, err)
	random := rand.NewChaCha8([32]byte{1})
	piece := make([]byte, 1<<20)
	for i := range mib {
		_, _ = random.Read(piece) // never fails
		_, err := db.ExecContext(ctx, "INSERT INTO "+ballast+" (data) VALUES (?)", piece)
		require.NoError(s.t, err)
		if i%64 == 63 {
			s.t.Logf("%d of %d MiB more written", i+1, mib)
		}
	}
	s.snapshot(d)
}

func (s *stand) snapshot(d harness.Document) {
	s.t.Helper()
	var out string
	var err error
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		if out, err = s.Command(6*time.Minute, "snapshot", "create", "--consul", d.Consul, "--cluster", d.Cluster, "--store", d.Store, "--timeout", "5m"); err == nil {
			return
		}
		s.t.Logf("no snapshot yet: %s", harness.Tail(out, 1))
	}
	require.NoErrorf(s.t, err, "%s", out)
}

// shrink removes the ballast, which the last comparison would need minutes to sum up, and ends the scenario.
func (s *stand) shrink(r *result) {
	s.t.Helper()
	s.fleet.pause()
	d := s.Doc()
	db, err := harness.Open(d, d.Node(d.Primary).MySQL)
	require.NoError(s.t, err)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = db.ExecContext(ctx, "DROP TABLE IF EXISTS "+ballast)
	require.NoError(s.t, err)
	s.check(r)
}
