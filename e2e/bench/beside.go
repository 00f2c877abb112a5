package bench

import (
	"fmt"
	"strings"
)

// measured names a series of a scenario.
type measured struct{ scenario, series string }

// besides are the same faults, ours first and then what others do under them with the same clients.
var besides = []struct {
	what string
	ours measured
	peer []measured
}{
	{"planned switchover, 8 clients, at clients", measured{"switchover-8", "at clients through discovery"}, []measured{
		{"by-hand", "switchover, everything prepared, at clients"}, {"by-hand", "switchover, nothing prepared, at clients"},
		{"group-replication", "switchover, at clients"}, {"group-replication-tuned", "switchover, at clients"},
	}},
	{"the same on the servers", measured{"switchover-8", "on the servers, seen from outside"}, []measured{
		{"by-hand", "switchover, everything prepared, on the servers"}, {"by-hand", "switchover, nothing prepared, on the servers"},
		{"group-replication", "switchover, on the servers"}, {"group-replication-tuned", "switchover, on the servers"},
	}},
	{"planned switchover, 64 clients, on the servers", measured{"switchover-64", "on the servers, seen from outside"}, []measured{
		{"by-hand-64", "switchover, everything prepared, on the servers"}, {"by-hand-64", "switchover, nothing prepared, on the servers"},
	}},
	{"mysqld killed, 8 clients, at clients", measured{"mysqld-killed", "at clients through discovery"}, []measured{
		{"by-hand", "mysqld killed, detection free, at clients"}, {"group-replication", "mysqld killed, at clients"}, {"group-replication-tuned", "mysqld killed, at clients"},
	}},
	{"node frozen, 8 clients, at clients", measured{"node-frozen", "at clients through discovery"}, []measured{
		{"group-replication", "node frozen, at clients"}, {"group-replication-tuned", "node frozen, at clients"},
	}},
}

// beside is the table of ours and theirs: medians, and ours as a part of theirs. What was not measured is left out.
func beside(all []result) string {
	var b strings.Builder
	for _, c := range besides {
		ours := find(all, c.ours)
		if ours == nil {
			continue
		}
		for _, p := range c.peer {
			if theirs := find(all, p); theirs != nil {
				fmt.Fprintf(&b, "| %s | %s %s | %s: %s | %s %s | %.2f |\n", c.what, number(ours.median()), ours.Unit, p.scenario, p.series, number(theirs.median()), theirs.Unit,
					ours.median()/theirs.median())
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## Beside the others\n\nMedians of the same fault under the same clients; a ratio below 1 is shorter than theirs.\n\n| fault | this | beside | theirs | ratio |\n|---|---|---|---|---|\n" + b.String()
}

// books are what became of the clients' writes, in each scenario.
func books(all []result) string {
	var b strings.Builder
	for _, r := range all {
		for _, n := range r.Notes {
			if strings.Contains(n, "acknowledged") {
				fmt.Fprintf(&b, "- %s: %s\n", r.Name, n)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\nThe clients' books, compared with every server in the end:\n\n" + b.String()
}
