package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proc is one living process as /proc shows it.
type proc struct {
	pid, ppid int
	args      string // with spaces between
}

// processes are all living processes; zombies are not.
func processes() map[int]proc {
	all := map[int]proc{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		head, rest, ok := cutLast(string(b), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 2 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		pid, err1 := strconv.Atoi(strings.Fields(head)[0])
		ppid, err2 := strconv.Atoi(f[1])
		args, err3 := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err1 == nil && err2 == nil && err3 == nil {
			all[pid] = proc{pid, ppid, strings.ReplaceAll(string(args), "\x00", " ")}
		}
	}
	return all
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// below are the processes that were started by root, directly or not, and those whose arguments lead into dir.
func below(all map[int]proc, root int, dir string) []proc {
	var found []proc
	for pid, p := range all {
		if pid == os.Getpid() || pid == root {
			continue
		}
		for at := p; ; {
			if at.ppid == root && root != 0 {
				found = append(found, p)
				break
			}
			next, ok := all[at.ppid]
			if !ok || next.pid <= 1 {
				if strings.Contains(p.args, dir+"/") {
					found = append(found, p)
				}
				break
			}
			at = next
		}
	}
	return found
}

// signal sends a signal to a process of this campaign; a process that has gone meanwhile is fine.
func signal(sig unix.Signal, pids ...int) error {
	for _, pid := range pids {
		if pid <= 1 {
			return fmt.Errorf("signal process %d: not ours", pid)
		}
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return nil
}

// waitGone waits until none of the processes runs any more.
func waitGone(limit time.Duration, pids ...int) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		all := processes()
		left := 0
		for _, pid := range pids {
			if _, ok := all[pid]; ok {
				left = pid
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end within %v", left, limit)
		}
	}
}
