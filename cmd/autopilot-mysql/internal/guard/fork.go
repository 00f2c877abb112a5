package guard

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process to start. Descriptor 0 is /dev/null, 1 and 2 are the guard's own, extra follow from 3 on.
type child struct {
	Command
	extra []uintptr
	slack time.Duration // the timer slack of its threads; 0: the kernel's own, 50 µs
}

// forker starts processes one at a time on a thread of its own that lives as long as the process:
// the parent-death signal of the children is tied to it.
type forker struct {
	jobs chan forkJob
}

// forkJob is one process to start; done is called on the forker's goroutine.
type forkJob struct {
	child child
	done  func(pid int, err error)
}

// newForker starts the thread.
func newForker() *forker {
	f := &forker{jobs: make(chan forkJob, 4)}
	go func() {
		runtime.LockOSThread() // never unlocked, and this function never returns: see forker
		for job := range f.jobs {
			pid, err := job.child.start()
			job.done(pid, err)
		}
	}()
	return f
}

// start forks and executes c, in a process group of its own.
func (c child) start() (int, error) {
	path, err := exec.LookPath(c.Path)
	if err != nil {
		return 0, fmt.Errorf("find program: %w", err)
	}
	cred, err := credential(c.User)
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("open null device: %w", err)
	}
	defer null.Close() //nolint:errcheck // only read
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	if c.slack > 0 { // inherited by all its threads. Where the kernel refuses, it only wakes up more often
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(c.slack.Nanoseconds()), 0, 0, 0)
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) //nolint:errcheck // 0 is this thread's own again
	}
	pid, err := syscall.ForkExec(path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   env,
		Files: append([]uintptr{null.Fd(), 1, 2}, c.extra...),
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: cred},
	})
	if err != nil {
		return 0, fmt.Errorf("execute %s: %w", path, err)
	}
	return pid, nil
}

// credential resolves "user" or "user:group" (names or numbers). It is nil when there is nothing to
// change: no user given, or this process is not root.
func credential(spec string) (*syscall.Credential, error) {
	if spec == "" || os.Geteuid() != 0 {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	cred := &syscall.Credential{}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	switch {
	case err == nil:
		if cred.Uid, err = id(u.Uid); err != nil {
			return nil, err
		}
		if cred.Gid, err = id(u.Gid); err != nil {
			return nil, err
		}
		groups, _ := u.GroupIds() // best effort: only the primary group matters to mysqld
		for _, g := range groups {
			if n, err := id(g); err == nil {
				cred.Groups = append(cred.Groups, n)
			}
		}
	default: // a bare number needs no entry in the user database
		n, numErr := id(name)
		if numErr != nil {
			return nil, fmt.Errorf("find user %q: %w", name, err)
		}
		cred.Uid, cred.Gid = n, n
	}
	if hasGroup {
		g, err := user.LookupGroup(group)
		if err == nil {
			group = g.Gid
		}
		if cred.Gid, err = id(group); err != nil {
			return nil, fmt.Errorf("find group %q: %w", group, err)
		}
	}
	return cred, nil
}

// id parses a user or group number.
func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errors.New("not a number: " + strconv.Quote(s))
	}
	return uint32(n), nil
}

// killGroup sends SIGKILL to a child that is not reaped yet, and to its process group.
func killGroup(pid int) {
	_ = syscall.Kill(pid, syscall.SIGKILL)
	killRest(pid)
}

// killRest sends SIGKILL to the process group of a child that was reaped a moment ago.
func killRest(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }
