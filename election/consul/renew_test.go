package consul_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

// TestClientCertificateIsRenewed: the files are read for every new connection; a pair that does not fit keeps the former one.
func TestClientCertificateIsRenewed(t *testing.T) {
	var seen atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.TLS.PeerCertificates[0].SerialNumber.Int64())
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.SetKeepAlivesEnabled(false) // every request is a connection of its own
	s.StartTLS()
	t.Cleanup(s.Close)
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	write := func(serial int64) {
		t.Helper()
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
		require.NoError(t, err)
		k, err := x509.MarshalPKCS8PrivateKey(private)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
		require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), 0o600))
	}
	write(1)
	c := client(t, consul.Config{Addrs: []string{s.URL}, InsecureSkipVerify: true, CertFile: cert, KeyFile: key})
	shows := func(serial int64) {
		t.Helper()
		require.NoError(t, c.Ping(t.Context()))
		require.Equal(t, serial, seen.Load())
	}
	shows(1)
	write(2)
	shows(2)
	require.NoError(t, os.WriteFile(key, []byte("half of a"), 0o600))
	shows(2)
	write(3)
	shows(3)
}
