package mysql

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gone tells whether a process has ended; a zombie has, though nobody may be there to reap it.
func gone(pid string) bool {
	state, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || strings.Contains(string(state), ") Z ")
}

func TestChildDiesWithItsContextAndItsChildren(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan string, 1)
	c, err := startChild(exec.CommandContext(ctx, "sh", "-c", "sleep 1000 & echo $!; wait"), &lineTail{log: func(line string) { started <- line }})
	require.NoError(t, err)
	grandchild := <-started
	cancel()
	<-c.done
	require.ErrorIs(t, c.explain(ctx), context.Canceled)
	require.Eventually(t, func() bool { return gone(grandchild) }, limit, 5*time.Millisecond)
	c.stop() // of an ended one: nothing
}

// The agent is killed with SIGKILL: its scratch mysqld must not go on.
func TestChildDiesWithItsParent(t *testing.T) {
	if os.Getenv("CHILD_TEST_PARENT") != "" {
		c, err := startChild(exec.CommandContext(context.Background(), "sleep", "1000"), &lineTail{})
		require.NoError(t, err)
		fmt.Printf("pid %d\n", c.cmd.Process.Pid)
		<-c.done
		return
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestChildDiesWithItsParent$")
	parent.Env = append(os.Environ(), "CHILD_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, found := strings.CutPrefix(strings.TrimSpace(line), "pid ")
	require.True(t, found, line)
	require.False(t, gone(pid))
	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, limit, 5*time.Millisecond)
}

func TestWhyIsTheCauseAndNotItsEcho(t *testing.T) {
	tail := &lineTail{}
	_, err := tail.Write([]byte("2026-01-01T00:00:00.1Z 0 [System] [MY-010116] [Server] starting\n" +
		"2026-01-01T00:00:00.1Z 1 [ERROR] [MY-012592] [InnoDB] Operating system error number 28\n" +
		"2026-01-01T00:00:00.1Z 0 [ERROR] [MY-010020] [Server] Data Dictionary initialization failed.\n" +
		"2026-01-01T00:00:00.1Z 0 [ERROR] [MY-010119] [Server] Abort"))
	require.NoError(t, err)
	tail.flush()
	require.Equal(t, "Operating system error number 28 (MY-012592)", tail.why())
}

func TestScrubTakesThePasswordOut(t *testing.T) {
	require.EqualError(t, scrub(errors.New("near 'pa55' at"), "pa55"), "near '***' at")
	plain := errors.New("plain")
	require.Same(t, plain, scrub(plain, "pa55"))
	require.NoError(t, scrub(nil, "pa55"))
}
