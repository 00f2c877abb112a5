package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

type fixed struct {
	self  Self
	knows bool
}

func (f fixed) Self() (Self, bool) { return f.self, f.knows }
func (fixed) History(context.Context) ([]cluster.HistoryEntry, error) {
	return nil, errors.New("nobody answers")
}
func (f fixed) Cluster() (cluster.Doc, bool) { return cluster.Doc{Cluster: "shop"}, f.knows }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func clock() time.Time { return now }

func node(state roles.State, edit ...func(*Self)) fixed {
	s := Self{Doc: cluster.NodeDoc{Name: "db1", State: string(state), Healthy: true, Reason: "so it is"}, Answers: true, At: now, MaxLag: 10 * time.Second, Leads: state == roles.Primary}
	for _, e := range edit {
		e(&s)
	}
	return fixed{s, true}
}

func lag(seconds float64) func(*Self) { return func(s *Self) { s.Doc.LagSeconds = seconds } }
func ill(s *Self)                     { s.Doc.Healthy = false }
func silent(s *Self)                  { s.Doc.Healthy, s.Answers = false, false }

func ask(t *testing.T, f fixed, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h := New(f, Options{Stuck: time.Minute, Now: clock, Metrics: http.NotFoundHandler()})
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	return w
}

func TestChecks(t *testing.T) {
	unled := func(s *Self) { s.Leads = false }
	for _, c := range []struct {
		what fixed
		yes  string // the checks that are passed; all others are not
	}{
		{node(roles.Primary), "/primary /read-only /readyz"},
		{node(roles.Primary, ill), ""},
		{node(roles.Primary, unled), "/readyz"}, // stale word: no writes there, no restart either
		{node(roles.Standby), "/standby /replica /read-only /readyz"},
		{node(roles.Replica), "/replica /read-only /readyz"},
		{node(roles.Standby, lag(10)), "/standby /replica /read-only /readyz"},
		{node(roles.Standby, lag(11)), "/readyz"},
		{node(roles.Standby, lag(-1)), "/readyz"},
		{node(roles.Standby, ill), "/readyz"}, // the primary is away: not this node's fault
		{node(roles.Standby, silent), ""},
		{node(roles.Replica, ill, func(s *Self) { s.Applier = "duplicate key" }), ""},
		{node(roles.Failover, ill), "/readyz"}, // waits for others
		{node(roles.Failover, silent), ""},
		{node(roles.Init, silent), ""},
		{node(roles.Init, ill), "/readyz"},
		{node(roles.RestoreSnapshot, silent), ""},
		{fixed{}, ""},
	} {
		for _, path := range []string{"/primary", "/standby", "/replica", "/read-only", "/readyz", "/livez"} {
			want := http.StatusServiceUnavailable
			if path == "/livez" || strings.Contains(c.yes+" ", path+" ") {
				want = http.StatusOK
			}
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
				w := ask(t, c.what, method, path)
				require.Equal(t, want, w.Code, "%s %s of %+v: %s", method, path, c.what, w.Body)
			}
			var v verdict
			require.NoError(t, json.Unmarshal(ask(t, c.what, http.MethodGet, path).Body.Bytes(), &v))
			require.Equal(t, want == http.StatusOK, v.OK)
			require.Equal(t, v.OK, v.Error == "", "a refusal says why")
		}
	}
}

