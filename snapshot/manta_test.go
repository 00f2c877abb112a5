package snapshot

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/autopilot-mysql/autopilot-mysql/snapshot/internal/mantatest"
)

// rsaKey is one key for all tests: making one takes a second.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func keyText() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())}))
}

func fingerprint() string {
	pub, err := ssh.NewPublicKey(&rsaKey().PublicKey)
	if err != nil {
		panic(err)
	}
	return ssh.FingerprintLegacyMD5(pub)
}

// newManta returns a store on a stand-in; before may answer requests itself by returning true.
func newManta(t *testing.T, before func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) (Store, *mantatest.Server) {
	t.Helper()
	service := mantatest.New("acme", "", fingerprint(), &rsaKey().PublicKey)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r, service) {
			service.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	o := quick()
	o.Manta = MantaOptions{Endpoint: srv.URL, User: "acme", Key: keyText(), KeyID: fingerprint()}
	s, err := OpenStore("manta:///acme/stor/snaps", o)
	require.NoError(t, err)
	return s, service
}

func TestMantaRefusesWhatItCannotUse(t *testing.T) {
	usual := MantaOptions{Endpoint: "https://manta.example", User: "acme", Key: keyText()}
	for want, change := range map[string]func(*MantaOptions){
		"":                           func(*MantaOptions) {},
		"endpoint must be":           func(o *MantaOptions) { o.Endpoint = "https://u:hush@h" },
		"not a PEM key":              func(o *MantaOptions) { o.Key = "hush" },
		"is not that of the private": func(o *MantaOptions) { o.KeyID = strings.Repeat("00:", 15) + "00" },
	} {
		o := quick()
		o.Manta = usual
		change(&o.Manta)
		_, err := OpenStore("manta:///acme/stor/x", o)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hush")
	}
	o := quick()
	o.Manta = usual
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", o, o, o), "PRIVATE")
	// The predecessor's form of the key, and another service's key.
	o.Manta.Key = strings.ReplaceAll(strings.TrimSpace(keyText()), "\n", "#")
	_, err := OpenStore("manta:///acme/stor/x", o)
	require.NoError(t, err)
}

// TestMantaSignatures: the stand-in refuses what is not signed as it should be, so that what passes is.
func TestMantaSignatures(t *testing.T) {
	s, service := newManta(t, nil)
	require.NoError(t, s.Put(t.Context(), "a/x", strings.NewReader("x")))
	require.Equal(t, []string{"/acme/stor/snaps/", "/acme/stor/snaps/a/", "/acme/stor/snaps/a/x"}, service.Paths("/acme/stor"))
	for name, change := range map[string]func(){
		"another key":     func() { service.KeyID = "00:00" },
		"another account": func() { service.Subuser = "somebody" },
		"a role":          func() { service.Role = "admin" },
	} {
		*service = *freshCopy(service)
		change()
		err := s.Put(t.Context(), "a/y", strings.NewReader("x"))
		require.Error(t, err, name)
		require.Contains(t, []int{401, 403}, status(err), name)
		require.NotContains(t, err.Error(), "PRIVATE")
	}
	*service = *freshCopy(service)
	service.Role = "backup"
	s.(*mantaStore).role = "backup"
	require.NoError(t, s.Put(t.Context(), "a/z", strings.NewReader("x")))

	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	service.Key = &other.PublicKey
	require.Equal(t, 403, status(s.Delete(t.Context(), "a/z")))
}

func freshCopy(*mantatest.Server) *mantatest.Server {
	return mantatest.New("acme", "", fingerprint(), &rsaKey().PublicKey)
}

// TestMantaGoesOnAfterFailures breaks one request of each kind once, before and after the service has acted on it.
func TestMantaGoesOnAfterFailures(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), (2*mantaChunk+99)/16)
	kinds := map[string]func(r *http.Request) bool{
		"object": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/small")
		},
		"part":      func(r *http.Request) bool { return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/1") },
		"commit":    func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/commit") },
		"new":       func(r *http.Request) bool { return r.Header.Get("If-None-Match") != "" },
		"list":      func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("limit") },
		"directory": func(r *http.Request) bool { return strings.Contains(r.Header.Get("Content-Type"), "directory") },
	}
	for kind, is := range kinds {
		for how, fail := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
			"answered with 503": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusServiceUnavailable)
			},
			"answer lost": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				next.ServeHTTP(httptest.NewRecorder(), r)
				hijack(w)
			},
		} {
			var failed atomic.Bool
			s, service := newManta(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if !is(r) || failed.Swap(true) {
					return false
				}
				fail(w, r, next)
				return true
			})
			require.NoError(t, s.Put(t.Context(), "d/small", strings.NewReader("x")), "%s %s", kind, how)
			require.NoError(t, s.Put(t.Context(), "d/large", bytes.NewReader(large)), "%s %s", kind, how)
			require.NoError(t, s.PutNew(t.Context(), "d/new", []byte("n")), "%s %s", kind, how)
			require.Equal(t, []string{"d/large", "d/new", "d/small"}, keys(t, s, "d/"), "%s %s", kind, how)
			require.True(t, bytes.Equal(large, get(t, s, "d/large")), "%s %s", kind, how)
			require.True(t, failed.Load(), "%s %s", kind, how)
			require.Zero(t, service.Uploads(), "%s %s", kind, how)
		}
	}
}

func TestMantaSweepsUploads(t *testing.T) {
	s, service := newManta(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if strings.HasSuffix(r.URL.Path, "/commit") || strings.HasSuffix(r.URL.Path, "/abort") && !sweeping.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	require.Error(t, s.Put(t.Context(), "shop/large", bytes.NewReader(make([]byte, mantaChunk+1))))
	require.Equal(t, 1, service.Uploads())
	sweeping.Store(true)
	defer sweeping.Store(false)
	_, err := Retire(t.Context(), s, "shop", Retention{})
	require.NoError(t, err)
	require.Equal(t, 1, service.Uploads(), "too young")
	time.Sleep(5 * time.Millisecond)
	_, err = Retire(t.Context(), s, "other", Retention{OrphanAge: time.Nanosecond})
	require.NoError(t, err)
	require.Equal(t, 1, service.Uploads(), "another cluster's")
	_, err = Retire(t.Context(), s, "shop", Retention{OrphanAge: time.Nanosecond})
	require.NoError(t, err)
	require.Zero(t, service.Uploads())
}

var sweeping atomic.Bool
