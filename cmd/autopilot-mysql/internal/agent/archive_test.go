package agent

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/recovery"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// ailing is a store that can be away, can lose its answers, and can take for ever to remove something, or fail to read one object, so many times.
type ailing struct {
	snapshot.Store
	away, mute, slow atomic.Bool
	removing         atomic.Int32 // how many removals hang
	unread           atomic.Pointer[string]
	refused          atomic.Int32 // how often reading that one has failed
}

// refusals are more than the attempts that are made without patience.
const refusals = 5

var errAway = errors.New("the store is away")

func (s *ailing) Put(ctx context.Context, key string, r io.Reader) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Put(ctx, key, r)
}

func (s *ailing) PutNew(ctx context.Context, key string, data []byte) error {
	if s.away.Load() {
		return errAway
	}
	err := s.Store.PutNew(ctx, key, data)
	if s.mute.Swap(false) {
		return errors.New("the answer got lost")
	}
	return err
}

func (s *ailing) List(ctx context.Context, prefix string) ([]snapshot.Object, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.Store.List(ctx, prefix)
}

func (s *ailing) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if unread := s.unread.Load(); unread != nil && *unread == key {
		if s.refused.Add(1) == refusals {
			s.unread.Store(nil)
		}
		return nil, 0, errAway
	}
	return s.Store.Get(ctx, key)
}

