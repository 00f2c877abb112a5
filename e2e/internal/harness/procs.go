package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
)

// Processes are those whose arguments name the playground's directory: pid → arguments.
func (c *Cluster) Processes() map[int]string { return ProcessesOf(c.Dir) }

// ProcessesOf are the processes other than this one whose arguments name a directory: pid → arguments.
func ProcessesOf(dir string) map[int]string {
	found := map[int]string{}
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), dir) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			found[pid] = strings.ReplaceAll(string(b), "\x00", " ")
		}
	}
	return found
}

// Signal sends a signal to a process of this playground; any other pid fails the test.
func (c *Cluster) Signal(pid int, sig syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.signal(pid, sig))
}

func (c *Cluster) signal(pid int, sig syscall.Signal) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if pid <= 1 || err != nil || !strings.Contains(string(b), c.Dir) {
		return fmt.Errorf("process %d is none of the playground's", pid)
	}
	return syscall.Kill(pid, sig)
}

// KillNow ends a whole node without the playground's help, which takes a moment. What the guard's end has ended already is
// no error.
func (c *Cluster) KillNow(n Node) {
	c.t.Helper()
	c.Signal(n.Pids.Guard, syscall.SIGKILL)
	for _, pid := range []int{n.Pids.Agent, n.Pids.Mysqld} {
		_ = c.signal(pid, syscall.SIGKILL)
	}
}

// Freeze stops a whole node where it stands: the guard first, which would act on what it sees of the others.
func (c *Cluster) Freeze(n Node) {
	c.t.Helper()
	for _, pid := range []int{n.Pids.Guard, n.Pids.Agent, n.Pids.Mysqld} {
		c.Signal(pid, syscall.SIGSTOP)
	}
}

// Resume lets a frozen node go on, in the order that is worst for it: its server first, its guard last.
func (c *Cluster) Resume(n Node) {
	c.t.Helper()
	for _, pid := range []int{n.Pids.Mysqld, n.Pids.Agent, n.Pids.Guard} {
		c.Signal(pid, syscall.SIGCONT)
	}
}

// thaw lets everything go on that a failed test left frozen, or nothing could end it gracefully.
func (c *Cluster) thaw() {
	for pid := range c.Processes() {
		_ = c.signal(pid, syscall.SIGCONT)
	}
}

// ConsulPid is the playground's Consul; 0 while it has none.
func (c *Cluster) ConsulPid() int {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, "processes.json"))
	require.NoError(c.t, err)
	var all []struct {
		What string `json:"what"`
		Pid  int    `json:"pid"`
	}
	require.NoError(c.t, json.Unmarshal(b, &all))
	for _, p := range all {
		if p.What == "consul" {
			return p.Pid
		}
	}
	return 0
}
