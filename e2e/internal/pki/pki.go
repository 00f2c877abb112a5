// Package pki makes certificates for tests: a private CA and what it signs.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CA is a private certificate authority whose files lie in a directory of the test.
type CA struct {
	t      testing.TB
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// New makes a CA and writes its certificate, ca.pem.
func New(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, dir: t.TempDir(), key: newKey(t), serial: 1}
	require.NoError(t, os.Chmod(ca.dir, 0o755))
	ca.cert = &x509.Certificate{SerialNumber: big.NewInt(ca.serial), Subject: pkix.Name{CommonName: "private CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca.cert, ca.cert, &ca.key.PublicKey, ca.key)
	require.NoError(t, err)
	ca.save("ca.pem", "CERTIFICATE", der)
	return ca
}

// Dir is where the files are, readable by everybody because containers run as other users.
func (ca *CA) Dir() string { return ca.dir }

// File is the path of one of them.
func (ca *CA) File(name string) string { return filepath.Join(ca.dir, name) }

// Issue writes NAME.pem and NAME-key.pem, a new certificate for 127.0.0.1 and localhost as server and as client, in place of
// former ones. It returns the serial number.
func (ca *CA) Issue(name string) int64 {
	ca.t.Helper()
	ca.serial++
	key := newKey(ca.t)
	c := &x509.Certificate{SerialNumber: big.NewInt(ca.serial), Subject: pkix.Name{CommonName: name}, NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, &key.PublicKey, ca.key)
	require.NoError(ca.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(ca.t, err)
	ca.save(name+".pem", "CERTIFICATE", der)
	ca.save(name+"-key.pem", "PRIVATE KEY", private)
	return ca.serial
}

// save replaces a file at once, so that nobody reads half of it.
func (ca *CA) save(name, kind string, der []byte) {
	ca.t.Helper()
	path := ca.File(name)
	require.NoError(ca.t, os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
	require.NoError(ca.t, os.Rename(path+".new", path))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}
