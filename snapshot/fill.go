package snapshot

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// hole is the granularity at which holes of sparse files are restored.
const hole = 4 << 10

// fill writes r behind what is in f already, as far as r leads, and notes it.
// What an earlier process wrote beyond that is overwritten.
func fill(f *os.File, p *unfinished, r io.Reader, buf []byte) error {
	if err := f.Truncate(p.At); err != nil {
		return err
	}
	if _, err := f.Seek(p.At, io.SeekStart); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(r, p.Size-p.At), buf)
	p.At += n
	return err
}

// fillSparse is fill that leaves blocks of zeros out. The file is as long as
// what was read of it all the same.
func fillSparse(f *os.File, p *unfinished, r io.Reader, buf []byte) error {
	if err := f.Truncate(p.At); err != nil {
		return err
	}
	r = io.LimitReader(r, p.Size-p.At)
	for {
		// From here on blocks begin where those of the file system do.
		n, err := readUp(r, buf[:len(buf)-int(p.At%hole)])
		if e := writeBlocks(f, p.At, buf[:n]); e != nil {
			return e
		}
		p.At += int64(n)
		if errors.Is(err, io.EOF) {
			return f.Truncate(p.At)
		}
		if err != nil {
			return err
		}
	}
}

// writeBlocks writes data at an offset of f, but for its blocks of zeros.
func writeBlocks(f *os.File, at int64, data []byte) error {
	zero := make([]byte, hole)
	for len(data) > 0 {
		block := data[:min(len(data), hole-int(at%hole))]
		if !bytes.Equal(block, zero[:len(block)]) {
			if _, err := f.WriteAt(block, at); err != nil {
				return err
			}
		}
		data, at = data[len(block):], at+int64(len(block))
	}
	return nil
}

// readUp reads until buf is full. An error, io.EOF too, comes with what was read
// before it; unlike those of io.ReadFull, it says whether r ended or failed.
func readUp(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}
