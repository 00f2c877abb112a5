package guard

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// EnvFD names the environment variable that tells the agent its descriptor of the socket to the guard.
const EnvFD = "AUTOPILOT_GUARD_FD"

// MaxMemory is the greatest size of the memory given to Feed, in bytes.
const MaxMemory = 64 << 10

// MysqldStatus as the code of Client.Exit stands for the last mysqld's own status (its code, or 128 +
// signal), or 1 if there was none.
const MysqldStatus = -1

// maxLine bounds one message: the memory in base64, or a command with its whole environment (which
// Linux itself bounds to some megabytes, and nobody uses more than a few kilobytes of).
const maxLine = 1 << 20

// Errors of a Client. Compare with errors.Is.
var (
	// ErrRunning says that mysqld runs already (or is being started).
	ErrRunning = errors.New("mysqld is already running")
	// ErrNotRunning says that there is no mysqld to signal or to set a deadline for.
	ErrNotRunning = errors.New("mysqld is not running")
	// ErrKilled says that mysqld was given SIGKILL and cannot be saved by a later proof.
	ErrKilled = errors.New("mysqld has already been killed")
	// ErrEnding says that the guard is shutting everything down.
	ErrEnding = errors.New("the guard is ending")
	// ErrGone says that the connection to the guard is lost: the guard died, and this process is about to.
	ErrGone = errors.New("the guard is gone")
)

// wireErrors are the errors that keep their identity on the way from guard to agent.
func wireErrors() map[string]error {
	return map[string]error{"running": ErrRunning, "not-running": ErrNotRunning, "killed": ErrKilled, "ending": ErrEnding}
}

// UnknownError says that a request was sent, or perhaps sent, and its outcome is unknown.
type UnknownError struct {
	Op  string // what was asked
	Err error  // why there is no answer
}

// Error names the request and why it has no answer.
func (e *UnknownError) Error() string { return fmt.Sprintf("%s: outcome unknown: %v", e.Op, e.Err) }

// Unwrap returns the reason.
func (e *UnknownError) Unwrap() error { return e.Err }

// Command is a mysqld to start.
type Command struct {
	Path string   `json:"path"`           // program; looked up in PATH when it has no slash
	Args []string `json:"args"`           // arguments after the program's name
	Env  []string `json:"env"`            // complete environment; nil: the guard's own
	Dir  string   `json:"dir,omitempty"`  // working directory; empty: the guard's own
	User string   `json:"user,omitempty"` // name or id, optionally ":group"; used only when the guard is root
}

// Cause says who ended a mysqld.
type Cause string

// The causes of an exit.
const (
	CauseItself   Cause = ""         // nobody here: it ended, crashed, or was signalled by someone (Client.Signal included)
	CauseDeadline Cause = "deadline" // the guard, because the fed deadline passed
	CauseKill     Cause = "kill"     // the agent asked with Client.Kill
	CauseStop     Cause = "stop"     // the guard, because everything ends
)

// Exit is the end of one mysqld.
type Exit struct {
	Pid    int            `json:"pid"`
	Code   int            `json:"code"`             // exit code; 0 when it was signalled
	Signal syscall.Signal `json:"signal,omitempty"` // the signal that ended it; 0: none
	Cause  Cause          `json:"cause,omitempty"`
	Late   time.Duration  `json:"late,omitempty"` // CauseDeadline: how long after the deadline SIGKILL was sent
}

// Status is the exit status a shell would report: the code, or 128 + signal.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// String describes the exit for a log line.
func (e Exit) String() string {
	s := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != 0 {
		s = fmt.Sprintf("signal %d (%v)", int(e.Signal), e.Signal)
	}
	if e.Cause != CauseItself {
		s += ", cause " + string(e.Cause)
	}
	return s
}

// The operations of a request.
const (
	opHello  = "hello"
	opStart  = "start"
	opSignal = "signal"
	opKill   = "kill"
	opFeed   = "feed"
	opExit   = "exit"
)

// request is one line from the agent.
type request struct {
	ID       uint64         `json:"id"`
	Op       string         `json:"op"`
	Command  *Command       `json:"command,omitempty"`
	Pid      int            `json:"pid,omitempty"` // feed: the mysqld the proof is about
	Signal   syscall.Signal `json:"signal,omitempty"`
	Deadline time.Duration  `json:"deadline,omitempty"` // CLOCK_BOOTTIME
	Memory   []byte         `json:"memory"`             // null: as before
	Code     int            `json:"code,omitempty"`
	Reason   string         `json:"reason,omitempty"`
}

// message is one line from the guard: the answer to request ID, or an event (ID 0).
type message struct {
	ID     uint64         `json:"id,omitempty"`
	Mysqld int            `json:"mysqld"`           // pid of the mysqld that runs now; 0: none
	Kills  uint64         `json:"kills,omitempty"`  // deadline kills since the guard started
	Kind   string         `json:"kind,omitempty"`   // key of wireErrors
	Error  string         `json:"error,omitempty"`  // empty: done
	Memory []byte         `json:"memory,omitempty"` // answer to hello
	Exit   *Exit          `json:"exit,omitempty"`   // event
	Stop   syscall.Signal `json:"stop,omitempty"`   // event
}

// setError stores err so that err() gives it back, with its identity where it is one of ours.
func (m *message) setError(err error) {
	if err == nil {
		return
	}
	m.Error = err.Error()
	for kind, known := range wireErrors() {
		if errors.Is(err, known) {
			m.Kind = kind
		}
	}
}

// err is the error the guard answered with, or nil.
func (m *message) err() error {
	if m.Error == "" {
		return nil
	}
	known, ok := wireErrors()[m.Kind]
	if !ok {
		return errors.New(m.Error)
	}
	if m.Error == known.Error() {
		return known
	}
	return &remoteError{text: m.Error, kind: known}
}

// remoteError is one of our errors with the guard's own words.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }
