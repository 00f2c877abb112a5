package mysql

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatus_of_a_started_server_is_closed(t *testing.T) {
	n := opsStart(t, "n")
	st := n.st()
	require.True(t, st.ReadOnly && st.SuperReadOnly && st.OfflineMode)
	require.Nil(t, st.Replica)
	require.True(t, st.Executed.IsEmpty(), st.Executed)
	require.Equal(t, n.value("SELECT @@server_uuid"), st.UUID)
	require.NotEmpty(t, st.Version)
	require.False(t, st.Source.Enabled)
	require.Empty(t, st.DumpUsers)

	n.open()
	st = n.st()
	require.False(t, st.ReadOnly || st.SuperReadOnly || st.OfflineMode)
	n.ok(n.SealStart)
	st = n.st()
	require.True(t, st.ReadOnly && st.SuperReadOnly && st.OfflineMode)
}

func TestFollow_arms_disarms_and_tells_where_it_is(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	p.exec("INSERT INTO t.t VALUES (1, 'a')")
	end, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.Equal(t, p.value("SELECT @@server_uuid"), end.SourceUUID)
	st := f.until("holds the end", func(st Status) bool { return st.Replica.Pos.Covers(end) })
	require.True(t, st.Replica.Received.Contains(p.st().Executed))
	require.Equal(t, 200*time.Millisecond, st.Replica.HeartbeatPeriod)
	require.Equal(t, 0, p.st().Source.Clients, "not armed")
	require.Equal(t, []string{procCreds.Node("f")}, p.st().DumpUsers)

	start := st.Replica.ReceiverStart
	require.NoError(t, f.Follow(ctx, p.source(f, false)))
	require.Equal(t, start, f.st().Replica.ReceiverStart, "following the same again changes nothing")
	last := f.st().Replica.LastPacket
	f.until("a heartbeat", func(st Status) bool { return st.Replica.LastPacket.After(last) })

	require.NoError(t, f.SetArmed(ctx, true))
	st = f.until("armed", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	require.NotEqual(t, start, st.Replica.ReceiverStart)
	p.until("one acker", func(st Status) bool { return st.Source.Clients == 1 })

	f.exec("SET GLOBAL rpl_semi_sync_replica_enabled=OFF")
	require.True(t, f.st().Replica.Armed, "the variable alone does not disarm a running receiver")
	require.NoError(t, f.SetArmed(ctx, false))
	st = f.until("connected again", func(st Status) bool { return st.Replica.Receiver == On })
	require.False(t, st.Replica.Armed)
	p.until("no acker", func(st Status) bool { return st.Source.Clients == 0 })

	require.NoError(t, f.StopReceiver(ctx))
	st = f.st()
	require.Equal(t, Off, st.Replica.Receiver)
	require.Equal(t, On, st.Replica.Applier)
	require.Empty(t, st.Replica.ReceiverStart)
}

// What takes time is done while the source opens; starting the receiver is then one statement and a look.
func TestPoint_leaves_Begin_only_the_start(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	src := p.source(f, true)
	require.NoError(t, f.Point(ctx, src))
	st := f.st()
	require.Equal(t, Off, st.Replica.Receiver)
	require.Equal(t, On, st.Replica.Applier)
	require.True(t, st.Replica.ArmedWanted)
	require.Empty(t, st.Replica.Pos.File, "the file and position of the old source are forgotten")

	var asked []string
	f.Trace(func(op string) { asked = append(asked, op) })
	require.NoError(t, f.Begin(ctx, src, st))
	f.Trace(nil)
	require.LessOrEqual(t, len(asked), 3, asked)
	require.NotContains(t, asked, "change source")
	f.until("connected and armed", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })

	require.NoError(t, f.StopReceiver(ctx))
	other := src
	other.Heartbeat = time.Second
	require.NoError(t, f.Begin(ctx, other, f.st()), "what is not pointed at yet is followed from the beginning")
	f.until("as wanted", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.HeartbeatPeriod == time.Second })

	require.NoError(t, f.StopReplica(ctx))
	require.ErrorContains(t, f.Point(ctx, src), "applier", "with both stopped the relay log would be deleted")
}

