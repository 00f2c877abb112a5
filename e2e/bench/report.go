package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// report writes the readable form of all results there are, and their plots.
func report(dir string, names []string) error {
	var b strings.Builder
	b.WriteString("# What `make bench` measured\n\nWritten by `make bench`; `make bench NAME=pattern` measures one part anew. Every number has its runs beside it: median, least, most, count. " +
		"The clients write as fast as they are acknowledged and look for the primary by one blocking query in Consul; a gap is the longest time in which no client of any " +
		"got an acknowledgement. The parts of a failover are the cluster's own history.\n")
	for _, r := range results(dir, names) {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", r.Name, r.Says)
		fmt.Fprintf(&b, "- %s, took %s, commit %s, command `make bench NAME='%s$$'`\n- machine: %s\n", r.At.Format("2006-01-02 15:04 MST"), r.Took, r.Commit, r.Name, r.Machine)
		fmt.Fprintf(&b, "- %s\n", r.Foreign)
		for _, x := range r.Ratios {
			fmt.Fprintf(&b, "- %s\n", x)
		}
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
		if r.Table != nil {
			b.WriteString(r.Table.lines())
		}
		b.WriteString("\n| what | median | least | most | runs | unit | target |\n|---|---|---|---|---|---|---|\n")
		for _, s := range r.Series {
			b.WriteString(s.row() + "\n")
		}
		svg := r.Name + ".svg"
		if err := os.WriteFile(filepath.Join(dir, svg), []byte(plot(r)), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n![%s](%s)\n", r.Name, svg)
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), []byte(b.String()), 0o644)
}

// machines tells on which each was measured, as far as they can be told apart: numbers of different ones do not compare.
func machines(all []result) string {
	type key struct {
		cpu, memory, kernel string
		cores               int
	}
	var order []key
	on, is := map[key][]string{}, map[key]machine{}
	for _, r := range all {
		k := key{r.Machine.CPU, r.Machine.Memory, r.Machine.Kernel, r.Machine.Cores}
		if len(on[k]) == 0 {
			order, is[k] = append(order, k), r.Machine
		}
		on[k] = append(on[k], r.Name)
	}
	if len(order) == 1 {
		return fmt.Sprintf("\nMachine: %s.\n", is[order[0]])
	}
	var b strings.Builder
	b.WriteString("\nMeasured on different machines; compare only what was measured on the same one:\n\n")
	for _, k := range order {
		fmt.Fprintf(&b, "- %s: %s\n", is[k], strings.Join(on[k], ", "))
	}
	return b.String()
}

// digest writes the short table for readers who are in a hurry: what has a target, and what peers do under the same fault.
func digest(path, dir string, names []string, guide *grid) error {
	all := results(dir, names)
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench`, which measures all of it anew (`NAME=pattern` one part). Every run, the parts of each failover, and plots: " +
		"[e2e/reports/bench](../e2e/reports/bench/README.md). A gap is the longest time in which no client got a write acknowledged; clients find the primary through Consul, " +
		"with Group Replication by asking its members every 5 ms; the hand-written script is told of the fault, and tells its clients, at once.\n\n" +
		"| scenario | what | median | least to most | runs | target |\n|---|---|---|---|---|---|\n")
	for _, r := range all {
		for _, s := range r.Series {
			if len(s.Values) == 0 || s.Target == 0 && !strings.Contains(s.Name, "at clients") && !strings.Contains(s.Name, "on the servers") {
				continue
			}
			target := "-"
			if s.Target != 0 {
				target = map[bool]string{true: "≥ ", false: "≤ "}[s.AtLeast] + number(s.Target) + map[bool]string{true: ", met", false: ", **missed**"}[s.met()]
			}
			fmt.Fprintf(&b, "| %s | %s | %s %s | %s to %s | %d | %s |\n", r.Name, s.Name, number(s.median()), s.Unit, number(s.least()), number(s.most()), len(s.Values), target)
		}
	}
	for _, r := range all {
		for _, x := range r.Ratios {
			fmt.Fprintf(&b, "\n%s: %s\n", r.Name, x)
		}
	}
	b.WriteString(promises(all, filepath.Join(filepath.Dir(path), "..", "e2e", "reports")) + "\nWhere a target is missed: [why](missed-targets.md).\n" + beside(all) + books(all))
	b.WriteString("\nA value measured beside other work says little about the product and much about that work. How quiet the machine was stands beside each measurement:\n\n")
	for _, r := range all {
		fmt.Fprintf(&b, "- %s (%s, commit %s): %s\n", r.Name, r.At.Format("2006-01-02 15:04 MST"), r.Commit, r.Foreign)
	}
	b.WriteString(machines(all))
	b.WriteString("\n## Running them\n\nOne at a time, on a machine with nothing else to do. Settings are environment variables, `BENCH_ROUNDS=3 make bench NAME=restarts`; " +
		"`BENCH_DIR=somewhere` leaves the results there and these pages as they are. The writers stop between rounds until every replica has applied everything; a cluster that is not " +
		"whole again within some minutes ends its scenario with the rounds it has, and the report says so. A switchover or failover of ours begins under writers that have been at it for two seconds. " +
		"Beside each table of runs lie the values as JSON and a plot.\n" + guide.lines())
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
