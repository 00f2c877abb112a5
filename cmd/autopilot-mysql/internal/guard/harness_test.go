package guard

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// limit is how long a test waits for something that takes milliseconds on an idle machine.
const limit = 30 * time.Second

// rig is a guard process under test.
type rig struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// launch starts a guard whose agents follow the scripts.
func launch(t *testing.T, stopTimeout time.Duration, scripts ...string) *rig {
	t.Helper()
	return launchAs(t, nil, stopTimeout, scripts...)
}

// withTimes gives the guard other limits of its own, see envTimes.
func withTimes(text string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Env = append(os.Environ(), envTimes+"="+text) }
}

// launchAs is launch with a last change to the guard's command.
func launchAs(t *testing.T, change func(*exec.Cmd), stopTimeout time.Duration, scripts ...string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), exited: make(chan struct{})}
	for i, s := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, fmt.Sprintf("script.%d", i+1)), []byte(s), 0o600))
	}
	r.cmd = exec.Command(os.Args[0], roleGuard, r.dir, stopTimeout.String())
	errOut, err := os.Create(filepath.Join(r.dir, "stderr")) // a file: no copying that outlives the guard
	require.NoError(t, err)
	r.cmd.Stderr, r.cmd.Stdout = errOut, errOut
	leak, err := os.Open(os.DevNull) // a descriptor left open by whoever started the container
	require.NoError(t, err)
	r.cmd.ExtraFiles = []*os.File{leak}
	if change != nil {
		change(r.cmd)
	}
	require.NoError(t, r.cmd.Start())
	leak.Close()
	errOut.Close()
	go func() { _ = r.cmd.Wait(); close(r.exited) }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Signal(syscall.SIGCONT)
		_ = r.cmd.Process.Kill()
		<-r.exited
		if t.Failed() {
			t.Logf("events:\n%s\nstderr:\n%s", r.events(), r.errText())
		}
	})
	return r
}

func (r *rig) file(name string) string {
	b, _ := os.ReadFile(filepath.Join(r.dir, name))
	return string(b)
}
func (r *rig) events() string  { return r.file("events") }
func (r *rig) errText() string { return r.file("stderr") }
func (r *rig) touch(name string) {
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, name), nil, 0o600))
}

// until waits for a condition.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			require.Fail(r.t, "timed out waiting for "+what)
		}
	}
}

// event waits for a line of the events that matches, and returns its groups.
func (r *rig) event(pattern string) []string {
	r.t.Helper()
	re := regexp.MustCompile(`(?m)^` + pattern + `$`)
	var m []string
	r.until("event "+pattern, func() bool { m = re.FindStringSubmatch(r.events()); return m != nil })
	return m[1:]
}

// pid waits for an event and returns the process id in its first group.
func (r *rig) pid(pattern string) int {
	r.t.Helper()
	n, err := strconv.Atoi(r.event(pattern)[0])
	require.NoError(r.t, err)
	require.Positive(r.t, n)
	return n
}

// gone waits until a process is gone altogether: not even a zombie.
func (r *rig) gone(pid int) {
	r.t.Helper()
	r.until(fmt.Sprintf("the end of process %d", pid), func() bool {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
}

// dead waits until a process runs no more; it may be a zombie.
func (r *rig) dead(pid int) {
	r.t.Helper()
	r.until(fmt.Sprintf("the death of process %d", pid), func() bool { s := procState(pid); return s == "" || s == "Z" })
}

func (r *rig) alive(pid int) {
	r.t.Helper()
	require.NotContains(r.t, []string{"", "Z"}, procState(pid), "process %d is dead", pid)
}

func (r *rig) signal(sig syscall.Signal) { require.NoError(r.t, r.cmd.Process.Signal(sig)) }

// status waits for the guard's end and returns its exit status (128+signal when it was signalled).
func (r *rig) status() int {
	r.t.Helper()
	select {
	case <-r.exited:
	case <-time.After(limit):
		require.Fail(r.t, "the guard does not end")
	}
	st := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return exitOf(0, st).Status()
}

// procState is the state letter of a process, empty when there is none.
func procState(pid int) string { return statField(pid, 0) }

// statField is a field of /proc/PID/stat, counted from the state.
func statField(pid, i int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if i >= len(f) {
		return ""
	}
	return f[i]
}

// children lists the processes whose parent is pid, with their states.
func children(pid int) map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		n, _ := strconv.Atoi(filepath.Base(d))
		if statField(n, 1) == strconv.Itoa(pid) {
			found[n] = procState(n)
		}
	}
	return found
}

// rssKiB is the resident set of a process, and the part of it that is its own.
func rssKiB(t *testing.T, pid int) (total, anon int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "VmRSS:":
			total = n
		case "RssAnon:":
			anon = n
		}
	}
	return total, anon
}
