package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// behind is how many seconds of relay log every replica has to apply when the fault comes, or BENCH_LAG.
	behind = time.Minute
	// lagBound is how long a failover may take then: whoever wins applies everything before it opens.
	lagBound = 5 * time.Minute
)

// lagging measures a failover and a switchover while every replica has received everything and not applied the last minute
// of it. A lock holds the appliers up while clients write for so long, and is gone in the moment of the fault: the backlog is
// what the product has to deal with, not a replica that applies nothing. A refusal is a result, too.
func lagging(t *testing.T, r *result) {
	s := setUp(t, harness.Options{Nodes: 3, RestartAfter: "500ms"}, 8)
	lag := duration("BENCH_LAG", behind)
	for range rounds(3) {
		if !s.lagged(r, lag, "switchover", s.handOver) || !s.lagged(r, lag, "failover", s.killPrimary) {
			break
		}
	}
	r.note("nobody is made primary before it has applied everything, so that a failover takes as long as that; a planned one is refused until then, and the cluster goes on as it is")
	s.check(r)
}

// lagged makes a backlog and does something to the cluster.
func (s *stand) lagged(r *result, lag time.Duration, what string, do func(*result, harness.Document) bool) bool {
	d, ok := s.calm(r)
	if !ok {
		return false
	}
	var releases []func()
	for _, n := range d.Others() {
		releases = append(releases, s.Hold(n.Name, "LOCK TABLES "+d.Database+"."+table+" READ"))
	}
	before, _ := s.fleet.count()
	time.Sleep(lag)
	after, _ := s.fleet.count()
	began := time.Now()
	was := s.Doc()
	for _, release := range releases {
		release()
	}
	s.t.Logf("after %v: %s", lag, was.Line())
	r.of(what+": backlog", "transactions").add(float64(after - before))
	if !do(r, d) {
		return true
	}
	require.NoError(s.t, s.fleet.settle(time.Now(), lagBound))
	g := s.fleet.longest(began)
	r.of(what+": at clients through discovery", "ms").took(g.Client)
	s.t.Logf("%s with %d transactions to apply: client %.1f ms", what, after-before, ms(g.Client))
	return true
}

// handOver asks for a switchover; what refuses or undoes it is noted.
func (s *stand) handOver(r *result, d harness.Document) bool {
	q, err := s.switchover(d, d.Others()[0].Name)
	require.NoError(s.t, err)
	if q.State == "done" {
		return true
	}
	r.of("switchover: refused or undone", "").add(1)
	r.note("switchover %s: %s", q.State, q.Outcome)
	s.t.Logf("switchover %s: %s", q.State, q.Outcome)
	return false
}

// killPrimary kills the primary's node and waits for the next term: the node is started again, and may be the primary of that one as
// well, as it has nothing to apply.
func (s *stand) killPrimary(r *result, d harness.Document) bool {
	s.Kill(d.Primary)
	after := s.Wait("a primary of a later term", lagBound, func(x harness.Document) bool { return x.Primary != "" && x.Term > d.Term })
	e := s.Promotion(after.Term)
	for _, p := range []string{"detect", "seal", "elect", "drain", "promote", "open"} {
		if v, ok := e.Phases[p+"_ms"]; ok && v >= 0 {
			r.of("failover: phase "+p, "ms").add(v)
		}
	}
	return true
}
