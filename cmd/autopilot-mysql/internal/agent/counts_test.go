package agent

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// counted is a store, a session, and what was asked of both and of a server, in order.
type counted struct {
	election.Store
	election.Session

	mu  sync.Mutex
	all []string
}

func (c *counted) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.all); n == 0 || c.all[n-1] != what { // a look that has to be repeated on a slow machine is one look
		c.all = append(c.all, what)
	}
}

func (c *counted) Read(ctx context.Context, prefix string, consistent bool) (election.View, error) {
	c.note("consul: read")
	return c.Store.Read(ctx, prefix, consistent)
}

func (c *counted) Txn(ctx context.Context, ops ...election.Op) (bool, string, error) {
	c.note("consul: transaction")
	return c.Store.Txn(ctx, ops...)
}

func (c *counted) Acquire(ctx context.Context, key string, value []byte) (bool, error) {
	c.note("consul: acquire")
	return c.Session.Acquire(ctx, key, value)
}

func (c *counted) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// TestRoundTrips counts what stands between a free lock and an open primary, and between an offer and one: every request to
// Consul and every round trip to mysqld. They are the time a failover takes, and unlike it the same on every machine.
func TestRoundTrips(t *testing.T) {
	lab := newTrapLab(t)
	t.Run("failover", func(t *testing.T) { countFailover(t, lab) })
	t.Run("hand-over", func(t *testing.T) { countHandover(t, lab) })
	t.Run("follower", func(t *testing.T) { countFollower(t, lab) })
}

// pair is an open primary p and its standby f, with their records in a store; held is the session that has the lock.
func pair(t *testing.T, lab *trapLab) (p, f *trapNode, m *election.Memory, held election.Session, c *counted) {
	t.Helper()
	p, f, m = lab.start(t, "p"), lab.start(t, "f"), election.NewMemory()
	p.lead(f)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	f.until("applied", func(st mysql.Status) bool {
		return st.Position().Contains(p.look().Executed) && st.Undrained().IsEmpty()
	})
	me, it := f.disk.inc(), p.disk.inc()
	f.Settings.Acks, f.Settings.DrainTimeout = 1, time.Minute
	var err error
	f.Params, err = election.ParamsFor(30 * time.Second) // nobody renews here
	require.NoError(t, err)
	held = m.Session("p", time.Hour)
	c = &counted{Store: m, Session: m.Session("f", time.Hour)}
	p.ok(held.Open)
	f.ok(c.Session.Open)
	last := roles.Sync{Term: 1, Primary: it, Members: []roles.Inc{it, me}, Acks: 1}
	slices.Sort(last.Members)
	putAll(t, m, election.Set(f.keys.Sync(), cluster.Encode(last)), election.Set(f.keys.Cluster(), cluster.Encode(roles.Cluster{ID: "c", Name: "main"})),
		election.Lock(f.keys.Leader(), held.ID(), []byte(it)),
		election.Lock(f.keys.Node(it), held.ID(), cluster.Encode(p.tells(nil))),
		election.Lock(f.keys.Node(me), c.Session.ID(), cluster.Encode(roles.Node{Inc: me, Name: "f", State: roles.Standby, Armed: true})))
	f.disk.s.Promised, f.disk.s.LastSync = 1, last
	f.Store, f.Session = c, c
	f.watch = &watch{store: c, keys: f.keys, wake: func() {}, now: election.Boottime}
	f.keeper = &keeper{session: c, params: f.Params, key: f.keys.Leader(), guard: f.Guard, now: election.Boottime, wake: func() {}, log: f.Log}
	f.catalog = newCatalog(nil, f.Params, f.Settings, f.Log)
	f.record = &record{store: c, session: c, keys: f.keys, kick: make(chan struct{}, 1)}
	f.volume = newVolume(f.Settings.Datadir, func() {})
	f.silent = map[roles.Inc]time.Duration{}
	f.follow = roles.Follow{Primary: it, Term: 1, Armed: true}
	f.srv.Trace(func(op string) { c.note("mysqld: " + op) })
	return p, f, m, held, c
}

