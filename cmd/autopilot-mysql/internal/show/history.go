package show

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// History writes what is under way, and then what happened, the newest last.
func History(w io.Writer, open []roles.Request, entries []cluster.HistoryEntry) error {
	var b strings.Builder
	for _, r := range open {
		fmt.Fprintln(&b, clean(RequestLine(r)))
	}
	if len(open) > 0 {
		b.WriteString("\n")
	}
	if len(entries) == 0 {
		b.WriteString("nothing has happened yet\n")
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(entries) > 0 {
		fmt.Fprintln(t, "WHEN (UTC)\tNODE\tTERM\tWHAT\tWHY")
	}
	for _, e := range entries {
		why := clean(e.Why)
		if e.Phases != nil {
			why += " (" + e.Phases.String() + ")"
		}
		if e.Request != "" {
			why += fmt.Sprintf(" (request %s by %s)", clean(e.Request), clean(e.By))
		}
		if e.Laps != nil {
			why += " (" + clean(e.Laps.String()) + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", e.At.UTC().Format(time.DateTime), orDash(e.Node), e.Term, clean(string(e.Kind)), why)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print history: %w", err)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print history: %w", err)
	}
	return nil
}

// RequestLine is a request that is under way, in one line.
func RequestLine(r roles.Request) string {
	line := fmt.Sprintf("%s is %s: %s", r.ID, r.State, r.Kind)
	if r.Node != "" {
		line += " " + r.Node
	}
	line += ", asked for by " + r.By + " at " + r.At.UTC().Format(time.DateTime)
	if r.Progress != "" {
		line += "; " + r.Progress
	}
	return line
}

// Document writes any document as JSON, for tools.
func Document(w io.Writer, document any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return fmt.Errorf("print document: %w", err)
	}
	return nil
}
