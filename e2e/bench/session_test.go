package bench

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// session starts servers in one session of their own, as the playground's are: the kernel shares the CPUs out by session,
// and servers that are in one with their clients get another share than those that are not.
type session struct {
	in   io.WriteCloser
	said *bufio.Reader
}

func newSession(t testing.TB) *session {
	t.Helper()
	c := exec.Command("sh")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { in.Close(); _ = c.Wait() })
	return &session{in: in, said: bufio.NewReader(out)}
}

// start returns the number of a new process, and what is closed when it is gone. No argument may have a quote in it.
func (s *session) start(t testing.TB, path string, args ...string) (pid int, exited chan struct{}) {
	t.Helper()
	_, err := fmt.Fprintf(s.in, "'%s' </dev/null >/dev/null 2>&1 & echo $!\n", strings.Join(append([]string{path}, args...), "' '"))
	require.NoError(t, err)
	line, err := s.said.ReadString('\n')
	require.NoError(t, err)
	pid, err = strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	fd, err := unix.PidfdOpen(pid, 0)
	require.NoError(t, err)
	exited = make(chan struct{})
	go func() {
		defer close(exited)
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n == 1 || err != nil && err != unix.EINTR {
				return
			}
		}
	}()
	return pid, exited
}
