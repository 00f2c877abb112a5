package bench

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

// cutLasts is how long the primary is cut off from its replicas. Consul goes on believing in it, so nobody fails over.
const cutLasts = 5 * time.Second

// partitions measures links that are cut at the primary, each mended afterwards.
func partitions(t *testing.T, r *result) {
	needNamespaces(t)
	a := setApart(t, 3*time.Second, false, 8)
	all, consul, replicas := r.of("cut off from everything, at clients", "ms"), r.of("cut off from Consul only, at clients", "ms"),
		r.of("cut off from its replicas only, at clients", "ms")
	all.Target, consul.Target = 3400, 3400
	for range rounds(6) {
		a.away(r, all, "everything: ")
		a.away(r, consul, "Consul: ", a.consul.Addr)
		d := a.calm()
		var others []string
		for name, h := range a.hosts {
			if name != d.Primary {
				others = append(others, h.Addr)
			}
		}
		began, mend := a.cut(d.Primary, others...)
		time.Sleep(cutLasts)
		mend()
		require.NoError(t, a.fleet.settle(time.Now(), time.Minute))
		replicas.took(a.fleet.longest(began).Client)
	}
	a.check(r)
}

func needNamespaces(t *testing.T) {
	if err := netns.Permitted(); errors.Is(err, netns.ErrNotPermitted) {
		t.Skipf("needs root, and the programs ip, nft and tc: %v", err)
	}
}

// withAgent measures the loss of the primary's host with everything on it, also the Consul agent that the node talked to: nobody tells
// Consul then that the node's session is over, and only the session's own time ends it.
func withAgent(t *testing.T, r *result) {
	needNamespaces(t)
	a := setApart(t, 3*time.Second, true, 8)
	at := r.of("at clients through discovery", "ms")
	for range rounds(3) {
		d := a.calm()
		began := time.Now()
		a.kill(d.Primary)
		after := a.another(d)
		require.NoError(t, a.fleet.settle(time.Now(), time.Minute))
		g := a.fleet.longest(began)
		at.took(g.Client)
		e := a.promotion(after.Term)
		r.phases("", e, g)
		t.Logf("%s to %s: client %.1f ms, %v", d.Primary, after.Primary, ms(g.Client), e.Phases)
		a.startNode(d.Primary)
	}
	a.check(r)
}

// another waits for another primary.
func (a *apart) another(d harness.Document) harness.Document {
	return a.until("another primary", func(now harness.Document) bool {
		return now.Term > d.Term && now.Primary != "" && now.Primary != d.Primary && now.Node(now.Primary).State == "primary"
	})
}

// away cuts the primary off until another node is.
func (a *apart) away(r *result, at *series, prefix string, from ...string) {
	a.t.Helper()
	d := a.calm()
	began, mend := a.cut(d.Primary, from...)
	defer mend()
	after := a.another(d)
	require.NoError(a.t, a.fleet.settle(time.Now(), time.Minute))
	g := a.fleet.longest(began)
	at.took(g.Client)
	e := a.promotion(after.Term)
	r.phases(prefix, e, g)
	a.t.Logf("%s%s to %s: client %.1f ms, %v", prefix, d.Primary, after.Primary, ms(g.Client), e.Phases)
}

// cut drops every packet between a node and others, or everybody.
func (a *apart) cut(node string, from ...string) (began time.Time, mend func()) {
	a.t.Helper()
	h := a.hosts[node]
	began = time.Now()
	require.NoError(a.t, h.Drop("bench", netns.Both(from...)))
	return began, func() { require.NoError(a.t, h.Undo("bench")) }
}
