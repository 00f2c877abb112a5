package snapshot

import (
	"encoding/pem"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
)

// TestStoreOverTLS: with the CA of its certificate a store is talked to, without it nothing is sent there.
func TestStoreOverTLS(t *testing.T) {
	srv := httptest.NewTLSServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	where := "s3://bucket/prefix?path-style=true&region=us-east-1&endpoint=" + srv.URL

	options := quick()
	s, err := OpenStore(where, options)
	require.NoError(t, err)
	err = s.Put(t.Context(), "one", strings.NewReader("x"))
	require.ErrorContains(t, err, "certificate")
	require.NotContains(t, err.Error(), "very-secret")

	options.CA = ca
	s, err = OpenStore(where, options)
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), "one", strings.NewReader("over TLS")))
	r, _, err := s.Get(t.Context(), "one")
	require.NoError(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "over TLS", string(b))

	options.CA = filepath.Join(t.TempDir(), "none.pem")
	_, err = OpenStore(where, options)
	require.ErrorContains(t, err, "none.pem")
}
