package consul

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// parseAddr makes a URL of an address. Credentials in it are refused: they would end up in messages.
func parseAddr(addr string, https bool) (*url.URL, error) {
	text := strings.TrimSpace(addr)
	if !strings.Contains(text, "://") {
		scheme := "http"
		if https {
			scheme = "https"
		}
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("consul address is not a host, host:port or URL (%d characters)", len(addr))
	case u.User != nil:
		return nil, fmt.Errorf("consul address of host %s must not contain a password; use the token setting", u.Host)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("consul address %q: only http and https are supported", addr)
	case u.Hostname() == "":
		return nil, fmt.Errorf("consul address %q has no host", addr)
	}
	if u.Port() == "" {
		port := "8500"
		if u.Scheme == "https" {
			port = "8501"
		}
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}, nil
}

// tlsConfig verifies servers unless told not to.
func tlsConfig(cfg Config) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName, InsecureSkipVerify: cfg.InsecureSkipVerify}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read Consul CA certificate: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read Consul CA certificate: %s holds no PEM certificate", cfg.CAFile)
		}
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, fmt.Errorf("consul client certificate %q and key %q: give both or none", cfg.CertFile, cfg.KeyFile)
	}
	if cfg.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read Consul client certificate %s: %w", cfg.CertFile, err)
		}
		// Read again for every connection, so that it can be renewed; a pair that does not fit (yet) changes nothing.
		var last atomic.Pointer[tls.Certificate]
		last.Store(&cert)
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if now, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile); err == nil {
				last.Store(&now)
			}
			return last.Load(), nil
		}
	}
	return t, nil
}

// newAgent makes the connections of one address.
func newAgent(u *url.URL, t *tls.Config, token *tokenSource, timeout time.Duration) (*agent, error) {
	transport := &http.Transport{
		// A dial goes on in the background when its request has given up; this ends it.
		DialContext:         (&net.Dialer{Timeout: timeout, KeepAlive: 5 * time.Second}).DialContext,
		TLSClientConfig:     t.Clone(),
		TLSHandshakeTimeout: timeout,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     30 * time.Second,
		// HTTP/1.1 on purpose: a request that times out takes its connection with it. A shared HTTP/2 connection through a
		// broken link would be used again and again. No proxy either: it would answer in place of Consul.
		ForceAttemptHTTP2: false,
		Proxy:             nil,
		// Asked to, Consul packs every answer of more than 1400 bytes. An answer with all records of a cluster is some KiB, and everybody
		// who waits for changes gets one for each: packing and unpacking them is CPU time in the middle of a failover.
		DisableCompression: true,
	}
	client, err := api.NewClient(&api.Config{
		Address:    u.Host,
		Scheme:     u.Scheme,
		PathPrefix: u.Path,
		HttpClient: &http.Client{Transport: &roundTripper{next: transport, token: token}},
	})
	if err != nil {
		return nil, fmt.Errorf("make Consul client for %s: %w", u, err)
	}
	return &agent{addr: u.String(), api: client, transport: transport}, nil
}

// roundTripper sets the token of this moment, and notes the status of the answer for explain.
type roundTripper struct {
	next  http.RoundTripper
	token *tokenSource
}

// RoundTrip implements [http.RoundTripper].
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	const header = "X-Consul-Token"
	req = req.Clone(req.Context())
	req.Header.Del(header) // the library may have found one in the environment
	if token := rt.token.read(); token != "" {
		req.Header.Set(header, token)
	}
	resp, err := rt.next.RoundTrip(req)
	if seen, ok := req.Context().Value(exchangeKey{}).(*exchange); ok && err == nil {
		seen.status.Store(int32(resp.StatusCode))
	}
	return resp, err
}

// tokenSource is the ACL token, from a file that may change at any time.
type tokenSource struct {
	file  string
	fixed string
}

func newTokenSource(cfg Config) (*tokenSource, error) {
	s := &tokenSource{file: cfg.TokenFile, fixed: cfg.Token}
	if s.file != "" {
		if _, err := os.ReadFile(s.file); err != nil {
			return nil, fmt.Errorf("read Consul token file: %w", err)
		}
	}
	return s, nil
}

// read returns the token. While the file is away in the middle of a rotation, the fixed token (if any) is used: Consul
// then refuses clearly, which is better than an error of our own on the renewal path.
func (s *tokenSource) read() string {
	if s.file == "" {
		return s.fixed
	}
	text, err := os.ReadFile(s.file)
	if token := strings.TrimSpace(string(text)); err == nil && token != "" {
		return token
	}
	return s.fixed
}
