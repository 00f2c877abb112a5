package agent

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/recovery"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// watched counts how often parts are read, and calls then before one of them is.
type watched struct {
	snapshot.Store
	part string
	then func()
	mu   sync.Mutex
	read map[string]int
}

func (w *watched) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if strings.Contains(key, "/part-") {
		w.mu.Lock()
		w.read[key]++
		w.mu.Unlock()
		if key == w.part && w.then != nil {
			w.then()
			<-ctx.Done() // nothing more comes of this process
		}
	}
	return w.Store.Get(ctx, key)
}

// TestRestoreGoesOn: what an agent had restored when it was killed, the next one does not fetch again; and nothing of it
// stays when this node's data comes from somewhere else.
func TestRestoreGoesOn(t *testing.T) {
	lab := newTrapLab(t)
	p := lab.start(t, "p")
	p.serve()
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	s := store(t)
	m, err := snapshot.Create(t.Context(), s, p.srv, snapshot.CreateOptions{Cluster: "main", ClusterID: "id", Node: "p", MySQLVersion: "9",
		ScratchDir: filepath.Join(p.mycfg.Dir, "snapshot.tmp"), PartBytes: 4 << 20})
	require.NoError(t, err)
	p.die()
	middle := len(m.Parts) / 2
	for name, restore := range map[string]func(n *trapNode, ctx context.Context) error{
		"into a cluster": func(n *trapNode, ctx context.Context) error {
			return n.tryRestore(ctx, m, "id", gtid.Set{}, m.GTIDLower, func(string) {})
		},
		"a new cluster": func(n *trapNode, ctx context.Context) error {
			_, err := n.recovered(ctx, func(string) {})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := lab.node(t, "n-"+strings.ReplaceAll(name, " ", "-"), "")
			n.disk.s.HasData = false
			ctx, cancel := context.WithCancel(n.ctx())
			defer cancel()
			w := &watched{Store: s, part: m.Parts[middle].Key, read: map[string]int{}}
			// It is asked for while those in front of it are still being unpacked; the process ends when some of them are.
			w.then = func() { await(t, n.unpacked); cancel() }
			n.Snapshots = w
			require.ErrorIs(t, restore(n, ctx), context.Canceled)
			begun := func() bool { return snapshot.Begun(n.restoreDir()) || recovery.Begun(n.restoreDir()) }
			require.True(t, begun())
			n.clearScratch() // the next agent starts
			require.True(t, begun())

			w.then = nil
			w.read = map[string]int{}
			require.NoError(t, restore(n, n.ctx()))
			require.Zero(t, w.read[m.Parts[0].Key], "it was there")
			require.Equal(t, 1, w.read[m.Parts[len(m.Parts)-1].Key])
			require.False(t, begun())

			require.NoError(t, os.RemoveAll(n.restoreDir()))
			require.NoError(t, os.RemoveAll(n.mycfg.DataDir()))
			ctx, cancel = context.WithCancel(n.ctx())
			w.then = func() { await(t, n.unpacked); cancel() }
			require.Error(t, restore(n, ctx))
			require.True(t, begun())
			n.disk.s.HasData = true
			n.clearScratch()
			require.False(t, begun(), "this node has data")
		})
	}
}

// await waits for a condition.
func await(t *testing.T, cond func() bool) {
	for end := time.Now().Add(trapLimit); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Error("it does not come")
			return
		}
	}
}

// unpacked tells whether some part of a snapshot is.
func (n *trapNode) unpacked() bool {
	names, _ := filepath.Glob(filepath.Join(n.mycfg.Dir, "restore.tmp*", "journal"))
	more, _ := filepath.Glob(filepath.Join(n.mycfg.Dir, "restore.tmp*", "*", "journal"))
	for _, name := range append(names, more...) {
		if b, err := os.ReadFile(name); err == nil && bytes.Count(b, []byte("\n")) > 1 {
			return true
		}
	}
	return false
}