func (s *ailing) Delete(ctx context.Context, key string) error {
	if s.slow.Load() {
		s.removing.Add(1)
		defer s.removing.Add(-1)
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.Delete(ctx, key)
}

// archived is a node that archives as the primary of a term.
func (n *trapNode) archives(s snapshot.Store, m *election.Memory, term uint64) *archiver {
	n.t.Helper()
	session := m.Session(n.Settings.Name, time.Hour)
	require.NoError(n.t, session.Open(n.ctx()))
	got, err := session.Acquire(n.ctx(), n.keys.Leader(), []byte(n.disk.inc()))
	require.NoError(n.t, err)
	require.True(n.t, got)
	n.Settings.ArchiveInterval = 10 * time.Second
	n.Snapshots, n.Store = s, m.Node(n.Settings.Name)
	n.marker.Store(n.srv)
	r := newArchiver(n.Agent)
	r.lead = leadership{term, roles.Cluster{ID: "id", Name: "main", CreatedAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}, session.ID()}
	n.t.Cleanup(r.drop)
	return r
}

// whole demands that the archive leads from nothing to all that the node has executed.
func (n *trapNode) whole(s snapshot.Store) {
	n.t.Helper()
	p := planned(n.t, s, gtid.Set{})
	require.NoError(n.t, p.Why())
	require.Equal(n.t, n.look().Executed.String(), p.Reach.String())
}

func planned(t *testing.T, s snapshot.Store, from gtid.Set) snapshot.LogPlan {
	t.Helper()
	l, err := snapshot.ReadLog(t.Context(), s, "main", 0)
	require.NoError(t, err)
	require.Empty(t, l.Bad)
	return l.Plan(snapshot.Manifest{ClusterID: "id", GTIDLower: from}, from, snapshot.Target{})
}

// told is what the archiver said in Consul.
func told(t *testing.T, m *election.Memory, keys cluster.Keys) cluster.LastArchive {
	t.Helper()
	v, err := m.Read(t.Context(), keys.Prefix, true)
	require.NoError(t, err)
	_, x, err := keys.Parse(election.View{KVs: map[string]election.KV{keys.ArchiveLast(): v.KVs[keys.ArchiveLast()]}})
	require.NoError(t, err)
	require.NotNil(t, x.Archive)
	return *x.Archive
}

// purgeOlder removes all binary logs but the newest.
func purgeOlder(n *trapNode) {
	n.t.Helper()
	st, err := n.srv.LogState(n.ctx())
	require.NoError(n.t, err)
	n.exec(n.db(trapCreds.Admin(), trapCreds.Password), "PURGE BINARY LOGS TO '"+filepath.Base(st.Files[len(st.Files)-1])+"'")
}

// step is one round of the archiver's loop.
func (r *archiver) step(t *testing.T) error {
	t.Helper()
	lead := r.leading()
	err := r.round(t.Context(), lead)
	if err != nil {
		r.term = 0
		r.publish(t.Context(), lead, err)
	}
	return err
}

// TestArchive: the archive holds what is committed and nothing else, through an outage of the store, a lost answer, a
// rotation and a failover.
func TestArchive(t *testing.T) {
	lab := newTrapLab(t)
	p, f := lab.start(t, "p"), lab.start(t, "f")
	p.lead(f)
	s, m := &ailing{Store: store(t)}, election.NewMemory()
	r := p.archives(s, m, 1)

	r.lead, r.of = leadership{}, roles.Cluster{}
	require.NoError(t, r.round(t.Context(), leadership{term: 1}))
	require.Empty(t, planned(t, s, gtid.Set{}).Steps, "who does not lead now archives nothing")
	r = p.archives(s, m, 1)

	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	require.NoError(t, r.step(t))
	p.whole(s)
	first := told(t, m, p.keys)
	require.Equal(t, p.look().Executed.String(), first.GTID)
	require.Empty(t, first.Error)
	purgeOlder(p)

	s.away.Store(true)
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	require.ErrorIs(t, r.step(t), errAway)
	out := told(t, m, p.keys)
	require.Contains(t, out.Error, errAway.Error())
	require.Equal(t, first.CompleteAt, out.CompleteAt, "nothing newer is promised")
	require.False(t, out.AtRisk)
	p.exec(p.app, "INSERT INTO app.t VALUES (3)")
	p.exec(p.db(trapCreds.Admin(), trapCreds.Password), "FLUSH BINARY LOGS")
	p.exec(p.app, "INSERT INTO app.t VALUES (4)")
	require.ErrorIs(t, r.step(t), errAway)
	require.True(t, told(t, m, p.keys).AtRisk, "the file to read next is the oldest of two")
	s.away.Store(false)
	require.NoError(t, r.step(t))
	p.whole(s)
	require.Empty(t, told(t, m, p.keys).Error)

	p.exec(p.app, "INSERT INTO app.t VALUES (5)")
	s.mute.Store(true)
	require.Error(t, r.step(t))
	p.whole(s)
	p.exec(p.app, "INSERT INTO app.t VALUES (6)")
	require.NoError(t, r.step(t))
	p.whole(s)

	// A commit that waits is in the binary log, and in no chunk; what was archived before is where the next term begins.
	ready := p.look().Executed
	f.until("everything is applied", func(st mysql.Status) bool { return st.Executed.Contains(ready) })
	f.ok(f.srv.StopReceiver)
	waits := p.write("INSERT INTO app.t VALUES (7)")
	p.until("one commit waits", func(st mysql.Status) bool { return st.Source.WaitSessions == 1 })
	require.NoError(t, r.step(t))
	require.Equal(t, ready.String(), planned(t, s, gtid.Set{}).Reach.String())
	p.die()
	require.Error(t, <-waits)
	m.Expire(r.lead.session)

	f.ok(f.srv.StopReplica)
	f.serve()
	f.exec(f.app, "INSERT INTO app.t VALUES (8)")
	r = f.archives(s, m, 2)
	require.NoError(t, r.step(t))
	f.whole(s)
	steps := planned(t, s, gtid.Set{}).Steps
	require.Equal(t, 1, steps[len(steps)-1].Chunk.Transactions, "only what was not archived yet")
	require.EqualValues(t, 2, steps[len(steps)-1].Chunk.Term)
	require.True(t, steps[len(steps)-1].Chunk.Missing.IsEmpty())
}

// TestArchiveAfterPurge: what was purged before it was archived is named, and a snapshot that holds it leads on.
func TestArchiveAfterPurge(t *testing.T) {
	lab := newTrapLab(t)
	p := lab.start(t, "p")
	p.serve()
	s, m := &ailing{Store: store(t)}, election.NewMemory()
	r := p.archives(s, m, 1)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	require.NoError(t, r.step(t))
	s.away.Store(true)
	admin := p.db(trapCreds.Admin(), trapCreds.Password)
	for range 2 {
		p.exec(admin, "FLUSH BINARY LOGS")
		p.exec(p.app, "DELETE FROM app.t; INSERT INTO app.t VALUES (1)")
		require.Error(t, r.step(t))
	}
	held := p.look().Executed
	p.exec(admin, "FLUSH BINARY LOGS")
	purgeOlder(p)
	p.exec(p.app, "DELETE FROM app.t")
	s.away.Store(false)
	require.Eventually(t, func() bool { return r.step(t) == nil }, trapLimit, 10*time.Millisecond)
	plan := planned(t, s, gtid.Set{})
	var gap *snapshot.GapError
	require.ErrorAs(t, plan.Why(), &gap)
	require.Equal(t, held.Subtract(plan.Reach).String(), gap.Missing.String())
	require.Equal(t, gap.Missing.String(), told(t, m, p.keys).Gap)
	plan = planned(t, s, held)
	require.NoError(t, plan.Why(), "a snapshot that holds what is missing leads beyond it")
	require.Equal(t, p.look().Executed.String(), plan.Reach.String())
}

// TestArchiveAfterDamage: the newest record is damaged. The archive goes on, and what that record told of is in it again.
func TestArchiveAfterDamage(t *testing.T) {
	lab := newTrapLab(t)
	p := lab.start(t, "p")
	p.serve()
	s, m := store(t), election.NewMemory()
	r := p.archives(s, m, 1)
	for _, statement := range []string{"INSERT INTO app.t VALUES (1)", "INSERT INTO app.t VALUES (2)"} {
		p.exec(p.app, statement)
		require.NoError(t, r.step(t))
	}
	steps := planned(t, s, gtid.Set{}).Steps
	data := steps[len(steps)-1].Chunk.Parts[0].Key
	cut := strings.LastIndexByte(data, '-')
	require.NoError(t, s.Put(t.Context(), data[:cut]+".json", strings.NewReader("torn")))
	r.drop() // as after a failure, or in a new agent
	p.exec(p.app, "INSERT INTO app.t VALUES (3)")
	require.NoError(t, r.step(t))
	l, err := snapshot.ReadLog(t.Context(), s, "main", 0)
	require.NoError(t, err)
	require.Len(t, l.Bad, 1)
	plan := l.Plan(snapshot.Manifest{ClusterID: "id"}, gtid.Set{}, snapshot.Target{})
	require.NoError(t, plan.Why())
	require.Equal(t, p.look().Executed.String(), plan.Reach.String())
	require.Empty(t, told(t, m, p.keys).Gap)
}

// TestArchiveWhilePruning: what removes old chunks may take for ever, the archive goes on meanwhile; and it ends with the
// lead, not when it is done.
func TestArchiveWhilePruning(t *testing.T) {
	lab := newTrapLab(t)
	p := lab.start(t, "p")
	p.serve()
	s, m := &ailing{Store: store(t)}, election.NewMemory()
	r := p.archives(s, m, 1)
	p.Settings.ArchiveInterval = 40 * time.Millisecond
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	require.NoError(t, r.step(t))
	p.snapshots(s)
	s.slow.Store(true)
	r.pruned = time.Time{}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); r.run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	require.Eventually(t, func() bool { return s.removing.Load() == 1 }, trapLimit, 5*time.Millisecond)
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	want := p.look().Executed
	require.Eventually(t, func() bool { return planned(t, s, gtid.Set{}).Reach.Equal(want) }, trapLimit, 10*time.Millisecond)
	require.EqualValues(t, 1, s.removing.Load(), "it hangs all the while, and there is one of it")
	r.tell(roles.Facts{}, cluster.Extra{})
	require.Eventually(t, func() bool { return s.removing.Load() == 0 }, trapLimit, 5*time.Millisecond)
}

