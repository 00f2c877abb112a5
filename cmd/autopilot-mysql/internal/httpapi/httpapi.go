// Package httpapi is what a node says over HTTP: health for load balancers and container platforms, its own status, the
// cluster's, metrics, and one page for people. It only reads; every change goes through Consul, whose ACLs decide.
package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
)

// Self is this node at this moment.
type Self struct {
	Doc cluster.NodeDoc
	// Leads is true while the node can prove, now, that it holds the lease.
	Leads bool
	// Answers is true while its mysqld does.
	Answers bool
	// Applier is why a stopped applier stopped; "" while it does its work.
	Applier string
	// At is when the node last looked at itself.
	At time.Time
	// MaxLag is the setting max-lag, as it is now in force here: a reader further behind is not one to read from.
	MaxLag time.Duration
}

// Source is where the answers come from; safe for concurrent use. ok is false before the node knows anything.
type Source interface {
	// Self is this node.
	Self() (s Self, ok bool)
	// Cluster is everything this node knows.
	Cluster() (d cluster.Doc, ok bool)
	// History is what the cluster remembers, the oldest first. It asks Consul.
	History(ctx context.Context) ([]cluster.HistoryEntry, error)
}

// Options of New.
type Options struct {
	// Metrics answers /metrics; nil: there are none.
	Metrics http.Handler
	// Stuck is for how long the node may not have looked at itself before /livez says that it is stuck: longer than the
	// longest step. 0: one hour.
	Stuck time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// New returns the node's handler.
func New(s Source, o Options) http.Handler {
	if o.Stuck == 0 {
		o.Stuck = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &api{Source: s, Options: o, started: o.Now()}
	routes := map[string]http.Handler{
		"/status":  http.HandlerFunc(a.status),
		"/cluster": http.HandlerFunc(a.cluster),
		"/history": http.HandlerFunc(a.history),
		"/livez":   check(a.live), "/readyz": check(a.ready),
		"/primary": check(a.primary), "/standby": check(a.standby), "/replica": check(a.replica), "/read-only": check(a.readOnly),
	}
	if o.Metrics != nil {
		routes["/metrics"] = o.Metrics
	}
	for path, h := range pages() {
		routes[path] = h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := routes[r.URL.Path]
		switch {
		case !ok:
			fail(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+"; there are /primary /standby /replica /read-only /livez /readyz /status /cluster /history /metrics and the page at /")
		case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			fail(w, http.StatusMethodNotAllowed, "this side only reads; changes go through Consul: autopilot-mysql --help")
		default:
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			h.ServeHTTP(w, r)
		}
	})
}

// api answers from the source.
type api struct {
	Source
	Options
	started time.Time
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	s, ok := a.Self()
	document(w, s.Doc, ok)
}

func (a *api) cluster(w http.ResponseWriter, _ *http.Request) {
	d, ok := a.Cluster()
	document(w, d, ok)
}

// historyDoc is the answer of /history.
type historyDoc struct {
	Entries []cluster.HistoryEntry `json:"entries"` // the oldest first
}

func (a *api) history(w http.ResponseWriter, r *http.Request) {
	entries, err := a.History(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "the history cannot be read: "+err.Error())
		return
	}
	if entries == nil {
		entries = []cluster.HistoryEntry{}
	}
	reply(w, http.StatusOK, historyDoc{entries})
}

func document(w http.ResponseWriter, doc any, ok bool) {
	if !ok {
		fail(w, http.StatusServiceUnavailable, "this node is starting and knows nothing yet")
		return
	}
	reply(w, http.StatusOK, doc)
}

// reply writes one JSON document. To HEAD the server sends the header only.
func reply(w http.ResponseWriter, code int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(doc) // the client is gone; nobody is left to tell
}

// fail answers with one sentence.
func fail(w http.ResponseWriter, code int, why string) {
	reply(w, code, struct {
		Error string `json:"error"`
	}{strings.ToValidUTF8(why, "?")})
}
