package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// workSuffix is appended to a restore's destination for the directory the work
// is done in.
const workSuffix = ".partial"

// RestoreOptions is what a caller may say about a restore.
type RestoreOptions struct {
	// Keys decrypt; nil reads only what is not encrypted.
	Keys *Keys
	// Rate bounds the download; nil does not.
	Rate *Limiter
	// Patience is for how long a store that fails is tried again before the
	// restore is given up; a few attempts are always made. What was unpacked
	// before stays unpacked.
	Patience time.Duration
	// Progress, if set, is called with the stored bytes unpacked so far and in
	// total; never concurrently.
	Progress func(done, total int64)
}

// Restore writes the snapshot's data into destDir, which must not exist or be
// an empty directory. The work is done in destDir + ".partial" beside it, which
// is removed at the end, as well as the one a killed predecessor left; destDir
// appears by rename when every sum was checked and everything is synced. It
// needs the space of the data and of three parts, which is looked for first. Files belong to the calling
// user; whose they shall be is the caller's business. There is no auto.cnf.
func Restore(ctx context.Context, store Store, m Manifest, destDir string, o RestoreOptions) error {
	if err := restore(ctx, store, m, filepath.Clean(destDir), o); err != nil {
		return fmt.Errorf("restore snapshot %s: %w", m.ID, err)
	}
	return nil
}

// restore is Restore without the name of the snapshot around its errors.
func restore(ctx context.Context, store Store, m Manifest, dest string, o RestoreOptions) (err error) {
	if err := m.check(); err != nil {
		return err
	}
	if err := vacant(dest); err != nil {
		return err
	}
	work := dest + workSuffix
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer func() {
		if e := os.RemoveAll(work); err == nil {
			err = e
		}
	}()
	data, spool := filepath.Join(work, "data"), filepath.Join(work, "parts")
	for _, dir := range []string{work, data, spool} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			return err
		}
	}
	var part int64
	for _, p := range m.Parts {
		part = max(part, p.Size)
	}
	if err := checkSpace(work, needed(m.Bytes, part, fetchAhead+1)); err != nil {
		return err
	}
	release, err := Hold(ctx, store, m)
	if err != nil {
		return err
	}
	defer release()
	if err := m.unpack(ctx, store, data, spool, o); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(data, dest); err != nil { // replaces an empty directory
		return err
	}
	return syncPath(filepath.Dir(dest))
}

// vacant refuses a destination that holds anything.
func vacant(dest string) error {
	entries, err := os.ReadDir(dest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: %w", dest, ErrExists)
	}
	return nil
}

// unpack fetches, checks, decrypts and extracts all parts.
func (m Manifest) unpack(ctx context.Context, store Store, data, spool string, o RestoreOptions) error {
	var done int64
	used := func(n int64) {
		done += n
		if o.Progress != nil {
			o.Progress(done, m.StoredBytes)
		}
	}
	used(0)
	r := newPartReader(ctx, inlet{store: store, spoolDir: spool, rate: o.Rate, patience: o.Patience, done: used}, m.Parts)
	defer r.Close()
	plain, err := o.Keys.open(r, m.Encryption)
	if err != nil {
		return err
	}
	got, err := unpackTree(plain, data)
	if err != nil {
		return err
	}
	if got.files != m.Files || got.bytes != m.Bytes {
		return fmt.Errorf("%w: it holds %d files with %d bytes, the manifest says %d with %d",
			ErrIncomplete, got.files, got.bytes, m.Files, m.Bytes)
	}
	// The stream may end before its last part does: that one has to be right too.
	if n, err := io.Copy(io.Discard, r); err != nil || n > 0 {
		return errors.Join(err, errIf(n > 0, fmt.Errorf("%w: %d bytes follow the end of the stream", ErrCorrupt, n)))
	}
	return nil
}

// CleanRestore removes what a Restore into destDir that was killed has left.
func CleanRestore(destDir string) error { return os.RemoveAll(filepath.Clean(destDir) + workSuffix) }
