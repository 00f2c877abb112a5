package chaos

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

// Result is what a campaign found.
type Result struct {
	Seed       uint64
	Dir        string // "" when nothing was kept
	Took       time.Duration
	Totals     totals
	Failovers  int
	Terms      uint64
	Writes     int
	Stubborn   int
	Txns       int
	Unknown    int // transactions whose outcome nobody knows
	Failures   int
	Gaps       []history.Gap
	Violations []string
	NotDrawn   map[string]string
}

// result ends the campaign: evidence first if there is a violation, then everything is taken down.
func (c *campaign) result() (*Result, error) {
	b := c.writers.books()
	r := &Result{Seed: c.o.Seed, Took: time.Since(c.began).Round(time.Second), Totals: c.totals, Writes: len(b.acks), Stubborn: len(b.stubborn),
		Failures: b.failures, Gaps: history.Gaps(b.acks, time.Time{}, 5), Failovers: failovers(c.watch.terms()), Terms: c.watch.now().Term}
	_, r.NotDrawn, _ = choose(c.o.Only, c.o.Enable, c.can)
	for _, t := range b.txns {
		if t.Known {
			r.Txns++
		} else {
			r.Unknown++
		}
	}
	if len(c.bad()) > 0 {
		c.keep()
	}
	if err := c.close(); err != nil {
		c.violation("%v", err)
	}
	r.Violations = c.bad()
	if len(r.Violations) == 0 && os.Getenv("CHAOS_KEEP") == "" {
		return r, os.RemoveAll(c.dir)
	}
	r.Dir = c.dir
	if len(r.Violations) > 0 {
		return r, fmt.Errorf("seed %d: %d violations, the first: %s; everything about it is in %s", r.Seed, len(r.Violations), r.Violations[0], r.Dir)
	}
	return r, nil
}

// Lines are the totals, for a report.
func (r *Result) Lines() []string {
	lines := []string{
		fmt.Sprintf("seed %d, %v, %d rounds, %d faults made, %d not possible at their moment", r.Seed, r.Took, r.Totals.Rounds, sum(r.Totals.Faults), sum(r.Totals.NotNow)),
		fmt.Sprintf("%d terms, %d of them with another primary than the one before", r.Terms, r.Failovers),
		fmt.Sprintf("%d inserts acknowledged through discovery and %d to a client that tries every server; %d register transactions committed, %d with unknown outcome; %d failed",
			r.Writes, r.Stubborn, r.Txns, r.Unknown, r.Failures),
		fmt.Sprintf("violations: %d", len(r.Violations)),
	}
	var gaps []string
	for _, g := range r.Gaps {
		gaps = append(gaps, g.Length().Round(time.Millisecond).String())
	}
	lines = append(lines, "longest times without an acknowledgement: "+strings.Join(gaps, ", "))
	for _, what := range sortedKeys(r.Totals.Slowest) {
		lines = append(lines, fmt.Sprintf("slowest %s: %v", what, r.Totals.Slowest[what].Round(time.Millisecond)))
	}
	for _, what := range sortedKeys(r.Totals.Counts) {
		lines = append(lines, fmt.Sprintf("%s: %d", what, r.Totals.Counts[what]))
	}
	return lines
}

// Markdown is the report that is kept with the source.
func (r *Result) Markdown(commit, command string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n- commit: %s\n- command: `%s`\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), commit, command)
	for _, l := range r.Lines() {
		fmt.Fprintf(&b, "- %s\n", l)
	}
	b.WriteString("\n| fault | made | not possible |\n|---|---|---|\n")
	for _, f := range catalogue() {
		made, not := r.Totals.Faults[f.name], r.Totals.NotNow[f.name]
		if made+not > 0 {
			fmt.Fprintf(&b, "| %s | %d | %d |\n", f.name, made, not)
		}
	}
	if len(r.NotDrawn) > 0 && len(r.NotDrawn) < 20 {
		b.WriteString("\nNot drawn:\n")
		for _, name := range sortedKeys(r.NotDrawn) {
			fmt.Fprintf(&b, "- %s: %s\n", name, r.NotDrawn[name])
		}
	}
	return b.String()
}

func sum(m map[string]int) int {
	total := 0
	for _, n := range m {
		total += n
	}
	return total
}
