package snapshot

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// FormatVersion is the format this package writes. A reader refuses newer ones:
// they may need what it knows nothing about, such as a key.
const FormatVersion = 2

// formatOneStream is the format before, which is still read: its parts are cuts
// of one stream, so that none of them can be read without those before it.
const formatOneStream = 1

// CompressionZstd is the only compression of these formats.
const CompressionZstd = "zstd"

const (
	manifestName  = "manifest.json"
	manifestLimit = 32 << 20 // bytes; 100,000 parts need about 20 MiB
)

// Manifest describes one complete snapshot. FORMAT.md documents its JSON.
type Manifest struct {
	Format       int       `json:"format"`
	ID           string    `json:"id"`
	Cluster      string    `json:"cluster"`
	ClusterID    string    `json:"cluster_id"`
	Node         string    `json:"node"`
	MySQLVersion string    `json:"mysql_version"`
	CreatedAt    time.Time `json:"created_at"` // when the clone began, by the node's clock
	// GTIDLower is what the node had executed before the clone began. The
	// snapshot holds all of it and perhaps more: the exact set is known only to
	// a server started on the restored data.
	GTIDLower   gtid.Set `json:"gtid_lower"`
	Files       int      `json:"files"`        // regular files
	Bytes       int64    `json:"bytes"`        // sum of the sizes of the files
	StoredBytes int64    `json:"stored_bytes"` // sum of the sizes of the parts
	Compression string   `json:"compression"`
	// Encryption is nil for parts that are not encrypted.
	Encryption *Encryption `json:"encryption,omitempty"`
	// Parts, in this order, each decrypted and decompressed, are one tar stream.
	Parts []Part `json:"parts"`
	// Verified is what the newest verification found; nil: nobody has looked yet.
	// It is an object of its own, because a manifest never changes.
	Verified *Verification `json:"-"`
}

// Part is one object of a snapshot.
type Part struct {
	Key    string `json:"key"`    // relative to the store's URL
	Size   int64  `json:"size"`   // bytes as stored
	SHA256 string `json:"sha256"` // of the bytes as stored, in hex
	// Raw is how many bytes of the tar stream are in it; 0 where parts are no units.
	Raw int64 `json:"raw,omitempty"`
}

// plainName is what may become one element of a key.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// checkName refuses names that are not one plain element of a key.
func checkName(what, name string) error {
	if !plainName.MatchString(name) {
		return fmt.Errorf("check %s: %q must be letters, digits, dots, dashes and underscores", what, name)
	}
	return nil
}

// snapshotsPrefix is where a cluster's snapshots lie, with a final slash.
func snapshotsPrefix(cluster string) string { return cluster + "/snapshots/" }

// dir is the snapshot's own prefix, with a final slash.
func (m Manifest) dir() string { return snapshotsPrefix(m.Cluster) + m.ID + "/" }

// key is the manifest's own key.
func (m Manifest) key() string { return m.dir() + manifestName }

// partKey names the n-th part, counted from 1. The names sort in order, so that
// a shell's wildcard concatenates them rightly.
func (m Manifest) partKey(n int) string {
	return fmt.Sprintf("%spart-%05d%s", m.dir(), n, m.Encryption.suffix())
}

// suffix is how a stream made this way is called.
func (e *Encryption) suffix() string {
	if e == nil {
		return ".tar.zst"
	}
	return ".tar.zst.age"
}

// maxParts is how many parts sort rightly under their names: 6 TiB of 64 MiB.
const maxParts = 99999

// parseManifest decodes what lay under key and checks that it describes a
// snapshot of this cluster under this key.
func parseManifest(cluster, key string, data []byte) (Manifest, error) {
	var m Manifest
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return m, fmt.Errorf("parse %s: %w: %w", key, ErrCorrupt, err)
	}
	if err := checkFormat(head.Format); err != nil {
		return m, fmt.Errorf("parse %s: %w", key, err)
	}
	if err := checkSealed(data); err != nil {
		return m, fmt.Errorf("parse %s: %w", key, err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("parse %s: %w: %w", key, ErrCorrupt, err)
	}
	if m.Cluster != cluster {
		return m, fmt.Errorf("parse %s: it belongs to cluster %q, not to %q", key, m.Cluster, cluster)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("parse %s: %w", key, err)
	}
	if m.key() != key {
		return m, fmt.Errorf("parse %s: %w: it calls itself %q", key, ErrCorrupt, m.ID)
	}
	return m, nil
}

func checkFormat(format int) error {
	if format != FormatVersion && format != formatOneStream {
		return fmt.Errorf("format %d is not known to this version, which reads formats %d and %d", format, formatOneStream, FormatVersion)
	}
	return nil
}

// check tells whether the manifest can be used at all; Restore relies on it.
func (m Manifest) check() error {
	if err := checkFormat(m.Format); err != nil {
		return err
	}
	if err := checkName("cluster", m.Cluster); err != nil {
		return err
	}
	if err := checkName("snapshot id", m.ID); err != nil {
		return err
	}
	if m.Compression != CompressionZstd {
		return fmt.Errorf("compression %q is not known to this version, which reads %q", m.Compression, CompressionZstd)
	}
	if m.Encryption != nil && m.Encryption.Method != EncryptionAge {
		return fmt.Errorf("encryption %q is not known to this version, which reads %q", m.Encryption.Method, EncryptionAge)
	}
	if len(m.Parts) == 0 || m.CreatedAt.IsZero() {
		return fmt.Errorf("%w: no parts or no time", ErrCorrupt)
	}
	return m.checkParts()
}

// checkParts is check for the parts.
func (m Manifest) checkParts() error {
	var sum int64
	for _, p := range m.Parts {
		raw, err := hex.DecodeString(p.SHA256)
		if err != nil || len(raw) != 32 || p.SHA256 != strings.ToLower(p.SHA256) || p.Size <= 0 {
			return fmt.Errorf("%w: part %q has no proper size and sha256", ErrCorrupt, p.Key)
		}
		if m.Format != formatOneStream && p.Raw <= 0 {
			return fmt.Errorf("%w: part %q does not say how much of the tar stream it holds", ErrCorrupt, p.Key)
		}
		if dir, _ := path.Split(p.Key); dir != m.dir() || checkName("part", path.Base(p.Key)) != nil {
			return fmt.Errorf("%w: part %q does not lie under %s", ErrCorrupt, p.Key, m.dir())
		}
		sum += p.Size
	}
	if sum != m.StoredBytes {
		return fmt.Errorf("%w: the parts add up to %d bytes, not %d", ErrCorrupt, sum, m.StoredBytes)
	}
	return nil
}

// Usable tells whether a node restored from m could follow a primary with these
// sets: nil, or the sentence why not. The primary's binary logs must reach back
// to the snapshot, and the snapshot must hold nothing the primary never had.
// GTIDLower is a lower bound, so a restored node compares its real set again.
func Usable(m Manifest, primaryPurged, primaryExecuted gtid.Set) error {
	if !m.GTIDLower.Contains(primaryPurged) {
		return fmt.Errorf("snapshot %s is too old: the primary has purged the binary logs with %s",
			m.ID, primaryPurged.Subtract(m.GTIDLower))
	}
	if !primaryExecuted.Contains(m.GTIDLower) {
		return fmt.Errorf("snapshot %s holds transactions the primary never had: %s",
			m.ID, m.GTIDLower.Subtract(primaryExecuted))
	}
	return nil
}
