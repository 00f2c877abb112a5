package playground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procID is one process for certain: a pid is used again, a pid with its start time is not.
type procID struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot, field 22 of /proc/PID/stat
}

// procStat is what matters of /proc/PID/stat.
type procStat struct {
	id    procID
	ppid  int
	state byte // R, S, D, T, Z, …
}

func (s procStat) gone() bool { return s.state == 'Z' || s.state == 'X' }

// readStat reads /proc/PID/stat; false means there is no such process.
func readStat(pid int) (procStat, bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, false
	}
	return parseStat(pid, b)
}

func parseStat(pid int, b []byte) (procStat, bool) {
	// The name in parentheses may hold anything, so the fields are counted from the last parenthesis.
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return procStat{}, false
	}
	f := strings.Fields(string(b[end+1:]))
	const state, ppid, starttime = 0, 1, 19 // proc(5) counts them from 3
	if len(f) <= starttime || len(f[state]) != 1 {
		return procStat{}, false
	}
	parent, err1 := strconv.Atoi(f[ppid])
	start, err2 := strconv.ParseUint(f[starttime], 10, 64)
	if err1 != nil || err2 != nil {
		return procStat{}, false
	}
	return procStat{id: procID{Pid: pid, Start: start}, ppid: parent, state: f[state][0]}, true
}

// identify returns the process that has the pid now.
func identify(pid int) (procID, bool) {
	if pid <= 0 {
		return procID{}, false
	}
	s, ok := readStat(pid)
	return s.id, ok && !s.gone()
}

// alive says whether the process still runs; a zombie does not.
func (p procID) alive() bool {
	s, ok := readStat(p.Pid)
	return ok && s.id == p && !s.gone()
}

// signal sends to this process and never to another one that got its pid: the descriptor holds the pid while the start
// time is compared. A process that is gone is no error.
func (p procID) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.Pid, err)
	}
	defer unix.Close(fd) //nolint:errcheck // a descriptor that only names the process
	if !p.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return nil
}

// scan returns all processes of the machine.
func scan() ([]procStat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []procStat
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, ok := readStat(pid); ok {
			all = append(all, s)
		}
	}
	return all, nil
}

// tree returns root's descendants that run, out of one scan.
func tree(all []procStat, root int) []procID {
	children := map[int][]procStat{}
	for _, s := range all {
		children[s.ppid] = append(children[s.ppid], s)
	}
	var found []procID
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		for _, c := range children[queue[0]] {
			if !c.gone() {
				found = append(found, c.id)
				queue = append(queue, c.id.Pid)
			}
		}
	}
	return found
}

// runsIn says whether the process was started to work in dir: one of the options that name a program's own files leads
// there. A shell, pager or editor that merely looks into dir does not match.
func (p procID) runsIn(dir string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Pid), "cmdline"))
	return err == nil && argsRunIn(strings.Split(string(b), "\x00"), dir)
}

// mentions says whether any of the process's arguments leads into dir.
func (p procID) mentions(dir string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Pid), "cmdline"))
	return err == nil && strings.Contains(string(b), dir+"/")
}

func argsRunIn(args []string, dir string) bool {
	for i, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		switch strings.TrimLeft(name, "-") {
		case "datadir", "defaults-file", "config-file", "socket":
		default:
			continue
		}
		if !strings.HasPrefix(name, "-") {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		if value == dir || strings.HasPrefix(value, dir+"/") {
			return true
		}
	}
	return false
}

// killAll ends the processes in the same instant: first all are frozen, so that none of them can act on the death of
// another, then all are killed. It returns when they are gone, or ctx ends.
func killAll(ctx context.Context, ids []procID) error {
	var err error
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		for _, id := range ids {
			err = errors.Join(err, id.signal(sig))
		}
	}
	if err != nil {
		return err
	}
	return waitGone(ctx, ids)
}

// waitGone waits until none of the processes runs any more.
func waitGone(ctx context.Context, ids []procID) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var left []int
		for _, id := range ids {
			if id.alive() {
				left = append(left, id.Pid)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of processes %v: %w", left, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// reap collects the remains of processes that this process inherited as subreaper. It must never be given a process
// that os/exec waits for.
func reap(ids []procID) {
	for _, id := range ids {
		// A killed process shows as a zombie when its first thread has ended, and can be collected when its last one has.
		for end := time.Now().Add(collectTime); ; time.Sleep(time.Millisecond) {
			s, ok := readStat(id.Pid)
			if !ok || s.id != id || s.ppid != os.Getpid() {
				break
			}
			// An error says that it is not ours or already reaped: both are fine.
			pid, err := unix.Wait4(id.Pid, nil, unix.WNOHANG, nil)
			if pid != 0 || err != nil && !errors.Is(err, unix.EINTR) || !s.gone() || time.Now().After(end) {
				break
			}
		}
	}
}

// collectTime bounds the wait for the last threads of a killed process; freeing a mysqld's memory takes milliseconds.
const collectTime = time.Second

// becomeSubreaper makes orphans (a mysqld whose guard was killed) children of this process, which then reaps them: PID 1
// of a container may not.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}
