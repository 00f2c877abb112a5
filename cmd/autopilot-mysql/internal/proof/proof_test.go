package proof

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// noData is a Source whose clones are no database.
type noData struct{}

// CloneLocal implements snapshot.Source.
func (noData) CloneLocal(_ context.Context, dir string) (gtid.Set, error) {
	return gtid.Set{}, errors.Join(os.Mkdir(dir, 0o750), os.WriteFile(filepath.Join(dir, "ibdata1"), []byte(strings.Repeat("not what InnoDB writes ", 1000)), 0o640))
}

// away is a store that cannot be read from.
type away struct{ snapshot.Store }

var errAway = errors.New("the store is away")

func (away) Get(context.Context, string) (io.ReadCloser, int64, error) { return nil, 0, errAway }

// taken is a store with one snapshot, and where that is.
func taken(t *testing.T, version string) (s snapshot.Store, m snapshot.Manifest, dir string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "store")
	s, err := snapshot.OpenStore("file://"+root, snapshot.StoreOptions{})
	require.NoError(t, err)
	m, err = snapshot.Create(t.Context(), s, noData{}, snapshot.CreateOptions{Cluster: "shop", ClusterID: "c", Node: "n1", MySQLVersion: version,
		ScratchDir: filepath.Join(t.TempDir(), "scratch")})
	require.NoError(t, err)
	return s, m, filepath.Join(root, "shop/snapshots", m.ID)
}

// options are for a directory whose path is short enough for a socket.
func options(t *testing.T) Options {
	t.Helper()
	dir, err := os.MkdirTemp("", "proof")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	o := Options{Dir: filepath.Join(dir, "v"), Mysqld: os.Getenv("AUTOPILOT_TEST_MYSQLD"), By: "test"}
	if os.Geteuid() == 0 {
		o.RunAs = "root"
	}
	return o
}

// stored is what everybody reads about the snapshot afterwards; nil: nobody has a verdict.
func stored(t *testing.T, s snapshot.Store) *snapshot.Verification {
	t.Helper()
	list, _, err := snapshot.List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0].Verified
}

func TestDamagedPart(t *testing.T) {
	s, m, dir := taken(t, "9.7.4")
	part := filepath.Join(dir, filepath.Base(m.Parts[0].Key))
	b, err := os.ReadFile(part)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(part, b, 0o600))
	o := options(t)
	v, err := Verify(t.Context(), s, m, o)
	require.NoError(t, err, "damage is a finding")
	require.False(t, v.OK)
	require.Contains(t, v.Why, m.Parts[0].Key)
	require.Equal(t, v.Why, stored(t, s).Why, "it is written down beside the snapshot")
	require.NoDirExists(t, o.Dir)
}

func TestStoreThatCannotBeRead(t *testing.T) {
	s, m, _ := taken(t, "9.7.4")
	o := options(t)
	_, err := Verify(t.Context(), away{s}, m, o)
	require.ErrorIs(t, err, errAway)
	require.Nil(t, stored(t, s), "that says nothing about the snapshot")
	require.NoDirExists(t, o.Dir)
}

// TestDataThatDoesNotStart: every sum is right, and yet it is no database. Only the server that made it may say so:
// another one may refuse good data.
func TestDataThatDoesNotStart(t *testing.T) {
	o := options(t)
	if o.Mysqld == "" || testing.Short() {
		t.Skip("AUTOPILOT_TEST_MYSQLD names no server")
	}
	_, version, err := mysql.FindMysqld(t.Context(), o.Mysqld)
	require.NoError(t, err)
	s, m, _ := taken(t, version)
	v, err := Verify(t.Context(), s, m, o)
	require.NoError(t, err)
	require.False(t, v.OK)
	require.NotEmpty(t, v.Why)
	require.False(t, stored(t, s).OK)
	require.NoDirExists(t, o.Dir)

	s, m, _ = taken(t, "1.2.3")
	_, err = Verify(t.Context(), s, m, o)
	require.ErrorIs(t, err, mysql.ErrNoStart)
	require.Nil(t, stored(t, s))
	require.NoDirExists(t, o.Dir)
}
