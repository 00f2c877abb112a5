package bench

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// sampleEvery is how often a soak looks.
	sampleEvery = 10 * time.Second
	// sampleTell is how often it says that it goes on.
	sampleTell = time.Minute
)

// soak watches what agents and guards hold on to while a cluster lives an ordinary life: one client writes every 5 ms, and
// nothing happens. An hour, or BENCH_SOAK.
func soak(t *testing.T, r *result) {
	s := setUp(t, harness.Options{Nodes: 3}, 0)
	s.WaitWhole(3)
	long := duration("BENCH_SOAK", time.Hour)
	w := &watcher{s: s, r: r}
	w.look() // counters begin here
	told := time.Now()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < long; {
		<-tick.C
		line := w.look()
		if time.Since(told) >= sampleTell {
			told = time.Now()
			t.Logf("%v of %v: %s", time.Since(began).Round(time.Second), long, line)
		}
	}
	w.conclude(long)
	s.check(r)
}

// watcher samples the processes of all nodes together.
type watcher struct {
	s        *stand
	r        *result
	at       time.Time
	requests map[int]float64 // by the agent's pid
	changes  int
}

// look takes one sample, and says it in a line. The first only begins the counters.
func (w *watcher) look() string {
	now := map[int]float64{}
	made, known := 0.0, true
	sums := map[string]float64{}
	d := w.s.Doc()
	for _, n := range d.Nodes {
		sums["resident memory of the agents|MiB"] += resident(n.Pids.Agent)
		sums["resident memory of the guards|MiB"] += resident(n.Pids.Guard)
		sums["file descriptors of the agents|"] += entries(n.Pids.Agent, "fd")
		sums["file descriptors of the guards|"] += entries(n.Pids.Guard, "fd")
		sums["threads of the guards|"] += entries(n.Pids.Guard, "task")
		sums["goroutines of the agents|"] += metric(n.HTTP, "autopilot_mysql_process_goroutines")
		now[n.Pids.Agent] = metricSum(n.HTTP, "autopilot_mysql_consul_request_seconds_count{")
		before, was := w.requests[n.Pids.Agent]
		made += now[n.Pids.Agent] - before
		known = known && was && now[n.Pids.Agent] > 0
	}
	took, first := time.Since(w.at), w.requests == nil
	w.at, w.requests = time.Now(), now
	if first {
		return ""
	}
	if !known {
		w.changes++ // a process is gone or new: this sample is of something else
		return "not sampled: " + d.Line()
	}
	sums["requests to Consul|a minute"] = made / took.Minutes()
	line := ""
	for _, name := range watchedNames {
		what, unit, _ := strings.Cut(name, "|")
		w.r.of(what, unit).add(sums[name])
		line += fmt.Sprintf("%s %s %s; ", what, number(sums[name]), unit)
	}
	return line
}

// watchedNames are in the order of the report.
var watchedNames = []string{"resident memory of the agents|MiB", "resident memory of the guards|MiB", "goroutines of the agents|", "threads of the guards|",
	"file descriptors of the agents|", "file descriptors of the guards|", "requests to Consul|a minute"}

func (w *watcher) conclude(long time.Duration) {
	w.r.Every = sampleEvery.Seconds()
	for _, name := range watchedNames {
		what, unit, _ := strings.Cut(name, "|")
		g := grows(what, unit, w.r.of(what, unit).Values, w.r.Every)
		w.r.Growth = append(w.r.Growth, g)
		w.s.t.Logf("%s: %s", g.Name, g.Verdict)
	}
	w.r.Table = growths(w.r.Growth)
	w.r.note("%v, a sample every %v, three nodes together; guards make no requests to Consul and do not tell their goroutines, so their threads are counted; %d samples were left out because a process was new or did not answer",
		long, sampleEvery, w.changes)
}

// entries is how many a process's folder in /proc has.
func entries(pid int, folder string) float64 {
	all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, folder))
	return float64(len(all))
}

// metricSum adds up all lines of a node's /metrics that begin so; 0 when there is none.
func metricSum(addr, prefix string) (sum float64) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, prefix) {
			v, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			sum += v
		}
	}
	return sum
}
