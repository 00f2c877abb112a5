package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// lostWrites are transactions that only dead nodes hold.
type lostWrites struct {
	gtids  string // as the dead primary itself counted them
	count  int
	acker  string // has sealed before it died: what it holds is known
	silent string // died without a word
	target string // lacks them
}

// dieWithWrites lets old acknowledge writes that acker holds and target does not, and both die: old at once, acker when
// it has said what it holds. target, which slept meanwhile, is then alone.
func dieWithWrites(t *testing.T, c *harness.Cluster, old, acker, target harness.Node) lostWrites {
	t.Helper()
	d := c.Doc()
	l := lostWrites{acker: acker.Name, silent: old.Name, target: target.Name, count: 3}
	c.Signal(old.Pids.Agent, syscall.SIGSTOP) // nobody takes target out of the ack set
	c.Signal(target.Pids.Agent, syscall.SIGSTOP)
	c.Root(target.Name, "STOP REPLICA IO_THREAD")
	held := executed(c, target.Name)
	for i := range l.count {
		c.Root(old.Name, fmt.Sprintf("INSERT INTO %s.told VALUES (%d)", d.Database, 20+i))
	}
	l.gtids = oneLine(c.RootValue(old.Name, "SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '"+held+"')"))
	c.Freeze(target)
	c.KillNow(old)
	waitFor(t, acker.Name+" to have sealed", func() bool {
		for name, k := range c.Keys() {
			var seal struct{ Promise uint64 }
			if strings.HasPrefix(name, "seal/"+acker.Name) && json.Unmarshal(k.Value, &seal) == nil && seal.Promise > d.Term {
				return true
			}
		}
		return false
	})
	c.Kill(acker.Name)
	c.Resume(target)
	return l
}

func executed(c *harness.Cluster, node string) string {
	return oneLine(c.RootValue(node, "SELECT @@GLOBAL.gtid_executed"))
}

func oneLine(gtids string) string { return strings.ReplaceAll(gtids, "\n", "") }

// lossText is how a loss is told: what is known, from whom, and who says nothing.
var lossText = regexp.MustCompile(`([0-9a-f-]{36}:\S+) \((\d+) transactions, known from (\S+)\); and whatever was acknowledged and is only on (\S+) \(not reachable`)

// named demands that a text names exactly the transactions that only the dead hold.
func (l lostWrites) named(t *testing.T, c *harness.Cluster, text string) {
	t.Helper()
	told := lossText.FindStringSubmatch(text)
	require.NotNil(t, told, text)
	same := c.RootValue(l.target, fmt.Sprintf("SELECT GTID_SUBSET('%[1]s', '%[2]s') AND GTID_SUBSET('%[2]s', '%[1]s')", told[1], l.gtids))
	require.Equalf(t, "1", same, "lost is %s; told: %s", l.gtids, text)
	require.Equal(t, []string{fmt.Sprint(l.count), l.acker, l.silent}, told[2:], text)
}

// confirmed forces the failover from terminals: the loss is named before the question; whoever does not answer it with the
// node's name has changed nothing. Of two who do at the same moment one at least has done it, once.
func (l lostWrites) confirmed(t *testing.T, c *harness.Cluster, d harness.Document) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	order := []string{"failover", "--to", l.target, "--force", "--accept-data-loss"}
	question := "Type " + l.target + " to go on: "
	ask := func() *harness.Terminal {
		s := harness.OpenTerminal(t, operatorCommand(ctx, t, d, order...))
		s.WaitShown(question)
		shown, _, _ := strings.Cut(s.Screen(), question)
		l.named(t, c, shown)
		return s
	}
	before := c.Keys()["sync"]
	for _, no := range []string{"no", "", "yes", l.acker} {
		s := ask()
		s.Type(no)
		require.Equal(t, 3, s.Exit(), s.Screen())
		require.Contains(t, s.Screen(), "guard not-confirmed")
		require.Contains(t, s.Screen(), "nothing was changed")
	}
	require.Empty(t, historyOf(t, d).Open)
	require.Equal(t, before.Index, c.Keys()["sync"].Index, "nobody has gone on")
	require.Empty(t, c.Doc().Primary)

	both := []*harness.Terminal{ask(), ask()}
	for _, s := range both {
		s.Type(l.target)
	}
	answers := []said{operator(t, d, append(order, "--yes")...)} // who says so beforehand is not asked
	for _, s := range both {
		answers = append(answers, said{code: s.Exit(), out: s.Screen()})
	}
	done := 0
	for _, s := range answers {
		if s.code == 0 {
			done++
			require.Contains(t, s.out, l.target+" is the primary")
			continue
		}
		require.Equalf(t, 3, s.code, "%s%s", s.out, s.err)
		require.Contains(t, s.out+s.err, "guard another-request")
	}
	require.Positive(t, done)
}
