package snapshot_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot/internal/conformance"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot/internal/mantatest"
)

// TestConformance runs the suite on every kind of store: a directory, S3 as one server understands it, Manta's stand-in,
// and whatever AUTOPILOT_TEST_STORE names (an S3 server's URL, to which a prefix is added).
func TestConformance(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) snapshot.Store {
			return open(t, "file://"+filepath.Join(t.TempDir(), "store"), snapshot.StoreOptions{})
		})
	})
	t.Run("s3-gofakes3", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) snapshot.Store {
			srv := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
			t.Cleanup(srv.Close)
			return open(t, "s3://bucket/some/prefix?endpoint="+srv.URL, snapshot.StoreOptions{AccessKey: "a", SecretKey: "secret"})
		})
	})
	t.Run("manta", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) snapshot.Store {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			der, err := x509.MarshalECPrivateKey(key)
			require.NoError(t, err)
			pub, err := ssh.NewPublicKey(&key.PublicKey)
			require.NoError(t, err)
			service := mantatest.New("acme", "backup", ssh.FingerprintLegacyMD5(pub), &key.PublicKey)
			srv := httptest.NewServer(service)
			t.Cleanup(srv.Close)
			t.Cleanup(func() { require.Zero(t, service.Uploads(), "uploads left open") })
			return open(t, "manta:///acme/stor/deep/er", snapshot.StoreOptions{Manta: snapshot.MantaOptions{Endpoint: srv.URL, Subuser: "backup",
				Key: string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))}})
		})
	})
	t.Run("named", func(t *testing.T) {
		named := os.Getenv("AUTOPILOT_TEST_STORE")
		if named == "" {
			t.Skip("AUTOPILOT_TEST_STORE names no store")
		}
		conformance.Run(t, func(t *testing.T) snapshot.Store {
			u, err := url.Parse(named)
			require.NoError(t, err)
			u.Path += "/" + strings.ReplaceAll(t.Name(), "/", "-") + "-" + rand.Text()[:6]
			return open(t, u.String(), snapshot.StoreOptions{})
		})
	})
}

func open(t *testing.T, raw string, o snapshot.StoreOptions) snapshot.Store {
	t.Helper()
	s, err := snapshot.OpenStore(raw, o)
	require.NoError(t, err)
	return s
}
