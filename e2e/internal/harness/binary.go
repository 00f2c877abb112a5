// Package harness drives the built program as its users do: through the playground commands and `run`. It knows
// nothing of the program's inside; what it reads is playground.json, logs, and the servers themselves.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Binary is the program under test: the one the environment names, or one built from the source beside this module.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("AUTOPILOT_TEST_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "autopilot-mysql")
	build := exec.Command("go", "build", "-o", path, "./cmd/autopilot-mysql")
	build.Dir = ".."
	out, err := build.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	return path
}

// Mysqld is the real server's program.
func Mysqld(t testing.TB) string { return part(t, "AUTOPILOT_TEST_MYSQLD", "mysqld") }

// Consul is Consul's program.
func Consul(t testing.TB) string { return part(t, "AUTOPILOT_TEST_CONSUL", "consul") }

func part(t testing.TB, env, name string) string {
	t.Helper()
	if path := os.Getenv(env); path != "" {
		return path
	}
	path, err := exec.LookPath(name)
	require.NoErrorf(t, err, "no %s: set %s (make e2e does), or install it", name, env)
	return path
}

// Run runs a program within a limit. out is what it wrote to both streams.
func Run(limit time.Duration, env []string, program string, args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	// A grandchild may keep the pipe open after the program was killed.
	cmd.WaitDelay = 5 * time.Second
	b, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("not within %v", limit))
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, Tail(string(b), 5))
	}
	return string(b), err
}

// Output runs a program within a limit and returns what it wrote to its standard output, also when it fails.
func Output(limit time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = 5 * time.Second
	b, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	return string(b), err
}

// Tail is the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Spy is a mysqld that writes down how it was called and then is the real one.
type Spy struct{ Path, log string }

// NewSpy makes one in dir.
func NewSpy(t testing.TB, dir string) Spy {
	t.Helper()
	s := Spy{Path: filepath.Join(dir, "mysqld"), log: filepath.Join(dir, "mysqld.calls")}
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$*\" >>'%s'\nexec '%s' \"$@\"\n", s.log, Mysqld(t))
	require.NoError(t, os.WriteFile(s.Path, []byte(script), 0o755))
	return s
}

// Initialised are the calls that made a database below volumes; the throw-away servers that only receive a clone are
// not among them.
func (s Spy) Initialised(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(s.log)
	require.NoError(t, err)
	var calls []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "--initialize") && !strings.Contains(line, "/scratch/") {
			calls = append(calls, strings.TrimSpace(line))
		}
	}
	return calls
}
