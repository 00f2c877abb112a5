package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestStandbyThatCannotFollow: a mysqld whose RESET REPLICA ALL was ended in the middle follows nobody any more (trap 27).
// It is started anew, and the node is a standby again.
func TestStandbyThatCannotFollow(t *testing.T) {
	c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "1s"})
	before := c.WaitWhole(3)
	w := load.Start(t, c)
	name := before.Others()[0].Name
	db := c.RootDB(name)
	defer db.Close()
	broken := false
	for i, end := 0, time.Now().Add(3*time.Minute); !broken; i++ { // the moment is short
		require.True(t, time.Now().Before(end), "never hit in %d tries", i)
		reset, err := db.Conn(t.Context())
		require.NoError(t, err)
		var id int64
		require.NoError(t, reset.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
		done := make(chan struct{})
		go func() {
			_, _ = reset.ExecContext(t.Context(), "STOP REPLICA")
			_, _ = reset.ExecContext(t.Context(), "RESET REPLICA ALL FOR CHANNEL ''")
			close(done)
		}()
		time.Sleep(time.Duration(i%160) * 100 * time.Microsecond) // where it is hit is the experiment
		_, _ = db.ExecContext(t.Context(), fmt.Sprintf("KILL %d", id))
		<-done
		reset.Close()
		_, err = db.ExecContext(t.Context(), "RESET REPLICA ALL FOR CHANNEL ''")
		broken = err != nil && strings.Contains(err.Error(), "1794") // anything else: the agent was quicker
		if broken {
			t.Logf("after %d tries: %v", i+1, err)
		}
	}
	pid := before.Node(name).Pids.Mysqld
	waitFor(t, "mysqld is started anew", func() bool { now := c.Doc().Node(name).Pids.Mysqld; return now != 0 && now != pid })
	d := c.WaitWhole(3)
	require.Equal(t, before.Primary, d.Primary)
	require.Equal(t, before.Term, d.Term)
	w.Verify(c)
	c.Down()
}
