package snapshot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Manta's own check of a transfer, no security
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"
)

// mantaPage is how many entries a directory is listed at a time: the most there is.
const mantaPage = 1000

// URL implements Store.
func (s *mantaStore) URL() string { return (&url.URL{Scheme: "manta", Path: s.root}).String() }

func (s *mantaStore) path(key string) string { return s.root + "/" + key }

// md5Header lets Manta refuse what was garbled on the way.
func md5Header(data []byte) string {
	sum := md5.Sum(data) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// PutNew implements Store with a conditional write.
func (s *mantaStore) PutNew(ctx context.Context, key string, data []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.putNew(ctx, key, data); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// putNew repeats by itself, because "exists already" after a lost answer may
// well be our own object.
func (s *mantaStore) putNew(ctx context.Context, key string, data []byte) (err error) {
	unknown := false
	for try := 1; try <= s.opts.Attempts; try++ {
		if try > 1 {
			if e := pause(ctx, try-1); e != nil {
				return errors.Join(e, err)
			}
		}
		err = s.inDirectory(ctx, key, func() error {
			call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
			defer cancel()
			resp, err := s.send(call, mantaRequest{method: http.MethodPut, path: s.path(key), body: data,
				header: map[string]string{"If-None-Match": "*", "Content-Type": "application/json", "Content-MD5": md5Header(data)}})
			if err == nil {
				resp.Body.Close()
			}
			return err
		})
		switch st := status(err); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case st == http.StatusPreconditionFailed:
			if got, e := readAll(ctx, s, key, int64(len(data))); unknown && e == nil && bytes.Equal(got, data) {
				return nil
			}
			return ErrExists
		case st == http.StatusConflict, st == http.StatusTooManyRequests:
		case st == 0 || st >= 500:
			unknown = true
		default:
			return err
		}
	}
	return err
}

// inDirectory makes the object's directory first, and again when somebody
// removed it meanwhile because it was empty.
func (s *mantaStore) inDirectory(ctx context.Context, key string, write func() error) (err error) {
	dir := path.Dir(s.path(key))
	for range dirAttempts {
		if err = s.makeDir(ctx, dir); err == nil {
			err = write()
		}
		if !strings.HasPrefix(code(err), "DirectoryDoesNotExist") {
			return err
		}
		s.forgetDirs()
	}
	return err
}

// dirAttempts is how often a directory is made that others keep removing.
const dirAttempts = 20

// makeDir makes a directory and those above it, below /account/stor.
func (s *mantaStore) makeDir(ctx context.Context, dir string) error {
	if strings.Count(dir, "/") <= 2 {
		return nil // /account/stor is there
	}
	s.mu.Lock()
	known := s.dirs[dir]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := s.makeDir(ctx, path.Dir(dir)); err != nil {
		return err
	}
	err := s.call(ctx, mantaRequest{method: http.MethodPut, path: dir, header: map[string]string{"Content-Type": "application/json; type=directory"}})
	if err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	s.mu.Lock()
	s.dirs[dir] = true
	s.mu.Unlock()
	return nil
}

func (s *mantaStore) forgetDirs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.dirs)
}

// isDirectory tells from an answer whether it is the listing of a directory.
func isDirectory(h http.Header) bool {
	return strings.Contains(h.Get("Content-Type"), "type=directory")
}

// Get implements Store.
func (s *mantaStore) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := checkKey(key); err != nil {
		return nil, 0, err
	}
	resp, err := s.do(ctx, mantaRequest{method: http.MethodGet, path: s.path(key)})
	if status(err) == http.StatusNotFound {
		return nil, 0, fmt.Errorf("read %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	if isDirectory(resp.Header) {
		resp.Body.Close()
		return nil, 0, fmt.Errorf("read %s: %w", key, ErrNotFound)
	}
	return resp.Body, resp.ContentLength, nil
}

// mantaEntry is one line of a directory's listing.
type mantaEntry struct {
	Name  string    `json:"name"`
	Type  string    `json:"type"`
	Size  int64     `json:"size"`
	MTime time.Time `json:"mtime"`
}

// List implements Store: directories are walked, there is no listing by prefix.
func (s *mantaStore) List(ctx context.Context, prefix string) ([]Object, error) {
	dir, _ := path.Split(prefix)
	dir = strings.TrimSuffix(dir, "/")
	if dir != "" {
		if err := checkKey(dir); err != nil {
			return nil, err
		}
	}
	if s.opts.MustExist {
		if _, err := s.readPage(ctx, s.root, ""); status(err) == http.StatusNotFound {
			return nil, fmt.Errorf("list %s: directory %s in Manta %w", prefix, s.root, ErrNoStore)
		}
	}
	var out []Object
	if err := s.walk(ctx, dir, prefix, &out); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out, nil
}

func (s *mantaStore) walk(ctx context.Context, dir, prefix string, out *[]Object) error {
	entries, err := s.readDir(ctx, strings.TrimSuffix(s.path(dir), "/"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		key := strings.TrimPrefix(dir+"/"+e.Name, "/")
		if e.Type == "directory" {
			// Only what can hold such keys: a beginning of the prefix, or beyond it.
			if strings.HasPrefix(prefix, key+"/") || strings.HasPrefix(key+"/", prefix) {
				if err := s.walk(ctx, key, prefix, out); err != nil {
					return err
				}
			}
			continue
		}
		if strings.HasPrefix(key, prefix) {
			*out = append(*out, Object{Key: key, Size: e.Size, Modified: e.MTime})
		}
	}
	return nil
}

// readDir lists one directory; one that does not exist is empty.
func (s *mantaStore) readDir(ctx context.Context, dir string) (all []mantaEntry, err error) {
	marker := ""
	for {
		page, err := s.readPage(ctx, dir, marker)
		if status(err) == http.StatusNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Name != marker || marker == "" { // a page begins with its marker
				all = append(all, e)
			}
		}
		if len(page) < mantaPage {
			return all, nil
		}
		marker = page[len(page)-1].Name
	}
}

func (s *mantaStore) readPage(ctx context.Context, dir, marker string) ([]mantaEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	q := url.Values{"limit": {strconv.Itoa(mantaPage)}}
	if marker != "" {
		q.Set("marker", marker)
	}
	resp, err := s.do(ctx, mantaRequest{method: http.MethodGet, path: dir, query: q})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if !isDirectory(resp.Header) {
		return nil, nil
	}
	var page []mantaEntry
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e mantaEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read directory %s: %w", dir, err)
		}
		page = append(page, e)
	}
	return page, lines.Err()
}

// Delete implements Store. Directories that became empty go too.
func (s *mantaStore) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.call(ctx, mantaRequest{method: http.MethodDelete, path: s.path(key)}); err != nil {
		if status(err) == http.StatusNotFound {
			return nil
		}
		return fmt.Errorf("delete %s: %w", key, err)
	}
	for dir := path.Dir(s.path(key)); len(dir) > len(s.root); dir = path.Dir(dir) {
		s.mu.Lock()
		delete(s.dirs, dir)
		s.mu.Unlock()
		if err := s.call(ctx, mantaRequest{method: http.MethodDelete, path: dir}); err != nil {
			break // it is not empty
		}
	}
	return nil //nolint:nilerr // a directory that stays is no failure
}
