package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Terminal is a command at a terminal of its own, and somebody who types.
type Terminal struct {
	t     testing.TB
	cmd   *exec.Cmd
	mine  *os.File // the end of whoever sits before it
	ended chan struct{}

	mu   sync.Mutex
	seen strings.Builder
}

// OpenTerminal starts cmd with a new terminal as all three of its streams. It is killed with the test at the latest.
func OpenTerminal(t testing.TB, cmd *exec.Cmd) *Terminal {
	t.Helper()
	mine, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(mine.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(mine.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer theirs.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s := &Terminal{t: t, cmd: cmd, mine: mine, ended: make(chan struct{})}
	require.NoError(t, cmd.Start())
	go s.run()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, unless the test failed
		<-s.ended
		_ = mine.Close()
	})
	return s
}

// run keeps what is written to the terminal until nobody has it open any more: then the read fails.
func (s *Terminal) run() {
	defer close(s.ended)
	b := make([]byte, 4096)
	for {
		n, err := s.mine.Read(b)
		s.mu.Lock()
		s.seen.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			_ = s.cmd.Wait()
			return
		}
	}
}

// Screen is what was shown so far, what was typed included.
func (s *Terminal) Screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.seen.String(), "\r\n", "\n")
}

// WaitShown waits until the screen shows some words.
func (s *Terminal) WaitShown(words string) {
	s.t.Helper()
	for deadline := time.Now().Add(FailoverLimit); !strings.Contains(s.Screen(), words); time.Sleep(20 * time.Millisecond) {
		require.Truef(s.t, time.Now().Before(deadline), "the terminal does not show %q: %s", words, s.Screen())
	}
}

// Type types a line.
func (s *Terminal) Type(line string) {
	s.t.Helper()
	_, err := s.mine.WriteString(line + "\n")
	require.NoError(s.t, err)
}

// Exit waits for the command's end and returns its exit code.
func (s *Terminal) Exit() int {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(2 * FailoverLimit):
		require.Failf(s.t, "the command does not end", "%v: %s", s.cmd.Args, s.Screen())
	}
	return s.cmd.ProcessState.ExitCode()
}
