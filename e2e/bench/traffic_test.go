package bench

import (
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTraffic(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("needs the program ss (iproute2); without it steady does not count bytes")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() { // says everything back twice
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1000)
				for {
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					_, _ = c.Write(b)
					_, _ = c.Write(b)
				}
			}()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	speak := func(c net.Conn) {
		_, err := c.Write(make([]byte, 1000))
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 2000))
		require.NoError(t, err)
	}
	old, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer old.Close()
	speak(old) // before the counting
	moved := countTraffic(port, map[int]bool{os.Getpid(): true})
	require.NotNil(t, moved)
	speak(old)
	one, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	speak(one)
	speak(one)
	require.True(t, moved.look())
	require.NoError(t, one.Close())
	sent, received := moved.sum()
	require.InDelta(t, 3000, sent, 10)
	require.InDelta(t, 6000, received, 10)
	nobody := countTraffic(port, map[int]bool{1: true})
	sent, received = nobody.sum()
	require.Zero(t, sent+received)
}
