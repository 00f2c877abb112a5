package bench

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// byHand are three bare semi-synchronous servers and a script that knows everything at once: it is told of a fault as soon
// as it has happened, and clients are told of the new primary in the same instant. The floor, not something to run.
type byHand struct {
	t       testing.TB
	all     []*bare
	primary *bare
	board   *board
	fleet   *fleet
}

func newByHand(t testing.TB, writers int) *byHand {
	h := &byHand{t: t, all: semiSyncSet(t, appliersOfOurs()...), board: newBoard()}
	h.primary = h.all[0]
	h.board.show(h.primary.addr())
	h.fleet = start(h.board, openBare, writers)
	t.Cleanup(h.fleet.stop)
	require.NoError(t, h.fleet.settle(time.Now(), time.Minute))
	return h
}

// appliersOfOurs are the options with which our replicas apply.
func appliersOfOurs() []string {
	args := []string{"--replica-parallel-workers=16"}
	if runtime.GOMAXPROCS(0) <= 4 {
		args = append(args, "--binlog-transaction-dependency-history-size=16")
	}
	return args
}

// others are the servers that follow.
func (h *byHand) others() (out []*bare) {
	for _, b := range h.all {
		if b != h.primary {
			out = append(out, b)
		}
	}
	return out
}

// calm makes the next round like the first, as stand.calm does.
func (h *byHand) calm() {
	h.fleet.pause()
	for _, b := range h.others() {
		b.await("SELECT SERVICE_STATE='ON' FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME=''")
	}
	h.primary.await("SELECT VARIABLE_VALUE>=2 FROM performance_schema.global_status WHERE VARIABLE_NAME='Rpl_semi_sync_source_clients'")
	same(h.primary, h.all)
	again(h.t, h.fleet)
}

// same waits until all have executed what the primary has. Nobody writes meanwhile.
func same(primary *bare, all []*bare) {
	for _, b := range all {
		b.await(fmt.Sprintf("SELECT GTID_SUBSET('%s', @@GLOBAL.gtid_executed)", primary.value("SELECT @@GLOBAL.gtid_executed")))
	}
}

const received = "SELECT CONCAT(@@GLOBAL.gtid_executed, IF(@@GLOBAL.gtid_executed='', '', ','), RECEIVED_TRANSACTION_SET) " +
	"FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME=''"

