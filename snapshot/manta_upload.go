package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// mantaChunk is the size of one part of a multipart upload: Manta wants at
	// least 5 MiB of all but the last. It is also what is stored in one request,
	// and held in memory for each object on its way.
	mantaChunk = 8 << 20
	// mantaParts is how many parts Manta takes, which bounds an object to 6.25 GiB.
	mantaParts = 800
)

// errTooLarge: the object has more than mantaParts parts.
var errTooLarge = fmt.Errorf("an object may have at most %d parts of %d MiB", mantaParts, mantaChunk>>20)

// Put implements Store: what fits one request is one, all else a multipart
// upload whose parts are repeated one by one when they fail.
func (s *mantaStore) Put(ctx context.Context, key string, r io.Reader) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.put(ctx, key, ctxReader{ctx, r}); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

func (s *mantaStore) put(ctx context.Context, key string, r io.Reader) error {
	buf := make([]byte, mantaChunk)
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.inDirectory(ctx, key, func() error { return s.putChunk(ctx, s.path(key), buf[:n], nil) })
	}
	if err != nil {
		return err
	}
	var u mantaUpload
	err = s.inDirectory(ctx, key, func() (err error) {
		u, err = s.beginUpload(ctx, key)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.fill(ctx, u, buf, r); err != nil {
		s.abort(ctx, u.PartsDirectory)
		return err
	}
	return nil
}

// mantaUpload is a multipart upload that was begun.
type mantaUpload struct {
	ID             string `json:"id"`
	PartsDirectory string `json:"partsDirectory"`
}

// beginUpload is not repeated when its answer is lost: that would leave an
// upload nobody knows. One is swept up later.
func (s *mantaStore) beginUpload(ctx context.Context, key string) (u mantaUpload, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"objectPath": s.path(key)})
	if err != nil {
		return u, err
	}
	resp, err := s.do(ctx, mantaRequest{method: http.MethodPost, path: "/" + s.account + "/uploads", body: body, once: true,
		header: map[string]string{"Content-Type": "application/json"}})
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&u); err != nil {
		return u, fmt.Errorf("begin upload: %w", err)
	}
	if !strings.HasPrefix(u.PartsDirectory, "/"+s.account+"/uploads/") {
		return u, fmt.Errorf("begin upload: the answer names no directory of uploads: %q", u.PartsDirectory)
	}
	return u, nil
}

// fill stores the parts, the first of which is in buf, and commits them.
func (s *mantaStore) fill(ctx context.Context, u mantaUpload, buf []byte, r io.Reader) error {
	var etags []string
	chunk, more := buf, true
	for len(chunk) > 0 {
		if len(etags) == mantaParts {
			return errTooLarge
		}
		var etag string
		if err := s.putChunk(ctx, u.PartsDirectory+"/"+strconv.Itoa(len(etags)), chunk, &etag); err != nil {
			return err
		}
		etags = append(etags, etag)
		if !more {
			break
		}
		n, err := io.ReadFull(r, buf)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			more = false
		case err != nil:
			return err
		}
		chunk = buf[:n]
	}
	if err := ctx.Err(); err != nil {
		return err // an object nobody waits for any more must not appear
	}
	body, err := json.Marshal(map[string][]string{"parts": etags})
	if err != nil {
		return err
	}
	// Committing the same parts again is allowed, so a lost answer may be repeated.
	err = s.call(ctx, mantaRequest{method: http.MethodPost, path: u.PartsDirectory + "/commit", body: body,
		header: map[string]string{"Content-Type": "application/json"}})
	if err != nil {
		return fmt.Errorf("commit upload: %w", err)
	}
	return nil
}

// putChunk stores one object or part in one request. It may be repeated: it
// replaces what it stored before.
func (s *mantaStore) putChunk(ctx context.Context, at string, data []byte, etag *string) error {
	if data == nil {
		data = []byte{}
	}
	resp, err := s.do(ctx, mantaRequest{method: http.MethodPut, path: at, body: data,
		header: map[string]string{"Content-Type": "application/octet-stream", "Content-MD5": md5Header(data)}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if etag == nil {
		return nil
	}
	if *etag = resp.Header.Get("Etag"); *etag == "" {
		return fmt.Errorf("store part %s: the answer has no etag", path.Base(at))
	}
	return nil
}

// abort gives an upload up, also when the caller's context has ended.
func (s *mantaStore) abort(ctx context.Context, dir string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s3AbortTimeout)
	defer cancel()
	_ = s.call(ctx, mantaRequest{method: http.MethodPost, path: dir + "/abort"}) // what is left is swept up later
}

// sweep implements sweeper: uploads that were begun and never committed are
// invisible, and paid for.
func (s *mantaStore) sweep(ctx context.Context, prefix string, before time.Time) error {
	groups, err := s.readDir(ctx, "/"+s.account+"/uploads")
	if status(err) == http.StatusForbidden {
		return nil // not for us to look: this is only tidying
	}
	if err != nil {
		return err
	}
	for _, g := range groups {
		dir := "/" + s.account + "/uploads/" + g.Name
		uploads, err := s.readDir(ctx, dir)
		if err != nil {
			return err
		}
		for _, u := range uploads {
			if u.MTime.Before(before) {
				s.sweepUpload(ctx, dir+"/"+u.Name, s.path(prefix), before)
			}
		}
	}
	return nil
}

// sweepUpload aborts an upload that is old and one of ours.
func (s *mantaStore) sweepUpload(ctx context.Context, dir, prefix string, before time.Time) {
	call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	resp, err := s.do(call, mantaRequest{method: http.MethodGet, path: dir + "/state"})
	if err != nil {
		return
	}
	defer resp.Body.Close()
	var state struct {
		State   string `json:"state"`
		Target  string `json:"targetObject"`
		Created int64  `json:"creationTimeMs"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&state) == nil && state.State == "created" &&
		strings.HasPrefix(state.Target, prefix) && time.UnixMilli(state.Created).Before(before) {
		s.abort(ctx, dir)
	}
}
