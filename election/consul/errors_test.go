package consul_test

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

const secret = "6f0c8a52-5b8e-4c27-9d0e-6a1b9f3d7c11"

func TestConfigRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for want, cfg := range map[string]consul.Config{
		"no Consul address":            {},
		"only http and https":          {Addrs: []string{"ftp://consul:1"}},
		"must not contain a password":  {Addrs: []string{"http://user:" + secret + "@consul:1"}},
		"has no host":                  {Addrs: []string{"http://:8500"}},
		"holds no PEM certificate":     {Addrs: []string{"consul"}, CAFile: empty},
		"read Consul CA certificate":   {Addrs: []string{"consul"}, CAFile: empty + "2"},
		"give both or none":            {Addrs: []string{"consul"}, CertFile: empty},
		"read Consul token file":       {Addrs: []string{"consul"}, TokenFile: empty + "2"},
		"not a host, host:port or URL": {Addrs: []string{"http://" + secret + "@a b:c"}},
	} {
		_, err := consul.New(cfg)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), secret)
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"consul":                        "http://consul:8500",
		" consul:1 ":                    "http://consul:1",
		"https://consul":                "https://consul:8501",
		"http://[::1]":                  "http://[::1]:8500",
		"https://gateway:443/consul-a/": "https://gateway:443/consul-a",
	} {
		c, err := consul.New(consul.Config{Addrs: []string{addr}})
		require.NoError(t, err)
		require.Equal(t, want, c.Addr())
	}
	c, err := consul.New(consul.Config{Addrs: []string{"consul"}, TLS: true})
	require.NoError(t, err)
	require.Equal(t, "https://consul:8501", c.Addr())
}

// A request that cannot have left is told from one of unknown outcome.
func TestNotSentOrUnknown(t *testing.T) {
	srv := startServer(t, nil)
	ok, _, err := client(t, consul.Config{}, srv).Store().Txn(t.Context(), election.Set("k", []byte("1")))
	require.NoError(t, err)
	require.True(t, ok)

	c := client(t, consul.Config{RequestTimeout: 2 * time.Second}, srv)
	resume := srv.freeze(t)
	require.True(t, waitFor(func() bool { // its time may be over before it has left
		_, _, err = c.Store().Txn(t.Context(), election.Set("k", []byte("2")))
		require.Error(t, err)
		return isUnknown(err)
	}))
	require.ErrorIs(t, err, election.ErrUnknown)
	require.ErrorContains(t, err, "outcome unknown: apply transaction (set k): no answer in time")
	_, err = c.Store().Read(t.Context(), "k", true)
	require.ErrorIs(t, err, election.ErrUnavailable)
	require.NotErrorIs(t, err, election.ErrUnknown)
	resume()
	require.True(t, waitFor(func() bool { _, err := c.Store().Read(t.Context(), "k", true); return err == nil }))

	srv.kill()
	require.True(t, waitFor(func() bool { // the first one may go out on the connection that is just breaking
		_, _, err = c.Store().Txn(t.Context(), election.Set("k", []byte("3")))
		return !isUnknown(err)
	}))
	require.ErrorIs(t, err, election.ErrUnreachable)
	require.EqualError(t, err, "consul at http://"+srv.addr+": cannot apply transaction (set k): connection refused; "+
		"check that Consul runs there and listens on this address")
	require.ErrorIs(t, c.Ping(t.Context()), election.ErrUnreachable)
}

func isUnknown(err error) bool { return strings.Contains(err.Error(), "outcome unknown") }

// The next address is asked when one fails.
func TestSeveralAddresses(t *testing.T) {
	srv := startServer(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dead := l.Addr().String()
	require.NoError(t, l.Close())
	c := client(t, consul.Config{Addrs: []string{dead}}, srv)
	require.Equal(t, "http://"+dead, c.Addr())
	ok, _, err := c.Store().Txn(t.Context(), election.CAS("k", 0, nil))
	require.NoError(t, err, "refused at the first, done by the second, in one call")
	require.True(t, ok)
	require.Equal(t, "http://"+srv.addr, c.Addr(), "which stays the current one")

	none := client(t, consul.Config{Addrs: []string{dead, dead}})
	_, _, err = none.Store().Txn(t.Context(), election.CAS("k", 0, nil))
	require.ErrorIs(t, err, election.ErrUnreachable)
}

// "404" means an empty Consul only if Consul says it.
func TestSomeOtherServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	c := client(t, consul.Config{Addrs: []string{other.URL}})
	_, err := c.Store().Read(t.Context(), "mysql/", true)
	require.ErrorIs(t, err, election.ErrUnavailable)
	require.EqualError(t, err, "consul at "+other.URL+": cannot read mysql/: whatever answers there with status 404 is not Consul: "+
		"its answer has no X-Consul-Index; check the Consul address and port, and the proxy before it if there is one")
	_, err = c.Store().Wait(t.Context(), "mysql/", 1, time.Second)
	require.ErrorIs(t, err, election.ErrUnavailable)

	srv := startServer(t, nil)
	both := client(t, consul.Config{Addrs: []string{other.URL}}, srv)
	view, err := both.Store().Read(t.Context(), "mysql/", true)
	require.NoError(t, err, "the next address is asked")
	require.Empty(t, view.KVs)
	require.Positive(t, view.Index)
}

