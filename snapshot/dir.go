package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names of files a write has not finished. No key may
// have such a name, so they never show up in a listing.
const tempPrefix = ".tmp-"

// dirStore keeps objects as files below a directory: a mounted share, or the
// disk of a playground. Writes go to a temporary name, are synced, and appear
// by rename or link.
type dirStore struct {
	root      string
	mustExist bool
}

// openDir parses file:///dir.
func openDir(u *url.URL, opts StoreOptions) (Store, error) {
	if u.Host != "" && u.Host != "localhost" {
		return nil, fmt.Errorf("parse store URL: file:// takes an absolute path with three slashes, not the host %q; %s", u.Host, accepted)
	}
	if !path.IsAbs(u.Path) || path.Clean(u.Path) == "/" {
		return nil, fmt.Errorf("parse store URL: file:// needs an absolute directory other than /; %s", accepted)
	}
	if err := checkQuery(u.Query()); err != nil {
		return nil, err
	}
	return &dirStore{root: filepath.Clean(u.Path), mustExist: opts.MustExist}, nil
}

// URL implements Store.
func (d *dirStore) URL() string { return (&url.URL{Scheme: "file", Path: d.root}).String() }

// present refuses to go on without the directory where that is not ours to make.
func (d *dirStore) present() error {
	if !d.mustExist {
		return nil
	}
	st, err := os.Stat(d.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %s %w", d.root, ErrNoStore)
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is not a directory: such a store %w", d.root, ErrNoStore)
	}
	return nil
}

// file maps a key to its path.
func (d *dirStore) file(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	for _, name := range strings.Split(key, "/") {
		if strings.HasPrefix(name, tempPrefix) {
			return "", fmt.Errorf("check key: %q: names that begin with %s are reserved", key, tempPrefix)
		}
	}
	return filepath.Join(d.root, filepath.FromSlash(key)), nil
}

// Put implements Store.
func (d *dirStore) Put(ctx context.Context, key string, r io.Reader) error {
	return d.write(ctx, key, r, func(tmp, final string) error { return os.Rename(tmp, final) })
}

// PutNew implements Store.
func (d *dirStore) PutNew(ctx context.Context, key string, data []byte) error {
	return d.write(ctx, key, bytes.NewReader(data), linkNew)
}

// linkNew gives tmp its final name unless that is taken: link and renameat2
// both decide this inside the file system, so two nodes cannot both win. Some
// network file systems know only one of the two.
func linkNew(tmp, final string) error {
	err := os.Link(tmp, final)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if e := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, final, unix.RENAME_NOREPLACE); e != nil {
		if errors.Is(e, fs.ErrExist) {
			return e
		}
		return fmt.Errorf("%w (and without a link: %w)", err, e)
	}
	return nil
}

// write fills and syncs a temporary file beside the target, then lets publish
// give it its name.
func (d *dirStore) write(ctx context.Context, key string, r io.Reader, publish func(tmp, final string) error) (err error) {
	final, err := d.file(key)
	if err != nil {
		return err
	}
	dir := filepath.Dir(final)
	var f *os.File
	if err = d.present(); err == nil {
		f, err = createTemp(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already after a rename, which is fine
	_, err = io.Copy(f, ctxReader{ctx, r})
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = ctx.Err() // an object nobody waits for any more must not appear
	}
	if err == nil {
		err = publish(f.Name(), final)
	}
	if err == nil {
		err = syncPath(dir)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("write %s: %w", key, ErrExists)
	case err != nil:
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// createTemp makes the directory and a file in it. Delete prunes empty
// directories, so the one just made may be gone again: try a few times.
func createTemp(dir string) (f *os.File, err error) {
	for range 5 {
		if err = os.MkdirAll(dir, 0o750); err != nil {
			return nil, err
		}
		if f, err = os.CreateTemp(dir, tempPrefix+"*"); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}

// Get implements Store.
func (d *dirStore) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	name, err := d.file(key)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("read %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = ErrNotFound // a directory is no object
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{ctxReader{ctx, f}, f}, st.Size(), nil
}

// List implements Store.
func (d *dirStore) List(ctx context.Context, prefix string) ([]Object, error) {
	if err := d.present(); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	var out []Object
	err := d.walk(ctx, prefix, func(key string, info fs.FileInfo) error {
		if !strings.HasPrefix(path.Base(key), tempPrefix) {
			out = append(out, Object{Key: key, Size: info.Size(), Modified: info.ModTime()})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out, nil
}

// walk visits every regular file whose key begins with prefix. What vanishes
// while we look was deleted by another node, and is passed over.
func (d *dirStore) walk(ctx context.Context, prefix string, visit func(key string, info fs.FileInfo) error) error {
	start := d.root
	if dir, _ := path.Split(prefix); dir != "" {
		if err := checkKey(path.Clean(dir)); err != nil {
			return err
		}
		start = filepath.Join(d.root, filepath.FromSlash(dir))
	}
	return filepath.WalkDir(start, func(name string, e fs.DirEntry, err error) error {
		if e := ctx.Err(); e != nil {
			return e
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(d.root, name)
		if err != nil {
			return err
		}
		key := filepath.ToSlash(rel)
		if !strings.HasPrefix(key, prefix) {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return visit(key, info)
	})
}

// Delete implements Store. Directories that became empty go too.
func (d *dirStore) Delete(ctx context.Context, key string) error {
	name, err := d.file(key)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		if err = os.Remove(name); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	// The removal must be durable: a manifest that came back after a power cut
	// would describe parts that are gone.
	dir := filepath.Dir(name)
	if err := syncPath(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	for dir != d.root && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
	return nil
}

// sweep implements sweeper: temporary files of writers that were killed.
func (d *dirStore) sweep(ctx context.Context, prefix string, before time.Time) error {
	return d.walk(ctx, prefix, func(key string, info fs.FileInfo) error {
		if strings.HasPrefix(path.Base(key), tempPrefix) && info.ModTime().Before(before) {
			if err := os.Remove(filepath.Join(d.root, filepath.FromSlash(key))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// syncPath makes the entries of a directory (or the content of a file) durable.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// ctxReader fails as soon as its context has ended, between two reads.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
