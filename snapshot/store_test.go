package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
)

func TestOpenStore(t *testing.T) {
	for url, want := range map[string]string{
		"file:///var/snapshots/":  "file:///var/snapshots",
		"file://localhost/x":      "file:///x",
		"s3://b":                  "s3://b/",
		"s3://b/p/q/?region=eu-1": "s3://b/p/q?region=eu-1",
		"s3://b/p?endpoint=http://h:1&path-style=false": "s3://b/p?endpoint=http%3A%2F%2Fh%3A1&path-style=false",
		"s3://b?sse=aws:kms&sse-kms-key=arn:aws:kms:x":  "s3://b/?sse=aws%3Akms&sse-kms-key=arn%3Aaws%3Akms%3Ax",
		"s3://b/p?endpoint=https://h&region=us-east-1":  "s3://b/p?endpoint=https%3A%2F%2Fh&path-style=true&region=us-east-1",
	} {
		s, err := OpenStore(url, StoreOptions{})
		require.NoError(t, err, url)
		require.Equal(t, want, s.URL())
		again, err := OpenStore(s.URL(), StoreOptions{})
		require.NoError(t, err, "its own URL is accepted")
		require.Equal(t, want, again.URL())
	}
	for url, want := range map[string]string{
		"":                                 "no scheme",
		"/var/snapshots":                   "no scheme",
		"file://var/snapshots":             "three slashes",
		"file:///":                         "absolute directory",
		"file:///x?y=1":                    `unknown parameter "y"`,
		"s3:///p":                          "no bucket",
		"s3://b?region=x&endpont=http://h": `unknown parameter "endpont"`,
		"s3://b?endpoint=h:1":              "endpoint must be",
		"s3://b?endpoint=http://u:hush@h":  "without credentials",
		"s3://b?path-style=maybe":          "true or false",
		"s3://b?sse=rot13":                 "sse must be",
		"s3://b?sse=AES256&sse-kms-key=k":  "needs sse=aws:kms",
		"s3://b/../c":                      "prefix",
		"s3://key:hush@b/p":                "do not belong in the URL",
		"s3://key:hush%zz@b/p":             "not a URL",
		"manta://user/stor/x":              "three slashes",
		"manta:///user/x":                  "needs /account/stor",
		"manta:///user/stor/x?y=1":         `unknown parameter "y"`,
		"manta:///user/stor/x":             "the endpoint must be",
		"gs://b":                           `unknown scheme "gs"`,
	} {
		_, err := OpenStore(url, StoreOptions{})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "hush")
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestOptionsDoNotPrintSecrets(t *testing.T) {
	o := quick()
	for _, text := range []string{fmt.Sprint(o), fmt.Sprintf("%+v", o), fmt.Sprintf("%#v", o), o.LogValue().String()} {
		require.NotContains(t, text, "very-secret")
	}
	s := newS3(t)
	require.NotContains(t, s.URL(), "secret")
	require.NoError(t, s.Put(t.Context(), "x", strings.NewReader("x")))
}

func TestDirectoryShowsNoUnfinishedWrites(t *testing.T) {
	s := newDir(t)
	dir := s.(*dirStore)
	put(t, s, "shop/snapshots/a/part-00001.tar.zst", []byte("x"))
	left := filepath.Join(dir.root, "shop/snapshots/a", tempPrefix+"123")
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))
	require.Len(t, keys(t, s, ""), 1)
	require.Error(t, s.PutNew(t.Context(), "shop/"+tempPrefix+"x", nil))

	_, err := Prune(t.Context(), s, "shop", 1, nil)
	require.NoError(t, err)
	require.FileExists(t, left, "its writer may still be alive")
	old := time.Now().Add(-2 * DefaultOrphanAge)
	require.NoError(t, os.Chtimes(left, old, old))
	_, err = Prune(t.Context(), s, "shop", 1, nil)
	require.NoError(t, err)
	require.NoFileExists(t, left)

	require.NoError(t, s.Delete(t.Context(), "shop/snapshots/a/part-00001.tar.zst"))
	require.NoDirExists(t, filepath.Join(dir.root, "shop"), "empty directories go")
	require.DirExists(t, dir.root)
}

