package bench

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStays_gives_up_when_another_server_is_the_primary(t *testing.T) {
	b := newBoard()
	b.show("a")
	f := &fleet{find: b, ctx: t.Context()}
	var c conn
	ctx := f.stays("a", &c)
	require.Equal(t, ctx, f.stays("a", &c), "one for the connection")
	b.show("")
	b.show("a")
	require.NoError(t, ctx.Err())
	b.show("b")
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("it waits for a server that is the primary no more")
	}
	c.close()
	other := f.stays("b", &c)
	require.NoError(t, other.Err(), "the next connection begins anew")
	c.close()
	require.ErrorIs(t, other.Err(), context.Canceled)
}
