package bench

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// loadWindow is how long one load runs at a time: 20 s, or BENCH_WINDOW.
func loadWindow() time.Duration { return duration("BENCH_WINDOW", 20*time.Second) }

// duration is what is given, or the environment's.
func duration(name string, d time.Duration) time.Duration {
	if v, err := time.ParseDuration(os.Getenv(name)); err == nil && v > 0 {
		return v
	}
	return d
}

// throughput compares the work a cluster of ours does with the work of the very same servers without us: the same data,
// option files, arguments and semi-synchronous replication, but neither agent nor guard. Each half of a pair begins with
// servers that were just started, and the order of the halves changes from pair to pair, so that neither side always has the
// warmer machine. The half with us measures every load a second time, in turns with agents and guards running and stopped: at
// the very same servers, moments apart, so that less chance is in it.
func throughput(t *testing.T, r *result) {
	p := newPairing(t, r)
	for i := range rounds(8) {
		order := []bool{true, false}
		if i%2 == 1 {
			order = []bool{false, true}
		}
		for _, tended := range order {
			if !p.half(tended) {
				p.finish()
				return
			}
		}
		t.Logf("pair %d of %d: %s", i+1, rounds(8), p.latest())
		p.reckon()
		require.NoError(t, r.keep(dir()))
	}
	p.finish()
}

// pairing is one such comparison.
type pairing struct {
	*harness.Cluster
	t      *testing.T
	r      *result
	u      *untended
	load   *sysbench
	loads  []string
	tended bool              // who has the servers now
	with   map[string]string // the primary's settings with us
	told   bool              // how they differ from those without us has been noted
}

func newPairing(t *testing.T, r *result) *pairing {
	p := &pairing{Cluster: harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "0s", MysqldArgs: usersLogs}), t: t, r: r, tended: true}
	d := p.WaitWhole(3)
	p.u = untendedOf(t, p.Cluster, d)
	t.Cleanup(p.u.kill)
	if p.load = newSysbench(t, d); p.load == nil {
		p.loads = []string{ownLoad}
		r.note("sysbench is not on this machine: the load is %d clients that insert one row at a time", sysbenchThreads)
		require.NoError(t, makeTable(p.open, d.Node(d.Primary).MySQL))
		return p
	}
	p.loads = []string{"oltp_read_write", "oltp_write_only", "oltp_read_only"}
	r.note("load: %s, %d threads, %d tables of %d rows, through the primary's socket, %v each", firstLine("sysbench", "--version"), sysbenchThreads, sysbenchTables, sysbenchRows, loadWindow())
	p.load.prepare(d.Node(d.Primary))
	return p
}

// ownLoad is what is measured without sysbench.
const ownLoad = "single inserts"

func (p *pairing) open(addr string) (*sql.DB, error) { return harness.Open(p.Doc(), addr) }

// half measures every load once, with us or without. false: the replicas did not catch up, and why is noted.
func (p *pairing) half(tended bool) bool {
	if !p.quiet() {
		return false
	}
	p.hand(tended)
	settings := p.u.settings(p.u.primary.Name)
	if tended {
		p.with = settings
	} else if !p.told && p.with != nil {
		p.told = true
		p.tell(differences(p.with, settings))
	}
	end := alone(p.t, p.Cluster)
	defer end()
	p.run(p.loads[0], loadWindow()/4) // caches fill
	for _, load := range p.loads {
		if !p.quiet() {
			return false
		}
		p.measure(load, tended)
		if !tended {
			continue
		}
		if !p.quiet() {
			return false
		}
		p.turns(load)
	}
	return true
}

func (p *pairing) tell(differ []string) {
	if len(differ) == 0 {
		p.r.note("every global variable of the primary is the same with and without")
		return
	}
	p.r.note("global variables of the primary that differ: %s", strings.Join(differ, "; "))
}

// hand kills the servers, whoever has them, and gives them to us or to nobody.
func (p *pairing) hand(tended bool) {
	if p.tended {
		p.u.keep(p.WaitWhole(3))
		p.KillAll("node1", "node2", "node3")
	} else {
		p.u.kill()
	}
	if p.tended = tended; tended {
		p.u.end()
		p.u.keep(p.WaitWhole(3))
	} else {
		p.u.begin()
	}
}

