package mysql

import (
	"context"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Trap 4: super_read_only hangs behind a commit that waits for its acknowledgement, and a client that is still there when
// the acknowledgement comes is told "committed" by a server that was to be out of service. KILL QUERY does nothing, so
// clients are cut: ordinary ones by offline_mode, those with CONNECTION_ADMIN by KILL CONNECTION.
func TestTrap04_a_fence_cuts_waiting_clients_before_their_acknowledgement_comes(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	require.NoError(t, f.StopReceiver(ctx))
	ordinary := background(t, p.app(), "INSERT INTO t.t VALUES (1, 'ordinary')")
	p.until("a waiter", func(st Status) bool { return st.Source.WaitSessions >= 1 })
	privileged := background(t, p.db, "INSERT INTO t.t VALUES (2, 'with CONNECTION_ADMIN')")
	p.until("both are on their way", func(st Status) bool { return st.Owned.Count() == 2 })

	cut := func() bool { return len(ordinary) == 1 && len(privileged) == 1 }
	err := timesOut(t, cut, func(ctx context.Context) error { _, err := p.Fence(ctx); return err })
	var step *StepError
	require.ErrorAs(t, err, &step, "it cannot complete, and says so")

	require.NoError(t, f.Follow(ctx, p.source(f, true))) // the acknowledgements come after all
	p.until("no waiter", func(st Status) bool { return st.Source.WaitSessions == 0 })
	require.Error(t, <-ordinary, "told that it is committed, by a server that had been fenced")
	require.Error(t, <-privileged, "told that it is committed, by a server that had been fenced")
}

// Trap 6: the source side switched on before there is anybody to acknowledge freezes the server, and with a logged CREATE
// USER nobody could even join any more. Follower first, source side last. That K is raised in this order is decided in
// package roles (TestTrap06 there); an account for the follower can be made even while a commit waits.
func TestTrap06_the_source_side_before_any_replica_freezes_and_a_follower_can_still_join(t *testing.T) {
	p, f := opsStart(t, "p"), opsStart(t, "f")
	p.open()
	ctx := procContext(t)
	require.NoError(t, p.SetSource(ctx, true, 1)) // the wrong order
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (1, 'nobody is there')")
	p.until("frozen", func(st Status) bool { return st.Source.WaitSessions == 1 })
	p.feed(f, true) // makes the account behind the waiter
	require.NoError(t, <-insert, "the first acker frees it")

	require.NoError(t, p.SetSource(ctx, false, 0))
	require.NoError(t, f.StopReceiver(ctx))
	require.NoError(t, f.Follow(ctx, p.source(f, true))) // the right order
	f.until("armed", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	require.NoError(t, p.SetSource(ctx, true, 1))
	p.exec("INSERT INTO t.t VALUES (2, 'acknowledged')")
}

// Traps 14 and 16: a server always starts with the source side off. A former primary that came back with it on would
// apply nothing: its applier would wait for acknowledgements of its own.
func TestTrap14_a_former_primary_starts_with_its_source_side_off(t *testing.T) {
	p, f := opsPair(t, true)
	p.exec("INSERT INTO t.t VALUES (1, 'x')")
	all := p.st().Executed
	f.until("executed", func(st Status) bool { return st.Executed.Contains(all) })
	p.stop()
	p.Close()
	f.ok(f.ResetReplica)
	f.open()
	p.boot()
	require.False(t, p.st().Source.Enabled)
	f.feed(p, true)
	require.NoError(t, f.SetSource(procContext(t), true, 1))
	f.exec("INSERT INTO t.t VALUES (2, 'y')")
	all = f.st().Executed
	p.until("applied", func(st Status) bool {
		require.Zero(t, st.Source.WaitSessions, "the applier waits for an acknowledgement")
		return st.Executed.Contains(all)
	})
	p.ok(p.StopReplica)
}

// Trap 17: an acknowledgement lost with its link is never repeated. The acker is back, holds the transaction, and its
// client waits for ever; the next commit frees it.
func TestTrap17_a_marker_frees_who_waits_for_a_lost_acknowledgement(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	require.NoError(t, p.Marker(ctx), "makes its table")
	require.NoError(t, f.StopReceiver(ctx))
	link := newLink(t, procAddr(p.cfg))
	via := p.source(f, true)
	via.Port = link.port()
	require.NoError(t, f.Follow(ctx, via))
	f.until("connected over the link", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	p.until("an acker", func(st Status) bool { return st.Source.Clients == 1 })
	p.exec("INSERT INTO t.t VALUES (1, 'acknowledged')")

	link.silence()
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (2, 'its acknowledgement is lost')")
	owned := p.waiter().Owned
	start := f.until("the acker has it", func(st Status) bool { return st.Position().Contains(owned) }).Replica.ReceiverStart
	link.cut()
	f.until("noticed", func(st Status) bool { return st.Replica.Receiver != On || st.Replica.ReceiverStart != start })
	f.until("connected again", func(st Status) bool { return st.Replica.Receiver == On && st.Replica.Armed })
	p.until("an acker again", func(st Status) bool { return st.Source.Clients == 1 })
	back := f.st().Replica.LastPacket
	f.until("the source goes on sending", func(st Status) bool { return st.Replica.LastPacket.After(back) })
	require.Equal(t, 1, p.st().Source.WaitSessions, "MySQL repairs it by itself now: the marker is not needed any more")

	require.NoError(t, p.Marker(ctx))
	select {
	case err := <-insert:
		require.NoError(t, err)
	case <-time.After(limit):
		require.Fail(t, "the client still waits")
	}
}

// link is a line to a server that can lose what the other side answers, and stop in the middle of what the server says.
type link struct {
	l    net.Listener
	left atomic.Int64 // bytes that the server's side may still say
	to   string
	mu   sync.Mutex
	mute bool
	now  []net.Conn
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	k := &link{l: l, to: to}
	k.left.Store(math.MaxInt64)
	go k.serve()
	t.Cleanup(k.close)
	return k
}

func (k *link) port() int { return k.l.Addr().(*net.TCPAddr).Port }

func (k *link) serve() {
	for {
		replica, err := k.l.Accept()
		if err != nil {
			return
		}
		source, err := net.Dial("tcp", k.to)
		if err != nil {
			replica.Close()
			continue
		}
		k.mu.Lock()
		k.now = append(k.now, replica, source)
		k.mute = false
		k.mu.Unlock()
		go k.says(replica, source)
		go k.answers(source, replica)
	}
}

// says carries what the server says, as much as is left.
func (k *link) says(replica, source net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := source.Read(buf)
		if err != nil || k.left.Add(-int64(n)) < 0 {
			return
		}
		if _, err := replica.Write(buf[:n]); err != nil {
			return
		}
	}
}

// answers carries what the replica says until it is to be lost.
func (k *link) answers(source, replica net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := replica.Read(buf)
		if err != nil {
			return
		}
		k.mu.Lock()
		mute := k.mute
		k.mu.Unlock()
		if mute {
			continue
		}
		if _, err := source.Write(buf[:n]); err != nil {
			return
		}
	}
}

// silence loses everything the replica answers from now on, until it connects anew.
func (k *link) silence() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mute = true
}

// close breaks every connection and takes no new one.
func (k *link) close() {
	k.l.Close()
	k.cut()
}

func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.now {
		c.Close()
	}
	k.now = nil
}

// Trap 18: a CREATE USER that waits for its acknowledgement blocks every login, that of the acker it waits for too. Ours
// are not logged, so they wait for nobody.
func TestTrap18_an_account_is_made_while_nobody_acknowledges(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	require.NoError(t, f.StopReceiver(ctx))
	insert := background(t, p.app(), "INSERT INTO t.t VALUES (1, 'waits')")
	before := p.waiter()
	end, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)

	require.NoError(t, p.EnsureAccount(ctx, procCreds.Node("g"), false))
	require.NoError(t, TryLogin(ctx, procAddr(p.cfg), procCreds.Node("g"), procCreds.Password, TLS{}), "logins go on")
	now := p.st()
	require.Equal(t, 1, now.Source.WaitSessions)
	require.True(t, now.Owned.Equal(before.Owned), "it is no transaction")
	after, err := p.EndOfBinlog(ctx)
	require.NoError(t, err)
	require.Equal(t, end, after, "nothing was logged")

	require.NoError(t, f.Follow(ctx, p.source(f, true)))
	require.NoError(t, <-insert)
}