func putAll(t *testing.T, m *election.Memory, ops ...election.Op) {
	t.Helper()
	ok, why, err := m.Txn(t.Context(), ops...)
	require.NoError(t, err)
	require.True(t, ok, why)
}

// tells is the record of the open primary n.
func (n *trapNode) tells(h *roles.Handover) roles.Node {
	return roles.Node{Inc: n.disk.inc(), Name: n.Settings.Name, MySQL: net.JoinHostPort("127.0.0.1", strconv.Itoa(n.mycfg.Port)), State: roles.Primary, Open: 1, Handover: h}
}

// becomes lets f turn as its loop does until it is the primary, and returns what it asked meanwhile.
func (n *trapNode) becomes(c *counted, events ...roles.Event) []string {
	n.t.Helper()
	_, err := n.watch.refresh(n.ctx())
	require.NoError(n.t, err)
	for _, e := range events {
		_, err := n.machine.Fire(n.ctx(), e, n.facts(), "the test says so")
		require.NoError(n.t, err)
	}
	c.take()
	for range 20 {
		f := n.facts()
		d := roles.Decide(n.machine.State(), f)
		if d.Event != "" {
			_, err := n.machine.Fire(n.ctx(), d.Event, f, d.Why)
			require.NoError(n.t, err)
		}
		for _, s := range d.Steps {
			require.NoError(n.t, n.perform(n.ctx(), s, f), s.Why)
		}
		if n.machine.State() == roles.Primary {
			return c.take()
		}
	}
	require.Fail(n.t, "it does not become the primary", "%s: %v", n.machine.State(), c.take())
	return nil
}

// facts are what a turn of n sees; the look at mysqld counts like any other.
func (n *trapNode) facts() roles.Facts {
	n.t.Helper()
	st, err := n.seenOrAsked(n.ctx())
	require.NoError(n.t, err)
	n.status = st
	view, _, free, _ := n.watch.current(time.Minute)
	l := n.keeper.state()
	return roles.Facts{
		Self: roles.Self{Inc: n.disk.inc(), Name: n.Settings.Name}, Disk: n.diskFacts(), MySQL: n.render(st), View: view, LeaderFree: free,
		Lease: roles.Lease{Held: l.held, Provable: l.provable, Session: l.session}, Promoted: n.promoted, Follow: n.follow, Ready: n.ready, Throttle: n.throttle,
		Set: roles.Settings{Acks: 1, MaxAckers: 2, C: n.Params.C, H: n.Params.H, Heartbeat: heartbeat},
	}
}

// atMost fails when more was asked than the limits say; mysqld and Consul are counted apart.
func atMost(t *testing.T, asked []string, mysqld, consul int) {
	t.Helper()
	n := map[bool]int{}
	for _, a := range asked {
		n[strings.HasPrefix(a, "mysqld: ")]++
	}
	t.Logf("%d round trips to mysqld, %d requests to Consul:\n%s", n[true], n[false], strings.Join(asked, "\n"))
	require.LessOrEqual(t, n[true], mysqld, "round trips to mysqld between the fault and the opening")
	require.LessOrEqual(t, n[false], consul, "requests to Consul between the fault and the opening")
}

func countFailover(t *testing.T, lab *trapLab) {
	p, f, m, held, c := pair(t, lab)
	p.die()
	m.Expire(held.ID())
	asked := f.becomes(c, roles.NoPrimary)
	atMost(t, asked, 18, 10)
	require.NotContains(t, asked, "mysqld: rotate binary log", "the present one is short")
}

func countHandover(t *testing.T, lab *trapLab) {
	p, f, m, held, c := pair(t, lab)
	history, err := p.srv.EndWrites(p.ctx())
	require.NoError(t, err)
	view, err := f.watch.refresh(t.Context())
	require.NoError(t, err)
	h := &roles.Handover{Seq: 7, To: f.disk.inc(), Term: 1, Offer: &roles.Offer{GTID: history, Ver: view.Sync.Ver, At: time.Now()}}
	putAll(t, m, election.Lock(f.keys.Node(p.disk.inc()), held.ID(), cluster.Encode(p.tells(h))))
	f.ready = h.Seq
	asked := f.becomes(c, roles.PrimaryFound, roles.Admitted)
	atMost(t, asked, 12, 2)
	require.True(t, f.disk.s.Led, "what it alone holds after a crash may be commits of its own term")
	require.Less(t, slices.Index(asked, "mysqld: kill replication streams"), slices.Index(asked, "mysqld: set semi-sync source side"),
		"a stream that ends while the source side is switched on takes up to a second (trap 15)")
}

