package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawner starts processes from one thread that lives as long as the playground: PDEATHSIG is sent when the thread that
// started a process ends, not the process.
type spawner struct {
	jobs chan func()
	quit chan struct{}

	mu  sync.Mutex
	ids map[procID]bool // everything started and not reaped
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func()), quit: make(chan struct{}), ids: map[procID]bool{}}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for {
			select {
			case job := <-s.jobs:
				job()
			case <-s.quit:
				return
			}
		}
	}()
	return s
}

// close ends the thread, and with it every process it started that still runs.
func (s *spawner) close() { close(s.quit) }

func (s *spawner) keep(id procID, running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if running {
		s.ids[id] = true
	} else {
		delete(s.ids, id)
	}
}

// started says whether the process is a direct child that os/exec waits for.
func (s *spawner) started(id procID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

// command is a process to start.
type command struct {
	what string // "node1", for messages
	argv []string
	env  []string
	dir  string
	log  string // file that gets its output, appended to
}

// child is a process of ours.
type child struct {
	id   procID
	done chan struct{} // closed when the process is reaped
	how  string        // how it ended; valid after done
	code int           // exit code, -1 after a signal; valid after done
}

// start runs c in a process group of its own (Ctrl-C at the terminal is for the supervisor) that dies with it.
func (s *spawner) start(c command) (*child, error) {
	type result struct {
		ch  *child
		err error
	}
	answer := make(chan result, 1)
	job := func() {
		ch, err := c.start(s)
		answer <- result{ch, err}
	}
	select {
	case s.jobs <- job:
		r := <-answer
		return r.ch, r.err
	case <-s.quit:
		return nil, fmt.Errorf("start %s: the playground has ended", c.what)
	}
}

func (c command) start(s *spawner) (*child, error) {
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", c.what, err)
	}
	defer out.Close()                             //nolint:errcheck // the child has its own
	cmd := exec.Command(c.argv[0], c.argv[1:]...) //nolint:noctx // the spawner ends it, in its order
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.what, err)
	}
	ch := &child{done: make(chan struct{})}
	// Until it is waited for it has its pid, so this cannot be another process.
	stat, ok := readStat(cmd.Process.Pid)
	if !ok {
		ch.id = procID{Pid: cmd.Process.Pid}
	} else {
		ch.id = stat.id
	}
	s.keep(ch.id, true)
	go func() {
		ch.how, ch.code = ending(cmd.Wait(), cmd)
		s.keep(ch.id, false)
		close(ch.done)
	}()
	return ch, nil
}

// ending describes a Wait in an operator's words.
func ending(err error, cmd *exec.Cmd) (string, int) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Sprintf("was lost: %v", err), -1
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return "was ended by " + unix.SignalName(ws.Signal()), -1
	}
	code := cmd.ProcessState.ExitCode()
	return fmt.Sprintf("ended with status %d", code), code
}

// running says whether the process is not reaped yet.
func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// terminate asks the process to end and waits; when ctx ends first it is killed. It reports whether it went by itself.
func (c *child) terminate(ctx context.Context, sig unix.Signal) (graceful bool, err error) {
	if err := c.id.signal(sig); err != nil {
		return false, err
	}
	select {
	case <-c.done:
		return true, nil
	case <-ctx.Done():
		return false, nil
	}
}
