package bench

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// rounds is how often a fault is measured: what is given, or BENCH_ROUNDS.
func rounds(n int) int {
	if v, err := strconv.Atoi(os.Getenv("BENCH_ROUNDS")); err == nil && v > 0 {
		return v
	}
	return n
}

// aLong lease is longer than anything that is measured: a failover under it was not waited for.
const aLong = 10 * time.Second

// switchovers measures planned ones under writers.
func switchovers(writers int, servers, client float64) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		own, seen, at := r.of("on the servers, as the product tells", "ms"), r.of("on the servers, seen from outside", "ms"), r.of("at clients through discovery", "ms")
		// The target is about the last write that the old primary acknowledged and the first of the new one. What the product tells
		// begins when it begins to end the writes: those under way are acknowledged after that.
		seen.Target, at.Target = servers, client
		handOvers(t, r, writers, rounds(15), func(s *stand, h handOver) {
			own.add(h.told)
			seen.took(h.gap.Servers)
			at.took(h.gap.Client)
			e := s.Promotion(h.term)
			r.phases("", e, h.gap)
			line := ""
			for _, l := range e.Laps {
				line += fmt.Sprintf(" %s %.1f", l.Name, l.MS)
			}
			t.Logf("%s to %s: told %.1f ms, servers %.1f, client %.1f:%s", h.from, h.to, h.told, ms(h.gap.Servers), ms(h.gap.Client), line)
		})
	}
}

// handOver is a planned one that was done.
type handOver struct {
	from, to string
	term     uint64  // the new one
	told     float64 // ms without writes, as the product tells
	gap      gap
	pids     map[int]string // of the nodes' processes, each with its part in the hand-over
}

// handOvers does some under writers, and gives each to note when it is over.
func handOvers(t *testing.T, r *result, writers, count int, note func(*stand, handOver)) {
	s := setUp(t, harness.Options{Nodes: 3, Lease: aLong, RestartAfter: "1s"}, writers)
	refused := 0
	for i := 0; i < count; i++ {
		d, ok := s.calm(r)
		if !ok {
			break
		}
		to := standbyOf(d)
		began := time.Now()
		end := s.knock(d, to)
		q, err := s.switchover(d, to.Name)
		require.NoError(t, err)
		if q.State == "done" && q.GapMS == 0 { // it is the primary already: the document was a moment old
			end()
			i--
			continue
		}
		if q.State != "done" {
			end()
			t.Logf("%s: %s", q.State, q.Outcome)
			time.Sleep(time.Second)
			if refused++; refused > 5 {
				r.note("ended early: %s", q.Outcome)
				break
			}
			i--
			continue
		}
		require.NoError(t, s.fleet.settle(time.Now(), time.Minute))
		end()
		h := handOver{from: d.Primary, to: to.Name, term: d.Term + 1, told: q.GapMS, gap: s.fleet.longest(began), pids: map[int]string{}}
		for _, n := range d.Nodes {
			part := map[string]string{d.Primary: "old primary", to.Name: "new primary"}[n.Name]
			if part == "" {
				part = "other standby"
			}
			nameParts(h.pids, n, part)
		}
		note(s, h)
	}
	if refused > 0 {
		r.note("%d were not begun or were undone, without harm", refused)
	}
	s.check(r)
}

// knock asks a node for a write until it gets one.
func (s *stand) knock(d harness.Document, n harness.Node) (end func()) {
	return s.fleet.knock(func(addr string) (*sql.DB, error) { return harness.OpenPlain(d, addr) }, n.MySQL)
}

// staysDead is how soon a playground starts a node again that died: never.
const staysDead = "0s"

// failovers measures a fault of the primary.
func failovers(o harness.Options, writers, count int, target float64, hit func(*stand, harness.Document)) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		at := r.of("at clients through discovery", "ms")
		at.Target = target
		faults(t, r, o, writers, rounds(count), hit, func(f fault) {
			at.took(f.gap.Client)
			r.phases("", f.opening, f.gap)
			t.Logf("%s to %s: client %.1f ms, %v", f.from, f.to, ms(f.gap.Client), f.opening.Phases)
		})
	}
}

// fault is one of a primary that was survived.
type fault struct {
	from, to string
	gap      gap
	opening  harness.Promotion
	pids     map[int]string // of the nodes' processes before and after, each with its part in the failover
}

// faults makes some under writers, and gives each to note when it is over, before the node that had it is started again.
func faults(t *testing.T, r *result, o harness.Options, writers, count int, hit func(*stand, harness.Document), note func(fault)) {
	s := setUp(t, o, writers)
	for range count {
		d, ok := s.calm(r)
		if !ok {
			break
		}
		began := time.Now()
		hit(s, d)
		after := s.WaitNewPrimary(d.Primary, d.Term)
		require.NoError(t, s.fleet.settle(time.Now(), time.Minute))
		f := fault{from: d.Primary, to: after.Primary, gap: s.fleet.longest(began), opening: s.Promotion(after.Term), pids: map[int]string{}}
		for _, n := range after.Nodes {
			f.parts(n, "old primary, again")
		}
		for _, n := range d.Nodes {
			f.parts(n, "old primary")
		}
		note(f)
		s.repair(d.Primary)
		if o.RestartAfter == staysDead {
			s.Start(d.Primary)
		}
	}
	s.check(r)
}

// parts names a node's processes by its part in the failover.
func (f *fault) parts(n harness.Node, old string) {
	part := map[string]string{f.from: old, f.to: "new primary"}[n.Name]
	if part == "" {
		part = "other nodes"
	}
	nameParts(f.pids, n, part)
}

// nameParts names the processes of a node that has a part in something.
func nameParts(pids map[int]string, n harness.Node, part string) {
	pids[n.Pids.Guard], pids[n.Pids.Agent], pids[n.Pids.Mysqld] = part+": guard", part+": agent", part+": mysqld"
}

// repair lets a node that was frozen go on; a dead one is started again by the playground.
func (s *stand) repair(node string) {
	if n := s.Doc().Node(node); n.Pids.Guard != 0 {
		for _, pid := range []int{n.Pids.Mysqld, n.Pids.Agent, n.Pids.Guard} {
			if pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
	}
}

func killNode(s *stand, d harness.Document)   { s.Kill(d.Primary) }
func freezeNode(s *stand, d harness.Document) { s.Freeze(d.Node(d.Primary)) }
func killMysqld(s *stand, d harness.Document) {
	s.Signal(d.Node(d.Primary).Pids.Mysqld, syscall.SIGKILL)
}