// TestPruneKnowsAllSnapshots: a manifest that could not be read may be the oldest snapshot's, and what it needs does not go;
// one that is damaged for good does not keep the archive for ever.
func TestPruneKnowsAllSnapshots(t *testing.T) {
	s := &ailing{Store: store(t)}
	r := newArchiver(&Agent{Deps: Deps{Settings: &config.Settings{}, Log: slog.New(slog.DiscardHandler), Snapshots: s}})
	r.a.Settings.Cluster = "main"
	put := func(key string, doc map[string]any) {
		require.NoError(t, s.Put(t.Context(), key, strings.NewReader(sealed(t, doc))))
	}
	server := "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	manifest := func(hour int, executed string) string {
		id, at := fmt.Sprintf("20261123T%02d0000Z-1f0c9a77", hour), time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC)
		dir := "main/snapshots/" + id + "/"
		require.NoError(t, s.Put(t.Context(), dir+"part-00001.tar.zst", strings.NewReader("x")))
		put(dir+"manifest.json", map[string]any{"format": 1, "id": id, "cluster": "main", "cluster_id": "id", "created_at": at, "gtid_lower": server + ":" + executed, "stored_bytes": 1,
			"compression": "zstd", "parts": []snapshot.Part{{Key: dir + "part-00001.tar.zst", Size: 1, SHA256: strings.Repeat("0", 64)}}})
		return dir + "manifest.json"
	}
	oldest := manifest(12, "1-2")
	manifest(13, "1-9")
	line := snapshot.Line{Cluster: "main", ClusterID: "id", CreatedAt: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)}
	require.NoError(t, snapshot.OpenTerm(t.Context(), s, snapshot.Opening{Line: line, Term: 1, Node: "n"}))
	c := snapshot.Chunk{Line: line, Term: 1, Seq: 1, GTIDs: gtid.MustParse(server + ":1-5"), Transactions: 5}
	_, err := snapshot.PutChunk(t.Context(), s, c, snapshot.LogOptions{SpoolDir: t.TempDir()}, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err })
	require.NoError(t, err)
	chunks := func() int {
		l, err := snapshot.ReadLog(t.Context(), s, "main", 0)
		require.NoError(t, err)
		return len(l.Chunks)
	}
	s.unread.Store(&oldest)
	r.retire(t.Context())
	require.Equal(t, 1, chunks(), "the oldest snapshot needs it")
	s.unread.Store(nil)
	r.retire(t.Context())
	require.Equal(t, 1, chunks(), "the oldest snapshot needs it")
	require.NoError(t, s.Put(t.Context(), oldest, strings.NewReader("torn")))
	r.retire(t.Context())
	require.Zero(t, chunks())
}

