package snapshot

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindow bounds the memory of both sides; tables gain nothing from more.
	zstdWindow = 1 << 20
	// copyBuffer is the unit of reading and writing files.
	copyBuffer = 256 << 10
	// sparseRecord marks files that had holes, so that restoring them does not
	// fill the disk. Other programs ignore it.
	sparseRecord = "AUTOPILOT.sparse"
)

// zstdWorkers compress in parallel: half of the processors, because a snapshot
// may take its time and mysqld may not; at least 2, at most 8 for the memory.
func zstdWorkers() int { return min(max(runtime.NumCPU()/2, 2), 8) }

// newCompressor returns the one compressor used for everything stored.
func newCompressor(w io.Writer) (*zstd.Encoder, error) {
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderConcurrency(zstdWorkers()), zstd.WithEncoderCRC(true))
}

// totals counts what is in a tree or in a tar stream.
type totals struct {
	files int
	bytes int64
}

// measure sums up a tree, and refuses what a snapshot could not hold: skipping
// it silently would make the snapshot useless.
func measure(root string) (t totals, err error) {
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory", name)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		t.files++
		t.bytes += info.Size()
		return nil
	})
	return t, err
}

// packTree writes the tree as tar. seen is called with the size of every piece
// of file content written.
func packTree(ctx context.Context, w io.Writer, root string, seen func(int64)) (t totals, err error) {
	tw := tar.NewWriter(w)
	buf := make([]byte, copyBuffer)
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == root {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return packDir(tw, name, rel)
		}
		n, err := packFile(ctx, tw, name, rel, buf, seen)
		t.files++
		t.bytes += n
		return err
	})
	if err != nil {
		return t, err
	}
	return t, tw.Close()
}

// packDir writes a directory's header.
func packDir(tw *tar.Writer, name, rel string) error {
	st, err := os.Lstat(name)
	if err != nil {
		return err
	}
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: filepath.ToSlash(rel) + "/",
		Mode: int64(st.Mode().Perm()), ModTime: st.ModTime(), Format: tar.FormatPAX})
}

// packFile writes one regular file, exactly as long as it was when opened: a
// file that grows (a binary log) is cut there, one that shrinks is an error.
func packFile(ctx context.Context, tw *tar.Writer, name, rel string, buf []byte, seen func(int64)) (int64, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", name)
	}
	// No owner: who restores decides. Times to the second: finer ones would
	// cost every file a header of its own.
	h := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(rel), Size: st.Size(),
		Mode: int64(st.Mode().Perm()), ModTime: st.ModTime(), Format: tar.FormatPAX}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Blocks*512 < st.Size()-st.Size()/8 {
		h.PAXRecords = map[string]string{sparseRecord: "1"}
	}
	if err := tw.WriteHeader(h); err != nil {
		return 0, fmt.Errorf("pack %s: %w", rel, err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{counter{tw, seen}}, ctxReader{ctx, io.LimitReader(f, st.Size())}, buf)
	if err == nil && n < st.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("pack %s: %w", rel, err)
	}
	return n, nil
}

// counter reports how much passed through.
type counter struct {
	w    io.Writer
	seen func(int64)
}

// Write implements io.Writer.
func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.seen != nil {
		c.seen(int64(n))
	}
	return n, err
}
