package snapshot

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
)

// TestLookingMakesNoBucket: the name of a bucket may be a typo. Whoever only looks never makes one; a node does when it
// writes for the first time; an operator's command is told which bucket does not exist, and where.
func TestLookingMakesNoBucket(t *testing.T) {
	var puts atomic.Int32
	next := gofakes3.New(s3mem.New()).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Count(strings.Trim(r.URL.Path, "/"), "/") == 0 {
			puts.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	open := func(mustExist bool) Store {
		o := quick()
		o.MustExist = mustExist
		s, err := OpenStore("s3://typo/prefix?endpoint="+srv.URL, o)
		require.NoError(t, err)
		return s
	}
	list, err := open(false).List(t.Context(), "shop/")
	require.NoError(t, err)
	require.Empty(t, list)

	operator := open(true)
	for name, call := range map[string]func() error{
		"list": func() error { _, err := operator.List(t.Context(), "shop/"); return err },
		"put":  func() error { return operator.Put(t.Context(), "shop/a", strings.NewReader("x")) },
		"new":  func() error { return operator.PutNew(t.Context(), "shop/a", []byte("x")) },
	} {
		err := call()
		require.ErrorIs(t, err, ErrNoStore, name)
		require.ErrorContains(t, err, "bucket typo at "+srv.URL+" does not exist", name)
	}
	require.Zero(t, puts.Load(), "somebody who only looked has made a bucket")

	require.NoError(t, open(false).Put(t.Context(), "shop/a", strings.NewReader("x")))
	require.Equal(t, int32(1), puts.Load())
	list, err = operator.List(t.Context(), "shop/")
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestABucketThatWasThereIsMissed: a node takes a bucket that is gone for trouble, not for an empty store.
func TestABucketThatWasThereIsMissed(t *testing.T) {
	var gone atomic.Bool
	s := s3Behind(t, quick(), func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if gone.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
		return gone.Load()
	})
	require.NoError(t, s.Put(t.Context(), "a", strings.NewReader("x")))
	gone.Store(true)
	_, err := s.List(t.Context(), "")
	require.ErrorIs(t, err, ErrNoStore)
}

func TestLookingMakesNoDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "typo")
	for _, mustExist := range []bool{false, true} {
		s, err := openDir(&url.URL{Scheme: "file", Path: root}, StoreOptions{MustExist: mustExist})
		require.NoError(t, err)
		_, err = s.List(t.Context(), "shop/")
		if !mustExist {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrNoStore)
		require.ErrorContains(t, err, "directory "+root+" does not exist")
		require.ErrorIs(t, s.Put(t.Context(), "shop/a", strings.NewReader("x")), ErrNoStore)
	}
	require.NoDirExists(t, root)

	require.NoError(t, os.WriteFile(root, nil, 0o600))
	s, err := openDir(&url.URL{Scheme: "file", Path: root}, StoreOptions{MustExist: true})
	require.NoError(t, err)
	_, err = s.List(t.Context(), "shop/")
	require.ErrorContains(t, err, root+" is not a directory")
}

func TestLookingMakesNoMantaDirectory(t *testing.T) {
	s, _ := newManta(t, nil)
	m, ok := s.(*mantaStore)
	require.True(t, ok)
	list, err := m.List(t.Context(), "shop/")
	require.NoError(t, err)
	require.Empty(t, list)
	m.opts.MustExist = true
	_, err = m.List(t.Context(), "shop/")
	require.ErrorIs(t, err, ErrNoStore)
	require.ErrorContains(t, err, "directory "+m.root)
	require.NoError(t, m.Put(t.Context(), "shop/a", strings.NewReader("x")))
	list, err = m.List(t.Context(), "shop/")
	require.NoError(t, err)
	require.Len(t, list, 1)
}