// Trap 2: a repoint must keep what was received and not executed.
func TestFollow_repoint_keeps_the_undrained_relay_log(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	release := holdTable(t, f)
	for i := range 5 {
		p.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, 'x')", 100+i))
	}
	all := p.st().Executed
	st := f.until("received", func(st Status) bool { return st.Position().Contains(all) })
	require.EqualValues(t, 5, st.Undrained().Count())

	elsewhere := p.source(f, true)
	elsewhere.Port = procFreePort(t)
	require.NoError(t, f.Follow(ctx, elsewhere))
	st = f.st()
	require.Equal(t, Connecting, st.Replica.Receiver)
	require.Empty(t, st.Replica.Pos.File, "the old source's position must not pass for the new one's")
	require.EqualValues(t, 5, st.Undrained().Count())
	require.True(t, st.Position().Contains(all))
	require.ErrorIs(t, f.ResetReplica(ctx), ErrUndrained)

	release()
	f.ok(f.StartApplier)
	f.ok(f.WaitDrained)
	require.Equal(t, "5", f.value("SELECT COUNT(*) FROM t.t"))
	f.ok(f.ResetReplica)
	require.Nil(t, f.st().Replica)
}

// holdTable makes f's applier wait until the returned function is called.
func holdTable(t testing.TB, f *opsNode) func() {
	t.Helper()
	conn, err := f.db.Conn(procContext(t))
	require.NoError(t, err)
	_, err = conn.ExecContext(procContext(t), "LOCK TABLES t.t READ")
	require.NoError(t, err)
	return func() {
		_, err := conn.ExecContext(procContext(t), "UNLOCK TABLES")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}

// Traps 1, 2 and 11: what an acker received survives kill -9, a repoint right after the restart, and
// a source that accepts connections and says nothing.
func TestFollow_after_a_crash_keeps_what_was_received(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	holdTable(t, f)
	before := f.st().Replica.ReceiverStart
	for i := range 3 {
		p.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, 'acknowledged')", i))
	}
	all := p.st().Executed
	f.stop()
	f.Close()
	f.boot()
	st := f.st()
	require.Equal(t, Off, st.Replica.Receiver)
	require.Equal(t, Off, st.Replica.Applier)
	require.False(t, st.Replica.Armed)
	require.True(t, st.Position().Contains(all), "%s lacks part of %s", st.Position(), all)
	require.EqualValues(t, 3, st.Undrained().Count())
	require.ErrorIs(t, f.WaitDrained(ctx), ErrUndrained, "the applier is off")

	hold, err := f.db.Conn(ctx) // the applier runs and cannot apply
	require.NoError(t, err)
	_, err = hold.ExecContext(ctx, "LOCK TABLES t.t READ")
	require.NoError(t, err)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	elsewhere := p.source(f, true)
	elsewhere.Port = silent.Addr().(*net.TCPAddr).Port
	require.NoError(t, f.Follow(ctx, elsewhere))
	require.NoError(t, f.StopReceiver(ctx))
	st = f.st()
	require.Equal(t, Off, st.Replica.Receiver)
	require.EqualValues(t, 3, st.Undrained().Count())

	require.NoError(t, f.Follow(ctx, p.source(f, true)))
	st = f.until("connected", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	require.NotEqual(t, before, st.Replica.ReceiverStart)
	require.True(t, st.Position().Contains(all))
	_, err = hold.ExecContext(ctx, "UNLOCK TABLES")
	require.NoError(t, err)
	require.NoError(t, hold.Close())
	require.NoError(t, f.WaitDrained(ctx))
	require.Equal(t, "3", f.value("SELECT COUNT(*) FROM t.t"))
}

// Trap 14: the source side switched on at a follower hangs its applier, and nothing else.
func TestStopReplica_unknown_while_the_applier_waits_for_an_ACK(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	require.NoError(t, f.SetSource(ctx, true, 1))
	p.exec("INSERT INTO t.t VALUES (1, 'x')")
	f.until("the applier waits", func(st Status) bool { return st.Source.WaitSessions == 1 })
	var unknown *UnknownError
	require.ErrorAs(t, timesOut(t, f.executes("STOP REPLICA"), f.StopReplica), &unknown)
	f.st()
	require.NoError(t, f.SetSource(ctx, false, 0))
	require.NoError(t, f.StopReplica(ctx))
	require.Equal(t, Off, f.st().Replica.Applier)
}
