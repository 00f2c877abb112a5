package bench

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crowd are the requests of many clusters to one Consul, made by tools/consulload in a process of its own.
type crowd struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	ready bool
	sum   crowdLine
}

// crowdLine is what tools/consulload prints, or several such lines together.
type crowdLine struct {
	Up     int       `json:"up"`
	Ready  bool      `json:"ready"`
	Failed int       `json:"failed"`
	Lost   int       `json:"lost"`
	Beats  []float64 `json:"beats"`
}

// buildCrowd compiles the load generator.
func buildCrowd(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "consulload")
	cmd := exec.Command("go", "build", "-o", bin, "./tools/consulload")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	return bin
}

// newCrowd starts so many clusters of three nodes.
func newCrowd(t testing.TB, bin, consul string, clusters int) *crowd {
	t.Helper()
	c := &crowd{t: t, cmd: exec.Command(bin, "-consul", consul, "-clusters", strconv.Itoa(clusters)), done: make(chan struct{})}
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var l crowdLine
			if json.Unmarshal(lines.Bytes(), &l) == nil {
				c.add(l)
			}
		}
	}()
	t.Cleanup(c.end)
	return c
}

func (c *crowd) add(l crowdLine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = l.Ready
	c.sum.Up = l.Up
	c.sum.Failed += l.Failed
	c.sum.Lost += l.Lost
	c.sum.Beats = append(c.sum.Beats, l.Beats...)
}

// take is what happened since it was called last.
func (c *crowd) take() crowdLine {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := c.sum
	c.sum = crowdLine{Up: sum.Up}
	return sum
}

// await waits until every node has a session; false: not within limit.
func (c *crowd) await(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		c.mu.Lock()
		ready := c.ready
		c.mu.Unlock()
		if ready {
			return true
		}
	}
	return false
}

// end stops the load. It may be called twice.
func (c *crowd) end() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	_ = c.cmd.Wait()
	c.cmd = nil
}
