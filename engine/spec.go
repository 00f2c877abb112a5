// Package engine runs state machines that are declared as data.
//
// A machine is a table of rules: in these states, on this event, go there, if
// the guard allows it and the action succeeds, and this is why. The table can
// be checked ([Check]), printed and drawn ([WriteTable], [WriteMermaid],
// [WriteDOT], [WriteJSON]) without being run, and [New] refuses to run a table
// that does not pass the check. So what the documentation draws, what the tests
// prove and what the machine does cannot differ.
//
// The package knows nothing of any particular cluster: states, events, the
// facts that guards look at and the node that actions work on are type
// parameters.
//
// # Rules of use
//
// One goroutine owns a [Machine] and fires its events; a second Fire while one
// runs is refused with [ErrConcurrent]. [Machine.State] and [Machine.Scope] may
// be read from anywhere. What a state starts should live in [Machine.Scope]: it
// is cancelled, with a [*LeftError] as cause, when the state is left.
package engine

import "context"

// Rule is one row of the table: in any state of From, on event On, go to To.
// S and E name states and events, F are the facts a guard judges, N is the node
// an action works on.
type Rule[S, E ~string, F, N any] struct {
	// From lists the states the rule holds in; at least one.
	From []S
	// On is the event the rule answers.
	On E
	// To is the state after it. It may be the state it comes from; that still
	// counts as leaving and entering, so the scope is a new one.
	To S
	// Guard names If in tables and diagrams; set exactly when If is.
	Guard string
	// If is the guard: pure, without side effects. Its error is the sentence an
	// operator reads about why the event was refused. Nil allows always.
	If func(F) error
	// Action names Do in tables and diagrams; optional.
	Action string
	// Do is the action: short, bounded by its context, safe to repeat. It must
	// succeed before the state changes; after an error the state is as before.
	// Nil means nothing needs to happen.
	Do func(context.Context, N, F) error
	// Why is the reason in words: log line, diagram label, history entry.
	Why string
}

// Ignored declares that an event means nothing in a state, on purpose.
type Ignored[S, E ~string] struct {
	State S
	Event E
	// Why says why doing nothing is right.
	Why string
}

// IgnoreIn declares one event ignored in several states for one reason.
func IgnoreIn[S, E ~string](why string, event E, states ...S) []Ignored[S, E] {
	out := make([]Ignored[S, E], 0, len(states))
	for _, s := range states {
		out = append(out, Ignored[S, E]{State: s, Event: event, Why: why})
	}
	return out
}

// Spec is a whole machine as data. It must not be changed once a Machine runs
// on it.
type Spec[S, E ~string, F, N any] struct {
	// Name of the machine, for headings.
	Name string
	// Initial is the state a machine starts in unless [Options] says otherwise.
	Initial S
	// States and Events list every name there is, in the order to print them.
	States []S
	Events []E
	// Rules and Ignore together cover every pair of state and event once.
	Rules  []Rule[S, E, F, N]
	Ignore []Ignored[S, E]
	// Require are the domain's own laws, asked about each row by [Check]; the
	// error is the sentence about what is wrong with the row.
	Require []func(Rule[S, E, F, N]) error
}

// pair is the key of the table: at most one rule answers it.
type pair[S, E ~string] struct {
	state S
	event E
}

// Find returns the rule that answers event in state. Without one, ignored is
// the declaration that it is ignored; both are nil for a pair that the table
// does not cover.
func (s Spec[S, E, F, N]) Find(state S, event E) (rule *Rule[S, E, F, N], ignored *Ignored[S, E]) {
	for i := range s.Rules {
		if r := &s.Rules[i]; r.On == event {
			for _, from := range r.From {
				if from == state {
					return r, nil
				}
			}
		}
	}
	for i := range s.Ignore {
		if g := &s.Ignore[i]; g.State == state && g.Event == event {
			return nil, g
		}
	}
	return nil, nil
}
