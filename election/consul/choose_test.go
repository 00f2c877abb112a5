package consul_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

// TestASlowAgentIsBetterThanADeadOne: an agent that stumbles is not left for one that is known to hang, until nobody
// listens there any more.
func TestASlowAgentIsBetterThanADeadOne(t *testing.T) {
	var hangs, stumbles atomic.Bool
	hangs.Store(true)
	one := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			<-r.Context().Done()
			return
		}
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	t.Cleanup(one.Close)
	two := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if stumbles.Swap(false) {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	t.Cleanup(two.Close)
	c, err := consul.New(consul.Config{Addrs: []string{one.URL, two.URL}, RequestTimeout: patience})
	require.NoError(t, err)
	t.Cleanup(c.Close)

	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.Error(t, c.Ping(short))
	require.Equal(t, two.URL, c.Addr(), "it moves on from an agent that does not answer")
	require.NoError(t, c.Ping(t.Context()))
	stumbles.Store(true)
	require.NoError(t, c.Ping(t.Context()), "what only reads is asked again")
	require.Equal(t, two.URL, c.Addr(), "the other one is known to hang")

	hangs.Store(false)
	two.Close()
	require.NoError(t, c.Ping(t.Context()))
	require.Equal(t, one.URL, c.Addr(), "nobody listens there any more: anything is better")
}