// countFollower counts what an acker asks once the winner of an election lets it in: the first commit waits for that. What can be
// done before is done while the winner opens.
func countFollower(t *testing.T, lab *trapLab) {
	p, f, m, held, c := pair(t, lab)
	me, it := f.disk.inc(), p.disk.inc()
	m.Expire(held.ID())
	_, err := f.watch.refresh(t.Context())
	require.NoError(t, err)
	_, err = f.machine.Fire(f.ctx(), roles.NoPrimary, f.facts(), "the test says so")
	require.NoError(t, err)
	f.does(roles.SealReceive)
	f.does(roles.PublishSeal)

	view, err := f.watch.refresh(t.Context())
	require.NoError(t, err)
	won := view.Sync
	won.Term = 2
	lock := m.Session("p again", time.Hour)
	p.ok(lock.Open)
	tell := func(admits uint64) {
		n := p.tells(nil)
		n.State, n.Open, n.Admits = roles.Failover, 0, admits
		putAll(t, m, election.Lock(f.keys.Node(it), lock.ID(), cluster.Encode(n)))
		_, err := f.watch.refresh(t.Context())
		require.NoError(t, err)
	}
	putAll(t, m, election.Lock(f.keys.Leader(), lock.ID(), []byte(it)), election.CAS(f.keys.Sync(), won.Ver, cluster.Encode(won)),
		election.Set(f.keys.Seal(it), cluster.Encode(roles.Seal{Promise: 2, Position: p.look().Position()})))
	tell(0)
	f.does(roles.Expect)
	require.Empty(t, roles.Decide(roles.Failover, f.facts()).Steps, "until it is let in")
	require.Equal(t, roles.Follow{Primary: it, Term: 2, Armed: true}, f.follow)
	view, err = f.watch.refresh(t.Context())
	require.NoError(t, err)
	require.Equal(t, it, view.Nodes[me].Follows, "the winner sees it")

	tell(2)
	c.take()
	f.does(roles.FollowOp)
	atMost(t, c.take(), 5, 0)
	f.until("acknowledges", func(st mysql.Status) bool { return st.Replica.Receiver == mysql.On && st.Replica.Armed })
	require.Empty(t, roles.Decide(roles.Failover, f.facts()).Steps)
}

// does looks and decides, which must be this step, and does it.
func (n *trapNode) does(op roles.Op) {
	n.t.Helper()
	f := n.facts()
	d := roles.Decide(n.machine.State(), f)
	require.Len(n.t, d.Steps, 1, "%s %s", d.Event, d.Why)
	require.Equal(n.t, op, d.Steps[0].Op, d.Why)
	require.NoError(n.t, n.perform(n.ctx(), d.Steps[0], f))
}

// Trap 26: a source looks for a receiver's place from the beginning of the file in which that is.
func TestALongBinlogEndsBeforeATerm(t *testing.T) {
	n := newTrapLab(t).start(t, "n")
	n.ok(n.srv.ReadOnlyOff)
	file := func() string {
		end, err := n.srv.EndOfBinlog(n.ctx())
		require.NoError(t, err)
		return end.File
	}
	short := file()
	<-n.beginBinlog(n.ctx())
	require.Equal(t, short, file())
	admin := n.db(trapCreds.Admin(), trapCreds.Password)
	n.exec(admin, "SET GLOBAL max_binlog_size=1073741824")
	n.exec(admin, "CREATE TABLE app.long_ones (x LONGTEXT)")
	for range 3 {
		n.exec(admin, "INSERT INTO app.long_ones VALUES (REPEAT('x', 6 << 20))")
	}
	require.Equal(t, short, file())
	<-n.beginBinlog(n.ctx())
	fresh := file()
	require.NotEqual(t, short, fresh)
	<-n.beginBinlog(n.ctx())
	require.Equal(t, fresh, file())
}
