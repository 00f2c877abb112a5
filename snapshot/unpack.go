package snapshot

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

const (
	// maxWindow is the largest zstd window accepted: bounds the memory that a
	// stream somebody else compressed can ask for.
	maxWindow = 64 << 20
	// syncers is how many files are synced at the same time: the file system
	// then commits them together, which matters with thousands of small tables.
	syncers = 8
	// hole is the granularity at which holes of sparse files are restored.
	hole = 4 << 10
)

// unpackTree extracts a compressed tar stream into root, which must exist and
// be empty, and makes it durable. Only regular files and directories below root
// are accepted, each name once.
func unpackTree(r io.Reader, root string) (t totals, err error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62))
	if err != nil {
		return t, err
	}
	defer dec.Close()
	at, err := os.OpenRoot(root) // no name can lead out of it, whatever it says
	if err != nil {
		return t, err
	}
	defer at.Close() //nolint:errcheck // a directory; its files are closed and checked one by one
	u := &unpacker{at: at, tr: tar.NewReader(dec), buf: make([]byte, copyBuffer)}
	u.syncing.SetLimit(syncers)
	err = u.all()
	if e := u.syncing.Wait(); err == nil {
		err = e
	}
	if err == nil {
		// Read to the end, so that every sum, of parts and frame, was checked.
		_, err = io.Copy(io.Discard, dec)
	}
	if err == nil {
		err = syncDirs(root)
	}
	return u.totals, err
}

// unpacker is the state of one extraction.
type unpacker struct {
	totals
	at      *os.Root
	tr      *tar.Reader
	buf     []byte
	syncing errgroup.Group
}

// all extracts every entry.
func (u *unpacker) all() error {
	for {
		h, err := u.tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.entry(h); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

// entry extracts one file or directory.
func (u *unpacker) entry(h *tar.Header) error {
	name := strings.TrimSuffix(h.Name, "/")
	if name == "." && h.Typeflag == tar.TypeDir {
		return nil
	}
	name = strings.TrimPrefix(name, "./") // as other tar programs write it
	if name != path.Clean(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("%w: the name leads out of the directory", ErrCorrupt)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		if err := u.dir(path.Dir(name)); err != nil {
			return err
		}
		return u.file(name, h)
	default:
		return fmt.Errorf("%w: it is neither a file nor a directory", ErrCorrupt)
	}
}

// dir makes a directory. All get the same mode: what mysqld makes, and never
// one that would keep us from writing into it.
func (u *unpacker) dir(name string) error {
	if name == "." {
		return nil
	}
	return u.at.MkdirAll(name, 0o750)
}

// file writes one file and hands it to a syncer.
func (u *unpacker) file(name string, h *tar.Header) (err error) {
	mode := fs.FileMode(h.Mode)&0o770 | 0o600
	f, err := u.at.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: the name occurs twice", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if h.PAXRecords[sparseRecord] != "" {
		err = copySparse(f, u.tr, u.buf)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{u.tr}, u.buf)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	u.files++
	u.bytes += h.Size
	u.syncing.Go(func() error {
		err := f.Sync()
		if e := f.Close(); err == nil {
			err = e
		}
		return err
	})
	return nil
}

// copySparse copies r into the empty file f and leaves blocks of zeros out.
func copySparse(f *os.File, r io.Reader, buf []byte) error {
	var at int64
	zero := make([]byte, hole)
	for {
		n, err := io.ReadFull(r, buf)
		for from := 0; from < n; from += hole {
			block := buf[from:min(from+hole, n)]
			if bytes.Equal(block, zero[:len(block)]) {
				continue
			}
			if _, err := f.WriteAt(block, at+int64(from)); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && at > 0 && n < len(buf) {
			return f.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

// syncDirs makes all names below root durable.
func syncDirs(root string) error {
	return filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncPath(name)
	})
}
