package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// fetchAhead is how many parts may be on disk or on their way besides the one
// being unpacked.
const fetchAhead = 2

// inlet is where parts come from.
type inlet struct {
	store    Store
	spoolDir string // for fetchAhead+1 parts
	rate     *Limiter
	patience time.Duration // see persist
	done     func(int64)   // called with the size of every part used up; nil is allowed
}

// partReader is the concatenation of a snapshot's parts. Parts are fetched
// ahead into spool files, and a part is read only after its sum was checked.
type partReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan chan spooled // results in the order of the parts
	slots  chan struct{}     // one per spool file that may exist
	cur    *os.File
	done   func(int64) // called with the size of every part used up
	size   int64       // of cur
}

// spooled is a part that was fetched, or why it was not.
type spooled struct {
	file *os.File // unlinked already: it vanishes with the process
	size int64
	err  error
}

// newPartReader begins to fetch. Close it to stop.
func newPartReader(ctx context.Context, in inlet, parts []Part) *partReader {
	ctx, cancel := context.WithCancel(ctx)
	r := &partReader{ctx: ctx, cancel: cancel, done: in.done,
		ready: make(chan chan spooled, fetchAhead+1), slots: make(chan struct{}, fetchAhead+1)}
	go func() {
		defer close(r.ready)
		for _, p := range parts {
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			c := make(chan spooled, 1)
			r.ready <- c // never blocks: there are as many places as slots
			go func() { c <- in.spool(ctx, p) }()
		}
	}()
	return r
}

// Read implements io.Reader.
func (r *partReader) Read(p []byte) (int, error) {
	for {
		if r.cur == nil {
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.cur.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		r.release()
		if n > 0 {
			return n, nil
		}
	}
}

// next waits for the next part.
func (r *partReader) next() error {
	c, ok := <-r.ready
	if !ok {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	s := <-c
	if s.err != nil {
		<-r.slots
		r.cancel() // the rest is of no use
		return s.err
	}
	r.cur, r.size = s.file, s.size
	return nil
}

// release frees the current part's place on the disk.
func (r *partReader) release() {
	_ = r.cur.Close()
	r.cur = nil
	<-r.slots
	if r.done != nil {
		r.done(r.size)
	}
}

// take is next for who reads the part himself, until release.
func (r *partReader) take() (*os.File, error) {
	err := r.next()
	return r.cur, err
}

// Close stops fetching and waits until nothing is on its way any more.
func (r *partReader) Close() {
	r.cancel()
	if r.cur != nil {
		_ = r.cur.Close()
		r.cur = nil
	}
	for c := range r.ready {
		if s := <-c; s.file != nil {
			_ = s.file.Close()
		}
	}
}

// spool fetches one part, trying again when the transfer fails. What arrives
// whole but wrong is wrong in the store: fetching it again is tried once, in
// case something on the way garbled it.
func (in inlet) spool(ctx context.Context, p Part) spooled {
	s := spooled{size: p.Size}
	corrupt := 0
	var verdict error
	err := persist(ctx, in.patience, func() error {
		f, err := in.spoolOnce(ctx, p)
		switch {
		case err == nil:
			s.file = f
		case errors.Is(err, ErrNotFound):
			verdict = fmt.Errorf("%w: %s is missing: %w", ErrIncomplete, p.Key, err)
		case errors.Is(err, ErrCorrupt):
			if corrupt++; corrupt == 2 {
				verdict = err
			}
		case errors.Is(err, errShort):
			if corrupt++; corrupt == transferAttempts {
				verdict = err
			}
		}
		if verdict != nil {
			return nil //nolint:nilerr // the verdict counts, and is given below
		}
		return err
	})
	if s.err = err; verdict != nil {
		s.err = verdict
	}
	return s
}

// errShort: the object, or the answer, ended before its time. Which of the two
// it was shows when it is asked for again.
var errShort = fmt.Errorf("%w: ended early", ErrIncomplete)

// spoolOnce fetches one part into an unnamed file and checks it.
func (in inlet) spoolOnce(ctx context.Context, p Part) (_ *os.File, err error) {
	body, _, err := in.store.Get(ctx, p.Key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f, err := unnamedFile(in.spoolDir)
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", p.Key, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	sum := sha256.New()
	// One byte more than it should have: enough to notice that there is more.
	n, err := io.Copy(io.MultiWriter(f, sum), ctxReader{ctx, in.rate.reader(ctx, io.LimitReader(body, p.Size+1))})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.Key, err)
	}
	if n < p.Size {
		return nil, fmt.Errorf("read %s: %w: it ends after %d of %d bytes", p.Key, errShort, n, p.Size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != p.Size || got != p.SHA256 {
		return nil, fmt.Errorf("read %s: %w: sha256 is %s, the manifest says %s", p.Key, ErrCorrupt, got, p.SHA256)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("spool %s: %w", p.Key, err)
	}
	return f, nil
}