// sealed is a document as the store keeps it: its last field is the sum of what is in front of that.
func sealed(t *testing.T, doc map[string]any) string {
	t.Helper()
	data, err := json.MarshalIndent(doc, "", "  ")
	require.NoError(t, err)
	body := strings.TrimSuffix(string(data), "\n}") + ",\n"
	return fmt.Sprintf("%s  \"checksum\": \"%x\"\n}\n", body, sha256.Sum256([]byte(body)))
}

// TestRecoveryBesideACluster: the cluster lives on while somebody recovers to a point of its past, and retires what it does
// not need itself.
func TestRecoveryBesideACluster(t *testing.T) {
	lab := newTrapLab(t)
	p := lab.start(t, "p")
	p.serve()
	s, m := &ailing{Store: store(t)}, election.NewMemory()
	r := p.archives(s, m, 1)
	base := p.snapshots(s)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	require.NoError(t, r.step(t))
	want := p.look().Executed
	p.exec(p.app, "INSERT INTO app.t VALUES (2)")
	require.NoError(t, r.step(t))
	steps := planned(t, s, base.GTIDLower).Steps
	p.snapshots(s)

	n := lab.node(t, "n", "")
	o := recovery.Options{Store: s, Cluster: "main", Restore: n.restoring(nil, ""), MySQL: n.mycfg, Target: snapshot.Target{GTIDs: &want}, Dest: n.restoreDir(), Log: n.Log}
	o.Say = func(what string) {
		if !strings.HasPrefix(what, "starting a server") { // the snapshot is restored, and nothing of the archive read
			return
		}
		_, err := snapshot.Retire(t.Context(), s, "main", snapshot.Retention{Keep: 1})
		require.NoError(t, err)
		r.retire(t.Context())
		s.unread.Store(&steps[0].Chunk.Parts[0].Key) // and the store is away for longer than a few attempts
	}
	res, err := recovery.Run(n.ctx(), o)
	require.NoError(t, err)
	require.EqualValues(t, refusals, s.refused.Load())
	require.Equal(t, base.ID, res.Snapshot.ID)
	require.Equal(t, want.String(), res.GTIDs.String())
	removed, err := snapshot.Retire(t.Context(), s, "main", snapshot.Retention{Keep: 1})
	require.NoError(t, err)
	require.Equal(t, []string{base.ID}, removed, "nobody needs it any more")
}