// s3Behind returns a store in front of which handle may answer itself by
// returning true.
func s3Behind(t *testing.T, o StoreOptions, handle func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) Store {
	t.Helper()
	next := gofakes3.New(s3mem.New()).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handle(w, r, next) {
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	s, err := OpenStore("s3://bucket/p?endpoint="+srv.URL, o)
	require.NoError(t, err)
	return s
}

func TestS3BucketThatCannotBeMade(t *testing.T) {
	asked := 0
	s := s3Behind(t, quick(), func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodPut && strings.Count(r.URL.Path, "/") <= 2 && !strings.Contains(r.URL.Path, "x") {
			asked++
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	err := s.Put(t.Context(), "x", strings.NewReader("x"))
	require.ErrorContains(t, err, "bucket bucket does not exist and cannot be created")
	require.NotContains(t, err.Error(), "very-secret")
	require.Equal(t, 1, asked)
	_, _, err = s.Get(t.Context(), "x")
	require.ErrorIs(t, err, ErrNotFound)
}

// hijack cuts the connection without an answer.
func hijack(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

func TestS3PutNewWhoseAnswerWasLost(t *testing.T) {
	for name, other := range map[string]bool{"ours": false, "somebody else's": true} {
		var lost atomic.Bool
		s := s3Behind(t, quick(), func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			if r.Header.Get("If-None-Match") != "*" || lost.Swap(true) {
				return false
			}
			if other {
				r.Body = io.NopCloser(strings.NewReader("2"))
				r.Header.Del("X-Amz-Content-Sha256")
			}
			next.ServeHTTP(httptest.NewRecorder(), r)
			hijack(w)
			return true
		})
		err := s.PutNew(t.Context(), "x", []byte("1"))
		if other {
			require.ErrorIs(t, err, ErrExists, name)
		} else {
			require.NoError(t, err, name)
		}
		require.True(t, lost.Load())
	}
}

func TestS3WithoutConditionalWrites(t *testing.T) {
	s := s3Behind(t, quick(), func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		w.WriteHeader(http.StatusNotImplemented)
		return true
	})
	require.NoError(t, s.PutNew(t.Context(), "x", []byte("1")))
	require.ErrorIs(t, s.PutNew(t.Context(), "x", []byte("2")), ErrExists)
}

func TestS3RetriesAreBounded(t *testing.T) {
	var n atomic.Int32
	s := s3Behind(t, quick(), func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		n.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	require.Error(t, s.Put(t.Context(), "x", strings.NewReader("x")))
	require.LessOrEqual(t, n.Load(), int32(2))

	var failed atomic.Bool
	s = s3Behind(t, quick(), func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/x") || failed.Swap(true) {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	require.NoError(t, s.Put(t.Context(), "x", strings.NewReader("content")))
	require.Equal(t, "content", string(get(t, s, "x")))
}

func TestS3StallsAreNoticed(t *testing.T) {
	o := quick()
	o.Stall, o.Attempts = 2*time.Second, 1
	release := make(chan struct{})
	var hang atomic.Value
	hang.Store("")
	s := s3Behind(t, o, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if hang.Load() != r.Method {
			return false
		}
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("some"))
			w.(http.Flusher).Flush()
		}
		<-release
		return true
	})
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var timeout net.Error
	for err := s.Put(ctx, "x", strings.NewReader("x")); err != nil; err = s.Put(ctx, "x", strings.NewReader("x")) {
		require.ErrorAs(t, err, &timeout, "only the machine itself stalls here")
	}

	hang.Store(http.MethodGet)
	body, _, err := s.Get(ctx, "x")
	for err != nil {
		require.ErrorAs(t, err, &timeout, "only the machine itself stalls before the body")
		body, _, err = s.Get(ctx, "x")
	}
	_, err = io.ReadAll(body)
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	require.NoError(t, ctx.Err())
	body.Close()

	hang.Store(http.MethodPut)
	require.ErrorAs(t, s.Put(ctx, "y", strings.NewReader("y")), &timeout)
	require.True(t, timeout.Timeout())
	require.NoError(t, ctx.Err(), "the store noticed, not the caller's deadline")
}

// TestSlowIsNotStalled sends for longer than the stall time while every chunk
// arrives: only standing still is an error.
func TestSlowIsNotStalled(t *testing.T) { synctest.Test(t, slowIsNotStalled) }

func slowIsNotStalled(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := &stallConn{Conn: a, stall: time.Second}
	defer c.Close()
	answer := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1)) // waits during the whole upload, as a client does
		answer <- err
	}()
	go func() {
		buf := make([]byte, writeChunk/2)
		for range 20 {
			time.Sleep(80 * time.Millisecond)
			_, _ = io.ReadFull(b, buf)
		}
		_, _ = b.Write([]byte("k"))
	}()
	n, err := c.Write(make([]byte, 10*writeChunk))
	require.NoError(t, err)
	require.Equal(t, 10*writeChunk, n)
	require.NoError(t, <-answer)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestS3SweepAbortsOldUploads(t *testing.T) {
	s := newS3(t)
	require.NoError(t, s.Put(t.Context(), "first", strings.NewReader("the bucket is there")))
	st := s.(*s3Store)
	c, err := st.client(t.Context())
	require.NoError(t, err)
	begin := beginUpload(t, c, st, "shop/snapshots/a/part-00001.tar.zst")
	_, err = Prune(t.Context(), s, "shop", 1, nil)
	require.NoError(t, err)
	require.Contains(t, uploads(t, c, st), begin, "too young")
	time.Sleep(5 * time.Millisecond)
	_, err = Retire(t.Context(), s, "shop", Retention{OrphanAge: time.Nanosecond})
	require.NoError(t, err)
	require.NotContains(t, uploads(t, c, st), begin)
}

// TestS3ServerSideEncryption looks at what every write asks the server for.
func TestS3ServerSideEncryption(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]string{} // kind of request → what it asks for
	next := gofakes3.New(s3mem.New()).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := ""
		switch {
		case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
			kind = "multipart"
		case r.Method == http.MethodPut && r.Header.Get("If-None-Match") != "":
			kind = "create-only"
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/small"):
			kind = "single"
		}
		mu.Lock()
		if kind != "" {
			asked[kind] = r.Header.Get("X-Amz-Server-Side-Encryption") + " " + r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		}
		mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	write := func(query string) map[string]string {
		clear(asked)
		s, err := OpenStore("s3://bucket/p?endpoint="+srv.URL+query, quick())
		require.NoError(t, err)
		require.NoError(t, s.Put(t.Context(), "small", strings.NewReader("x")))
		require.NoError(t, s.Put(t.Context(), "large", bytes.NewReader(make([]byte, s3ChunkBytes+1))))
		require.NoError(t, s.Delete(t.Context(), "new"))
		require.NoError(t, s.PutNew(t.Context(), "new", []byte("x")))
		return asked
	}
	for query, want := range map[string]string{"": " ", "&sse=AES256": "AES256 ", "&sse=aws:kms&sse-kms-key=k1": "aws:kms k1"} {
		require.Equal(t, map[string]string{"single": want, "multipart": want, "create-only": want}, write(query), query)
	}
}
