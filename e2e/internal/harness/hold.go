package harness

import (
	"context"

	"github.com/stretchr/testify/require"
)

// Hold runs a statement as root in a session of its own that stays open, with whatever it locks, until the returned
// function is called, the server ends, or the test does.
func (c *Cluster) Hold(node, statement string) (release func()) {
	c.t.Helper()
	db := c.root(node)
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	conn, err := db.Conn(ctx)
	require.NoError(c.t, err)
	_, err = conn.ExecContext(ctx, statement)
	require.NoErrorf(c.t, err, "%s: %s", node, statement)
	release = func() {
		_ = conn.Close() // of a server that may be gone by now
		_ = db.Close()
	}
	c.t.Cleanup(release)
	return release
}
