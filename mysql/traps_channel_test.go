package mysql

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Trap 27: RESET REPLICA ALL that is ended in the middle leaves no channel at all, and from then on mysqld refuses every
// statement about one (1794), another RESET REPLICA ALL too, until it is started anew. Seen with the first look at a new copy,
// which was given up after 0.6 s.
func TestTrap27(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := within(t, 5*time.Minute) // it takes 10 to 20 s
	f.applies(p.st().Executed)
	var err error
	tries := 0
	for ; err == nil; tries++ { // the moment is short
		require.NoError(t, f.StopReplica(ctx))
		reset, cerr := f.db.Conn(ctx)
		require.NoError(t, cerr)
		var id int64
		require.NoError(t, reset.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id))
		done := make(chan error, 1)
		go func() { _, err := reset.ExecContext(ctx, "RESET REPLICA ALL FOR CHANNEL ''"); done <- err }()
		time.Sleep(time.Duration(tries%80) * 100 * time.Microsecond) // where it is hit is the experiment
		f.exec(fmt.Sprintf("KILL %d", id))
		<-done                                   // killed, or finished before
		require.Error(t, reset.PingContext(ctx)) // it is gone in any case
		reset.Close()
		err = f.Follow(ctx, p.source(f, true))
	}
	t.Logf("hit at the %d. time: %v", tries, err)
	require.ErrorIs(t, err, ErrNoReplication)
	require.Nil(t, f.st().Replica, "the status shows no channel")
	require.ErrorIs(t, f.Follow(ctx, p.source(f, true)), ErrNoReplication)
	f.restart(func() {})
	require.NoError(t, f.Follow(ctx, p.source(f, true)))
	f.until("it follows", func(st Status) bool { return st.Replica != nil && st.Replica.Receiver == On })
}
