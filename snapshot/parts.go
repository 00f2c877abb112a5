package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// partUploads is how many parts travel to the store at the same time. One more
// is being filled, so partUploads+1 parts are the scratch space of an upload.
const partUploads = 2

// outlet is where a packed stream goes.
type outlet struct {
	store     Store
	key       func(n int) string // of the n-th part, counted from 1
	partBytes int64              // at most so many in one, and none for packUnits, which cuts by another measure
	spoolDir  string             // for partUploads+1 parts; "" keeps them in memory
	keys      *Keys
	rate      *Limiter
	patience  time.Duration // see persist
}

// packParts lets fill write a tar stream, which is compressed, encrypted, cut
// into parts and stored. Parts wait in files that have no name, so that one
// whose transfer breaks is sent again while the others stay. It returns the
// parts begun so far even with an error; none of them is on its way any more.
func packParts(ctx context.Context, o outlet, fill func(io.Writer) (totals, error)) (totals, []Part, error) {
	if o.partBytes <= 0 {
		o.partBytes = DefaultPartBytes
	}
	return shipParts(ctx, o, func(w *partWriter, giveUp func()) (totals, error) { return w.pack(fill, giveUp) })
}

// shipParts lets pack write parts, and waits for all of them.
func shipParts(ctx context.Context, o outlet, pack func(w *partWriter, giveUp func()) (totals, error)) (totals, []Part, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	w := newPartWriter(inner, o)
	t, err := pack(w, cancel)
	err = w.end(err)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // all else is what that led to
	}
	return t, w.parts, err
}

// pack runs fill through compression and encryption. giveUp is called before
// the two are ended after a failure: what they flush must not make a stream that
// was cut short look like a whole one.
func (w *partWriter) pack(fill func(io.Writer) (totals, error), giveUp func()) (totals, error) {
	sealed, err := w.o.keys.seal(w)
	if err != nil {
		return totals{}, err
	}
	enc, err := newCompressor(sealed)
	if err != nil {
		return totals{}, err
	}
	t, err := fill(enc)
	if err != nil {
		giveUp()
	}
	if e := enc.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = sealed.Close()
	}
	return t, err
}

// partWriter cuts a stream into objects of a fixed size.
type partWriter struct {
	ctx     context.Context // ends with the first upload that fails, too
	o       outlet
	uploads *errgroup.Group

	mu    sync.Mutex // the compressor writes from goroutines of its own
	parts []Part
	cur   *filling
}

func newPartWriter(ctx context.Context, o outlet) *partWriter {
	w := &partWriter{o: o}
	w.uploads, w.ctx = errgroup.WithContext(ctx)
	w.uploads.SetLimit(partUploads)
	return w
}

// filling is a part that is not full yet.
type filling struct {
	file *os.File
	size int64
	sum  hash.Hash
}

// Write implements io.Writer.
func (w *partWriter) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(p) {
		if w.cur == nil {
			if err := w.begin(); err != nil {
				return n, err
			}
		}
		chunk := p[n:min(int64(len(p)), int64(n)+w.o.partBytes-w.cur.size)]
		m, err := w.cur.file.Write(chunk)
		w.cur.sum.Write(chunk[:m])
		w.cur.size += int64(m)
		n += m
		if err != nil {
			return n, fmt.Errorf("spool part: %w", err)
		}
		if w.cur.size == w.o.partBytes {
			w.ship(0)
		}
	}
	return n, nil
}

// begin starts the next part.
func (w *partWriter) begin() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if len(w.parts) >= maxParts {
		return errors.New("write part: too many parts; choose a larger part size")
	}
	f, err := unnamedFile(w.o.spoolDir)
	if err != nil {
		return fmt.Errorf("spool part: %w", err)
	}
	w.cur = &filling{file: f, sum: sha256.New()}
	return nil
}

// ship hands the current part, which holds raw bytes of a tar stream, to an
// upload, and waits while all are busy.
func (w *partWriter) ship(raw int64) {
	f := w.cur
	w.cur = nil
	part := Part{Key: w.o.key(len(w.parts) + 1), Size: f.size, Raw: raw, SHA256: hex.EncodeToString(f.sum.Sum(nil))}
	w.parts = append(w.parts, part)
	w.uploads.Go(func() error {
		defer f.file.Close() //nolint:errcheck // a spool file: read in full, or of no use
		if err := w.ctx.Err(); err != nil {
			return err
		}
		return persist(w.ctx, w.o.patience, func() error {
			return w.o.store.Put(w.ctx, part.Key, w.o.rate.reader(w.ctx, io.NewSectionReader(f.file, 0, part.Size)))
		})
	})
}

// end ships the last part or, after a failure, drops it, and waits until nothing
// is on its way any more. It returns why a part could not be stored, which comes
// before the failure that led to.
func (w *partWriter) end(failed error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cur != nil && failed == nil {
		w.ship(0)
	}
	if w.cur != nil {
		_ = w.cur.file.Close()
		w.cur = nil
	}
	err := w.uploads.Wait()
	if err != nil && failed != nil && errors.Is(err, context.Canceled) {
		return failed
	}
	if err == nil {
		return failed
	}
	return err
}
