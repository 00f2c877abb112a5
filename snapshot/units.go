package snapshot

import (
	"context"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// A snapshot's tar stream is cut into units. Each is a zstd frame of its own,
// an age file of its own if it is encrypted, and one part: who has unpacked some
// of them can go on with the next one, in another process, without the bytes of
// those before. A unit begins with an entry, or in the middle of a file's
// content, never in a header or in padding, so that little has to be known about
// the place.

// packUnits is packParts for a stream that is cut into units of unitBytes.
func packUnits(ctx context.Context, o outlet, unitBytes int64, fill func(cuttable) (totals, error)) (totals, []Part, error) {
	o.partBytes = math.MaxInt64
	return shipParts(ctx, o, func(w *partWriter, giveUp func()) (totals, error) {
		u, err := newUnitWriter(w, unitBytes)
		if err != nil {
			return totals{}, err
		}
		t, err := fill(u)
		if err != nil {
			giveUp() // before what the compressor still holds makes a whole unit of half a one
			u.drop()
			return t, err
		}
		return t, u.end()
	})
}

// unitWriter compresses and encrypts one unit after the other. It is cuttable.
type unitWriter struct {
	parts  *partWriter
	size   int64 // of a unit, in bytes of the tar stream
	raw    int64 // so many of them are in the present one
	enc    *zstd.Encoder
	sealed io.WriteCloser // of the present unit; nil between two
}

func newUnitWriter(w *partWriter, size int64) (*unitWriter, error) {
	enc, err := newCompressor(nil)
	return &unitWriter{parts: w, size: size, enc: enc}, err
}

// Write implements io.Writer.
func (u *unitWriter) Write(p []byte) (int, error) {
	if u.sealed == nil {
		sealed, err := u.parts.o.keys.seal(u.parts)
		if err != nil {
			return 0, err
		}
		u.sealed = sealed
		u.enc.Reset(sealed)
	}
	n, err := u.enc.Write(p)
	u.raw += int64(n)
	return n, err
}

// place implements cuttable: a unit that is full ends here.
func (u *unitWriter) place() (int64, error) {
	if u.raw >= u.size {
		if err := u.end(); err != nil {
			return 0, err
		}
	}
	return u.size - u.raw, nil
}

// end ships the present unit, if there is one.
func (u *unitWriter) end() error {
	if u.sealed == nil {
		return nil
	}
	if err := u.enc.Close(); err != nil {
		return err
	}
	if err := u.sealed.Close(); err != nil {
		return err
	}
	u.parts.mu.Lock()
	defer u.parts.mu.Unlock()
	u.parts.ship(u.raw)
	u.sealed, u.raw = nil, 0
	return nil
}

// drop ends the compressor's goroutines; what it still holds is of no use.
func (u *unitWriter) drop() {
	if u.sealed != nil {
		_ = u.enc.Close()
	}
}
