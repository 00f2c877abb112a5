package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

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
	// Note, if set, is told in one sentence what becomes of the work an earlier
	// restore left: "resumes: 12 of 80 parts are there", or why it begins anew.
	Note func(string)
	// Progress, if set, is called with the stored bytes unpacked so far and in
	// total; never concurrently.
	Progress func(done, total int64)
}

// Restore writes the snapshot's data into destDir, which must not exist or be
// an empty directory; destDir appears by rename when every sum was checked and
// everything is synced. Files belong to the calling user; whose they shall be is
// the caller's business. There is no auto.cnf.
//
// The work is done in destDir + ".partial" beside it. One that is interrupted, by
// its context, a store that is away or a kill, leaves it there, and the next
// Restore of the same snapshot goes on behind the last part that was unpacked;
// one of another snapshot removes it first. See Begun and CleanRestore. After
// any other failure nothing is left. ErrBusy: another process is at it.
//
// It needs the space of what is missing of the data, and of three parts, which
// is looked for first.
func Restore(ctx context.Context, store Store, m Manifest, destDir string, o RestoreOptions) error {
	if err := restore(ctx, store, m, filepath.Clean(destDir), o); err != nil {
		return fmt.Errorf("restore snapshot %s: %w", m.ID, err)
	}
	return nil
}

// restore is Restore without the name of the snapshot around its errors.
func restore(ctx context.Context, store Store, m Manifest, dest string, o RestoreOptions) error {
	if err := m.check(); err != nil {
		return err
	}
	w, err := openWork(dest)
	if err != nil {
		return err
	}
	if err := vacant(dest); err != nil {
		if _, e := os.Lstat(w.data()); errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, w.remove()) // of one that was killed when it had just succeeded, or ours
		} else {
			w.leave()
		}
		return err
	}
	r := &restoring{m: m, store: store, o: o, work: w}
	err = r.run(ctx, dest)
	if err != nil && r.at.Parts > 0 && worthKeeping(ctx, err) {
		w.leave()
		return err
	}
	return errors.Join(err, w.remove())
}

// worthKeeping tells whether the work of a restore that failed for this reason is
// of use for a later one. A disk that is full must not stay so because of it.
func worthKeeping(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	for _, no := range []error{ErrCorrupt, ErrIncomplete, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, no) {
			return false
		}
	}
	return true
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

// restoring is one restore.
type restoring struct {
	m       Manifest
	store   Store
	o       RestoreOptions
	work    *work
	journal *journal
	at      journalLine // the last line of the journal
}

// run does all of it.
func (r *restoring) run(ctx context.Context, dest string) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.journal.Close() //nolint:errcheck // every line was synced
	needs, err := r.needs()
	if err == nil {
		err = checkSpace(r.work.dir, needs)
	}
	if err != nil {
		return err
	}
	release, err := Hold(ctx, r.store, r.m)
	if err != nil {
		return err
	}
	defer release()
	if err := r.unpack(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(r.work.data(), dest); err != nil { // replaces an empty directory
		return err
	}
	return syncPath(filepath.Dir(dest))
}

// begin finds out where to begin.
func (r *restoring) begin() (err error) {
	fresh := r.work.fresh()
	r.journal, r.at, err = r.work.goOn(r.m)
	if err == nil {
		r.note(fmt.Sprintf("resumes: %d of %d parts are there", r.at.Parts, len(r.m.Parts)))
	} else {
		if !fresh {
			r.note(fmt.Sprintf("begins anew: what an earlier restore left in %s cannot be used: %v", r.work.dir, err))
		}
		r.at = journalLine{}
		if r.journal, err = r.work.begin(r.m); err != nil {
			return err
		}
	}
	err = os.RemoveAll(r.work.parts())
	if err == nil {
		err = os.Mkdir(r.work.parts(), 0o750)
	}
	if err != nil {
		_ = r.journal.Close()
	}
	return err
}

func (r *restoring) note(line string) {
	if r.o.Note != nil {
		r.o.Note(line)
	}
}

// needs is the space for what is missing, in bytes.
func (r *restoring) needs() (int64, error) {
	var part int64
	for _, p := range r.m.Parts {
		part = max(part, p.Size)
	}
	used, err := r.work.used()
	return needed(max(r.m.Bytes-used, 0), part, fetchAhead+1), err
}

// unpack fetches, checks, decrypts and extracts the parts that are missing.
func (r *restoring) unpack(ctx context.Context) error {
	missing := r.m.Parts[r.at.Parts:]
	var done int64
	used := func(n int64) {
		done += n
		if r.o.Progress != nil {
			r.o.Progress(done, r.m.StoredBytes)
		}
	}
	for _, p := range r.m.Parts[:r.at.Parts] {
		done += p.Size
	}
	used(0)
	parts := newPartReader(ctx, inlet{store: r.store, spoolDir: r.work.parts(), rate: r.o.Rate, patience: r.o.Patience, done: used}, missing)
	defer parts.Close()
	got, err := r.extract(ctx, parts)
	if err != nil {
		return err
	}
	if got.files != r.m.Files || got.bytes != r.m.Bytes {
		return fmt.Errorf("%w: it holds %d files with %d bytes, the manifest says %d with %d",
			ErrIncomplete, got.files, got.bytes, r.m.Files, r.m.Bytes)
	}
	return nil
}

// extract extracts the parts, and returns what is there then.
func (r *restoring) extract(ctx context.Context, parts *partReader) (totals, error) {
	if r.m.Format == formatOneStream {
		return r.oneStream(parts)
	}
	if err := r.units(ctx, parts); err != nil {
		return totals{}, err
	}
	// Counted on the disk, because earlier processes may have written some of it.
	there, err := measure(r.work.data())
	if counted := (totals{r.at.Files, r.at.Bytes}); err == nil && there != counted {
		err = fmt.Errorf("%w: %d files with %d bytes became %d with %d", ErrCorrupt, counted.files, counted.bytes, there.files, there.bytes)
	}
	return there, err
}

// oneStream extracts a snapshot of the format before.
func (r *restoring) oneStream(parts *partReader) (totals, error) {
	plain, err := r.o.Keys.open(parts, r.m.Encryption)
	if err != nil {
		return totals{}, err
	}
	got, err := unpackTree(plain, r.work.data())
	if err != nil {
		return got, err
	}
	// The stream may end before its last part does: that one has to be right too.
	n, err := io.Copy(io.Discard, parts)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: %d bytes follow the end of the stream", ErrCorrupt, n)
	}
	return got, err
}
