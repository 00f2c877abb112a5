package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/httpapi"
)

// fixed is a node that always says the same.
type fixed struct {
	self    httpapi.Self
	unknown bool
}

func (f fixed) Self() (httpapi.Self, bool) { return f.self, !f.unknown }
func (f fixed) Cluster() (cluster.Doc, bool) {
	return cluster.Doc{Cluster: "shop", Primary: "n1"}, !f.unknown
}

func (f fixed) History(context.Context) ([]cluster.HistoryEntry, error) {
	if f.unknown {
		return nil, errors.New("Consul does not answer")
	}
	return []cluster.HistoryEntry{{At: time.Unix(1, 0).UTC(), Kind: cluster.HistoryPromotion, Node: "n1", Term: 2, Why: "won"}}, nil
}

func node(state string, healthy bool, lag float64) httpapi.Self {
	return httpapi.Self{
		Doc:   cluster.NodeDoc{Name: "n1", State: state, Healthy: healthy, LagSeconds: lag},
		Leads: state == "primary" && healthy, Answers: healthy, At: time.Now(), MaxLag: 10 * time.Second,
	}
}

func get(t *testing.T, f fixed, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	httpapi.New(f, httpapi.Options{}).ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestChecksForLoadBalancers(t *testing.T) {
	lost := node("primary", true, 0)
	lost.Leads = false
	for _, c := range []struct {
		name  string
		self  httpapi.Self
		good  string // the checks that answer 200
		query string
	}{
		{"primary", node("primary", true, 0), "/primary /read-only", ""},
		{"primary that cannot prove its lease", lost, "", ""},
		{"standby", node("standby", true, 1), "/standby /replica /read-only", ""},
		{"replica", node("replica", true, 1), "/replica /read-only", ""},
		{"replica beyond the limit asked for", node("replica", true, 3), "", "?max_lag=2s"},
		{"replica that does not know its lag", node("replica", true, -1), "", ""},
		{"unhealthy standby", node("standby", false, 0), "", ""},
		{"electing", node("failover", false, 0), "", ""},
		{"restoring", node("restore-snapshot", false, 0), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/primary", "/standby", "/replica", "/read-only"} {
				want := http.StatusServiceUnavailable
				if strings.Contains(" "+c.good+" ", " "+path+" ") {
					want = http.StatusOK
				}
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
					require.Equal(t, want, get(t, fixed{self: c.self}, method, path+c.query).Code, "%s %s", method, path)
				}
			}
		})
	}
}

func TestLivenessIsNotTheClustersHealth(t *testing.T) {
	for _, state := range []string{"init", "restore-snapshot", "failover", "replica"} {
		require.Equal(t, http.StatusOK, get(t, fixed{self: node(state, false, -1)}, http.MethodGet, "/livez").Code, state)
	}
	stuck := node("standby", true, 0)
	stuck.At = time.Now().Add(-2 * time.Hour)
	require.Equal(t, http.StatusServiceUnavailable, get(t, fixed{self: stuck}, http.MethodGet, "/livez").Code)
}

func TestBadRequestsAreExplained(t *testing.T) {
	f := fixed{self: node("replica", true, 0)}
	require.Equal(t, http.StatusBadRequest, get(t, f, http.MethodGet, "/replica?max_lag=soon").Code)
	require.Equal(t, http.StatusNotFound, get(t, f, http.MethodGet, "/nothing").Code)
	w := get(t, f, http.MethodPost, "/primary")
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Contains(t, w.Header().Get("Allow"), "GET")
}

func TestDocuments(t *testing.T) {
	require.Equal(t, http.StatusServiceUnavailable, get(t, fixed{unknown: true}, http.MethodGet, "/status").Code)

	var n cluster.NodeDoc
	require.NoError(t, json.Unmarshal(get(t, fixed{self: node("standby", true, 1)}, http.MethodGet, "/status").Body.Bytes(), &n))
	require.Equal(t, "n1", n.Name)
	var d cluster.Doc
	require.NoError(t, json.Unmarshal(get(t, fixed{self: node("standby", true, 1)}, http.MethodGet, "/cluster").Body.Bytes(), &d))
	require.Equal(t, "shop", d.Cluster)
	require.Contains(t, get(t, fixed{}, http.MethodGet, "/history").Body.String(), `"kind": "promotion"`)
	require.Equal(t, http.StatusServiceUnavailable, get(t, fixed{unknown: true}, http.MethodGet, "/history").Code)
}

func TestThePageNeedsNothingFromOutside(t *testing.T) {
	w := get(t, fixed{self: node("primary", true, 0)}, http.MethodGet, "/")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Header().Get("Content-Type"), "text/html")
	for _, outside := range []string{"src=\"http", "href=\"http", "@import", "//cdn"} {
		require.NotContains(t, w.Body.String(), outside)
	}
}
