package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// TLS says how the servers of a cluster prove to each other and to clients who they are: files in PEM form, made by the
// user. The zero value is what mysqld does by itself: it makes a certificate that nobody can verify, so connections
// between nodes are encrypted, and the password alone proves who is who. It is a value and may be copied.
type TLS struct {
	// CA signed the certificates of all nodes. With it nobody of the cluster talks to a server that cannot prove itself.
	CA string
	// Cert and Key are the node's own; both or none.
	Cert, Key string
	// AnyName accepts every certificate of the CA, whatever name is in it: for addresses nobody knows in advance.
	AnyName bool
	// Required refuses clients that come over TCP without TLS.
	Required bool
}

// Load reads the files and checks what mysqld would find out at its start, or the other nodes when they connect: that
// certificate and key belong together, and that it is of the CA. The files are read anew at every call.
func (t TLS) Load() (pool *x509.CertPool, cert *tls.Certificate, err error) {
	if (t.Cert == "") != (t.Key == "") {
		return nil, nil, errors.New("load TLS files: a certificate and its key belong together; give both or none")
	}
	for _, f := range []string{t.CA, t.Cert, t.Key} {
		if f != "" && !filepath.IsAbs(f) {
			return nil, nil, fmt.Errorf("load TLS files: %s is not an absolute path", f)
		}
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, nil, fmt.Errorf("load TLS CA: %w", err)
		}
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("load TLS CA: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Cert == "" {
		return pool, nil, nil
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("load TLS certificate %s with its key: %w", t.Cert, err)
	}
	if pool != nil {
		if _, err := pair.Leaf.Verify(verifyOptions(pool, pair.Certificate[1:])); err != nil {
			return nil, nil, fmt.Errorf("load TLS certificate %s: the CA %s does not vouch for it: %w", t.Cert, t.CA, err)
		}
	}
	return pool, &pair, nil
}

// Names tells whether the node's own certificate is good for host, as the other nodes will ask it. Nil when none of
// them asks.
func (t TLS) Names(host string) error {
	if t.CA == "" || t.AnyName || t.Cert == "" {
		return nil
	}
	_, cert, err := t.Load()
	if err != nil {
		return err
	}
	if err := cert.Leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("TLS certificate %s: %w", t.Cert, err)
	}
	return nil
}

func verifyOptions(pool *x509.CertPool, chain [][]byte) x509.VerifyOptions {
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, der := range chain {
		if c, err := x509.ParseCertificate(der); err == nil {
			o.Intermediates.AddCert(c)
		}
	}
	return o
}

// client is how to connect to the server at addr (host:port).
func (t TLS) client(addr string) (*tls.Config, error) {
	if t.CA == "" {
		return &tls.Config{InsecureSkipVerify: true}, nil //nolint:gosec // certificates are mysqld's own, nobody can verify them
	}
	pool, _, err := t.Load()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address of a node: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: host}
	if t.AnyName {
		c.InsecureSkipVerify = true //nolint:gosec // the chain is verified below, only the name is not
		c.VerifyConnection = func(s tls.ConnectionState) error {
			var chain [][]byte
			for _, c := range s.PeerCertificates[1:] {
				chain = append(chain, c.Raw)
			}
			_, err := s.PeerCertificates[0].Verify(verifyOptions(pool, chain))
			return err
		}
	}
	return c, nil
}

// settings are the lines of the option file.
func (t TLS) settings() []setting {
	var s []setting
	for _, f := range []struct{ name, path string }{{"ssl_ca", t.CA}, {"ssl_cert", t.Cert}, {"ssl_key", t.Key}} {
		if f.path != "" {
			s = append(s, setting{f.name, f.path, true})
		}
	}
	if t.Required {
		s = append(s, setting{"require_secure_transport", "ON", true})
	}
	return s
}

// source are the options of CHANGE REPLICATION SOURCE. All are always given: what is left out stays as it was. With a CA
// and without a check of the name the receiver verifies the chain (VERIFY_CA).
func (t TLS) source() []string {
	verify := "0"
	if t.CA != "" && !t.AnyName {
		verify = "1"
	}
	return []string{"SOURCE_SSL=1", "SOURCE_SSL_CA=" + sqlText(t.CA), "SOURCE_SSL_VERIFY_SERVER_CERT=" + verify}
}

// clone are the arguments of a server that clones another.
func (t TLS) clone() []string {
	if t.CA == "" {
		return nil
	}
	return []string{"--clone-ssl-ca=" + t.CA}
}