// measure runs one load and notes what it did, and what agents, guards and Consul used meanwhile.
func (p *pairing) measure(load string, tended bool) {
	before, began := p.used(tended), time.Now()
	rate, p99 := p.run(load, loadWindow())
	took := time.Since(began).Seconds()
	how := ", without"
	if tended {
		how = ", with"
		now := p.used(true)
		p.r.of(load+", CPU of three agents and guards", "% of a core").add(100 * (now[0] - before[0]) / took)
		p.r.of(load+", CPU of Consul", "% of a core").add(100 * (now[1] - before[1]) / took)
	}
	p.r.of(load+how, "/s").add(rate)
	if p99 > 0 {
		p.r.of(load+how+", 99th percentile", "ms").add(p99)
	}
}

// turns runs one load for as long, and looks at the primary's own count of commits while agents and guards run and stand
// still in turns.
func (p *pairing) turns(load string) {
	db, err := p.open(p.u.primary.MySQL)
	require.NoError(p.t, err)
	defer db.Close()
	counted := "Com_commit"
	if load == ownLoad {
		counted = "Com_insert"
	}
	count := func() (v float64) {
		var name string
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(p.t, db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE '"+counted+"'").Scan(&name, &v))
		return v
	}
	pairs := max(1, int((loadWindow()-turnsBegin)/(2*turn+renewed)))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.run(load, time.Duration(pairs)*(2*turn+renewed)+2*turnsBegin)
	}()
	time.Sleep(turnsBegin) // the load begins
	inTurns(p.t, p.Cluster, pairs, func() []float64 { return []float64{count()} }, func(with, stopped []float64) {
		require.Positive(p.t, stopped[0], "%s counts", counted)
		p.r.of(load+", in turns: running", "/s").add(with[0])
		p.r.of(load+", in turns: stopped", "/s").add(stopped[0])
	})
	<-ended
}

// turnsBegin is how long a load runs before it is measured in turns, and after.
const turnsBegin = 2 * time.Second

// used are the CPU seconds of agents and guards, and of Consul.
func (p *pairing) used(tended bool) (s [2]float64) {
	if !tended {
		return s
	}
	for _, n := range p.u.nodes {
		s[0] += cpuSeconds(n.Pids.Agent) + cpuSeconds(n.Pids.Guard)
	}
	s[1] = cpuSeconds(p.ConsulPid())
	return s
}

func (p *pairing) run(load string, d time.Duration) (rate, p99 float64) {
	if load != ownLoad {
		return p.load.run(p.u.primary, load, d)
	}
	b := newBoard()
	b.show(p.u.primary.MySQL)
	f := start(b, p.open, sysbenchThreads)
	began := time.Now()
	time.Sleep(d)
	f.stop()
	acked, _ := f.count()
	return float64(acked) / time.Since(began).Seconds(), 0
}

// quiet waits until everybody has executed the same.
func (p *pairing) quiet() bool {
	var seen []string
	for deadline := time.Now().Add(calmLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		seen = nil
		for _, n := range p.u.nodes {
			seen = append(seen, p.RootValue(n.Name, "SELECT @@GLOBAL.gtid_executed"))
		}
		if seen[0] == seen[1] && seen[0] == seen[2] {
			return true
		}
	}
	p.r.note("ended early: the replicas did not catch up within %v without writers: %v", calmLimit, seen)
	return false
}

func (p *pairing) latest() string {
	out := ""
	for _, load := range p.loads {
		with, without := p.r.of(load+", with", "/s").Values, p.r.of(load+", without", "/s").Values
		i := min(len(with), len(without)) - 1
		out += fmt.Sprintf(" %s %.1f/s with, %.1f/s without, %.4f;", load, with[i], without[i], with[i]/without[i])
	}
	return out
}

// reckon makes the ratios of the pairs there are.
func (p *pairing) reckon() {
	p.r.Ratios = nil
	for _, load := range p.loads {
		p.r.Ratios = append(p.r.Ratios, compare(load+", transactions with agents and guards, of those without",
			p.r.of(load+", with", "/s").Values, p.r.of(load+", without", "/s").Values),
			compare(load+", transactions with agents and guards, of those with both stopped, in turns",
				p.r.of(load+", in turns: running", "/s").Values, p.r.of(load+", in turns: stopped", "/s").Values))
	}
}

// finish gives the servers back, and demands that all of them hold the same in the end.
func (p *pairing) finish() {
	p.reckon()
	if p.quiet() {
		p.hand(true)
		p.WaitSame()
	}
}
