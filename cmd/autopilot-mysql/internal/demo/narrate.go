package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/playground"
)

// scene announces what happens next.
func (n *narrator) scene(format string, args ...any) {
	fmt.Fprintf(n.out, "\n── %s\n", fmt.Sprintf(format, args...))
}

// say prints one line with the seconds since the beginning.
func (n *narrator) say(format string, args ...any) {
	fmt.Fprintf(n.out, "%6.1fs  %s\n", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// Write lets package parts show its progress.
func (n *narrator) Write(b []byte) (int, error) {
	n.say("%s", strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// table shows who is what.
func (n *narrator) table(d playground.Document) {
	w := tabwriter.NewWriter(n.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\n\tNODE\tSTATE\tHEALTHY\tMYSQL\tLAG\tACKS")
	for _, node := range d.Nodes {
		healthy, lag, acks := "yes", "-", ""
		if !node.Healthy {
			healthy = "no"
		}
		if node.LagSeconds != nil {
			lag = fmt.Sprintf("%.1fs", *node.LagSeconds)
		}
		if node.AckMember {
			acks = "counts"
		}
		fmt.Fprintf(w, "\t%s\t%s\t%s\t%s\t%s\t%s\n", node.Name, node.State, healthy, node.MySQL, lag, acks)
	}
	// A terminal that is gone ends the demo by its signal, not here.
	_ = w.Flush()
	fmt.Fprintln(n.out)
}
