package config

import "fmt"

// Problem is one thing wrong with the settings, as an operator reads it.
type Problem struct {
	Why  string `json:"why"`
	Next string `json:"next"`
	// Absent says that nothing was set wrongly: a node needs something to run that nobody has given here. Whoever only
	// looks at the settings, from a machine that is no node, does not.
	Absent bool `json:"-"`
}

// String is the problem in one line.
func (p Problem) String() string {
	if p.Next == "" {
		return p.Why
	}
	return p.Why + "; " + p.Next
}

// Error says that the settings cannot be used. It never holds a secret.
type Error struct {
	// Problems in the order of the declaration; at least one.
	Problems []Problem
}

// Error names the first problem, and how to see the others.
func (e *Error) Error() string {
	first := e.Problems[0].String()
	if n := len(e.Problems) - 1; n > 0 {
		return fmt.Sprintf("%s (and %d more: autopilot-mysql config check lists all)", first, n)
	}
	return first
}

// problems collects what is wrong, so that one run tells all of it.
type problems []Problem

func (p *problems) add(next, why string, args ...any) {
	*p = append(*p, Problem{Why: fmt.Sprintf(why, args...), Next: next})
}

// lacks adds what a node cannot run without.
func (p *problems) lacks(next, why string, args ...any) {
	p.add(next, why, args...)
	(*p)[len(*p)-1].Absent = true
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &Error{Problems: p}
}
