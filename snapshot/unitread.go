package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest zstd window accepted: bounds the memory that a stream
// somebody else compressed can ask for.
const maxWindow = 64 << 20

func newDecompressor(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62))
}

// unitReader reads one unit after the other: its tar stream, decrypted and
// decompressed. Nothing of a part is used before its sum was checked.
type unitReader struct {
	parts *partReader
	keys  *Keys
	made  *Encryption
	dec   *zstd.Decoder
}

func newUnitReader(parts *partReader, keys *Keys, e *Encryption) (*unitReader, error) {
	dec, err := newDecompressor(nil)
	return &unitReader{parts, keys, e, dec}, err
}

// each calls use with the tar stream of the part that comes next, and demands
// that it was read to its end and is as long as the manifest says.
func (u *unitReader) each(p Part, use func(io.Reader) error) error {
	f, err := u.parts.take()
	if err != nil {
		return err
	}
	plain, err := u.keys.open(f, u.made)
	if err != nil {
		return fmt.Errorf("read %s: %w", p.Key, blame(err))
	}
	if err := u.dec.Reset(plain); err != nil {
		return fmt.Errorf("read %s: %w", p.Key, blame(err))
	}
	count := &unitStream{r: u.dec}
	if err := use(count); err != nil {
		return fmt.Errorf("read %s: %w", p.Key, err)
	}
	// To the end, so that every sum, of the frame and the encryption, was checked.
	if _, err := io.Copy(io.Discard, count); err != nil {
		return fmt.Errorf("read %s: %w", p.Key, err)
	}
	if count.n != p.Raw {
		return fmt.Errorf("read %s: %w: it holds %d bytes of the tar stream, the manifest says %d", p.Key, ErrCorrupt, count.n, p.Raw)
	}
	u.parts.release()
	return nil
}

// Close ends the decompressor's goroutines.
func (u *unitReader) Close() { u.dec.Close() }

// unitStream counts what is read, and tells who is to blame for a failure.
type unitStream struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (s *unitStream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if errors.Is(err, io.EOF) {
		return n, err
	}
	return n, blame(err)
}

// blame says that the snapshot is damaged, when something in a part that is what
// the manifest says cannot be read: its disk is another matter, and so are keys.
func blame(err error) error {
	disk := new(fs.PathError)
	if err == nil || errors.As(err, &disk) || errors.Is(err, ErrNoKey) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
