package netns

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func start(t *testing.T) *Net {
	t.Helper()
	n, err := New(t.TempDir())
	if errors.Is(err, ErrNotPermitted) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, n.Close())
		require.Empty(t, n.Left())
	})
	return n
}

// TestLinksAreCut: two hosts talk, are cut in one direction, and talk again.
func TestLinksAreCut(t *testing.T) {
	n := start(t)
	a, err := n.Host("a", 11)
	require.NoError(t, err)
	b, err := n.Host("b", 12)
	require.NoError(t, err)
	serve := exec.Command("ip", b.Command("sh", "-c", "while :; do sleep 1000; done")[1:]...)
	require.NoError(t, serve.Start())
	defer func() { _ = serve.Process.Kill(); _ = serve.Wait() }()

	// Nobody listens: a refusal is an answer, silence is not.
	answers := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		c, err := a.DialContext(ctx, "tcp", net.JoinHostPort(b.Addr, "7"))
		if c != nil {
			_ = c.Close()
		}
		return err == nil || strings.Contains(err.Error(), "refused")
	}
	await := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool { return answers() == want }, 30*time.Second, 20*time.Millisecond)
	}
	await(true)
	require.NoError(t, b.Drop("x", Rule{In: true, Peers: []string{a.Addr}}))
	await(false)
	require.NoError(t, b.Drop("y", Rule{Out: true}))
	require.NoError(t, b.Undo("x"))
	require.False(t, answers(), "the other rule is still in force")
	require.NoError(t, b.Undo("y"))
	await(true)
	how, err := a.Slow()
	require.NoError(t, err)
	t.Log(how)
	require.NoError(t, a.Fast())
	require.NoError(t, a.Fast())

	pids, err := b.Pids()
	require.NoError(t, err)
	require.NotEmpty(t, pids)
}

// TestJanitor: the namespaces of a test that died are cleared away, with everything in them.
func TestJanitor(t *testing.T) {
	n := start(t)
	h, err := n.Host("a", 11)
	require.NoError(t, err)
	argv := h.Command("sleep", "1000")
	left := exec.Command(argv[0], argv[1:]...)
	require.NoError(t, left.Start())
	dead := make(chan error, 1)
	go func() { dead <- left.Wait() }()
	require.NoError(t, n.alive.Close()) // what our death does
	n.alive = io.NopCloser(nil)
	select {
	case <-dead:
	case <-time.After(30 * time.Second):
		t.Fatal("the process lives on")
	}
	require.Eventually(t, func() bool { return len(n.Left()) == 0 }, 30*time.Second, 20*time.Millisecond)
}