func TestACL(t *testing.T) {
	srv := startServer(t, map[string]any{"acl": map[string]any{
		"enabled": true, "default_policy": "deny", "tokens": map[string]any{"master": secret, "agent": secret},
	}})
	documented := policyToken(t, srv) // also waits until the ACL system is up: before that everything is denied
	without := client(t, consul.Config{}, srv)
	require.NoError(t, without.Ping(t.Context()), "asking for the leader needs no token")
	denied := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, election.ErrDenied)
		require.ErrorContains(t, err, "http://"+srv.addr)
		require.ErrorContains(t, err, "permission denied")
		require.ErrorContains(t, err, "check the Consul token")
		require.NotContains(t, err.Error(), secret)
		require.NotErrorIs(t, err, election.ErrUnknown)
	}
	_, _, err := without.Store().Txn(t.Context(), election.Set(leader, nil))
	denied(err)
	_, err = without.Store().Read(t.Context(), "mysql/", true)
	denied(err) // Consul itself would say: nothing there
	_, err = without.Store().Wait(t.Context(), "mysql/", 1, time.Second)
	denied(err)
	denied(without.Session("a", params(t, lease), "mysql/main/").Open(t.Context()))
	denied(without.Services().Register(t.Context(), election.Service{ID: "x", Name: "x", TTL: time.Second}))
	wrong := client(t, consul.Config{Token: "5c1f9f1b-0000-4000-8000-000000000000"}, srv)
	_, err = wrong.Store().Read(t.Context(), "mysql/", true)
	denied(err)

	// The token file is read again: a rotation needs no restart.
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("5c1f9f1b-0000-4000-8000-000000000000\n"), 0o600))
	c := client(t, consul.Config{TokenFile: file}, srv)
	_, err = c.Store().Read(t.Context(), "mysql/", true)
	denied(err)
	require.NoError(t, os.WriteFile(file, []byte(documented+"\n"), 0o600))

	// The documented policy suffices for everything.
	s := c.Session("a", params(t, lease), "mysql/main/")
	require.NoError(t, s.Open(t.Context()))
	require.True(t, holds(t, s))
	require.NoError(t, s.Pass(t.Context()))
	again := c.Session("a", params(t, lease), "mysql/main/")
	require.NoError(t, again.Open(t.Context()))
	require.Empty(t, holderOf(t, c), "the leftover was found and cleared")
	services := c.Services()
	require.NoError(t, services.Register(t.Context(), election.Service{ID: "mysql-a", Name: "mysql", TTL: limit, Pass: true}))
	require.NoError(t, services.Pass(t.Context(), "mysql-a", ""))
	require.NoError(t, services.Deregister(t.Context(), "mysql-a"))
	require.NoError(t, again.Close(t.Context()))
	_, _, err = c.Store().Txn(t.Context(), election.Set("elsewhere", nil))
	denied(err)
}

// policyToken makes a token with the documented policy.
func policyToken(t *testing.T, srv *server) string {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: srv.addr, Scheme: "http", Token: secret})
	require.NoError(t, err)
	rules, err := os.ReadFile("../../docker/consul-policy.hcl")
	require.NoError(t, err)
	policy := &api.ACLPolicy{Name: "autopilot", Rules: string(rules)}
	require.True(t, waitFor(func() bool { _, _, err = c.ACL().PolicyCreate(policy, nil); return err == nil }), "%v", err)
	token, _, err := c.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: "autopilot"}}}, nil)
	require.NoError(t, err)
	return token.SecretID
}

func TestTLS(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`"127.0.0.1:8300"`)) })
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	quiet := func(require tls.ClientAuthType) *httptest.Server {
		s := httptest.NewUnstartedServer(handler)
		s.TLS = &tls.Config{ClientAuth: require}
		s.Config.ErrorLog = discard()
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	secure, strict := quiet(tls.NoClientCert), quiet(tls.RequireAnyClientCert)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, block, 0o600))

	ping := func(cfg consul.Config, addr string) error {
		cfg.Addrs = []string{addr}
		return client(t, cfg).Ping(t.Context())
	}
	require.NoError(t, ping(consul.Config{CAFile: ca}, secure.URL))
	require.NoError(t, ping(consul.Config{CAFile: ca}, strings.TrimPrefix(secure.URL, "https://")), "a CA implies https")
	require.NoError(t, ping(consul.Config{InsecureSkipVerify: true}, secure.URL))
	for want, err := range map[string]error{
		"signed by an unknown authority; set the Consul CA file": ping(consul.Config{}, secure.URL),
		"is for another name":                ping(consul.Config{CAFile: ca, ServerName: "consul.internal"}, secure.URL),
		"does not speak TLS on this port":    ping(consul.Config{}, strings.Replace(plain.URL, "http:", "https:", 1)),
		"set the client certificate and key": ping(consul.Config{CAFile: ca}, strict.URL),
	} {
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "consul at https://127.0.0.1:")
		require.NotContains(t, err.Error(), "\n")
	}
}
