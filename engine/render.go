package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Formats lists what [Write] knows, the default first.
func Formats() []string { return []string{"table", "mermaid", "dot", "json"} }

// Write renders the table in one of [Formats]. The output depends on the table
// alone, in its own order, so that it can be kept in documentation and compared.
// The functions for the single formats are the same with the format chosen.
func Write[S, E ~string, F, N any](w io.Writer, format string, spec Spec[S, E, F, N]) error {
	switch format {
	case "table":
		return WriteTable(w, spec)
	case "mermaid":
		return WriteMermaid(w, spec)
	case "dot":
		return WriteDOT(w, spec)
	case "json":
		return WriteJSON(w, spec)
	}
	return fmt.Errorf("render state machine: unknown format %q, known are %s", format, strings.Join(Formats(), ", "))
}

// WriteTable renders rules and ignored events as aligned text.
func WriteTable[S, E ~string, F, N any](w io.Writer, spec Spec[S, E, F, N]) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: starts in %s\n\n", spec.Name, spec.Initial)
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FROM\tEVENT\tTO\tGUARD\tACTION\tWHY")
	for _, r := range spec.Rules {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", joined(r.From), r.On, r.To, dash(r.Guard), dash(actionName(r)), r.Why)
	}
	_ = tw.Flush() // a strings.Builder does not fail
	if len(spec.Ignore) > 0 {
		fmt.Fprintln(&b)
		fmt.Fprintln(tw, "IN\tIGNORES\tWHY")
		for _, g := range groupIgnored(spec.Ignore) {
			fmt.Fprintf(tw, "%s\t%s\t%s\n", joined(g.states), g.event, g.why)
		}
		_ = tw.Flush()
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// actionName is the action's name, "yes" for one without, "" for none.
func actionName[S, E ~string, F, N any](r Rule[S, E, F, N]) string {
	if r.Do != nil && r.Action == "" {
		return "yes"
	}
	return r.Action
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// ignoredGroup is one event ignored in several states for the same reason.
type ignoredGroup[S, E ~string] struct {
	states []S
	event  E
	why    string
}

// groupIgnored joins equal reasons for one event into one line.
func groupIgnored[S, E ~string](list []Ignored[S, E]) []ignoredGroup[S, E] {
	var out []ignoredGroup[S, E]
	for _, g := range list {
		i := slices.IndexFunc(out, func(o ignoredGroup[S, E]) bool { return o.event == g.Event && o.why == g.Why })
		if i < 0 {
			out = append(out, ignoredGroup[S, E]{event: g.Event, why: g.Why})
			i = len(out) - 1
		}
		out[i].states = append(out[i].states, g.State)
	}
	return out
}

// WriteMermaid renders a stateDiagram-v2. Ignored events are not drawn.
func WriteMermaid[S, E ~string, F, N any](w io.Writer, spec Spec[S, E, F, N]) error {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	ids := mermaidIDs(spec.States)
	for _, s := range spec.States {
		if ids[s] != string(s) {
			fmt.Fprintf(&b, "    state \"%s\" as %s\n", s, ids[s])
		}
	}
	fmt.Fprintf(&b, "    [*] --> %s\n", ids[spec.Initial])
	for _, r := range spec.Rules {
		for _, from := range r.From {
			fmt.Fprintf(&b, "    %s --> %s: %s<br/>%s\n", ids[from], ids[r.To], mermaidText(title(r)), mermaidText(r.Why))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// title is an arrow's first line: the event, and its guard as UML writes it.
func title[S, E ~string, F, N any](r Rule[S, E, F, N]) string {
	if r.Guard == "" {
		return string(r.On)
	}
	return fmt.Sprintf("%s [%s]", r.On, r.Guard)
}

// mermaidIDs gives each state an identifier that mermaid can read: a dash ends
// a name there, and some words mean something. Such states get an alias, which
// no other state has as its name.
func mermaidIDs[S ~string](states []S) map[S]string {
	reserved := []string{"as", "class", "classDef", "default", "direction", "end", "hide", "note", "scale", "state", "stateDiagram", "style"}
	ids, taken := map[S]string{}, map[string]bool{}
	for _, s := range states {
		if !strings.Contains(string(s), "-") && !slices.Contains(reserved, string(s)) {
			ids[s], taken[string(s)] = string(s), true
		}
	}
	for _, s := range states {
		if _, plain := ids[s]; plain {
			continue
		}
		id := strings.ReplaceAll(string(s), "-", "_")
		for taken[id] || slices.Contains(reserved, id) {
			id += "_"
		}
		ids[s], taken[id] = id, true
	}
	return ids
}

// mermaidText writes as entities what would end or change a label.
func mermaidText(text string) string {
	return strings.NewReplacer("#", "#35;", ";", "#59;", ":", "#58;", "\"", "#34;", "<", "#60;", ">", "#62;", "\n", " ").Replace(text)
}

// WriteDOT renders a Graphviz digraph. Ignored events are not drawn.
func WriteDOT[S, E ~string, F, N any](w io.Writer, spec Spec[S, E, F, N]) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n\trankdir=LR;\n\tnode [shape=box, style=rounded];\n", dotText(spec.Name))
	// The dot that points at the first state; no state can have this name.
	fmt.Fprintf(&b, "\t\"(start)\" [shape=point];\n\t\"(start)\" -> %s;\n", dotText(string(spec.Initial)))
	for _, s := range spec.States {
		fmt.Fprintf(&b, "\t%s;\n", dotText(string(s)))
	}
	for _, r := range spec.Rules {
		for _, from := range r.From {
			fmt.Fprintf(&b, "\t%s -> %s [label=%s];\n", dotText(string(from)), dotText(string(r.To)), dotText(title(r)+"\n"+r.Why))
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// dotText writes a DOT string; inside it only the quote, and the backslash of
// its line breaks, mean something.
func dotText(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// document is the JSON form of a table.
type document struct {
	Name    string       `json:"name"`
	Initial string       `json:"initial"`
	States  []string     `json:"states"`
	Events  []string     `json:"events"`
	Rules   []ruleDoc    `json:"rules"`
	Ignored []ignoredDoc `json:"ignored"`
}

type ruleDoc struct {
	From   []string `json:"from"`
	On     string   `json:"on"`
	To     string   `json:"to"`
	Guard  string   `json:"guard,omitempty"`
	Action string   `json:"action,omitempty"`
	Why    string   `json:"why"`
}

type ignoredDoc struct {
	State string `json:"state"`
	Event string `json:"event"`
	Why   string `json:"why"`
}

// WriteJSON renders the table for programs, indented.
func WriteJSON[S, E ~string, F, N any](w io.Writer, spec Spec[S, E, F, N]) error {
	doc := document{
		Name: spec.Name, Initial: string(spec.Initial),
		States: texts(spec.States), Events: texts(spec.Events),
		Rules: []ruleDoc{}, Ignored: []ignoredDoc{},
	}
	for _, r := range spec.Rules {
		doc.Rules = append(doc.Rules, ruleDoc{texts(r.From), string(r.On), string(r.To), r.Guard, actionName(r), r.Why})
	}
	for _, g := range spec.Ignore {
		doc.Ignored = append(doc.Ignored, ignoredDoc{string(g.State), string(g.Event), g.Why})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func texts[S ~string](names []S) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return out
}