// snapshots stores a snapshot of the node.
func (n *trapNode) snapshots(s snapshot.Store) snapshot.Manifest {
	n.t.Helper()
	m, err := snapshot.Create(n.t.Context(), s, n.srv, snapshot.CreateOptions{Cluster: "main", ClusterID: "id", Node: n.Settings.Name, MySQLVersion: "9", ScratchDir: filepath.Join(n.mycfg.Dir, "snapshot.tmp")})
	require.NoError(n.t, err)
	return m
}

// TestRecovered: a new cluster begins with everything its store holds; when that is not all that was archived, nobody but
// an operator decides; and what an operator restored comes first.
func TestRecovered(t *testing.T) {
	lab := newTrapLab(t)
	p := lab.start(t, "p")
	p.serve()
	s, m := store(t), election.NewMemory()
	r := p.archives(s, m, 1)
	p.exec(p.app, "INSERT INTO app.t VALUES (1)")
	require.NoError(t, r.step(t))
	p.snapshots(s)
	for _, statement := range []string{"INSERT INTO app.t VALUES (2)", "INSERT INTO app.t VALUES (3)"} {
		p.exec(p.app, statement)
		require.NoError(t, r.step(t))
	}
	want := p.look().Executed
	p.die()

	n := lab.node(t, "n", "")
	n.Snapshots = s
	found, err := n.recovered(n.ctx(), func(string) {})
	require.NoError(t, err)
	require.True(t, found)
	require.NoFileExists(t, n.restoreDir()+".work")
	n.disk.s.UUID, err = mysql.NewServerUUID(n.mycfg)
	require.NoError(t, err)
	n.boot()
	n.connect()
	n.serve()
	require.Equal(t, want.String(), n.look().Executed.String())
	var rows int
	require.NoError(t, n.app.QueryRow("SELECT COUNT(*) FROM app.t").Scan(&rows))
	require.Equal(t, 3, rows)

	chunks := planned(t, s, gtid.Set{}).Steps
	lost := chunks[len(chunks)-2].Chunk
	require.NoError(t, s.Delete(t.Context(), lost.Parts[0].Key))
	o := lab.node(t, "o", "")
	o.Snapshots = s
	found, err = o.recovered(o.ctx(), func(string) {})
	require.False(t, found)
	require.ErrorContains(t, err, lost.GTIDs.String())
	require.ErrorContains(t, err, "snapshot restore --to-gtid '"+want.Subtract(lost.GTIDs).Subtract(chunks[len(chunks)-1].Chunk.GTIDs).String()+"' --into "+o.adoptDir())
	require.NoDirExists(t, o.mycfg.DataDir())

	// Damaged snapshots, and logs without any snapshot, are no reason to begin with an empty database either.
	objects, err := s.List(t.Context(), "main/snapshots/")
	require.NoError(t, err)
	for _, ob := range objects {
		if filepath.Ext(ob.Key) != ".json" {
			require.NoError(t, s.Delete(t.Context(), ob.Key))
		}
	}
	found, err = o.recovered(o.ctx(), func(string) {})
	require.False(t, found)
	require.ErrorContains(t, err, "is missing")
	for _, ob := range objects {
		require.NoError(t, s.Delete(t.Context(), ob.Key))
	}
	found, err = o.recovered(o.ctx(), func(string) {})
	require.False(t, found)
	require.ErrorContains(t, err, "no snapshot they could be applied to")

	require.NoError(t, os.CopyFS(o.adoptDir(), os.DirFS(lab.template)))
	found, err = o.recovered(o.ctx(), func(string) {})
	require.NoError(t, err)
	require.True(t, found)
	require.FileExists(t, filepath.Join(o.mycfg.DataDir(), "ibdata1"))
	require.NoDirExists(t, o.adoptDir())
}
