package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// commandLimit bounds one operator's command; a rebuild copies data on a busy machine.
const commandLimit = 4 * time.Minute

// said is what an operator's command came to.
type said struct {
	code     int
	out, err string
}

// operatorCommand is a command as an operator types it at a machine that reaches Consul and nothing else.
func operatorCommand(ctx context.Context, t *testing.T, d harness.Document, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+d.Consul, "AUTOPILOT_CLUSTER="+d.Cluster, "USER=tester")
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func operator(t *testing.T, d harness.Document, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	s, err := saidBy(ctx, operatorCommand(ctx, t, d, args...))
	require.NoError(t, err)
	return s
}

// saidBy runs a command to its end, whatever that is.
func saidBy(ctx context.Context, cmd *exec.Cmd) (said, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return said{}, fmt.Errorf("%v does not end: %s%s", cmd.Args[1:], &out, &errs)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return said{}, fmt.Errorf("%v: %w", cmd.Args[1:], err)
	}
	return said{cmd.ProcessState.ExitCode(), out.String(), errs.String()}, nil
}

// works demands that the command is done, and returns what it printed.
func works(t *testing.T, d harness.Document, args ...string) string {
	t.Helper()
	s := operator(t, d, args...)
	require.Zerof(t, s.code, "%v: %s%s", args, s.out, s.err)
	return s.out
}

// maxHandOvers is how often a hand-over is asked for that a starved machine does not get done in time.
const maxHandOvers = 8

// handsOver demands that a hand-over ordered with args is done. One that is not done in time changes nothing, which is
// demanded too, and is ordered again.
func handsOver(t *testing.T, c *harness.Cluster, args ...string) said {
	t.Helper()
	for try := 1; ; try++ {
		d := c.Led()
		s := operator(t, d, args...)
		if s.code == 0 {
			return s
		}
		undone := s.code == 1 || strings.Contains(s.err, "guard target") || strings.Contains(s.err, "guard no-standby")
		require.Truef(t, undone && try < maxHandOvers, "%v: %s%s", args, s.out, s.err)
		require.Equal(t, d.Primary, c.WaitWhole(len(d.Nodes)).Primary, "what was not done changed nothing")
		time.Sleep(time.Second)
	}
}

// says demands an exit code and, on the last line of standard error, all of the words.
func says(t *testing.T, d harness.Document, code int, words []string, args ...string) {
	t.Helper()
	s := operator(t, d, args...)
	require.Equalf(t, code, s.code, "%v: %s%s", args, s.out, s.err)
	lines := strings.Split(strings.TrimSpace(s.err), "\n")
	for _, w := range words {
		require.Containsf(t, lines[len(lines)-1], w, "%v", args)
	}
	require.NotContains(t, s.err, "goroutine")
}

// past is what `history --output json` says.
type past struct {
	Open    []struct{ ID, State, Kind string }
	History []pastEntry
}

type pastEntry struct {
	Kind, Node, Why, Request, State, By string
	Term                                uint64
	Phases                              map[string]float64
}

func historyOf(t *testing.T, d harness.Document) past {
	t.Helper()
	var p past
	require.NoError(t, json.Unmarshal([]byte(works(t, d, "history", "--limit", "0", "--output", "json")), &p))
	return p
}

// operatorLease lets nobody take over because the machine does other things as well; the test waits for some of them to end.
const operatorLease = 20 * time.Second

// TestOperator: an operator's commands on one real cluster under writers.
func TestOperator(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: operatorLease, RestartAfter: "1s"})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *harness.Cluster)
	}{
		{"refusals and bad input change nothing", refusedOrders},
		{"without Consul", ordersWithoutConsul},
		{"settings of the whole cluster", sharedSettings},
		{"switchover", switchoverOrder},
		{"maintenance of one node", maintenance},
		{"rebuild", rebuildOrder},
		{"two operators at the same moment", twoOperators},
		{"the terminal is killed", terminalKilled},
		{"pause, restarts, a dead primary, resume", pausedThroughout},
		{"remove", removeOrder},
	} {
		ok := t.Run(part.name, func(t *testing.T) { part.run(t, c.On(t)) })
		if !ok {
			return // what comes after would tell of the same harm
		}
	}
	c.Down()
}

