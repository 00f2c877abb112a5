package mysql

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// keptLines is how much of a helper's output is remembered for its error message.
const keptLines = 40

// killWait bounds the wait for the pipes of a killed helper: a grandchild may hold them open.
const killWait = 5 * time.Second

// child is a helper process (mysqld --initialize, clone scratch, init script): it never outlives
// this process, and its whole process group is killed when its context ends.
type child struct {
	cmd  *exec.Cmd
	tail *lineTail
	done chan struct{}
	err  error // valid once done is closed
}

// startChild starts cmd, made by exec.CommandContext. Its output goes to tail, unless cmd.Stdout is set already.
func startChild(cmd *exec.Cmd, tail *lineTail) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	if cmd.Stdout == nil {
		cmd.Stdout = tail
	}
	cmd.Stderr = tail
	c := &child{cmd: cmd, tail: tail, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal comes when the starting thread ends, so that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		if errors.Is(c.err, exec.ErrWaitDelay) {
			c.err = nil // it ended well; only something it left behind holds its output open
		}
		tail.flush()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// runChild runs cmd to its end. The error carries the last meaningful lines of its output.
func runChild(ctx context.Context, cmd *exec.Cmd, log func(string)) error {
	tail := &lineTail{log: log}
	c, err := startChild(cmd, tail)
	if err != nil {
		return err
	}
	<-c.done
	return c.explain(ctx)
}

// explain is the error of an ended child, in the words of the child where it has any.
func (c *child) explain(ctx context.Context) error {
	err := c.err
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if why := c.tail.why(); why != "" {
		return fmt.Errorf("%w: %s", err, why)
	}
	return err
}

// wasKilled says whether a child that has ended was killed by SIGKILL, by us or for want of memory: that says nothing about
// its data.
func (c *child) wasKilled() bool {
	var exit *exec.ExitError
	if !errors.As(c.err, &exit) {
		return false
	}
	w, ok := exit.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGKILL
}

// stop kills the child and waits until it is reaped. Its number is free for others once it is, so an
// ended child is left alone.
func (c *child) stop() {
	select {
	case <-c.done:
		return
	default:
	}
	// ESRCH: it is gone already, which is what we want.
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	<-c.done
}

// commandOutput runs a short command and returns what it printed to standard output.
func commandOutput(ctx context.Context, path string, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout = &out
	err := runChild(ctx, cmd, nil)
	return out.String(), err
}

// lineTail is a writer that splits into lines, passes them on and keeps the last ones. Safe for concurrent use.
type lineTail struct {
	log func(string)

	mu    sync.Mutex
	part  []byte
	lines []string
}

var _ io.Writer = (*lineTail)(nil)

func (t *lineTail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, p...)
	for {
		n, line, err := bufio.ScanLines(t.part, false)
		if err != nil || n == 0 {
			return len(p), err
		}
		t.add(string(line))
		t.part = t.part[n:]
	}
}

func (t *lineTail) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.part) > 0 {
		t.add(string(t.part))
		t.part = nil
	}
}

func (t *lineTail) add(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	if t.log != nil {
		t.log(line)
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > keptLines {
		t.lines = t.lines[1:]
	}
}

// serverLine reads mysqld's "2026-01-01T00:00:00Z 0 [ERROR] [MY-010123] [Server] text".
var serverLine = regexp.MustCompile(`^\S+ \d+ \[(\w+)\] \[(MY-\d+)\] \[\w+\] (.*)$`)

// hollow are mysqld's errors that only say that an earlier one happened.
var hollow = map[string]bool{"MY-010119": true, "MY-013236": true, "MY-010020": true, "MY-010334": true}

// why is the cause in the child's own words: mysqld's first errors, else the last lines it printed.
func (t *lineTail) why() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []string
	for _, line := range t.lines {
		if m := serverLine.FindStringSubmatch(line); m != nil && m[1] == "ERROR" && !hollow[m[2]] {
			errs = append(errs, m[3]+" ("+m[2]+")")
		}
	}
	if len(errs) == 0 {
		errs = t.lines[max(0, len(t.lines)-2):]
	}
	return strings.Join(errs[:min(2, len(errs))], "; ")
}

// also is the error of something that failed, together with that of cleaning up after it, on one line.
func also(err, second error) error {
	switch {
	case err == nil:
		return second
	case second == nil:
		return err
	}
	return fmt.Errorf("%w; and then: %w", err, second)
}
