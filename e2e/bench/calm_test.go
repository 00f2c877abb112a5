package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// calmLimit is how long a cluster may take to be whole and equal again while nobody writes. A replica that needs longer
	// ends the scenario with the rounds it has.
	calmLimit = 3 * time.Minute
	// underWay is how long clients write before a fault: it meets a cluster at work, not one that has just begun.
	underWay = 2 * time.Second
)

// calm makes the next round like the first: the clients stop until every node is healthy and has applied everything, and
// then write again. Clients that never stop can keep a replica behind for good, and no round would follow.
// false: it did not come about, and why is noted.
func (s *stand) calm(r *result) (harness.Document, bool) {
	s.t.Helper()
	d, ok := s.rest(r)
	if ok {
		again(s.t, s.fleet)
	} else {
		s.fleet.resume()
	}
	return d, ok
}

// again lets the clients write on, until they are at it.
func again(t testing.TB, f *fleet) {
	f.resume()
	require.NoError(t, f.settle(time.Now(), time.Minute))
	time.Sleep(underWay)
}

// rest stops the clients and waits until the cluster is whole and equal.
func (s *stand) rest(r *result) (harness.Document, bool) {
	s.t.Helper()
	s.fleet.pause()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		d := s.Doc()
		if d.Whole(s.nodes) && equal(d) {
			return d, true
		}
		if time.Since(began) > calmLimit {
			s.stuck = true
			r.note("ended early: not whole and equal within %v without writers: %s", calmLimit, d.Line())
			s.t.Logf("not calm: %s", d.Line())
			return d, false
		}
	}
}

// equal reports whether all nodes have executed the same.
func equal(d harness.Document) bool {
	for _, n := range d.Nodes {
		if n.GTIDExecuted != d.Nodes[0].GTIDExecuted {
			return false
		}
	}
	return true
}

// check stops the clients and compares their books with every node, or with the primary when a node stayed behind. It tells
// how many writes were acknowledged, how many got an error, and demands that none is lost.
func (s *stand) check(r *result) {
	s.t.Helper()
	if !s.stuck {
		s.rest(r)
	}
	s.fleet.stop()
	d, where := s.Doc(), "on every node"
	nodes := d.Nodes
	if s.stuck {
		nodes, where = []harness.Node{d.Node(d.Primary)}, "on the primary, the only one looked at"
	} else {
		s.WaitSame()
	}
	balance(s.t, r, s.fleet, nodes, where)
	s.end()
	s.Close()
}

// balance compares the clients' books with servers, and demands that nothing is lost.
func balance(t testing.TB, r *result, f *fleet, nodes []harness.Node, where string) {
	t.Helper()
	lost := 0
	for _, n := range nodes {
		missing, err := f.lost(n.MySQL)
		require.NoError(t, err)
		lost += missing
	}
	acked, failed := f.count()
	r.note("%d writes acknowledged, %d got an error, %d acknowledged ones lost %s", acked, failed, lost, where)
	require.Zero(t, lost, "acknowledged writes are lost")
}
