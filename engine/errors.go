package engine

import (
	"errors"
	"fmt"
	"strings"
)

// ErrIgnored is what an event that is ignored in the current state amounts to;
// test with errors.Is. The error itself is an [*IgnoredError].
var ErrIgnored = errors.New("event is ignored in this state")

// ErrConcurrent is returned by a Fire that began while another one was
// running, on any goroutine, a guard, an action or the observer included. The
// event was not looked at.
var ErrConcurrent = errors.New("fire event: another event is being handled; one goroutine owns the machine")

// IgnoredError reports an event that the table lists as ignored. Nothing
// happened.
type IgnoredError struct {
	State, Event string
	// Why is the reason given in the table.
	Why string
}

func (e *IgnoredError) Error() string {
	return fmt.Sprintf("event %s is ignored in state %s: %s", e.Event, e.State, e.Why)
}

// Is makes the error an [ErrIgnored].
func (e *IgnoredError) Is(target error) bool { return target == ErrIgnored }

// UnknownEventError reports an event that the table does not know at all.
type UnknownEventError struct{ State, Event string }

func (e *UnknownEventError) Error() string {
	return fmt.Sprintf("event %q, fired in state %s, is not in the table", e.Event, e.State)
}

// GuardError reports that a rule's guard refused. Nothing happened.
type GuardError struct {
	// Rule is the row: "failover --won--> primary".
	Rule string
	// Guard is the guard's name.
	Guard string
	// Reason is the guard's own sentence.
	Reason error
}

func (e *GuardError) Error() string {
	return fmt.Sprintf("%s refused by guard %s: %v", e.Rule, e.Guard, e.Reason)
}

// Unwrap returns the guard's sentence.
func (e *GuardError) Unwrap() error { return e.Reason }

// ActionError reports that a rule's action failed. The state did not change;
// what the action did half-way is the action's own business to report.
type ActionError struct {
	// Rule is the row: "failover --won--> primary".
	Rule string
	// Err is the action's error.
	Err error
}

func (e *ActionError) Error() string { return fmt.Sprintf("%s failed: %v", e.Rule, e.Err) }

// Unwrap returns the action's error.
func (e *ActionError) Unwrap() error { return e.Err }

// LeftError is the cause with which the scope of a state is cancelled:
// context.Cause tells a job in it why it has to end.
type LeftError struct {
	From, To, On string
	// Why is the rule's reason, Detail what the caller of Fire added.
	Why, Detail string
}

func (e *LeftError) Error() string {
	text := fmt.Sprintf("left state %s for %s on %s: %s", e.From, e.To, e.On, e.Why)
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// SpecError is the refusal of a table that does not pass [Check].
type SpecError struct {
	// Name of the machine.
	Name string
	// Problems, at least one.
	Problems []Problem
}

func (e *SpecError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return fmt.Sprintf("check state machine %q: %s", e.Name, strings.Join(lines, "; "))
}

// ruleText is how errors name a transition.
func ruleText[S, E ~string](from S, on E, to S) string {
	return fmt.Sprintf("%s --%s--> %s", from, on, to)
}
