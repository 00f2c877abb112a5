package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// LogFormatVersion is the format of archived binary logs this package writes
// and reads.
const LogFormatVersion = 1

// logManifestLimit is the most a chunk's or an opening's JSON may have, in bytes.
const logManifestLimit = 8 << 20

// Line is one life of a cluster: from its creation until all its data is gone.
// What is created of its snapshots and logs later is a new line, whose terms
// begin at 1 again. Lines of one name follow each other by their creation.
type Line struct {
	Cluster   string    `json:"cluster"`
	ClusterID string    `json:"cluster_id"`
	CreatedAt time.Time `json:"cluster_created_at"`
}

// Opening says what the primary of a term held when it began to archive: all
// that is left of the terms before. What an earlier primary archived and this
// set lacks was given up by the cluster, and is never restored on the way to
// this term or a later one.
type Opening struct {
	Format int `json:"format"`
	Line
	Term  uint64    `json:"term"`
	Node  string    `json:"node"`
	At    time.Time `json:"at"` // by the node's clock
	GTIDs gtid.Set  `json:"gtids"`
}

// Chunk describes one archived piece of the binary log of one term's primary.
type Chunk struct {
	Format int `json:"format"`
	Line
	Term         uint64 `json:"term"`
	Seq          uint64 `json:"seq"` // counts the chunks of a term from 1
	Node         string `json:"node"`
	ServerUUID   string `json:"server_uuid"`
	MySQLVersion string `json:"mysql_version"`
	// File, Start and End say which bytes of which file of that server these are.
	File  string `json:"file"`
	Start int64  `json:"start"`
	End   int64  `json:"end"`
	// Before is everything that lies in front of Start in that server's history;
	// GTIDs is what the chunk holds.
	Before gtid.Set `json:"before"`
	GTIDs  gtid.Set `json:"gtids"`
	// Missing is what of Before was in no chunk when this one was written.
	Missing      gtid.Set `json:"missing,omitzero"`
	Transactions int      `json:"transactions"`
	// FirstAt and LastAt are the earliest and latest time at which one of the
	// transactions was committed, on the server where it was committed first.
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
	Bytes       int64     `json:"bytes"` // before compression
	Compression string    `json:"compression"`
	// Encryption is nil for parts that are not encrypted.
	Encryption *Encryption `json:"encryption,omitempty"`
	Parts      []Part      `json:"parts"`
}

// suffix is how the chunk's data is called.
func (c Chunk) suffix() string {
	if c.Encryption == nil {
		return ".binlog.zst"
	}
	return ".binlog.zst.age"
}

// After is everything that lies in front of the end of the chunk.
func (c Chunk) After() gtid.Set { return c.Before.Union(c.GTIDs) }

// logPrefix is where a cluster's archived logs lie, with a final slash.
func logPrefix(cluster string) string { return cluster + "/binlog/" }

// dir is the line's own prefix. Creation times sort as text.
func (l Line) dir() string {
	return logPrefix(l.Cluster) + l.CreatedAt.UTC().Format("20060102T150405.000Z") + "-" + l.ClusterID + "/"
}

func (l Line) check() error {
	if err := checkName("cluster", l.Cluster); err != nil {
		return err
	}
	if err := checkName("cluster id", l.ClusterID); err != nil {
		return err
	}
	if l.CreatedAt.IsZero() {
		return fmt.Errorf("%w: no creation time of the cluster", ErrCorrupt)
	}
	return nil
}

// termDir is the prefix of one term.
func (l Line) termDir(term uint64) string { return fmt.Sprintf("%s%010d/", l.dir(), term) }

const (
	openingName = "open.json"
	chunkSuffix = ".json"
)

func (o Opening) key() string { return o.termDir(o.Term) + openingName }
func (c Chunk) key() string   { return fmt.Sprintf("%s%010d%s", c.termDir(c.Term), c.Seq, chunkSuffix) }

// compare orders by line, term and number.
func (c Chunk) compare(o Chunk) int { return strings.Compare(c.key(), o.key()) }

// parseOpening decodes what lay under key.
func parseOpening(cluster, key string, data []byte) (Opening, error) {
	var o Opening
	if err := decodeLog(cluster, key, data, &o); err != nil {
		return o, err
	}
	if err := o.check(); err != nil {
		return o, fmt.Errorf("parse %s: %w", key, err)
	}
	if o.key() != key {
		return o, fmt.Errorf("parse %s: %w: it calls itself %s", key, ErrCorrupt, o.key())
	}
	return o, nil
}

// readChunk reads a chunk's record.
func readChunk(ctx context.Context, store Store, cluster, key string) (Chunk, error) {
	data, err := readAll(ctx, store, key, logManifestLimit)
	if err != nil {
		return Chunk{}, err
	}
	return parseChunk(cluster, key, data)
}

// parseChunk decodes what lay under key.
func parseChunk(cluster, key string, data []byte) (Chunk, error) {
	var c Chunk
	if err := decodeLog(cluster, key, data, &c); err != nil {
		return c, err
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("parse %s: %w", key, err)
	}
	if c.key() != key {
		return c, fmt.Errorf("parse %s: %w: it calls itself %s", key, ErrCorrupt, c.key())
	}
	return c, nil
}

func decodeLog(cluster, key string, data []byte, into any) error {
	var head struct {
		Format  int    `json:"format"`
		Cluster string `json:"cluster"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("parse %s: %w: %w", key, ErrCorrupt, err)
	}
	if head.Format != LogFormatVersion {
		return fmt.Errorf("parse %s: format %d is not known to this version, which reads format %d", key, head.Format, LogFormatVersion)
	}
	if err := checkSealed(data); err != nil {
		return fmt.Errorf("parse %s: %w", key, err)
	}
	if head.Cluster != cluster {
		return fmt.Errorf("parse %s: it belongs to cluster %q, not to %q", key, head.Cluster, cluster)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("parse %s: %w: %w", key, ErrCorrupt, err)
	}
	return nil
}

// check tells whether the chunk can be used at all.
func (c Chunk) check() error {
	if err := c.Line.check(); err != nil {
		return err
	}
	if c.Compression != CompressionZstd {
		return fmt.Errorf("compression %q is not known to this version, which reads %q", c.Compression, CompressionZstd)
	}
	if c.Encryption != nil && c.Encryption.Method != EncryptionAge {
		return fmt.Errorf("encryption %q is not known to this version, which reads %q", c.Encryption.Method, EncryptionAge)
	}
	if c.Seq == 0 || len(c.Parts) == 0 || c.GTIDs.IsEmpty() || c.GTIDs.Count() != uint64(c.Transactions) {
		return fmt.Errorf("%w: %d transactions with the GTIDs %s in %d parts", ErrCorrupt, c.Transactions, c.GTIDs, len(c.Parts))
	}
	for _, p := range c.Parts {
		if err := p.check(c.termDir(c.Term)); err != nil {
			return err
		}
	}
	return nil
}

// check tells whether the part has a proper size and sum and lies in dir.
func (p Part) check(dir string) error {
	if p.Size <= 0 || !properSum(p.SHA256) {
		return fmt.Errorf("%w: part %q has no proper size and sha256", ErrCorrupt, p.Key)
	}
	if d, _ := path.Split(p.Key); d != dir || checkName("part", path.Base(p.Key)) != nil {
		return fmt.Errorf("%w: part %q does not lie under %s", ErrCorrupt, p.Key, dir)
	}
	return nil
}

func properSum(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
