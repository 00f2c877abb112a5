package snapshot

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// ArchiveRecord is the JSON beside an archive. It is written last: without it
// the archive is not complete.
type ArchiveRecord struct {
	Format    int       `json:"format"`
	Cluster   string    `json:"cluster"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Files     []string  `json:"files"` // base names, as in the tar stream
	Bytes     int64     `json:"bytes"` // sum of the sizes of the files
	Parts     []Part    `json:"parts"` // one, or more if it is larger than archivePartBytes
	// Encryption is nil for parts that are not encrypted.
	Encryption *Encryption `json:"encryption,omitempty"`
	// Meta is what the caller wanted to remember, such as the GTIDs that diverged.
	Meta any `json:"meta"`
}

// archiveFormat is the format of archives.
const archiveFormat = 1

// archivePartBytes is where an archive is cut. Parts on their way are in memory.
const archivePartBytes = 16 << 20

// Archive keeps files, usually the binary logs of a deposed primary that hold
// what nobody else has, as <cluster>/archive/<name>.tar.zst with a JSON record
// beside it, and returns the key of the former. It is durable when Archive
// returns without an error. ErrExists: the name has been archived already.
// Files are taken as long as they are when opened; their base names must differ.
// It needs no disk: the volume may be full, and that may be why it is called.
func Archive(ctx context.Context, store Store, keys *Keys, cluster, name string, meta any, files []string) (string, error) {
	key, err := archive(ctx, store, keys, cluster, name, meta, files)
	if err != nil {
		return "", fmt.Errorf("archive %s: %w", name, err)
	}
	return key, nil
}

// archive is Archive without the name around its errors.
func archive(ctx context.Context, store Store, keys *Keys, cluster, name string, meta any, files []string) (string, error) {
	if err := errors.Join(checkName("cluster", cluster), checkName("archive name", name)); err != nil {
		return "", err
	}
	rec := ArchiveRecord{Format: archiveFormat, Cluster: cluster, Name: name, CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
		Meta: meta, Encryption: keys.Says()}
	seen := map[string]bool{}
	for _, f := range files {
		base := filepath.Base(f)
		if seen[base] {
			return "", fmt.Errorf("two files are called %s", base)
		}
		seen[base] = true
		rec.Files = append(rec.Files, base)
	}
	if len(files) == 0 {
		return "", errors.New("no files given")
	}
	prefix := cluster + "/archive/" + name
	if _, err := json.Marshal(meta); err != nil { // fail before the upload, not after it
		return "", fmt.Errorf("encode meta: %w", err)
	}
	// The object itself is not create-only, so look before it is overwritten.
	body, _, err := store.Get(ctx, prefix+".json")
	if err == nil {
		body.Close()
		return "", fmt.Errorf("%s.json: %w", prefix, ErrExists)
	}
	if !errors.Is(err, ErrNotFound) {
		return "", err
	}
	key := prefix + keys.Says().suffix()
	got, parts, err := packParts(ctx, outlet{store: store, keys: keys, partBytes: archivePartBytes, key: func(n int) string {
		if n == 1 {
			return key
		}
		return fmt.Sprintf("%s.%05d", key, n)
	}}, func(w io.Writer) (totals, error) {
		return packFiles(ctx, w, files)
	})
	if err != nil {
		return "", err
	}
	rec.Bytes, rec.Parts = got.bytes, parts
	record, err := sealJSON(rec)
	if err != nil {
		return "", err
	}
	if err := store.PutNew(ctx, prefix+".json", record); err != nil {
		return "", err
	}
	return key, nil
}

// packFiles writes the files as tar under their base names.
func packFiles(ctx context.Context, w io.Writer, files []string) (t totals, err error) {
	tw := tar.NewWriter(w)
	buf := make([]byte, copyBuffer)
	for _, f := range files {
		n, err := packFile(ctx, tw, f, filepath.Base(f), buf, nil, nil)
		if err != nil {
			return t, err
		}
		t.files++
		t.bytes += n
	}
	return t, tw.Close()
}
