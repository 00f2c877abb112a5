package snapshot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// stallConn fails reads and writes once the connection has moved nothing for
// the given time. Deadlines on the connection see what the caller of a client
// cannot: bytes of a request body crossing the wire.
type stallConn struct {
	net.Conn
	stall time.Duration
}

// writeChunk is how much may be in flight before a write has to show progress:
// small enough that a slow but living link (64 KiB within the stall time) passes.
const writeChunk = 64 << 10

// Read implements net.Conn.
func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. It pushes the read deadline ahead as well, because
// a reader waits for the answer during the whole upload.
func (c *stallConn) Write(p []byte) (n int, err error) {
	for {
		if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
			return n, err
		}
		chunk := p[n:min(n+writeChunk, len(p))]
		m, err := c.Conn.Write(chunk)
		n += m
		if err != nil || n >= len(p) {
			return n, err
		}
	}
}

// loadRoots are the CAs of the system and the one in the file; nil without a file.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA of the store: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA of the store: %s holds no PEM certificate", file)
	}
	return roots, nil
}

// newHTTPClient returns a client for bulk transfers: no limit on the whole
// exchange, but none may stand still. HTTP/1 on purpose: one connection per
// stream keeps their progress apart. It is the SDK's kind of client because
// only that one honours AWS_CA_BUNDLE.
func newHTTPClient(stall time.Duration, roots *x509.CertPool) *awshttp.BuildableClient {
	d := &net.Dialer{Timeout: min(stall, 10*time.Second), KeepAlive: 15 * time.Second}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &stallConn{Conn: c, stall: stall}, nil
		}
		if roots != nil {
			t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		}
		t.ForceAttemptHTTP2 = false
		t.TLSHandshakeTimeout = min(stall, 10*time.Second)
		t.MaxIdleConnsPerHost = 4
		t.IdleConnTimeout = stall / 2 // an idle connection must not be taken for a stalled one
		t.DisableCompression = true
	})
}
