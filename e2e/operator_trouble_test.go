package e2e

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// sameMoment gives one order from many terminals at once and returns what each was told. A "%d" in an argument becomes the
// terminal's number.
func sameMoment(t *testing.T, d harness.Document, many int, args ...string) []said {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	type answer struct {
		said
		err error
	}
	answers := make(chan answer, many)
	for i := range many {
		mine := make([]string, len(args))
		for j, a := range args {
			mine[j] = strings.ReplaceAll(a, "%d", fmt.Sprint(i))
		}
		cmd := operatorCommand(ctx, t, d, mine...)
		go func() {
			s, err := saidBy(ctx, cmd)
			answers <- answer{s, err}
		}()
	}
	all := make([]said, 0, many)
	for range many {
		a := <-answers
		require.NoError(t, a.err)
		all = append(all, a.said)
	}
	return all
}

// killedTerminal gives an order, kills the command as soon as it says that its request is written, and returns the
// request's ID.
func killedTerminal(t *testing.T, d harness.Document, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := operatorCommand(ctx, t, d, args...)
	errs, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(errs).ReadString('\n')
	_ = cmd.Process.Kill() // it may have ended by itself
	_ = cmd.Wait()         // and says that it was killed
	require.NoError(t, err)
	var id string
	_, err = fmt.Sscanf(line, "request %s", &id)
	require.NoErrorf(t, err, "%q", line)
	return strings.TrimSuffix(id, ":")
}

// twoOperators: who is told "done" has done it, nobody's order is lost or done twice, and everybody else is told why not.
func twoOperators(t *testing.T, c *harness.Cluster) {
	const many = 4
	d := c.WaitWhole(3)
	w := load.Start(t, c)
	w.WaitAcks(20)

	rebuilds := func() (n int) {
		for _, e := range historyOf(t, d).History {
			if e.Kind == "request" && strings.HasPrefix(e.Why, "rebuild ") && e.State == "done" {
				n++
			}
		}
		return n
	}
	had, rebuilt := rebuilds(), 0
	for _, s := range sameMoment(t, d, many, "rebuild", d.Others()[0].Name) {
		if s.code == 0 {
			rebuilt++
			continue
		}
		refusedOrder(t, s, "another-request")
	}
	require.Positive(t, rebuilt) // a terminal that a busy machine holds up until the first rebuild is done is not refused
	waitFor(t, "each that was done to be in the history, and no other", func() bool {
		require.LessOrEqual(t, rebuilds(), had+rebuilt)
		return rebuilds() == had+rebuilt
	})
	d = c.WaitWhole(3)

	waitFor(t, "a standby to be ready", func() bool { return operator(t, d, "switchover", "--dry-run").code == 0 })
	done := 0
	for try := 1; done == 0; try++ {
		require.Less(t, try, maxHandOvers, "no hand-over was done")
		for _, s := range sameMoment(t, d, many, "switchover") {
			switch {
			case s.code == 0:
				done++
			case s.code == 1: // a starved machine did not get it done in time
				require.Contains(t, s.err, "hand")
			default:
				refusedOrder(t, s, "another-request", "no-standby", "target")
			}
		}
	}
	want := d.Term + uint64(done)
	now := c.Wait("the last hand-over is shown", harness.FailoverLimit, func(x harness.Document) bool { return x.Whole(3) && x.Term >= want })
	require.Equal(t, want, now.Term, "each that was done began one term")

	onlyOne := func(words string, answers []said) {
		first := 0
		for _, s := range answers {
			require.Zerof(t, s.code, "%s%s", s.out, s.err)
			if strings.Contains(s.out, words) {
				first++
			}
		}
		require.Equal(t, 1, first, "%v", answers)
	}
	onlyOne("automatic failover is paused; end", sameMoment(t, d, many, "pause", "--reason", "terminal %d"))
	onlyOne("the pause is over", sameMoment(t, d, many, "resume"))

	// Different settings at the same moment: none undoes another's.
	for _, s := range sameMoment(t, d, many, "config", "set", "failovers-per-hour=2%d") {
		require.Zerof(t, s.code, "%s%s", s.out, s.err)
	}
	require.Regexp(t, `(?m)^failovers-per-hour +2[0-3] +cluster$`, works(t, d, "config", "show"))
	set := 0
	for _, e := range historyOf(t, d).History {
		if e.Kind == "settings" && strings.Contains(e.Why, "failovers-per-hour=2") {
			set++
		}
	}
	require.Equal(t, many, set, "each has its line in the history")
	works(t, d, "config", "set", "failovers-per-hour=")
	c.WaitWhole(3)
	w.Verify(c)
}

