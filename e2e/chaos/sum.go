package chaos

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// campaigns are the sums over the reports of several campaigns.
type campaigns struct {
	seeds, programs                          []string
	took, gap                                time.Duration
	rounds, faults, failovers, violations    int
	writes, stubborn, txns, unknown, refused int
	made                                     map[string]int
}

// What [Result.Markdown] writes. A report that any of them does not find is an error, so the two cannot drift apart.
var (
	programIn    = regexp.MustCompile(`(?m)^- commit: \w+ \(the program itself: (\w+)\)$`)
	totalsIn     = regexp.MustCompile(`(?m)^- seed (\d+), (\S+), (\d+) rounds, (\d+) faults made, `)
	termsIn      = regexp.MustCompile(`(?m)^- \d+ terms, (\d+) of them with another primary`)
	writesIn     = regexp.MustCompile(`(?m)^- (\d+) inserts acknowledged through discovery and (\d+) to a client that tries every server; (\d+) register transactions committed, (\d+) with unknown outcome; (\d+) failed$`)
	violationsIn = regexp.MustCompile(`(?m)^- violations: (\d+)$`)
	gapsIn       = regexp.MustCompile(`(?m)^- longest times without an acknowledgement: ([^,\n]+)`)
	faultIn      = regexp.MustCompile(`(?m)^\| ([a-z0-9-]+) \| (\d+) \| \d+ \|$`)
)

// add reads one report, which may tell of several campaigns.
func (c *campaigns) add(report string) error {
	sections := strings.Split(report, "\n## ")[1:]
	if len(sections) == 0 {
		return fmt.Errorf("no campaign in the report")
	}
	for _, s := range sections {
		if err := c.addOne(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *campaigns) addOne(s string) error {
	var found [][]string
	for _, r := range []*regexp.Regexp{programIn, totalsIn, termsIn, writesIn, violationsIn, gapsIn} {
		m := r.FindStringSubmatch(s)
		if m == nil {
			return fmt.Errorf("a campaign's report has nothing like %s", r)
		}
		found = append(found, m[1:])
	}
	took, err := time.ParseDuration(found[1][1])
	if err != nil {
		return err
	}
	gap, err := time.ParseDuration(found[5][0])
	if err != nil {
		return err
	}
	c.programs, c.seeds = append(c.programs, found[0][0]), append(c.seeds, found[1][0])
	c.took, c.gap = c.took+took, max(c.gap, gap)
	c.rounds, c.faults, c.failovers, c.violations = c.rounds+count(found[1][2]), c.faults+count(found[1][3]), c.failovers+count(found[2][0]), c.violations+count(found[4][0])
	w := found[3]
	c.writes, c.stubborn, c.txns, c.unknown, c.refused = c.writes+count(w[0]), c.stubborn+count(w[1]), c.txns+count(w[2]), c.unknown+count(w[3]), c.refused+count(w[4])
	for _, m := range faultIn.FindAllStringSubmatch(s, -1) {
		c.made[m[1]] += count(m[2])
	}
	return nil
}

// count is a number that a pattern has found.
func count(s string) int {
	n, _ := strconv.Atoi(s) // digits only
	return n
}

// Markdown is the page of all of them.
func (c *campaigns) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Fault campaigns, all together\n\nThe sums of the reports `chaos-*.md` beside this page, made by `make chaos-totals`. Each of them names its command and its commit.\n\n")
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	fmt.Fprintf(&b, "| campaigns | %d, seeds %s |\n", len(c.seeds), strings.Join(c.seeds, ", "))
	fmt.Fprintf(&b, "| of the program as of | %s |\n", strings.Join(unique(c.programs), ", "))
	fmt.Fprintf(&b, "| time in sum | %v |\n| rounds | %d |\n| faults made | %d |\n| failovers and switchovers | %d |\n", c.took, c.rounds, c.faults, c.failovers)
	fmt.Fprintf(&b, "| inserts acknowledged | %d through discovery, %d to a client that tries every server |\n", c.writes, c.stubborn)
	fmt.Fprintf(&b, "| register transactions | %d committed, %d with unknown outcome |\n", c.txns, c.unknown)
	fmt.Fprintf(&b, "| refused or failed writes | %d |\n| longest time without an acknowledgement | %v |\n", c.refused, c.gap)
	fmt.Fprintf(&b, "| **violations** (a lost write, a register that is not linearizable, a deposed primary that acknowledged, a server that differs, something left over) | **%d** |\n", c.violations)
	b.WriteString("\n| fault | made |\n|---|---|\n")
	for _, f := range catalogue() {
		if n := c.made[f.name]; n > 0 {
			fmt.Fprintf(&b, "| %s | %d |\n", f.name, n)
		}
	}
	return b.String()
}

// unique leaves out what has been there, in order.
func unique(all []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
