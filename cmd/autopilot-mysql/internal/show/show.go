// Package show renders the status document for people, in the order in which they ask: is the cluster well; if not,
// what is wrong; what happens next by itself; what can I do. It reads nothing but the document.
package show

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Options of Table.
type Options struct {
	// Color is for terminals: escape sequences are written only with it.
	Color bool
	// Width cuts lines of the nodes' table at so many columns; 0: reasons only, at 100.
	Width int
	// Now is what ages are counted from.
	Now time.Time
}

// Table writes d for people, in one write.
func Table(w io.Writer, d cluster.Doc, o Options) error {
	p := &printer{Options: o}
	p.header(d)
	p.problems(d)
	p.nodes(d)
	p.facts(d)
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("print status: %w", err)
	}
	return nil
}

// Escape sequences: the terminal's own palette, so that both dark and light ones stay readable.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// mostReason is where a reason is cut when no width says so: a problem's full text stands among the problems.
const mostReason = 100

type printer struct {
	Options
	b strings.Builder
}

// paint wraps s, or returns it as it is.
func (p *printer) paint(s string, codes ...string) string {
	if !p.Color || s == "" || len(codes) == 0 {
		return s
	}
	return "\x1b[" + strings.Join(codes, ";") + "m" + s + "\x1b[0m"
}

func (p *printer) line(parts ...string) {
	p.b.WriteString(strings.TrimRight(strings.Join(parts, ""), " ") + "\n")
}

func healthColor(h cluster.Health) string {
	switch h {
	case cluster.Well:
		return green
	case cluster.Degraded:
		return yellow
	default:
		return red
	}
}

func (p *printer) header(d cluster.Doc) {
	p.line(p.paint(d.Cluster+" is "+string(d.Health), bold, healthColor(d.Health)), ": ", clean(d.Summary))
	p.line()
}

func (p *printer) problems(d cluster.Doc) {
	for _, x := range d.Problems {
		color := yellow
		if x.Node == "" && d.Primary == "" {
			color = red
		}
		p.line(p.paint("!", bold, color), " ", clean(x.What))
		if x.Next != "" {
			p.line(p.paint("  next    ", dim), clean(x.Next))
		}
		if x.Do != "" {
			p.line(p.paint("  you can ", dim), clean(x.Do))
		}
	}
	if len(d.Problems) > 0 {
		p.line()
	}
}

// cell is one field of the table; text is measured, codes are not.
type cell struct {
	text  string
	codes []string
}

func (p *printer) nodes(d cluster.Doc) {
	if len(d.Nodes) == 0 {
		p.line("no node has reported yet")
		p.line()
		return
	}
	rows := [][]cell{{{"NODE", nil}, {"STATE", nil}, {"HEALTH", nil}, {"LAG", nil}, {"ACK", nil}, {"MYSQL", nil}, {"REASON", nil}}}
	for i := range rows[0] {
		rows[0][i].codes = []string{dim}
	}
	for _, n := range d.Nodes {
		rows = append(rows, row(n))
	}
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, r := range rows {
		p.row(r, widths)
	}
	p.line()
}

// row prints the cells of one line; the last one is cut to what is left of the width.
func (p *printer) row(r []cell, widths []int) {
	var parts []string
	used := 0
	for i, c := range r {
		text := c.text
		if i == len(r)-1 {
			limit := mostReason
			if p.Width > 0 {
				limit = p.Width - used
			}
			text = cut(text, limit)
			parts = append(parts, p.paint(text, c.codes...))
			break
		}
		pad := widths[i] - utf8.RuneCountInString(text) + 2
		parts = append(parts, p.paint(text, c.codes...)+strings.Repeat(" ", pad))
		used += widths[i] + 2
	}
	p.line(parts...)
}

func cut(s string, width int) string {
	runes := []rune(s)
	switch {
	case width <= 0:
		return ""
	case len(runes) <= width:
		return s
	}
	return string(runes[:width-1]) + "…"
}

func row(n cluster.NodeDoc) []cell {
	health, color := "ok", green
	if !n.Healthy {
		health, color = "no", yellow
	}
	if n.State == cluster.Down {
		color = red
	}
	lag, ack := "-", "-"
	if n.State == string(roles.Standby) || n.State == string(roles.Replica) {
		lag = "?"
		if n.LagSeconds >= 0 {
			lag = fmt.Sprintf("%.0fs", n.LagSeconds)
		}
	}
	if n.AckMember {
		ack = "yes"
	}
	return []cell{
		{clean(n.Name), []string{bold}}, {n.State, stateCodes(n.State)}, {health, []string{color}}, {lag, nil}, {ack, nil},
		{orDash(n.MySQL), nil}, {clean(n.Reason), []string{dim}},
	}
}

func stateCodes(state string) []string {
	switch roles.State(state) {
	case roles.Primary:
		return []string{bold, green}
	case roles.Standby, roles.Replica:
		return []string{cyan}
	case roles.Failover, roles.Init, roles.RestoreSnapshot:
		return []string{yellow}
	}
	return []string{red}
}

func orDash(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	return s
}

// clean keeps what came out of Consul on one line and free of control characters, so that no record can move the cursor.
func clean(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
