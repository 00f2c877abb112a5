package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxLine and maxLines bound what a hook may add to the log.
	maxLine  = 512
	maxLines = 100
	// lingering is how long the end of a hook's output is waited for after its own end: what it left behind may hold it open.
	lingering = time.Second
)

// run runs one hook to its end, and says in the log what became of it.
func (r *Runner) run(c call) {
	path := r.find(c.event)
	if path == "" {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.Timeout)
	defer cancel()
	began := time.Now()
	out := &lines{say: func(s string) { r.Log.Info("hook says", "hook", c.event, "line", s) }}
	err := execute(ctx, path, environment(c.event, c.facts), out)
	out.flush()
	took := time.Since(began).Round(time.Millisecond).String()
	switch {
	case err == nil:
		r.Log.Info("hook done", "hook", c.event, "took", took)
	case r.ctx.Err() != nil:
		r.Log.Warn("hook killed: the node stops", "hook", c.event, "took", took)
	case ctx.Err() != nil:
		r.Log.Warn("hook killed: it took too long", "hook", c.event, "took", took, "limit", r.Timeout.String())
	default:
		r.Log.Warn("hook failed; nothing depends on it", "hook", c.event, "took", took, "err", err)
	}
}

// execute runs path in a process group of its own, which ends with ctx and with us.
func execute(ctx context.Context, path string, env []string, out *lines) error {
	// The kernel ends the child when the thread that made it ends, so it must be one that stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, "/", out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = lingering
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well; something it left behind still holds its output
		return nil
	}
	if err != nil {
		return fmt.Errorf("run hook: %w", err)
	}
	return nil
}

// inherited are the variables a program needs to find its way; ours hold secrets, so nothing else is passed on.
var inherited = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"}

// environment is all of a hook's environment.
func environment(e Event, f Facts) []string {
	var env []string
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	facts := []string{"HOOK_EVENT=" + string(e)}
	for name, v := range f {
		facts = append(facts, "HOOK_"+name+"="+strings.ReplaceAll(v, "\x00", ""))
	}
	sort.Strings(facts)
	return append(env, facts...)
}

// lines hands on what is written line by line, up to a limit. It never fails: a writer that stops would stop the hook.
type lines struct {
	say func(string)

	mu    sync.Mutex
	rest  []byte
	count int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < maxLine {
			return len(p), nil
		}
		if i < 0 || i > maxLine {
			i = maxLine
		}
		l.tell(l.rest[:i])
		l.rest = bytes.TrimPrefix(l.rest[i:], []byte("\n"))
	}
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell(l.rest)
	l.rest = nil
}

func (l *lines) tell(line []byte) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return
	}
	switch l.count++; {
	case l.count < maxLines:
		l.say(strings.ToValidUTF8(string(line), "?"))
	case l.count == maxLines:
		l.say("(further lines are left out)")
	}
}
