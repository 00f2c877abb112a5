// Package s3server runs a real S3 server, versitygw on a directory, behind a reverse proxy that counts what is read.
package s3server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	program    = "github.com/versity/versitygw/cmd/versitygw"
	buildLimit = 15 * time.Minute // two busy cores; once, then it is cached
	startLimit = 60 * time.Second
	accessKey  = "e2e-access"
	secretKey  = "e2e-secret-key"
	region     = "us-east-1"
)

// Server is one S3 server with no bucket in it.
type Server struct {
	Addr string // host:port of the counting front

	t       testing.TB
	backend string // host:port of the process itself
	args    []string
	log     *os.File
	cmd     *exec.Cmd // nil while it is killed

	mu    sync.Mutex
	reads []Read
}

// Read is one object that a client has read.
type Read struct {
	Path  string
	Bytes int64
}

// Start runs a server until the test ends. Its program is one of the module's tools, built at the first use.
func Start(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	data, meta := filepath.Join(dir, "data"), filepath.Join(dir, "meta") // meta: not every file system keeps attributes
	require.NoError(t, os.Mkdir(data, 0o755))
	require.NoError(t, os.Mkdir(meta, 0o755))
	addr := freeAddr(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	s := &Server{t: t, backend: addr, log: log, args: []string{build(t), "--port", addr, "--access", accessKey, "--secret", secretKey, "--region", region, "--quiet",
		"posix", "--sidecar", meta, data}}
	t.Cleanup(func() {
		s.Kill()
		_ = log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("the S3 server said: %s", b)
		}
	})
	s.Restart()
	front := httptest.NewServer(s.front(addr))
	t.Cleanup(front.Close)
	s.Addr = front.Listener.Addr().String()
	return s
}

// Kill ends the server's process as a power cut does. What was being sent there is answered by an error.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Restart starts the process again, on the same address and data, and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(s.t, s.cmd.Start())
	waitUp(s.t, s.backend, s.log.Name())
}

// URL names a bucket behind an address, which is Addr or a proxy's before it.
func URL(addr, bucket string) string {
	return fmt.Sprintf("s3://%s/e2e?endpoint=%s&region=%s&path-style=true", bucket, url.QueryEscape("http://"+addr), region)
}

// Env are the credentials, as every S3 client reads them.
func Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true"}
}

// PartsRead is how many bytes of snapshots (their parts, not their manifests) clients have read.
func (s *Server) PartsRead() (count int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reads {
		if strings.Contains(r.Path, "/part-") {
			count++
			bytes += r.Bytes
		}
	}
	return count, bytes
}

// front forwards everything as it is (the signature covers the Host header) and counts the bytes of objects.
func (s *Server) front(backend string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", backend, r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodGet && r.StatusCode < 300 {
				r.Body = &counted{ReadCloser: r.Body, s: s, path: r.Request.URL.Path}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
}

type counted struct {
	io.ReadCloser
	s    *Server
	path string
	n    int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) Close() error {
	c.s.mu.Lock()
	c.s.reads = append(c.s.reads, Read{Path: c.path, Bytes: c.n})
	c.s.mu.Unlock()
	return c.ReadCloser.Close()
}

// build makes the program, or finds it made: the build cache knows.
func build(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(cache, "autopilot-mysql", "e2e", "versitygw")
	ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "build the S3 server: %s", out)
	return path
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func waitUp(t testing.TB, addr, log string) {
	t.Helper()
	for deadline := time.Now().Add(startLimit); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(log)
			require.Failf(t, "the S3 server does not answer", "%s", b)
		}
	}
}
