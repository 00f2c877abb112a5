package chaos

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

// syncKey is the record that says who may be primary.
const syncKey = "mysql/" + clusterName + "/sync"

// syncRecord is what the campaign reads of it. Members are incarnations: name~rebuilds~uuid.
type syncRecord struct {
	Term    uint64   `json:"term"`
	Primary string   `json:"primary"`
	Members []string `json:"members"`
	Acks    int      `json:"acks"`
}

func nameOf(incarnation string) string {
	name, _, _ := strings.Cut(incarnation, "~")
	return name
}

// watcher follows the ack set: the newest one, and every change of the primary. Safe for concurrent use.
type watcher struct {
	c *cluster

	mu       sync.Mutex
	last     syncRecord
	openings []history.Opening
}

// run follows the record until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var index uint64
	for ctx.Err() == nil {
		rctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		var found []kv
		next, err := w.c.consul.do(rctx, http.MethodGet, "/v1/kv/"+syncKey+"?wait=5s&index="+strconv.FormatUint(index, 10), nil, &found)
		cancel()
		if err != nil || next < index {
			index = 0
			time.Sleep(100 * time.Millisecond)
			continue
		}
		index = next
		var s syncRecord
		if len(found) > 0 && json.Unmarshal(found[0].Value, &s) == nil && s.Term > 0 {
			w.take(s, time.Now())
		}
	}
}

func (w *watcher) take(s syncRecord, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Term < w.last.Term { // somebody's garbage, or an old one put back by hand
		return
	}
	if s.Term > w.last.Term {
		addr := ""
		if n := w.c.node(nameOf(s.Primary)); n != nil {
			addr = n.addr()
		}
		w.openings = append(w.openings, history.Opening{Term: s.Term, Addr: addr, At: now})
		w.c.note("term %d: primary %s, members %v, acks %d", s.Term, nameOf(s.Primary), s.Members, s.Acks)
	} else if s.Acks != w.last.Acks || len(s.Members) != len(w.last.Members) {
		w.c.note("ack set: members %v, acks %d", s.Members, s.Acks)
	}
	w.last = s
}

// now is the newest record.
func (w *watcher) now() syncRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// terms are all openings so far.
func (w *watcher) terms() []history.Opening {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]history.Opening(nil), w.openings...)
}

// failovers counts the terms that went to another server than the one before.
func failovers(openings []history.Opening) int {
	count := 0
	for i := 1; i < len(openings); i++ {
		if openings[i].Addr != openings[i-1].Addr {
			count++
		}
	}
	return count
}
