package engine

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a table.
type Problem struct {
	// Where is the row, state, event or pair it is about.
	Where string `json:"where"`
	// What is wrong there.
	What string `json:"what"`
}

func (p Problem) String() string { return p.Where + ": " + p.What }

// Check proves what every machine must keep: names are known and used once,
// each pair of state and event has exactly one answer (a rule, or a reason to
// ignore it), every state can be reached and every event does something, each
// row says why, guards have names, and the domain's own laws (Spec.Require)
// hold. It returns everything wrong in a fixed order, nil for a sound table.
func Check[S, E ~string, F, N any](spec Spec[S, E, F, N]) []Problem {
	c := checker[S, E, F, N]{Spec: spec, answers: map[pair[S, E]][]string{}}
	c.names()
	for _, r := range spec.Rules {
		c.rule(r)
	}
	for _, g := range spec.Ignore {
		c.ignored(g)
	}
	c.complete()
	c.reachable()
	c.eventsUsed()
	return c.found
}

// checker collects problems; answers counts what each pair is answered by.
type checker[S, E ~string, F, N any] struct {
	Spec[S, E, F, N]
	answers map[pair[S, E]][]string
	found   []Problem
}

func (c *checker[S, E, F, N]) report(where, format string, args ...any) {
	c.found = append(c.found, Problem{where, fmt.Sprintf(format, args...)})
}

func (c *checker[S, E, F, N]) names() {
	if c.Name == "" {
		c.report("machine", "has no name")
	}
	for i, s := range c.States {
		c.name("state", string(s), slices.Contains(c.States[:i], s))
	}
	for i, e := range c.Events {
		c.name("event", string(e), slices.Contains(c.Events[:i], e))
	}
	if !slices.Contains(c.States, c.Initial) {
		c.report("initial", "unknown state %q", string(c.Initial))
	}
}

func (c *checker[S, E, F, N]) name(kind, name string, twice bool) {
	where := fmt.Sprintf("%s %q", kind, name)
	if twice {
		c.report(where, "declared twice")
	}
	// The renderers and log lines rely on plain names.
	if name == "" || strings.ContainsFunc(name, notInName) {
		c.report(where, "a name consists of letters, digits, dash and underscore")
	}
}

func notInName(r rune) bool {
	return !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
}

// rowText names a row in problems.
func rowText[S, E ~string, F, N any](r Rule[S, E, F, N]) string {
	return fmt.Sprintf("rule %s --%s--> %s", joined(r.From), r.On, r.To)
}

func (c *checker[S, E, F, N]) rule(r Rule[S, E, F, N]) {
	where := rowText(r)
	if len(r.From) == 0 {
		c.report(where, "no state to come from")
	}
	for _, from := range r.From {
		if !slices.Contains(c.States, from) {
			c.report(where, "unknown state %q", string(from))
		}
		c.answer(from, r.On, where)
	}
	if !slices.Contains(c.Events, r.On) {
		c.report(where, "unknown event %q", string(r.On))
	}
	if !slices.Contains(c.States, r.To) {
		c.report(where, "unknown state %q", string(r.To))
	}
	if strings.TrimSpace(r.Why) == "" {
		c.report(where, "does not say why")
	}
	if r.If != nil && r.Guard == "" {
		c.report(where, "has a guard without a name")
	}
	if r.If == nil && r.Guard != "" {
		c.report(where, "names guard %q but has none", r.Guard)
	}
	if r.Do == nil && r.Action != "" {
		c.report(where, "names action %q but has none", r.Action)
	}
	for _, law := range c.Require {
		if err := law(r); err != nil {
			c.report(where, "%v", err)
		}
	}
}

func (c *checker[S, E, F, N]) ignored(g Ignored[S, E]) {
	where := fmt.Sprintf("ignored %s in %s", g.Event, g.State)
	if !slices.Contains(c.States, g.State) {
		c.report(where, "unknown state %q", string(g.State))
	}
	if !slices.Contains(c.Events, g.Event) {
		c.report(where, "unknown event %q", string(g.Event))
	}
	if strings.TrimSpace(g.Why) == "" {
		c.report(where, "does not say why")
	}
	c.answer(g.State, g.Event, where)
}

// answer notes what a pair is answered by and reports the second answer.
func (c *checker[S, E, F, N]) answer(s S, e E, by string) {
	at := pair[S, E]{s, e}
	if before := c.answers[at]; len(before) > 0 {
		c.report(by, "state %s and event %s are answered already by: %s", s, e, before[0])
	}
	c.answers[at] = append(c.answers[at], by)
}

func (c *checker[S, E, F, N]) complete() {
	for _, s := range c.States {
		for _, e := range c.Events {
			if len(c.answers[pair[S, E]{s, e}]) == 0 {
				c.report(fmt.Sprintf("state %s", s), "event %s is neither in a rule nor ignored with a reason", e)
			}
		}
	}
}

func (c *checker[S, E, F, N]) reachable() {
	reached := map[S]bool{c.Initial: true}
	for grown := true; grown; {
		grown = false
		for _, r := range c.Rules {
			from := slices.ContainsFunc(r.From, func(s S) bool { return reached[s] })
			if from && !reached[r.To] {
				reached[r.To], grown = true, true
			}
		}
	}
	for _, s := range c.States {
		if !reached[s] {
			c.report(fmt.Sprintf("state %s", s), "cannot be reached from %s", c.Initial)
		}
	}
}

func (c *checker[S, E, F, N]) eventsUsed() {
	for _, e := range c.Events {
		if !slices.ContainsFunc(c.Rules, func(r Rule[S, E, F, N]) bool { return r.On == e }) {
			c.report(fmt.Sprintf("event %s", e), "is in no rule")
		}
	}
}

// joined lists names for a reader.
func joined[S ~string](names []S) string { return strings.Join(texts(names), ",") }
