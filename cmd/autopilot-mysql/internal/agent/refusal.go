package agent

import "fmt"

// Refusal is an end of the process that retrying cannot cure. Its code follows the product's exit codes:
// 2 for a bad setting or environment, 3 for a safety guard.
type Refusal struct {
	Code int
	What string
	Why  string
	Next string
}

// Error is the one line an operator reads.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s; %s", r.What, r.Why, r.Next) }

func refuse(what, why, next string) *Refusal {
	return &Refusal{Code: 3, What: what, Why: why, Next: next}
}

func unusable(what, why, next string) *Refusal {
	return &Refusal{Code: 2, What: what, Why: why, Next: next}
}

// ExitCode is the process's exit code.
func (r *Refusal) ExitCode() int { return r.Code }