func refusedOrders(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	p, s := d.Primary, d.Others()[0].Name
	for _, o := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"rebuild", p}, 3, []string{"guard primary", "autopilot-mysql switchover"}},
		{[]string{"remove", p, "--force"}, 3, []string{"guard primary", "autopilot-mysql switchover"}},
		{[]string{"remove", s}, 3, []string{"guard node-lives", "autopilot-mysql remove " + s + " --force"}},
		{[]string{"failover"}, 3, []string{"guard primary-lives", "autopilot-mysql switchover"}},
		{[]string{"config", "set", "lease=9s"}, 3, []string{"guard unsafe-setting", "stop all nodes"}},
		{[]string{"rebuild", "nobody"}, 2, []string{"no node nobody", p, s}},
		{[]string{"remove", "nobody"}, 2, []string{"no node nobody"}},
		{[]string{"switchover", "--to", "nobody"}, 2, []string{"no node nobody"}},
		{[]string{"snapshot", "create", "--node", "nobody"}, 2, []string{"no node nobody", p, s}},
		{[]string{"history", "--cluster", "nobody"}, 1, []string{"no cluster", "there are: playground"}},
		{[]string{"failover", "--to", "nobody"}, 2, []string{"no node nobody"}},
		{[]string{"failover", "--force"}, 2, []string{"--accept-data-loss"}},
		{[]string{"failover", "--accept-data-loss"}, 2, []string{"--force"}},
		{[]string{"switchover", "--timeout", "0"}, 2, []string{"not positive"}},
		{[]string{"switchover", "--timeout", "soon"}, 2, []string{"--timeout"}},
		{[]string{"rebuild"}, 2, []string{"--help"}},
		{[]string{"config", "set", "acks=0"}, 2, []string{"1 to 32"}},
		{[]string{"config", "set", "port=1"}, 2, []string{"not a setting of the whole cluster"}},
		{[]string{"config", "set", "acks"}, 2, []string{"KEY=VALUE"}},
		{[]string{"history", "--request", "nothing"}, 2, []string{"no request nothing"}},
		{[]string{"history", "--limit=-1"}, 2, []string{"negative"}},
		{[]string{"pause", "--cluster", "nothing"}, 1, []string{`no cluster "nothing"`, "--cluster"}},
		{[]string{"pause", p}, 3, []string{"guard primary", "autopilot-mysql switchover"}},
		{[]string{"pause", "nobody"}, 2, []string{"no node nobody", p, s}},
		{[]string{"pause", "--force"}, 2, []string{"--force"}},
		{[]string{"pause", s, "--timeout", "0"}, 2, []string{"not positive"}},
		{[]string{"resume", "nobody"}, 2, []string{"no node nobody"}},
		{[]string{"config", "set", "acks=0", "--dry-run"}, 2, []string{"1 to 32"}},
		{[]string{"remove", s, "--dry-run"}, 3, []string{"guard node-lives"}},
		{[]string{"remove", s, "--force", "--dry-run"}, 0, nil},
		{[]string{"failover", "--dry-run"}, 3, []string{"guard primary-lives"}},
		{[]string{"pause", "--dry-run"}, 0, nil},
		{[]string{"pause", s, "--dry-run"}, 0, nil},
		{[]string{"resume", "--dry-run"}, 0, nil},
		{[]string{"resume", s}, 0, nil}, // it is not in maintenance
		{[]string{"config", "set", "acks=2", "--dry-run"}, 0, nil},
		{[]string{"rebuild", s, "--dry-run"}, 0, nil},
		{[]string{"switchover", "--dry-run"}, 0, nil},
		{[]string{"failover", "--to", p}, 0, nil}, // it is already
	} {
		says(t, d, o.code, o.says, o.args...)
	}
	h := historyOf(t, d)
	require.Empty(t, h.Open)
	for _, e := range h.History {
		require.NotContains(t, []string{"request", "pause", "settings", "forced"}, e.Kind, e.Why)
	}
	require.Equal(t, 1, c.Remains(d).AckSet.Acks)
}

func ordersWithoutConsul(t *testing.T, c *harness.Cluster) {
	d := c.Doc()
	d.Consul = freeAddr(t)
	for _, args := range [][]string{
		{"switchover"}, {"failover"}, {"failover", "--to", "x", "--force", "--accept-data-loss", "--yes"}, {"rebuild", "x"}, {"remove", "x"}, {"pause"}, {"resume"}, {"pause", "x"}, {"resume", "x"},
		{"history"}, {"history", "--request", "x"}, {"config", "set", "acks=2"}, {"config", "show"}, {"snapshot", "create"}, {"status"},
	} {
		s := operator(t, d, args...)
		require.Equalf(t, 1, s.code, "%v: %s", args, s.err)
		require.Lenf(t, strings.Split(strings.TrimSpace(s.err), "\n"), 1, "%v: %s", args, s.err)
		require.Contains(t, s.err, "connection refused")
		require.Contains(t, s.err, "--consul")
	}
}

func sharedSettings(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	w := load.Start(t, c)
	works(t, d, "config", "set", "acks=2")
	c.Wait("each write on two more", harness.FailoverLimit, func(d harness.Document) bool { return d.AckSet.Acks == 2 })
	w.WaitAcks(20)
	require.Regexp(t, `(?m)^acks +2 +cluster$`, works(t, d, "config", "show"))
	require.Regexp(t, `(?m)^max-lag +10s +default$`, works(t, d, "config", "show"))
	works(t, d, "config", "set", "acks=")
	c.Wait("each write on one more", harness.FailoverLimit, func(d harness.Document) bool { return d.AckSet.Acks == 1 })
	w.WaitAcks(20)
	require.Regexp(t, `(?m)^acks +1 +default$`, works(t, d, "config", "show"))
	w.Verify(c)
}