func TestMaxLag(t *testing.T) {
	for query, want := range map[string]int{
		"?max_lag=5s": 503, "?max_lag=6s": 200, "?max_lag=5999ms": 503, "?max_lag=1m": 200, "?max_lag=0s": 503,
		"?max_lag=6": 400, "?max_lag=-6s": 400, "?max_lag=many": 400, "?max_lag=": 200,
	} {
		for _, path := range []string{"/replica", "/read-only", "/standby"} {
			require.Equal(t, want, ask(t, node(roles.Standby, lag(6)), http.MethodGet, path+query).Code, path+query)
		}
	}
	set := func(d time.Duration) func(*Self) { return func(s *Self) { s.MaxLag = d } }
	require.Equal(t, 503, ask(t, node(roles.Standby, lag(6), set(5*time.Second)), http.MethodGet, "/replica").Code, "the setting of the cluster")
	require.Equal(t, 200, ask(t, node(roles.Standby, lag(60), set(time.Minute)), http.MethodGet, "/replica").Code)
	require.Equal(t, 503, ask(t, node(roles.Standby, lag(60), set(time.Minute)), http.MethodGet, "/replica?max_lag=5s").Code, "what is asked for wins")
}

func TestLivenessIsAboutThisProcessOnly(t *testing.T) {
	old := func(d time.Duration) func(*Self) { return func(s *Self) { s.At = now.Add(-d) } }
	require.Equal(t, 200, ask(t, node(roles.Failover, silent, old(59*time.Second)), http.MethodGet, "/livez").Code)
	w := ask(t, node(roles.Primary, old(61*time.Second)), http.MethodGet, "/livez")
	require.Equal(t, 503, w.Code)
	require.Contains(t, w.Body.String(), "has not looked at its node for 1m1s")

	at := now
	h := New(fixed{}, Options{Stuck: time.Minute, Now: func() time.Time { return at }})
	at = at.Add(61 * time.Second) // an agent that never got to its first turn is stuck too
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", nil))
	require.Equal(t, 503, r.Code)
}

func TestDocumentsAndErrorsAreJSON(t *testing.T) {
	for _, c := range []struct {
		f              fixed
		method, target string
		code           int
		has            string
	}{
		{node(roles.Standby), "GET", "/status", 200, `"name": "db1"`},
		{node(roles.Standby), "GET", "/cluster", 200, `"cluster": "shop"`},
		{fixed{}, "GET", "/status", 503, `"error": "this node is starting`},
		{fixed{}, "GET", "/cluster", 503, `"error": "this node is starting`},
		{fixed{}, "GET", "/primary/", 404, `"error": "there is nothing at /primary/`},
		{fixed{}, "POST", "/primary", 405, `"error": "this side only reads`},
		{fixed{}, "DELETE", "/cluster", 405, `"error": "this side only reads`},
	} {
		w := ask(t, c.f, c.method, c.target)
		require.Equal(t, c.code, w.Code, c.target)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.Contains(t, w.Body.String(), c.has)
		require.True(t, json.Valid(w.Body.Bytes()))
	}
	require.Equal(t, "GET, HEAD, OPTIONS", ask(t, fixed{}, "PUT", "/").Header().Get("Allow"))
}

// TestPageIsSelfContained: no request leaves this node, and every state and arrow of the declared machine is drawn.
func TestPageIsSelfContained(t *testing.T) {
	all := ""
	for path, kind := range map[string]string{"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"} {
		w := ask(t, node(roles.Standby), http.MethodGet, path)
		require.Equal(t, 200, w.Code)
		require.Contains(t, w.Header().Get("Content-Type"), kind)
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		all += w.Body.String()
	}
	for _, url := range regexp.MustCompile(`https?://[^"'\s]+`).FindAllString(all, -1) {
		require.Equal(t, "http://www.w3.org/2000/svg", url, "the SVG namespace is a name, not a request")
	}
	require.NotContains(t, all, "{{")
	require.NotContains(t, all, "innerHTML", "what nodes say is text")
	for _, s := range roles.States() {
		require.Contains(t, all, `"`+string(s)+`": [`, "the diagram has a place for the state")
	}
	var edges []edge
	require.NoError(t, json.Unmarshal([]byte(machine()), &edges))
	have := map[string]bool{}
	for _, e := range edges {
		have[e.From+">"+e.To] = true
	}
	for _, r := range roles.Table().Rules {
		for _, from := range r.From {
			require.True(t, have[string(from)+">"+string(r.To)])
		}
	}
}