// failover kills the primary and promotes who has received the most.
func (h *byHand) failover() {
	old, others := h.primary, h.others()
	h.board.show("")
	old.signal(syscall.SIGKILL)
	<-old.exited
	h.each(others, func(b *bare) error { return b.try("STOP REPLICA IO_THREAD") })
	next, rest := others[0], others[1]
	has := [2]string{next.value(received), rest.value(received)}
	if next.value(fmt.Sprintf("SELECT GTID_SUBSET('%s', '%s')", has[1], has[0])) != "1" {
		next, rest, has[0] = rest, next, has[1]
	}
	require.Equal(h.t, "0", next.value(fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 60)", has[0])))
	next.do("STOP REPLICA", "RESET REPLICA ALL", sourceOn, "SET GLOBAL read_only=OFF")
	h.primary = next
	h.board.show(next.addr())
	rest.do("STOP REPLICA")
	rest.follow(next)
	old.start()
	old.ready()
	old.do("SET GLOBAL super_read_only=ON")
	// What it had committed and nobody received must go; a script would rebuild it.
	if old.value(fmt.Sprintf("SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, '%s')", next.value("SELECT @@GLOBAL.gtid_executed"))) != "1" {
		old.cloneFrom(next)
	}
	old.follow(next)
}

// cloneFrom replaces a server's data by another's.
func (b *bare) cloneFrom(donor *bare) {
	b.do("SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
	for _, s := range []*bare{b, donor} { // one that has been rebuilt has it already
		if s.value("SELECT COUNT(*) FROM information_schema.plugins WHERE PLUGIN_NAME='clone'") == "0" {
			s.do("SET SESSION sql_log_bin=0", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", "SET SESSION sql_log_bin=1")
		}
	}
	b.do(fmt.Sprintf("SET GLOBAL clone_valid_donor_list='%s'", donor.addr()))
	_ = b.try(fmt.Sprintf("CLONE INSTANCE FROM '%s'@'127.0.0.1':%d IDENTIFIED BY '%s'", replUser, donor.port, replPassword)) // ends the server
	select {
	case <-b.exited:
	case <-time.After(time.Minute):
	}
	b.kill()
	b.start()
	b.ready()
	b.do("SET GLOBAL super_read_only=ON", "RESET REPLICA ALL")
}

// switchover hands over; with prepared the third server receives from the candidate beforehand.
func (h *byHand) switchover(prepared bool) {
	old, next, rest := h.primary, h.others()[0], h.others()[1]
	if prepared {
		rest.do("STOP REPLICA")
		rest.follow(next)
		rest.await("SELECT SERVICE_STATE='ON' FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME=''")
	}
	old.do("SET GLOBAL super_read_only=ON")
	h.board.show("")
	executed := old.value("SELECT @@GLOBAL.gtid_executed")
	require.Equal(h.t, "0", next.value(fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 60)", executed)))
	if !prepared {
		next.do("STOP REPLICA", "RESET REPLICA ALL")
	}
	next.do(sourceOn, "SET GLOBAL read_only=OFF")
	h.primary = next
	h.board.show(next.addr())
	if !prepared {
		rest.do("STOP REPLICA")
		rest.follow(next)
	} else {
		next.do("STOP REPLICA", "RESET REPLICA ALL")
	}
	old.do("SET GLOBAL rpl_semi_sync_source_enabled=OFF")
	old.follow(next)
}

func (h *byHand) each(servers []*bare, do func(*bare) error) {
	var all errgroup.Group
	for _, b := range servers {
		all.Go(func() error { return do(b) })
	}
	require.NoError(h.t, all.Wait())
}

func (h *byHand) check(r *result, what string) {
	h.fleet.stop()
	checkBooks(h.t, r, what, h.fleet, h.all, h.primary.value("SELECT @@GLOBAL.gtid_executed"))
}

// checkBooks compares the clients' books with every server once it has executed everything.
func checkBooks(t testing.TB, r *result, what string, f *fleet, all []*bare, executed string) {
	lost := 0
	for _, b := range all {
		b.await(fmt.Sprintf("SELECT GTID_SUBSET('%s', @@GLOBAL.gtid_executed)", executed))
		missing, err := f.lost(b.addr())
		require.NoError(t, err)
		lost += missing
	}
	acked, failed := f.count()
	r.note("%s: %d writes acknowledged, %d got an error, %d acknowledged ones lost", what, acked, failed, lost)
}

// floor measures the hand-written script with the same clients.
func floor(writers, count int) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		h := newByHand(t, writers)
		for _, kind := range []struct {
			name string
			do   func()
		}{
			{"switchover, nothing prepared", func() { h.switchover(false) }},
			{"switchover, everything prepared", func() { h.switchover(true) }},
			{"mysqld killed, detection free", h.failover},
		} {
			for range rounds(count) {
				h.calm()
				began := time.Now()
				kind.do()
				require.NoError(t, h.fleet.settle(time.Now(), time.Minute))
				r.gaps(t, kind.name, h.fleet.longest(began))
			}
		}
		h.check(r, "by hand")
	}
}

// gaps adds a gap of others than us.
func (r *result) gaps(t *testing.T, name string, g gap) {
	t.Helper()
	r.of(name+", on the servers", "ms").took(g.Servers)
	r.of(name+", at clients", "ms").took(g.Client)
	t.Logf("%s: on the servers %.1f ms, at clients %.1f ms", name, ms(g.Servers), ms(g.Client))
}

// group is MySQL Group Replication, single primary, on the same mysqld.
type group struct {
	t     testing.TB
	all   []*bare
	fleet *fleet
	end   context.CancelFunc
}

func newGroup(t testing.TB, tuned bool, writers int) *group {
	args := []string{"--plugin-load-add=group_replication.so", "--replica-parallel-workers=16",
		"--loose-group-replication-group-name=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "--loose-group-replication-start-on-boot=OFF",
		"--loose-group-replication-bootstrap-group=OFF", "--loose-group-replication-recovery-get-public-key=ON",
		"--loose-group-replication-ip-allowlist=127.0.0.1", "--loose-group-replication-communication-stack=MYSQL",
		"--loose-group-replication-recovery-use-ssl=ON", "--loose-group-replication-ssl-mode=REQUIRED"}
	if tuned {
		args = append(args, "--loose-group-replication-member-expel-timeout=0", "--loose-group-replication-unreachable-majority-timeout=2")
	}
	g := &group{t: t, all: bareServers(t, 3, args...)}
	seeds := ""
	for i, b := range g.all {
		if i > 0 {
			seeds += ","
		}
		seeds += b.addr()
	}
	for i, b := range g.all {
		b.do("RESET BINARY LOGS AND GTIDS", "SET GLOBAL group_replication_group_seeds='"+seeds+"'",
			"SET GLOBAL group_replication_local_address='"+b.addr()+"'",
			fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_USER='%s', SOURCE_PASSWORD='%s' FOR CHANNEL 'group_replication_recovery'", replUser, replPassword))
		if i == 0 {
			b.do("SET GLOBAL group_replication_bootstrap_group=ON", "START GROUP_REPLICATION", "SET GLOBAL group_replication_bootstrap_group=OFF")
		} else {
			b.do("START GROUP_REPLICATION")
		}
	}
	g.whole()
	ctx, cancel := context.WithCancel(context.Background())
	g.end = cancel
	var pools []*sql.DB
	var addrs []string
	for _, b := range g.all {
		db, err := openBare(b.addr())
		require.NoError(t, err)
		db.SetMaxOpenConns(2)
		pools, addrs = append(pools, db), append(addrs, b.addr())
		t.Cleanup(func() { db.Close() })
	}
	g.fleet = start(polled(ctx, addrs, func(ctx context.Context, i int) bool { return isGroupPrimary(ctx, pools[i]) }), openBare, writers)
	t.Cleanup(func() { g.fleet.stop(); cancel() })
	require.NoError(t, g.fleet.settle(time.Now(), time.Minute))
	return g
}

// askTimeout is how long a client waits for one member. An answer takes less than a millisecond; one that was asked in the middle of a
// change may never answer.
const askTimeout = 50 * time.Millisecond

// isGroupPrimary reports whether a member says that it is the primary itself.
func isGroupPrimary(ctx context.Context, db *sql.DB) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var n int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.replication_group_members "+
		"WHERE MEMBER_ROLE='PRIMARY' AND MEMBER_STATE='ONLINE' AND MEMBER_ID=@@server_uuid").Scan(&n)
	return err == nil && n == 1
}

func (g *group) whole() {
	for _, b := range g.all {
		b.await("SELECT COUNT(*)=3 FROM performance_schema.replication_group_members WHERE MEMBER_STATE='ONLINE'")
	}
}

// calm makes the next round like the first, as stand.calm does, and tells who is the primary.
func (g *group) calm() *bare {
	g.fleet.pause()
	g.whole()
	p := g.primary()
	require.NotNil(g.t, p)
	same(p, g.all)
	again(g.t, g.fleet)
	return p
}

func (g *group) primary() *bare {
	for _, b := range g.all {
		if b.value("SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE MEMBER_ROLE='PRIMARY' AND MEMBER_ID=@@server_uuid AND MEMBER_STATE='ONLINE'") == "1" {
			return b
		}
	}
	return nil
}

// groups measures Group Replication under the same faults.
func groups(tuned bool) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		g := newGroup(t, tuned, 8)
		measure := func(name string, do func(p *bare), repair func(p *bare)) {
			p := g.calm()
			began := time.Now()
			do(p)
			require.NoError(t, g.fleet.settle(time.Now().Add(100*time.Millisecond), 2*time.Minute))
			r.gaps(t, name, g.fleet.longest(began))
			if repair != nil {
				repair(p)
			}
		}
		back := func(p *bare) {
			p.start()
			p.ready()
			seeds := ""
			for i, b := range g.all {
				if i > 0 {
					seeds += ","
				}
				seeds += b.addr()
			}
			p.do("SET GLOBAL group_replication_group_seeds='"+seeds+"'", "SET GLOBAL group_replication_local_address='"+p.addr()+"'", "START GROUP_REPLICATION")
		}
		for range rounds(8) {
			measure("switchover", func(p *bare) {
				for _, b := range g.all {
					if b != p {
						p.do("SELECT group_replication_set_as_primary('" + b.value("SELECT @@server_uuid") + "')")
						return
					}
				}
			}, nil)
		}
		for range rounds(4) {
			measure("mysqld killed", func(p *bare) { p.kill() }, back)
		}
		for range rounds(3) {
			measure("node frozen", func(p *bare) { p.signal(syscall.SIGSTOP) }, func(p *bare) {
				p.kill()
				back(p)
			})
		}
		g.whole()
		g.fleet.stop()
		checkBooks(t, r, "Group Replication", g.fleet, g.all, g.primary().value("SELECT @@GLOBAL.gtid_executed"))
	}
}
