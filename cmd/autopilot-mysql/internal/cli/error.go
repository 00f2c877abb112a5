package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// Exit codes of every command.
const (
	Done    = 0
	Failed  = 1
	Usage   = 2 // wrong command line, setting or environment
	Refused = 3 // by a safety guard, which the message names
	Unknown = 4 // the outcome is unknown; the message says what to check
)

// Error is what an operator reads, in one line: what failed, on which node, why, and what to do next.
type Error struct {
	Code int    // exit code; 0 stands for Failed
	What string // "switch over", a verb and a noun
	Node string // empty when no node is involved
	Why  string
	Next string // a command where there is one
	Err  error  // the cause, for errors.Is; its text is in Why or does not help
}

// Error is the line, without the program's name.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.What)
	if e.Node != "" {
		fmt.Fprintf(&b, " (%s)", e.Node)
	}
	why := e.Why
	if why == "" && e.Err != nil {
		why = e.Err.Error()
	}
	if why = strings.TrimPrefix(why, e.What+": "); why != "" { // a cause often begins with the same verb and noun
		b.WriteString(": " + why)
	}
	if e.Next != "" {
		b.WriteString("; " + e.Next)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the code the process ends with.
func (e *Error) ExitCode() int {
	if e.Code == 0 {
		return Failed
	}
	return e.Code
}

// ExitStatus ends the process with this code and without a word: `run` ends with mysqld's own status.
type ExitStatus int

// Error says the status; Main prints nothing.
func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// ExitCode is the status itself.
func (s ExitStatus) ExitCode() int { return int(s) }

// outcome is the exit code of an error and the line to print for it, empty for none.
func outcome(err error) (code int, line string) {
	var (
		status   ExitStatus
		settings *config.Error
		coded    interface{ ExitCode() int }
	)
	switch {
	case err == nil:
		return Done, ""
	case errors.As(err, &status):
		return int(status), ""
	case errors.As(err, &settings):
		return Usage, oneLine("cannot use the settings: " + settings.Error())
	case errors.As(err, &coded):
		return coded.ExitCode(), oneLine(err.Error())
	case errors.Is(err, context.Canceled):
		return Failed, "interrupted"
	default:
		return Failed, oneLine(err.Error())
	}
}

// oneLine joins the lines a library's error may have.
func oneLine(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
