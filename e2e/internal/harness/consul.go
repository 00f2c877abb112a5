package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// consulLimit bounds one request of a test to Consul.
const consulLimit = 30 * time.Second

// Key is one key in Consul.
type Key struct {
	Key     string
	Value   []byte
	Session string
	Index   uint64 `json:"ModifyIndex"`
}

// Consul makes one request to the cluster's Consul by hand, as an operator with curl would, and returns the answer.
func (c *Cluster) Consul(method, path string, body []byte) []byte {
	c.t.Helper()
	b, err := c.ask(method, path, body)
	require.NoError(c.t, err)
	return b
}

func (c *Cluster) ask(method, path string, body []byte) ([]byte, error) {
	addr, token := c.via, ""
	if addr == "" {
		addr = c.Doc().Consul
	}
	for _, kv := range c.env {
		if t, ok := strings.CutPrefix(kv, TokenEnv+"="); ok {
			token = t
		}
	}
	return exchange(method, addr, path, token, body, http.StatusOK, http.StatusNotFound)
}

// exchange is one request to a Consul, with a token if there is one. An answer with another status than those is an error.
func exchange(method, addr, path, token string, body []byte, fine ...int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), consulLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set(tokenHeader, token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && !slices.Contains(fine, resp.StatusCode) {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	return b, err
}

// Via is the same cluster, asked about through another Consul agent.
func (c *Cluster) Via(addr string) *Cluster {
	other := *c
	other.via = addr
	return &other
}

// Prefix is where the cluster's keys lie.
func (c *Cluster) Prefix() string { return "mysql/" + c.Doc().Cluster + "/" }

// Keys reads the cluster's keys, by their name below the prefix.
func (c *Cluster) Keys() map[string]Key { c.t.Helper(); return c.below(c.Prefix()) }

// History reads the entries of the cluster's history, by their name.
func (c *Cluster) History() map[string]Key {
	c.t.Helper()
	return c.below("mysql/" + c.Doc().Cluster + "~history/")
}

// Lap is one part of a hand-over, as the history tells it.
type Lap struct {
	Name string
	MS   float64
}

// Promotion is what tests read of the history's entry about the opening of a term.
type Promotion struct {
	At     time.Time
	Kind   string
	Node   string
	Term   uint64
	GapMS  float64 `json:"gap_ms"` // for how long nobody could write
	Phases map[string]float64
	Laps   []Lap
}

// Promotion waits for the history's entry about the opening of a term.
func (c *Cluster) Promotion(term uint64) Promotion {
	c.t.Helper()
	for deadline := time.Now().Add(FailoverLimit); ; time.Sleep(20 * time.Millisecond) {
		for _, k := range c.History() {
			var e Promotion
			if json.Unmarshal(k.Value, &e) == nil && e.Kind == "promotion" && e.Term == term {
				return e
			}
		}
		require.True(c.t, time.Now().Before(deadline), "the history says nothing about term %d", term)
	}
}

// LapsLine is the laps of some hand-overs in one line: the median of each part, in the order they come.
func LapsLine(of [][]Lap) string {
	var names []string
	took := map[string][]float64{}
	for _, laps := range of {
		for _, l := range laps {
			if took[l.Name] == nil {
				names = append(names, l.Name)
			}
			took[l.Name] = append(took[l.Name], l.MS)
		}
	}
	var parts []string
	for _, name := range names {
		ms := took[name]
		slices.Sort(ms)
		parts = append(parts, fmt.Sprintf("%s %.1f", name, ms[len(ms)/2]))
	}
	return strings.Join(parts, ", ")
}

// below reads all keys below a folder, by their name there.
func (c *Cluster) below(folder string) map[string]Key {
	c.t.Helper()
	var list []Key
	b := c.Consul(http.MethodGet, "/v1/kv/"+folder+"?recurse&consistent", nil)
	if len(b) > 0 {
		require.NoError(c.t, json.Unmarshal(b, &list))
	}
	out := map[string]Key{}
	for _, k := range list {
		out[k.Key[len(folder):]] = k
	}
	return out
}

// Record is what tests read of a node's record.
type Record struct {
	Key      string `json:"-"`
	Name     string `json:"name"`
	Receiver string `json:"receiver"`
	Open     uint64 `json:"open"`
	Session  string `json:"-"`
}

// Record is what a node says about itself; a zero Record when it says nothing that can be read.
func (c *Cluster) Record(node string) Record {
	c.t.Helper()
	for name, k := range c.Keys() {
		var r Record
		if len(name) > 6 && name[:6] == "nodes/" && json.Unmarshal(k.Value, &r) == nil && r.Name == node && k.Session != "" {
			r.Key, r.Session = name, k.Session
			return r
		}
	}
	return Record{}
}
