package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// targets are the lines of the product's promise, and where each is measured.
var targets = []struct {
	what, promise string
	by            []measured
}{
	{"whole node killed, lease 3 s, three nodes", "median ≤ 3.4 s", []measured{{"node-killed", "at clients through discovery"}}},
	{"the same, nine nodes", "median ≤ 3.4 s", []measured{{"node-killed-9", "at clients through discovery"}}},
	{"the same, five nodes", "median ≤ 3.4 s", []measured{{"node-killed-5", "at clients through discovery"}}},
	{"the same, lease 10 s", "median ≤ 10.4 s", []measured{{"node-killed-lease-10s", "at clients through discovery"}}},
	{"the same, lease 1 s", "median ≤ 1.4 s", []measured{{"node-killed-lease-1s", "at clients through discovery"}}},
	{"node frozen, resumed after the failover", "median ≤ 3.4 s", []measured{{"node-frozen", "at clients through discovery"}}},
	{"node cut off from everything, or from Consul only", "median ≤ 3.4 s", []measured{
		{"partition", "cut off from everything, at clients"}, {"partition", "cut off from Consul only, at clients"}}},
	{"mysqld killed, agent alive", "median ≤ 0.35 s", []measured{{"mysqld-killed", "at clients through discovery"}}},
	{"planned switchover, 8 clients", "servers ≤ 30 ms, client ≤ 60 ms", []measured{
		{"switchover-8", "on the servers, seen from outside"}, {"switchover-8", "at clients through discovery"}}},
	{"planned switchover, 64 clients", "servers ≤ 80 ms, client ≤ 120 ms", []measured{
		{"switchover-64", "on the servers, seen from outside"}, {"switchover-64", "at clients through discovery"}}},
	{"agent and guard, steady, 8 clients writing", "≤ 40 MiB, ≤ 1 % of a core", []measured{
		{"steady", "8 clients writing: resident memory of agent and guard, per node"}, {"steady", "8 clients writing: CPU of agent and guard, per node"},
		{"steady", "8 clients writing: CPU of agent and guard, of the primary"}}},
	{"throughput with agents and guards, of that without", "≥ 99 %", []measured{{"steady", "throughput with agents and guards, of that without"}}},
	{"node lost together with its own Consul agent", "bounded by Consul's session TTL, 20 to 28 s", []measured{{"node-and-agent-killed", "at clients through discovery"}}},
	{"`make demo` from nothing until the cluster has failed over once", "≤ 180 s", []measured{{"demo", "from nothing until the cluster has failed over once"}}},
}

// promises is the table of all targets with what was measured, and by which command.
func promises(all []result, reports string) string {
	var b strings.Builder
	b.WriteString("\n## The targets, line by line\n\n| what | target | median | most | runs | |  command |\n|---|---|---|---|---|---|---|\n")
	for _, t := range targets {
		for _, m := range t.by {
			s := find(all, m)
			if s == nil {
				fmt.Fprintf(&b, "| %s | %s | not measured | | | | `make bench NAME='%s$$'` |\n", t.what, t.promise, m.scenario)
				continue
			}
			verdict := "-"
			if s.Target != 0 {
				verdict = map[bool]string{true: "met", false: "**missed**"}[s.met()]
			}
			fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %d | %s | `make bench NAME='%s$$'` |\n", t.what, t.promise, number(s.median()), s.Unit, number(s.most()), len(s.Values), verdict, m.scenario)
		}
	}
	fmt.Fprintf(&b, "| new replica from a snapshot, beside copying the same bytes with the same compression | ≤ 1.3 times as long | %s | | 1 | | `make bench NAME=snapshot`, [report](../e2e/reports/snapshot-bench.md) |\n",
		told(filepath.Join(reports, "snapshot-bench.md"), `copying the same by hand[^:]*: ([0-9.]+)`))
	fmt.Fprintf(&b, "| acknowledged writes lost, over every fault | 0 | %s violations in %s campaigns of %s | | | | `make chaos`, `make chaos-totals`, [report](../e2e/reports/chaos.md) |\n",
		told(filepath.Join(reports, "chaos.md"), `\*\*violations\*\*.*\*\*([0-9]+)\*\*`), told(filepath.Join(reports, "chaos.md"), `\| campaigns \| ([0-9]+)`),
		told(filepath.Join(reports, "chaos.md"), `\| time in sum \| ([0-9hms]+)`))
	return b.String()
}

// told is what a pattern finds in another report.
func told(file, pattern string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "not measured"
	}
	if m := regexp.MustCompile(pattern).FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return "not told"
}

// find is a series that was measured; nil: it was not.
func find(all []result, m measured) *series {
	for _, r := range all {
		if r.Name != m.scenario {
			continue
		}
		for _, s := range r.Series {
			if s.Name == m.series && len(s.Values) > 0 {
				return s
			}
		}
	}
	return nil
}
