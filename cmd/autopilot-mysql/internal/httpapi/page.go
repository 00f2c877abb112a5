package httpapi

import (
	"embed"
	"encoding/json"
	"html"
	"net/http"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

//go:embed page
var files embed.FS

// pagePolicy lets the page load its own two files and ask this node, nothing else.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// pages are the page for people and its files.
func pages() map[string]http.Handler {
	return map[string]http.Handler{
		"/":         file("page/index.html", "text/html; charset=utf-8", strings.NewReplacer("{{machine}}", html.EscapeString(machine()))),
		"/page.css": file("page/page.css", "text/css; charset=utf-8", nil),
		"/page.js":  file("page/page.js", "text/javascript; charset=utf-8", nil),
	}
}

func file(name, kind string, fill *strings.Replacer) http.Handler {
	b, err := files.ReadFile(name)
	if err != nil { // compiled in
		panic(err)
	}
	if fill != nil {
		b = []byte(fill.Replace(string(b)))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Security-Policy", pagePolicy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(b) // the client is gone; nobody is left to tell
	})
}

// edge is one arrow of the state diagram.
type edge struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Why  []string `json:"why"`
}

// machine is the declared table as the page's diagram needs it, so that the drawing cannot say anything else.
func machine() string {
	var edges []*edge
	byPair := map[[2]roles.State]*edge{}
	for _, r := range roles.Table().Rules {
		for _, from := range r.From {
			e := byPair[[2]roles.State{from, r.To}]
			if e == nil {
				e = &edge{From: string(from), To: string(r.To)}
				byPair[[2]roles.State{from, r.To}] = e
				edges = append(edges, e)
			}
			e.Why = append(e.Why, string(r.On)+": "+r.Why)
		}
	}
	b, err := json.Marshal(edges)
	if err != nil { // plain strings
		panic(err)
	}
	return string(b)
}