// refusedOrder demands that one of the guards refused, and that a request which is in the way is named.
func refusedOrder(t *testing.T, s said, guards ...string) {
	t.Helper()
	require.Equalf(t, 3, s.code, "%s%s", s.out, s.err)
	require.Regexp(t, "guard ("+strings.Join(guards, "|")+"):", s.err)
	if strings.Contains(s.err, "another-request") {
		require.Contains(t, s.err, "another-request: tester@")
		require.Contains(t, s.err, "autopilot-mysql history --request ")
	}
}

// terminalKilled: a request outlives its terminal and its outcome is found from another; a record is written whole, with
// its line in the history, or not at all.
func terminalKilled(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	w := load.Start(t, c)
	w.WaitAcks(20)
	node := d.Others()[0]
	before := c.RootValue(node.Name, "SELECT @@server_uuid")
	id := killedTerminal(t, d, "rebuild", node.Name)
	require.Contains(t, works(t, d, "history", "--request", id), node.Name+" has new data", "another terminal sees the outcome")
	require.NotEqual(t, before, c.RootValue(node.Name, "SELECT @@server_uuid"))
	requireDone(t, d, id)

	d = c.WaitWhole(3)
	target := d.Others()[1].Name
	for try := 1; ; try++ {
		waitFor(t, target+" to be ready", func() bool { return operator(t, d, "switchover", "--to", target, "--dry-run").code == 0 })
		id = killedTerminal(t, d, "switchover", "--to", target)
		outcome := operator(t, d, "history", "--request", id)
		if outcome.code == 0 {
			break
		}
		require.Truef(t, outcome.code == 1 && try < maxHandOvers, "%s%s", outcome.out, outcome.err)
	}
	requireDone(t, d, id)
	require.Equal(t, target, c.WaitNewPrimary(d.Primary, d.Term).Primary)

	c.WaitWhole(3)
	var said string
	for try := 1; said == ""; try++ { // a node that is not ready for a moment says no
		id = killedTerminal(t, d, "snapshot", "create")
		waitFor(t, "the end of what the killed terminal asked for", func() bool {
			now := operator(t, d, "history", "--request", id)
			said = now.out
			return now.code == 0 || now.code == 1
		})
		require.Less(t, try, maxHandOvers)
	}
	made := regexp.MustCompile(`snapshot (\S+) is complete`).FindStringSubmatch(said)
	require.Len(t, made, 2, said)
	require.Contains(t, works(t, d, "snapshot", "list", "--store", d.Store), made[1], "another terminal sees it")
	killedRecords(t, c)
	killedRequests(t, c)
	c.WaitWhole(3)
	w.Verify(c)
}

// requireDone demands that the history, which is written a moment later, has the request as done by this operator.
func requireDone(t *testing.T, d harness.Document, id string) {
	t.Helper()
	waitFor(t, "the history to have request "+id, func() bool {
		h := historyOf(t, d).History
		i := slices.IndexFunc(h, func(e pastEntry) bool { return e.Request == id && e.State == "done" })
		return i >= 0 && strings.HasPrefix(h[i].By, "tester@")
	})
}
