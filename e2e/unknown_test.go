package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestConsulLostBeforeTheOutcome: Consul takes a request and is lost before it could tell what became of it. The command
// says that nobody knows, and how to ask; when Consul is back the outcome is told, and it is what happened.
func TestConsulLostBeforeTheOutcome(t *testing.T) {
	consul := harness.NewConsul(t, nil)
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease, Consul: consul.Addr})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *harness.Cluster, *harness.ConsulServer)
	}{
		{"rebuild, Consul killed", rebuildUnknown},
		{"switchover, Consul frozen", switchoverUnknown},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, c.On(t), consul) }) {
			return
		}
	}
	c.Down()
}

func rebuildUnknown(t *testing.T, c *harness.Cluster, consul *harness.ConsulServer) {
	d := c.WaitWhole(3)
	node := d.Others()[0].Name
	identity := func() string { return c.RootValue(node, "SELECT @@server_uuid") }
	before := identity()
	w := load.Start(t, c)
	given := func(r request) bool { return r.Progress != "" && !strings.HasPrefix(r.Progress, "taking ") } // out of the ack set: there is no way back
	id := unknownOutcome(t, c, given, consul.Kill, "rebuild", node, "--timeout", "5s")
	w.WaitAcks(20) // the cluster needs no Consul for that
	consul.Start()
	told := outcomeOf(t, d, id)
	c.WaitWhole(3)
	require.Zerof(t, told.code, "%s%s", told.out, told.err)
	require.Contains(t, told.out, node+" has new data")
	require.NotEqual(t, before, identity())
	w.Verify(c)
}

func switchoverUnknown(t *testing.T, c *harness.Cluster, consul *harness.ConsulServer) {
	d := c.WaitWhole(3)
	target := d.Others()[0].Name
	w := load.Start(t, c)
	w.WaitAcks(20)
	waitFor(t, target+" to be ready", func() bool { return operator(t, d, "switchover", "--to", target, "--dry-run").code == 0 })
	release := c.Hold(target, "LOCK TABLES `"+d.Database+"`.`"+load.Table+"` READ") // it cannot catch up
	begun := func(request) bool { return true }
	id := unknownOutcome(t, c, begun, consul.Freeze, "switchover", "--to", target, "--timeout", "5s")
	release()
	consul.Thaw()
	told := outcomeOf(t, d, id)
	after := c.WaitWhole(3)
	if told.code == 0 {
		require.Equal(t, target, after.Primary)
	} else {
		require.NotEqual(t, target, after.Primary, "%s%s", told.out, told.err)
	}
	w.WaitAcks(20)
	w.Verify(c)
}

// unknownOutcome gives an order, lets lose end Consul while the cluster is at it and so far as wanted, and demands that the command says that
// its outcome is unknown. It returns the request's ID.
func unknownOutcome(t *testing.T, c *harness.Cluster, far func(request) bool, lose func(), args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	type end struct {
		said
		err error
	}
	ended := make(chan end, 1)
	cmd := operatorCommand(ctx, t, c.Doc(), args...)
	go func() {
		s, err := saidBy(ctx, cmd)
		ended <- end{s, err}
	}()
	var id string
	waitFor(t, "the request to be under way", func() bool {
		select {
		case e := <-ended:
			require.Failf(t, "the command has ended", "%v: %s%s", args, e.out, e.said.err)
		default:
		}
		for name, k := range c.Keys() {
			var r request
			if strings.HasPrefix(name, "requests/") && json.Unmarshal(k.Value, &r) == nil && r.State == "running" && far(r) {
				id = r.ID
			}
		}
		return id != ""
	})
	lose()
	e := <-ended
	require.NoError(t, e.err)
	require.Equalf(t, 4, e.code, "%v: %s%s", args, e.out, e.said.err)
	require.Contains(t, e.said.err, "Consul does not answer; the request goes on without this command")
	last := harness.Tail(e.said.err, 1)
	require.Contains(t, last, "no outcome in time, and Consul does not answer")
	require.Contains(t, last, "autopilot-mysql history --request "+id)
	return id
}

// outcomeOf asks for the outcome of a request until it is known.
func outcomeOf(t *testing.T, d harness.Document, id string) (s said) {
	t.Helper()
	waitFor(t, "the outcome of "+id, func() bool {
		s = operator(t, d, "history", "--request", id)
		unknown := s.code == 4 || strings.Contains(s.err, "read ") // Consul has only just begun to answer
		return !unknown
	})
	require.Containsf(t, []int{0, 1, 3}, s.code, "%s%s", s.out, s.err)
	t.Logf("%s: %d: %s%s", id, s.code, s.out, s.err)
	return s
}
