package consul_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

// TestAsksForNothingPacked: packing its answers is work that Consul does only when asked to.
func TestAsksForNothingPacked(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	t.Cleanup(s.Close)
	require.NoError(t, client(t, consul.Config{Addrs: []string{s.URL}}).Ping(t.Context()))
}
