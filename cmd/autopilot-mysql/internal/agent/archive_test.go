package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

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
