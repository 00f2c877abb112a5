package mysql

import (
	"context"
	"net"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mysqldPid finds the server process of a node.
func (n *opsNode) mysqldPid() int {
	n.t.Helper()
	pid, err := strconv.Atoi(readTrimmed(n.t, n.cfg.Dir+"/run/mysqld.pid"))
	require.NoError(n.t, err)
	return pid
}

// freeze stops the whole server where it stands, until the returned function is called or the test ends.
func (n *opsNode) freeze() (thaw func()) {
	n.t.Helper()
	pid := n.mysqldPid()
	require.NoError(n.t, syscall.Kill(pid, syscall.SIGSTOP))
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	n.t.Cleanup(thaw)
	return thaw
}

// Trap 10: by default a receiver takes a silent source for a living one for a minute, waits a minute before it connects
// again, and gives up for good after ten attempts.
func TestTrap10_a_receiver_notices_a_frozen_source_and_never_gives_up(t *testing.T) {
	t.Parallel()
	p, f := opsStart(t, "p"), opsStart(t, "f")
	p.open()
	p.feed(f, true)
	last := f.st().Replica.LastPacket
	f.until("a heartbeat", func(st Status) bool { return st.Replica.LastPacket.After(last) })

	began := time.Now()
	thaw := p.freeze()
	f.until("noticed that the source is frozen", func(st Status) bool { return st.Replica.Receiver == Connecting })
	require.Less(t, time.Since(began), 30*time.Second, "the default is a minute")
	thaw()
	began = time.Now()
	f.until("connected again", func(st Status) bool { return st.Replica.Receiver == On })
	require.Less(t, time.Since(began), 30*time.Second, "the default is a minute")

	p.stop()
	attempts := regexp.MustCompile(`attempt (\d+)/`)
	f.until("more attempts than the default allows", func(st Status) bool {
		require.NotEqual(t, Off, st.Replica.Receiver, "it gave up: %s", st.Replica.IOError)
		m := attempts.FindStringSubmatch(st.Replica.IOError)
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		return n > 10
	})
}

// Trap 11: stopping a receiver that is in the middle of connecting to a frozen host takes two seconds, one with an
// established connection some milliseconds. The receiver must not have given its connection up when the lease of a frozen
// primary is over and SEAL comes: ReplNetTimeout is above that (see mysqlConfig in the agent). And however long it takes,
// StopReceiver returns only when the receiver is off.
func TestTrap11_a_receiver_is_still_connected_when_the_lease_of_a_frozen_source_is_over(t *testing.T) {
	t.Parallel()
	p, f := opsPair(t, true)
	const lease = 3 * time.Second // the default C; procConfig has ReplNetTimeout's default of 5 s
	sealed := false
	last := f.st().Replica.LastPacket
	f.until("a heartbeat", func(st Status) bool { return st.Replica.LastPacket.After(last) })
	for range 5 { // a machine that is starved for two seconds in between proves nothing
		thaw := p.freeze()
		f.until("the lease is over", func(st Status) bool { return st.At.Sub(st.Replica.LastPacket) > lease })
		st := f.st()
		if starved := st.At.Sub(st.Replica.LastPacket) > lease+time.Second; !starved {
			require.Equal(t, On, st.Replica.Receiver, "%s after the last packet", st.At.Sub(st.Replica.LastPacket))
			f.ok(f.StopReceiver)
			require.Equal(t, Off, f.st().Replica.Receiver)
			sealed = true
		}
		thaw()
		if sealed {
			break
		}
		f.until("connected again", func(st Status) bool { return st.Replica.Receiver == On })
	}
	require.True(t, sealed, "the machine is too busy to show it")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes the connection and says nothing, like a frozen host
	require.NoError(t, err)
	defer silent.Close()
	elsewhere := p.source(f, true)
	elsewhere.Port = silent.Addr().(*net.TCPAddr).Port
	f.ok(func(ctx context.Context) error { return f.Follow(ctx, elsewhere) })
	taken, err := silent.Accept()
	require.NoError(t, err)
	defer taken.Close()
	require.Equal(t, Connecting, f.st().Replica.Receiver)
	f.ok(f.StopReceiver)
	require.Equal(t, Off, f.st().Replica.Receiver, "confirmed, not assumed")
}

// Trap 13: an account with caching_sha2_password cannot log in over plain TCP as long as the server has not cached it,
// which it has not after every start and every FLUSH PRIVILEGES. Receivers ask for TLS, or for the server's key.
func TestTrap13_a_receiver_logs_in_with_a_cold_cache(t *testing.T) {
	p, f := opsPair(t, true)
	require.Equal(t, "caching_sha2_password", p.value("SELECT plugin FROM mysql.user WHERE user = '"+procCreds.Node("f")+"'"))
	f.ok(f.StopReceiver)
	p.exec("SET sql_log_bin=0; FLUSH PRIVILEGES; SET sql_log_bin=1")
	f.ok(func(ctx context.Context) error { return f.Follow(ctx, p.source(f, true)) })
	f.until("connected", func(st Status) bool {
		require.NotEqual(t, 2061, st.Replica.IOErrno, st.Replica.IOError)
		return st.Replica.Receiver == On
	})
	p.exec("INSERT INTO t.t VALUES (1, 'acknowledged')")
}
