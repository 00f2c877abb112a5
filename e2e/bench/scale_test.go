package bench

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// crowdStart is how long the clusters of one size may take until all have their sessions.
	crowdStart = 2 * time.Minute
	// consulInterval is how long Consul counts before it tells.
	consulInterval = 10 * time.Second
	// crowdSettle is left out after that.
	crowdSettle = 5 * time.Second
)

// clusters are how many are simulated: what is given, or BENCH_CLUSTERS.
func clusterCounts(counts ...int) []int {
	var own []int
	for _, w := range strings.Split(os.Getenv("BENCH_CLUSTERS"), ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(w)); err == nil && n >= 0 {
			own = append(own, n)
		}
	}
	if len(own) > 0 {
		return own
	}
	return counts
}

// scale finds how many clusters of three nodes one Consul carries, what each costs it, and how long the failover of a real
// cluster takes among them. Each size meets a Consul of its own. The sizes end with the first that is not carried: a lease
// was lost, or one sign of life in a hundred failed or needed longer than the time-out of a renewal.
func scale(t *testing.T, r *result) {
	r.note("the clusters around the real one are simulated: the requests to Consul of three agents each, made by tools/consulload with the program's own packages for sessions, leases, records and services, in the agents' rhythm; " +
		"no mysqld, no decisions. They share the machine with Consul, so that the knee is earlier than with a machine for Consul alone")
	r.Table = &grid{Head: []string{"simulated clusters", "requests", "Consul's CPU", "for each cluster", "Consul's memory", "for each cluster", "renewal p50", "p99", "most", "failed", "lost leases", "failover of the real one", "carried"}}
	bin, largest, base := buildCrowd(t), -1, load{}
	for _, n := range clusterCounts(0, 1, 10, 30, 100, 200, 400) {
		l := scaleOf(t, r, bin, n)
		if n == 0 {
			base = l
		}
		r.Table.Rows = append(r.Table.Rows, l.row(base))
		t.Log(strings.Join(r.Table.Head, " | "))
		t.Log(strings.Join(l.row(base), " | "))
		require.NoError(t, r.keep(dir()))
		if !l.carried() {
			break
		}
		largest = n
	}
	r.note("the largest size that was carried: %d clusters, %d nodes, and the real one beside them", largest, 3*largest)
}

// load is what one size did to Consul.
type load struct {
	n        int
	up       bool
	cpu      float64 // % of a core
	mib      float64
	requests float64 // a second, as Consul counted them
	crowd    crowdLine
	failover series
	lost     int // leases, while the real cluster failed over
}

func (l load) beats() series { return series{Values: l.crowd.Beats} }

func (l load) carried() bool {
	const timeout = 700 // ms, R of a lease of 3 s
	return l.up && l.crowd.Lost+l.lost == 0 && 100*l.crowd.Failed <= len(l.crowd.Beats) && (l.n == 0 || l.beats().quantile(0.99) < timeout)
}

func (l load) row(base load) []string {
	each := func(v, base float64, unit string) string {
		if l.n == 0 || base == 0 {
			return "-"
		}
		return number((v-base)/float64(l.n)) + unit
	}
	b := l.beats()
	return []string{strconv.Itoa(l.n), number(l.requests) + "/s", number(l.cpu) + " %", each(l.cpu, base.cpu, " %"), number(l.mib) + " MiB", each(l.mib, base.mib, " MiB"),
		number(b.median()) + " ms", number(b.quantile(0.99)) + " ms", number(b.most()) + " ms", strconv.Itoa(l.crowd.Failed), strconv.Itoa(l.crowd.Lost + l.lost),
		fmt.Sprintf("%s ms (%s to %s, %d runs)", number(l.failover.median()), number(l.failover.least()), number(l.failover.most()), len(l.failover.Values)), map[bool]string{true: "yes", false: "**no**"}[l.carried()]}
}

// scaleOf measures one size.
func scaleOf(t *testing.T, r *result, bin string, n int) load {
	server := harness.NewCrowdedConsul(t)
	defer server.Kill()
	l := load{n: n, up: true}
	var c *crowd
	if n > 0 {
		c = newCrowd(t, bin, server.Addr, n)
		defer c.end()
		if l.up = c.await(crowdStart); !l.up {
			l.crowd = c.take()
			r.note("%d clusters: only %d of %d nodes had a session after %v", n, l.crowd.Up, 3*n, crowdStart)
			return l
		}
	}
	time.Sleep(crowdSettle)
	l.watch(c, server)
	name := fmt.Sprintf("%d clusters: ", n)
	r.of(name+"CPU of Consul", "% of a core").add(l.cpu)
	r.of(name+"memory of Consul", "MiB").add(l.mib)
	if l.carried() {
		l.failover = *among(t, r, server.Addr, name)
	}
	if c != nil {
		l.lost = c.take().Lost
	}
	return l
}

// watch adds up what Consul needs for a while in which nothing happens.
func (l *load) watch(c *crowd, server *harness.ConsulServer) {
	if c != nil {
		c.take()
	}
	before, began := cpuSeconds(server.Pid()), time.Now()
	time.Sleep(duration("BENCH_WINDOW", 30*time.Second))
	l.cpu, l.mib = 100*(cpuSeconds(server.Pid())-before)/time.Since(began).Seconds(), resident(server.Pid())
	l.requests = max(consulRequests(server.Ask("/v1/agent/metrics")), 0)
	if c != nil {
		l.crowd = c.take()
	}
}

// among lets a real cluster fail over beside the others: its primary's node is killed, and one client writes every 5 ms.
func among(t *testing.T, r *result, consul, name string) *series {
	s := setUp(t, harness.Options{Nodes: 3, Consul: consul, RestartAfter: "500ms"}, 0)
	if name == "0 clusters: " {
		time.Sleep(3 * consulInterval)
		r.note("a real cluster in which nothing happens but one client's writes made %s requests a second, as Consul counted them; what simulated ones make is in the table", number(consulRequests(s.Consul(http.MethodGet, "/v1/agent/metrics", nil))))
	}
	at := r.of(name+"a real one's failover, at clients", "ms")
	for range rounds(3) {
		d, ok := s.calm(r)
		if !ok {
			break
		}
		began := time.Now()
		killNode(s, d)
		s.WaitNewPrimary(d.Primary, d.Term)
		require.NoError(t, s.fleet.settle(time.Now(), time.Minute))
		g := s.fleet.longest(began)
		at.took(g.Client)
		t.Logf("%s%s killed: client %.0f ms", name, d.Primary, ms(g.Client))
	}
	s.check(r)
	return at
}
