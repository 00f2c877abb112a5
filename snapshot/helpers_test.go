package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

const someGTIDs = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77"

// quick are options that make failing calls fail soon.
func quick() StoreOptions {
	return StoreOptions{AccessKey: "access", SecretKey: "very-secret", CallTimeout: 10 * time.Second, Stall: 10 * time.Second, Attempts: 2}
}

// newS3 starts an S3 server in this process and returns a store in a bucket
// that does not exist yet.
func newS3(t *testing.T) Store {
	t.Helper()
	srv := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(srv.Close)
	s, err := OpenStore("s3://bucket/some/prefix?endpoint="+srv.URL+"&path-style=true&region=us-east-1", quick())
	require.NoError(t, err)
	return s
}

// newDir returns a store in a directory that does not exist yet.
func newDir(t *testing.T) Store {
	t.Helper()
	s, err := OpenStore("file://"+filepath.Join(t.TempDir(), "store"), StoreOptions{})
	require.NoError(t, err)
	return s
}

// everyStore runs a test against each kind of store.
func everyStore(t *testing.T, f func(t *testing.T, s Store)) {
	t.Run("directory", func(t *testing.T) { f(t, newDir(t)) })
	t.Run("s3", func(t *testing.T) { f(t, newS3(t)) })
	t.Run("manta", func(t *testing.T) {
		s, _ := newManta(t, nil)
		f(t, s)
	})
}

// tree is a Source: CloneLocal writes a tree that looks like a data directory.
type tree struct {
	seed  uint64
	bytes int // size of the largest file
	err   error
	after func(dir string)
}

// CloneLocal implements Source.
func (s tree) CloneLocal(_ context.Context, dir string) (gtid.Set, error) {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return gtid.Set{}, err
	}
	for name, size := range map[string]int{"ibdata1": s.bytes, "mysql/a.ibd": 70000, "mysql/b.sdi": 1, "#innodb_redo/#ib_redo0": 4096, "empty": 0} {
		rnd := rand.NewChaCha8([32]byte{byte(s.seed), byte(size)})
		data := make([]byte, size)
		_, _ = rnd.Read(data) // never fails
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750); err != nil {
			return gtid.Set{}, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o640); err != nil {
			return gtid.Set{}, err
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "no files"), 0o750); err != nil {
		return gtid.Set{}, err
	}
	if s.after != nil {
		s.after(dir)
	}
	return gtid.MustParse(someGTIDs), s.err
}

// options returns options with small parts and a fresh scratch directory.
func options(t *testing.T) CreateOptions {
	return CreateOptions{Cluster: "shop", ClusterID: "id-1", Node: "n1", MySQLVersion: "9.7.4",
		ScratchDir: filepath.Join(t.TempDir(), "scratch"), PartBytes: 100 << 10}
}

// create makes a snapshot of about ten parts.
func create(t *testing.T, s Store) Manifest {
	t.Helper()
	m, err := Create(t.Context(), s, tree{seed: 1, bytes: 900 << 10}, options(t))
	require.NoError(t, err)
	return m
}

// sums maps every name below root to what it is.
func sums(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		if e.IsDir() {
			out[rel] = "directory"
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		info, err := e.Info()
		sum := sha256.Sum256(data)
		out[rel] = fmt.Sprintf("%s %d %s", info.Mode(), len(data), hex.EncodeToString(sum[:4]))
		return err
	}))
	return out
}

// wantTree is what the source would have written.
func wantTree(t *testing.T, src tree) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "want")
	_, err := src.CloneLocal(t.Context(), dir)
	require.NoError(t, err)
	return sums(t, dir)
}

// put writes an object, get reads one.
func put(t *testing.T, s Store, key string, data []byte) {
	t.Helper()
	require.NoError(t, s.Delete(t.Context(), key))
	require.NoError(t, s.PutNew(t.Context(), key, data))
}

func get(t *testing.T, s Store, key string) []byte {
	t.Helper()
	body, size, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	defer body.Close()
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	require.EqualValues(t, len(data), size)
	return data
}

// keys lists all keys below a prefix.
func keys(t *testing.T, s Store, prefix string) []string {
	t.Helper()
	objects, err := s.List(t.Context(), prefix)
	require.NoError(t, err)
	out := []string{}
	for _, o := range objects {
		out = append(out, o.Key)
	}
	return out
}

// requireEmpty demands that a directory is missing or holds nothing.
func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	require.Empty(t, entries, "left in %s", dir)
}

// requireGone demands that neither a destination nor its work directory exist.
func requireGone(t *testing.T, dest string) {
	t.Helper()
	require.NoFileExists(t, dest)
	require.NoDirExists(t, dest)
	require.NoDirExists(t, dest+workSuffix)
}
