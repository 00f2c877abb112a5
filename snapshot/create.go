package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// DefaultPartBytes is how much of the tar stream becomes one part: enough for
// few requests, little enough to be fetched, or unpacked, again after a break.
const DefaultPartBytes = 64 << 20

// ErrClone says that the server could not make the copy; the store is not to blame.
var ErrClone = errors.New("clone data")

// Source is the running server a snapshot is made of.
type Source interface {
	// CloneLocal writes a consistent copy of the data into dir, which must not
	// exist while its parent does, and returns what was executed before it began.
	CloneLocal(ctx context.Context, dir string) (gtid.Set, error)
}

// CreateOptions says whose snapshot it is, and where to work.
type CreateOptions struct {
	Cluster, ClusterID, Node, MySQLVersion string
	// ScratchDir receives the clone and partUploads+1 parts. The server must be
	// able to write there; if it does not exist it is made, with its parent's
	// owner. Whatever an earlier Create left there is removed.
	ScratchDir string
	// DataBytes is how large the clone will be, as far as one can tell. If the
	// scratch directory has no room for it, nothing is begun: ErrNoSpace.
	DataBytes int64
	// Keys encrypt what is stored; nil does not.
	Keys *Keys
	// Rate bounds the upload; nil does not.
	Rate *Limiter
	// Patience is for how long a store that fails is tried again before the
	// snapshot is given up; a few attempts are always made. What was stored
	// before stays stored.
	Patience time.Duration
	// Fence, if set, is called before the manifest is published: an error means
	// that this node must not take the snapshot any more.
	Fence func(ctx context.Context) error
	// PartBytes is how many bytes of the tar stream a part holds; stored it is
	// smaller, but for data that does not compress. Zero means DefaultPartBytes.
	PartBytes int64
	// Progress, if set, is called with the bytes of file content packed so far
	// and in total; never concurrently.
	Progress func(done, total int64)
}

// Create makes a snapshot and returns its manifest. On an error or a cancelled
// context nothing is listed, the scratch is gone, and so are the parts already
// stored; what the store does not let us remove, Prune removes later. If the
// outcome of writing the manifest stays unknown, the parts are left to Prune: a
// snapshot that is listed after all is a whole one.
// One Create at a time may use a ScratchDir.
func Create(ctx context.Context, store Store, src Source, o CreateOptions) (m Manifest, err error) {
	m = Manifest{
		Format: FormatVersion, Cluster: o.Cluster, ClusterID: o.ClusterID, Node: o.Node, MySQLVersion: o.MySQLVersion,
		CreatedAt: time.Now().UTC().Truncate(time.Millisecond), Compression: CompressionZstd,
	}
	m.ID, m.Encryption = newID(m.CreatedAt), o.Keys.Says()
	if err := checkName("cluster", o.Cluster); err != nil {
		return Manifest{}, fmt.Errorf("create snapshot: %w", err)
	}
	if o.PartBytes <= 0 {
		o.PartBytes = DefaultPartBytes
	}
	clone, err := prepareScratch(o, m.ID)
	if err != nil {
		return Manifest{}, fmt.Errorf("prepare scratch directory: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(clone); e != nil {
			err = errors.Join(err, fmt.Errorf("remove scratch: %w", e))
		}
	}()
	if m.GTIDLower, err = src.CloneLocal(ctx, clone); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrClone, err)
	}
	if err := m.upload(ctx, store, clone, o); err != nil {
		m.discard(ctx, store, err)
		return Manifest{}, fmt.Errorf("store snapshot %s: %w", m.ID, err)
	}
	return m, nil
}

// newID returns an id that sorts by time and is unique across nodes.
func newID(at time.Time) string {
	var b [4]byte
	rand.Read(b[:]) // never fails, as documented
	return at.Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

// upload packs the clone into the store and then publishes the manifest.
func (m *Manifest) upload(ctx context.Context, store Store, clone string, o CreateOptions) error {
	want, err := measure(clone)
	if err != nil {
		return err
	}
	var done int64
	seen := func(n int64) {
		done += n
		if o.Progress != nil {
			o.Progress(done, want.bytes)
		}
	}
	seen(0)
	got, parts, err := packUnits(ctx, outlet{store: store, key: m.partKey, spoolDir: o.ScratchDir,
		keys: o.Keys, rate: o.Rate, patience: o.Patience}, o.PartBytes, func(w cuttable) (totals, error) {
		return packTree(ctx, w, clone, seen)
	})
	m.Parts = parts
	if err != nil {
		return err
	}
	if got != want || got.files == 0 {
		return fmt.Errorf("the clone changed while it was read: %d files with %d bytes became %d with %d",
			want.files, want.bytes, got.files, got.bytes)
	}
	m.Files, m.Bytes = got.files, got.bytes
	for _, p := range m.Parts {
		m.StoredBytes += p.Size
	}
	if o.Fence != nil {
		if err := o.Fence(ctx); err != nil {
			return fmt.Errorf("before the manifest is written: %w", err)
		}
	}
	return m.publish(ctx, store, o.Patience)
}
