package snapshot

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// syncers is how many files are synced at the same time: the file system then
// commits them together, which matters with thousands of small tables.
const syncers = 8

// tarBlock is what tar fills up the content of every file to.
const tarBlock = 512

// place is where an unpacker is between two units. It is all that has to be
// known to go on with the next unit.
type place struct {
	Files int   `json:"files"` // that are complete
	Bytes int64 `json:"bytes"` // in them
	// File is the one the next unit goes on with; nil at the end of an entry.
	File *unfinished `json:"file,omitempty"`
}

// unfinished is a file whose content is not complete yet.
type unfinished struct {
	Name   []byte `json:"name"` // below the root; bytes, because a name need not be UTF-8
	Size   int64  `json:"size"` // that it will have
	At     int64  `json:"at"`   // that it has
	Sparse bool   `json:"sparse,omitempty"`
}

// unpacker extracts a tar stream into a directory, unit by unit. Only regular
// files and directories below it are accepted, each name once.
type unpacker struct {
	place
	at  *os.Root // no name can lead out of it, whatever it says
	buf []byte
	// again says that an earlier process unpacked more than at's place: what it
	// wrote behind that is written again.
	again bool
	// What this unit wrote, and has to become durable: see settle.
	syncing *errgroup.Group
	dirs    map[string]bool
}

// newUnpacker goes on at a place; the zero place is the beginning, in an empty
// directory. Close it when nothing is unpacked any more.
func newUnpacker(root string, from place, again bool) (*unpacker, error) {
	at, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	u := &unpacker{place: from, at: at, buf: make([]byte, copyBuffer), again: again}
	u.place = u.here() // from is the caller's
	u.begin()
	return u, nil
}

// begin begins to note what is written.
func (u *unpacker) begin() {
	u.syncing, u.dirs = new(errgroup.Group), map[string]bool{}
	u.syncing.SetLimit(syncers)
}

// unit extracts the next unit, which ends with r.
func (u *unpacker) unit(r io.Reader) error {
	for {
		if f := u.File; f != nil {
			if err := u.content(f, r); err != nil {
				return fmt.Errorf("unpack %q: %w", f.Name, err)
			}
			if u.File != nil {
				return nil // the next unit goes on with it
			}
		}
		h, err := tar.NewReader(r).Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return err
		}
		if err := u.entry(h); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

// entry makes the file or directory of one header.
func (u *unpacker) entry(h *tar.Header) error {
	name := strings.TrimSuffix(h.Name, "/")
	if name == "." && h.Typeflag == tar.TypeDir {
		return nil
	}
	name = strings.TrimPrefix(name, "./") // as other tar programs write it
	if name != path.Clean(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("%w: the name leads out of the directory", ErrCorrupt)
	}
	switch {
	case h.Typeflag == tar.TypeDir:
		return u.dir(name)
	case h.Typeflag == tar.TypeReg && h.PAXRecords["GNU.sparse.major"] == "": // there Size is not what follows
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
	u.dirs["."] = true
	if name == "." {
		return nil
	}
	for d := name; d != "."; d = path.Dir(d) {
		u.dirs[d] = true
	}
	return u.at.MkdirAll(name, 0o750)
}

// file makes an empty file, whose content comes next.
func (u *unpacker) file(name string, h *tar.Header) error {
	const once = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	mode := fs.FileMode(h.Mode)&0o770 | 0o600
	f, err := u.at.OpenFile(name, once, mode)
	if errors.Is(err, fs.ErrExist) && u.again {
		// Of the process before, or the name occurs twice: then there will be a
		// file too few at the end.
		if err = u.at.Remove(name); err == nil {
			f, err = u.at.OpenFile(name, once, mode)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: the name occurs twice", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	u.File = &unfinished{Name: []byte(name), Size: h.Size, Sparse: h.PAXRecords[sparseRecord] != ""}
	return f.Close()
}

// content goes on with a file, as far as r leads, and hands it to a syncer.
func (u *unpacker) content(p *unfinished, r io.Reader) error {
	f, err := u.at.OpenFile(string(p.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if p.Sparse {
		err = fillSparse(f, p, r, u.buf)
	} else {
		err = fill(f, p, r, u.buf)
	}
	if err == nil && p.At == p.Size {
		err = u.finish(p, r)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	u.syncing.Go(func() error { return errors.Join(f.Sync(), f.Close()) })
	return nil
}

// finish counts a file whose content is complete, and skips what fills it up.
func (u *unpacker) finish(f *unfinished, r io.Reader) error {
	pad := (tarBlock - f.Size%tarBlock) % tarBlock
	_, err := io.CopyN(io.Discard, r, pad)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends within padding", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	u.Files++
	u.Bytes += f.Size
	u.File = nil
	return nil
}

// here is the place reached, which does not change when u goes on.
func (u *unpacker) here() place {
	at := u.place
	if u.File != nil {
		f := *u.File
		at.File = &f
	}
	return at
}

// settle returns what makes the units since the last settle durable. It may be
// called while the next unit is unpacked.
func (u *unpacker) settle() func() error {
	syncing, dirs, at := u.syncing, u.dirs, u.at
	u.begin()
	return func() error {
		err := syncing.Wait()
		for name := range dirs {
			if err == nil {
				err = syncDir(at, name)
			}
		}
		return err
	}
}

func syncDir(at *os.Root, name string) error {
	d, err := at.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close waits for what is being synced.
func (u *unpacker) Close() {
	_ = u.syncing.Wait() // nobody builds on it any more
	_ = u.at.Close()
}

// unpackTree extracts a compressed tar stream in one piece into root, which must
// exist and be empty, and makes it durable.
func unpackTree(r io.Reader, root string) (t totals, err error) {
	dec, err := newDecompressor(r)
	if err != nil {
		return t, err
	}
	defer dec.Close()
	u, err := newUnpacker(root, place{}, false)
	if err != nil {
		return t, err
	}
	defer u.Close()
	if err = u.unit(dec); err == nil {
		// Read to the end, so that every sum, of parts and frame, was checked.
		_, err = io.Copy(io.Discard, dec)
	}
	if err == nil && u.File != nil {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = u.settle()()
	}
	return totals{files: u.Files, bytes: u.Bytes}, err
}
