// Package cli holds the words of the program: commands, help, exit codes, log and error lines. What the commands do is
// plugged in as Handlers; only commands that work are declared.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// Program is the name in messages and help.
const Program = "autopilot-mysql"

// Handlers do what the commands say. A nil handler fails with one line. Settings are validated before a handler is
// called. Except for Run and Agent, which have their own way with signals, ctx ends at SIGINT or SIGTERM.
type Handlers struct {
	// Run is the container's entrypoint. It returns ExitStatus with mysqld's status.
	Run func(ctx context.Context, inv *Invocation, s *config.Settings) error
	// Agent is the process Run starts with Invocation.AgentArgs; the settings are the same.
	Agent func(ctx context.Context, inv *Invocation, s *config.Settings) error

	PlaygroundUp    func(ctx context.Context, inv *Invocation, o PlaygroundUp) error
	PlaygroundKill  func(ctx context.Context, inv *Invocation, o PlaygroundNode) error
	PlaygroundStop  func(ctx context.Context, inv *Invocation, o PlaygroundNode) error
	PlaygroundStart func(ctx context.Context, inv *Invocation, o PlaygroundNode) error
	PlaygroundAdd   func(ctx context.Context, inv *Invocation, o PlaygroundAdd) error
	PlaygroundDown  func(ctx context.Context, inv *Invocation, o PlaygroundDown) error

	SnapshotHandlers

	Status func(ctx context.Context, inv *Invocation, o Status) error
	FSM    func(ctx context.Context, inv *Invocation, o FSM) error

	Switchover func(ctx context.Context, inv *Invocation, o Switchover) error
	Failover   func(ctx context.Context, inv *Invocation, o Failover) error
	Pause      func(ctx context.Context, inv *Invocation, o Pause) error
	Resume     func(ctx context.Context, inv *Invocation, o Resume) error
	Rebuild    func(ctx context.Context, inv *Invocation, o Rebuild) error
	Remove     func(ctx context.Context, inv *Invocation, o Remove) error
	History    func(ctx context.Context, inv *Invocation, o History) error
	ConfigSet  func(ctx context.Context, inv *Invocation, o ConfigSet) error
	// Shared reads the cluster-wide settings.
	Shared func(ctx context.Context, inv *Invocation, c *config.Common) (map[string]string, error)

	// Version is set by the linker; empty: what the build information says.
	Version string
	// More are commands of rooms that declare themselves, as kong structs with a Run method. It may take a
	// context.Context, a *Invocation and a *kong.Context.
	More []Command
}

// Command is one of Handlers.More.
type Command struct {
	Name, Help string
	Hidden     bool
	Struct     any // pointer
}

// Invocation is what surrounds one call of the program.
type Invocation struct {
	// Args as given, without the program's name; Environ as NAME=value.
	Args, Environ  []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Kong is the parsed command line, for a command that declares itself.
	Kong *kong.Context
	// Log writes to Stderr, as the settings want it.
	Log *slog.Logger

	handlers Handlers
	extra    []string // arguments after "--"
	given    map[string]bool
}

// AgentArgs are the arguments that start the agent with the same settings as this `run`.
func (inv *Invocation) AgentArgs() []string {
	args := slices.Clone(inv.Args)
	if i := slices.Index(args, "run"); i >= 0 {
		args[i] = "agent"
	}
	return args
}

// Main parses, calls the handler, prints at most one error line, and returns the exit code.
func Main(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer, h Handlers) int {
	inv := &Invocation{Args: args, Environ: environ, Stdin: stdin, Stdout: stdout, Stderr: stderr, handlers: h}
	inv.Log = NewLogger(stderr, "info", "auto")
	code, line := outcome(inv.call(ctx))
	if line != "" {
		fmt.Fprintf(stderr, "%s: %s\n", Program, line)
	}
	return code
}

// call turns a panic into an error line: operators get words, never a stack trace.
func (inv *Invocation) call(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{What: "internal error", Why: fmt.Sprintf("%v at %s", p, panicPlace()), Next: "please report this line"}
		}
	}()
	var own []string
	own, inv.extra = config.SplitExtra(inv.Args)
	parser, helped, err := newParser(inv)
	if err != nil {
		return fmt.Errorf("declare commands: %w", err)
	}
	kctx, err := parser.Parse(own)
	if *helped {
		return nil
	}
	if err != nil {
		return usageError(err, inv.Args)
	}
	for _, p := range kctx.Path { // an order for one node would become one for the whole cluster
		if p.Positional != nil && kctx.Value(p).Kind() == reflect.String && kctx.Value(p).String() == "" {
			return &Error{Code: Usage, What: "cannot read the command line", Why: "<" + p.Positional.Name + "> is empty", Next: "was a variable not set?"}
		}
	}
	command := kctx.Selected()
	if inv.extra != nil && !slices.Contains([]string{"run", "agent", "config check", "playground up", "snapshot verify"}, strings.TrimPrefix(command.FullPath(), Program+" ")) {
		return &Error{Code: Usage, What: "cannot read the command line", Why: command.FullPath() + " takes nothing after --"}
	}
	inv.given, inv.Kong = config.FlagsOf(kctx), kctx
	if command.Name != "run" && command.Name != "agent" {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	return kctx.Run(inv)
}

// usageError says what is wrong with the command line and where the help is.
func usageError(err error, args []string) error {
	next := "see " + Program + " --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			next = "see " + node.FullPath() + " --help"
		}
	}
	why := err.Error()
	if len(args) == 0 {
		why = "no command given"
	}
	return &Error{Code: Usage, What: "cannot read the command line", Why: why, Next: next}
}

// panicPlace is the innermost function of ours that panicked.
func panicPlace() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	inPanic := false
	for {
		f, more := frames.Next()
		if inPanic && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		inPanic = inPanic || f.Function == "runtime.gopanic"
		if !more {
			return "an unknown place"
		}
	}
}

// missing is what a handler that nobody plugged in returns.
func missing(what string) error {
	return &Error{What: what, Why: "this build does not have it"}
}
