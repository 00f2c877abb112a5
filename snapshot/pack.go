package snapshot

import (
	"archive/tar"
	"context"
	"errors"
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

// cuttable is where a tar stream goes that is cut on the way.
type cuttable interface {
	io.Writer
	// place is called where the stream may be cut: in front of an entry, and
	// between two bytes of a file's content. It returns how many bytes may follow
	// before the next such place, at least one.
	place() (int64, error)
}

// packTree writes the tree as tar. seen is called with the size of every piece
// of file content written.
func packTree(ctx context.Context, w cuttable, root string, seen func(int64)) (t totals, err error) {
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
		if err := tw.Flush(); err != nil { // the padding belongs to the entry before
			return err
		}
		if _, err := w.place(); err != nil {
			return err
		}
		if e.IsDir() {
			return packDir(tw, name, rel)
		}
		n, err := packFile(ctx, tw, name, rel, buf, w.place, seen)
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
// place is that of cuttable; nil for a stream that is not cut.
func packFile(ctx context.Context, tw *tar.Writer, name, rel string, buf []byte, place func() (int64, error), seen func(int64)) (int64, error) {
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
	n, err := packContent(ctx, tw, f, st.Size(), buf, place, seen)
	if err != nil {
		return n, fmt.Errorf("pack %s: %w", rel, err)
	}
	return n, nil
}

// packContent writes the next size bytes of r, and returns how many it wrote.
func packContent(ctx context.Context, w io.Writer, r io.Reader, size int64, buf []byte, place func() (int64, error), seen func(int64)) (done int64, err error) {
	for done < size {
		room := int64(len(buf))
		if place != nil {
			if room, err = place(); err != nil {
				return done, err
			}
		}
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-done, room)])
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return done, err
		}
		n, err = w.Write(buf[:n])
		done += int64(n)
		if seen != nil {
			seen(int64(n))
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