func switchoverOrder(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	old, target := d.Primary, d.Others()[1].Name
	w := load.Start(t, c)
	w.WaitAcks(20)
	waitFor(t, target+" to be ready", func() bool { return operator(t, d, "switchover", "--to", target, "--dry-run").code == 0 })
	out := handsOver(t, c, "switchover", "--to", target, "--output", "json").out
	var answer struct {
		Request struct {
			State, Outcome string
			GapMS          float64 `json:"gap_ms"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &answer), out)
	require.Equal(t, "done", answer.Request.State)
	require.Positive(t, answer.Request.GapMS)
	after := c.WaitNewPrimary(old, d.Term)
	require.Equal(t, target, after.Primary)
	c.WaitWhole(3)
	waitFor(t, old+" to be ready again", func() bool { return operator(t, d, "switchover", "--to", old, "--dry-run").code == 0 })
	s := handsOver(t, c, "failover", "--to", old, "--force", "--accept-data-loss") // with a living primary nothing is forced, and nobody is asked
	require.Contains(t, s.err, target+" is the primary and lives: this is a switchover")
	c.Wait("it is back", harness.FailoverLimit, func(d harness.Document) bool { return d.Primary == old })
	w.WaitAcks(20)
	c.WaitWhole(3)
	w.Verify(c)
	waitFor(t, "both hand-overs to be in the history", func() bool { // it is written a moment later
		done := 0
		for _, e := range historyOf(t, d).History {
			require.NotEqual(t, "lost", e.Kind, "whoever hands over loses nothing: %s", e.Why)
			if e.Kind == "request" && strings.HasPrefix(e.Why, "switchover ") && e.State == "done" {
				done++
			}
		}
		require.LessOrEqual(t, done, 2)
		return done == 2
	})
}

// maintenance: a standby is taken out of service and can be stopped at leisure; with it back in service all is as before.
func maintenance(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	node := d.Others()[0].Name
	w := load.Start(t, c)
	w.WaitAcks(20)
	already := 0
	for _, s := range sameMoment(t, d, 2, "pause", node, "--reason", "new memory") { // both are told, one of them that it was so already
		require.Zerof(t, s.code, "%s%s", s.out, s.err)
		if strings.Contains(s.out, "in maintenance already by tester@") {
			already++
		}
	}
	require.Equal(t, 1, already)
	now := c.Wait(node+" to serve nobody and to be out of the ack set", harness.FailoverLimit, func(d harness.Document) bool {
		return d.Node(node).State == "replica" && !slices.Contains(d.AckSet.Members, node)
	})
	waitFor(t, node+" not to be offered to readers", func() bool { return !slices.Contains(consulServices(t, d, "mysql"), node) })
	require.Equal(t, http.StatusServiceUnavailable, httpStatus(t, now.Node(node).HTTP, "/replica"))
	says(t, d, 3, []string{"guard target", "in maintenance by tester@", "new memory"}, "switchover", "--to", node)
	status := works(t, d, "status")
	require.Contains(t, status, node+" is in maintenance by tester@")
	require.Contains(t, status, "autopilot-mysql resume "+node)
	says(t, d, 3, []string{"guard ack-promise"}, "pause", d.Others()[1].Name)

	before := now.Node(node)
	c.Stop(node)
	w.WaitAcks(20)
	c.Start(node) // and it outlives a restart
	c.WaitRestarted(before, harness.Guard)
	c.Wait(node+" to follow", harness.FailoverLimit, func(d harness.Document) bool { return d.Node(node).State == "replica" && d.Node(node).Healthy })
	back := 0
	for _, s := range sameMoment(t, d, 2, "resume", node) {
		require.Zerof(t, s.code, "%s%s", s.out, s.err)
		if strings.Contains(s.out, "back in service") {
			back++
		}
	}
	require.Equal(t, 1, back, "the other is told that it was not in maintenance")
	c.WaitWhole(3)
	waitFor(t, node+" to be offered to readers", func() bool { return slices.Contains(consulServices(t, d, "mysql"), node) })
	w.Verify(c)
}

// consulServices are the nodes whose entry of this service passes its checks.
func consulServices(t *testing.T, d harness.Document, service string) []string {
	t.Helper()
	resp, err := http.Get("http://" + d.Consul + "/v1/health/service/" + service + "?passing")
	require.NoError(t, err)
	defer resp.Body.Close()
	var entries []struct {
		Service struct{ Meta map[string]string }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&entries))
	var names []string
	for _, e := range entries {
		names = append(names, e.Service.Meta["node"])
	}
	return names
}

func httpStatus(t *testing.T, addr, path string) int {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func rebuildOrder(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	node := d.Others()[0].Name
	before := c.RootValue(node, "SELECT @@server_uuid")
	w := load.Start(t, c)
	w.WaitAcks(20)
	out := works(t, d, "rebuild", node, "--output", "json")
	var answer struct {
		Request struct{ State, Outcome, By string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &answer), out)
	require.Equal(t, "done", answer.Request.State)
	require.Contains(t, answer.Request.Outcome, "follows "+d.Primary)
	require.Contains(t, answer.Request.By, "tester@")
	require.NotEqual(t, before, c.RootValue(node, "SELECT @@server_uuid"), "new data, new identity")
	d = c.WaitWhole(3)
	require.Equal(t, "standby", d.Node(node).State)
	w.WaitAcks(20)
	w.Verify(c)
}
