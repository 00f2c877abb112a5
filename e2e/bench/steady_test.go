package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
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

// watched is how long the cost of an idle and of a busy cluster is added up.
const watched = 20 * time.Second

// steady measures what watching costs, under the lease everybody has who sets none.
func steady(t *testing.T, r *result) {
	s := setUp(t, harness.Options{Nodes: 3}, 8)
	s.cost(r, "8 clients writing: ")
	ratio := r.of("throughput with agents and guards, of that without", "%")
	ratio.Target, ratio.AtLeast = 99, true
	with, without := r.of("commits with agents and guards", "/s"), r.of("commits without", "/s")
	var running, stopped []*series // of what count counts besides
	for _, of := range []string{"Consul", "agents and guards"} {
		running = append(running, r.of("in turns: CPU of "+of+", running", "% of a core"))
		stopped = append(stopped, r.of("in turns: CPU of "+of+", stopped", "% of a core"))
	}
	end := alone(t, s.Cluster)
	defer end()
	nodes, consul := s.Doc().Nodes, s.ConsulPid()
	count := func() []float64 {
		acked, _ := s.fleet.count()
		own := 0.0
		for _, n := range nodes {
			own += ran(n.Pids.Agent) + ran(n.Pids.Guard)
		}
		return []float64{float64(acked), ran(consul), own}
	}
	inTurns(t, s.Cluster, rounds(100), count, func(a, b []float64) {
		with.add(a[0])
		without.add(b[0])
		ratio.add(100 * a[0] / b[0])
		for i := range running {
			running[i].add(100 * a[i+1])
			stopped[i].add(100 * b[i+1])
		}
		t.Logf("with %.0f/s, without %.0f/s, %.1f %%", a[0], b[0], 100*a[0]/b[0])
	})
	end()
	r.Ratios = append(r.Ratios, compare("writes acknowledged, with agents and guards running, of those with both stopped, in turns", with.Values, without.Values))
	s.rest(r)
	s.cost(r, "idle: ")
	s.check(r)
}

// cost adds up what agents and guards use.
func (s *stand) cost(r *result, when string) {
	s.t.Helper()
	d := s.WaitWhole(s.nodes)
	defer alone(s.t, s.Cluster)()
	cpu := func() (all []float64) {
		for _, n := range d.Nodes {
			all = append(all, cpuSeconds(n.Pids.Agent)+cpuSeconds(n.Pids.Guard))
		}
		return all
	}
	pids := map[int]bool{}
	for _, n := range d.Nodes {
		pids[n.Pids.Agent], pids[n.Pids.Guard] = true, true
	}
	_, port, err := net.SplitHostPort(s.Doc().Consul)
	require.NoError(s.t, err)
	moved := countTraffic(port, pids)
	consul := s.ConsulPid()
	before, byConsul, began := cpu(), cpuSeconds(consul), time.Now()
	for time.Since(began) < watched {
		time.Sleep(time.Second)
		if moved != nil {
			moved.look()
		}
	}
	after, took := cpu(), time.Since(began).Seconds()
	r.of(when+"CPU of Consul", "% of a core").add(100 * (cpuSeconds(consul) - byConsul) / took)
	if moved == nil {
		r.note("there is no program ss here: bytes to and from Consul are not counted")
	} else {
		sent, received := moved.sum()
		r.of(when+"to Consul by the whole cluster", "KiB/s").add(sent / 1024 / took)
		r.of(when+"from Consul to the whole cluster", "KiB/s").add(received / 1024 / took)
	}
	mem, used := r.of(when+"resident memory of agent and guard, per node", "MiB"), r.of(when+"CPU of agent and guard, per node", "% of a core")
	ofPrimary := r.of(when+"CPU of agent and guard, of the primary", "% of a core")
	routines := r.of(when+"goroutines of the agent", "")
	mem.Target, used.Target, ofPrimary.Target = 40, 1, 1
	for i, n := range d.Nodes {
		both, err := together(n.Pids.Agent, n.Pids.Guard)
		require.NoError(s.t, err)
		mem.add(both)
		share := 100 * (after[i] - before[i]) / took
		used.add(share)
		if n.Name == d.Primary {
			ofPrimary.add(share)
		}
		if v := metric(n.HTTP, "autopilot_mysql_process_goroutines"); v > 0 {
			routines.add(v)
		}
	}
	if n := consulRequests(s.Consul(http.MethodGet, "/v1/agent/metrics", nil)); n > 0 {
		r.of(when+"requests to Consul by the whole cluster", "/s").add(n)
	}
}

// ran is how many seconds a process's living threads have had a CPU, to the nanosecond: for spans of time in which it gets a few ticks.
func ran(pid int) (sum float64) {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range all {
		b, _ := os.ReadFile(file)
		first, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseFloat(first, 64)
		sum += ns / 1e9
	}
	return sum
}

const ticksPerSecond = 100 // USER_HZ of Linux

func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / ticksPerSecond
}

// resident is a process's memory in MiB.
func resident(pid int) float64 {
	v := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS")
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(v, " kB"), 64)
	return kib / 1024
}

// metric reads one number of a node's /metrics; -1 when it is not there.
func metric(addr, name string) float64 {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, _ := strconv.ParseFloat(v, 64)
			return n
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return -1
}

// consulRequests is how many HTTP requests a second Consul counted in its newest whole interval of ten seconds.
func consulRequests(b []byte) float64 {
	var m struct {
		Samples []struct {
			Name  string
			Count float64
		}
	}
	if json.Unmarshal(b, &m) != nil {
		return -1
	}
	n := 0.0
	for _, s := range m.Samples {
		if strings.HasPrefix(s.Name, "consul.http.") || strings.HasPrefix(s.Name, "consul.api.http") {
			n += s.Count
		}
	}
	return n / 10
}
