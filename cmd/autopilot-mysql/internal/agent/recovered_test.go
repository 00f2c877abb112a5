package agent

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/recovery"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

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
