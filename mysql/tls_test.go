package mysql

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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority is a CA of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of " + t.Name()}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = a.make("ca", a.cert, a.cert, nil)
	return a
}

// make writes name.pem and name-key.pem.
func (a *authority) make(name string, c, parent *x509.Certificate, by *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	require.NoError(a.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	for file, b := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(a.t, os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(b), 0o600))
	}
	return key
}

// node are the files of a node whose certificate names these hosts.
func (a *authority) node(name string, ip net.IP, until time.Time) TLS {
	a.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: a.cert.NotBefore, NotAfter: until,
		IPAddresses: []net.IP{ip}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	a.make(name, c, a.cert, a.key)
	return TLS{CA: filepath.Join(a.dir, "ca.pem"), Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+"-key.pem")}
}

var (
	loopback  = net.IPv4(127, 0, 0, 1)
	elsewhere = net.IPv4(192, 0, 2, 1)
)

func TestTLSFiles(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	good := a.node("good", loopback, a.cert.NotAfter)
	load := func(f TLS) error { _, _, err := f.Load(); return err }
	require.NoError(t, load(TLS{}))
	require.NoError(t, load(good))
	require.NoError(t, good.Names("127.0.0.1"))
	require.ErrorContains(t, good.Names("192.0.2.1"), "good.pem")
	anyName := good
	anyName.AnyName = true
	require.NoError(t, anyName.Names("192.0.2.1"))

	broken := map[string]func(*TLS){
		"give both or none":        func(f *TLS) { f.Key = "" },
		"is not an absolute path":  func(f *TLS) { f.CA = "ca.pem" },
		"holds no PEM certificate": func(f *TLS) { f.CA = f.Key },
		"with its key":             func(f *TLS) { f.Key = other.node("n", loopback, other.cert.NotAfter).Key },
		"does not vouch for it":    func(f *TLS) { f.CA = filepath.Join(other.dir, "ca.pem") },
		"load TLS CA":              func(f *TLS) { f.CA = filepath.Join(a.dir, "missing.pem") },
		"expired":                  func(f *TLS) { *f = a.node("late", loopback, time.Now().Add(-time.Minute)) },
	}
	for want, spoil := range broken {
		f := good
		spoil(&f)
		require.ErrorContains(t, load(f), want)
	}
}

func tlsStart(t *testing.T, name string, files TLS) *opsNode {
	t.Helper()
	c := procConfig(t)
	c.TLS = files
	out, err := exec.Command("cp", "-a", opsData(t), c.DataDir()).CombinedOutput()
	require.NoError(t, err, string(out))
	_, err = NewServerUUID(c)
	require.NoError(t, err)
	require.NoError(t, WriteConfig(c))
	n := &opsNode{t: t, name: name, cfg: c}
	n.boot()
	return n
}

// TestTLSBetweenNodes: with a CA nobody gives his password to, or takes data from, a server that cannot prove itself.
func TestTLSBetweenNodes(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	files := a.node("p", loopback, a.cert.NotAfter)
	files.Required = true
	p, f := tlsStart(t, "p", files), tlsStart(t, "f", a.node("f", loopback, a.cert.NotAfter))
	p.open()
	p.feed(f, true)
	require.Equal(t, files.CA, f.value("SELECT SSL_CA_FILE FROM performance_schema.replication_connection_configuration"))
	require.Equal(t, "YES", f.value("SELECT SSL_VERIFY_SERVER_CERTIFICATE FROM performance_schema.replication_connection_configuration"))
	p.exec("INSERT INTO t.t VALUES (1, 'a')")
	f.until("the row's transaction", func(st Status) bool { return st.Executed.Contains(p.st().Executed) })

	login := func(files TLS) error {
		return TryLogin(procContext(t), procAddr(p.cfg), procCreds.Monitor(), procCreds.Password, files)
	}
	require.NoError(t, login(files))
	require.NoError(t, login(TLS{}), "who has no CA is encrypted all the same")
	wrongCA := TLS{CA: filepath.Join(other.dir, "ca.pem")}
	require.ErrorContains(t, login(wrongCA), "certificate signed by unknown authority")
	wrongCA.AnyName = true
	require.ErrorContains(t, login(wrongCA), "certificate signed by unknown authority")
	creds := procCreds
	creds.TLS = wrongCA
	_, _, err := History(procContext(t), procAddr(p.cfg), creds)
	require.ErrorContains(t, err, "certificate signed by unknown authority")

	clear := socketConnector("", procCreds.Monitor(), procCreds.Password, false).(connector).cfg
	clear.Net, clear.Addr = "tcp", procAddr(p.cfg)
	_, err = connector{clear}.Connect(procContext(t))
	require.ErrorContains(t, err, "secure_transport")

	clone := f.cfg
	clone.TLS = TLS{CA: filepath.Join(other.dir, "ca.pem")}
	clone.Dir = procConfig(t).Dir
	dest := filepath.Join(clone.Dir, "copy")
	require.Error(t, CloneFrom(procContext(t), clone, procAddr(p.cfg), procCreds, dest))
	clone.TLS = f.cfg.TLS
	require.NoError(t, CloneFrom(procContext(t), clone, procAddr(p.cfg), procCreds, dest))

	// The same server under a name that is not in its certificate.
	stranger := tlsStart(t, "s", a.node("s", elsewhere, a.cert.NotAfter))
	stranger.open()
	require.ErrorContains(t, TryLogin(procContext(t), procAddr(stranger.cfg), procCreds.Monitor(), procCreds.Password, f.cfg.TLS), "192.0.2.1")
	anyName := f.cfg.TLS
	anyName.AnyName = true
	require.NoError(t, TryLogin(procContext(t), procAddr(stranger.cfg), procCreds.Monitor(), procCreds.Password, anyName))
	ctx := procContext(t)
	require.NoError(t, stranger.EnsureAccount(ctx, procCreds.Node("f"), false))
	require.NoError(t, f.StopReplica(ctx))
	err = f.Follow(ctx, stranger.source(f, false))
	if err == nil {
		st := f.until("the reason", func(st Status) bool { return st.Replica.IOErrno != 0 })
		require.NotEqual(t, On, st.Replica.Receiver)
		err = errorText(st.Replica.IOError)
	}
	require.Contains(t, strings.ToLower(err.Error()), "ssl")
}

type errorText string

func (e errorText) Error() string { return string(e) }
