package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

// consulPort is Consul's usual one: it has a host of its own.
const consulPort = "8500"

// consulServer is one server of Consul, and a view of it from beside it that no fault of the network disturbs.
type consulServer struct {
	service
	client *http.Client
	// group are all servers of this Consul; only the first one knows them.
	group []*consulServer
	turn  atomic.Int64
}

// servers are all of them, the first one first.
func (c *consulServer) servers() []*consulServer { return c.group }

// hosts are their network addresses.
func (c *consulServer) hosts() (list []string) {
	for _, s := range c.servers() {
		list = append(list, s.host.Addr)
	}
	return list
}

// addrs are the addresses of all servers, as the settings of a node want them.
func (c *consulServer) addrs() string {
	var list []string
	for _, s := range c.servers() {
		list = append(list, s.addr())
	}
	return strings.Join(list, ",")
}

func (c *consulServer) addr() string { return c.host.Addr + ":" + consulPort }

// configure writes the server's configuration.
func (c *consulServer) configure(all []*consulServer) error {
	cfg := map[string]any{
		"server": true, "bootstrap_expect": len(all), "node_name": c.name, "data_dir": filepath.Join(c.dir, "data"),
		"bind_addr": c.host.Addr, "client_addr": c.host.Addr, "performance": map[string]any{"raft_multiplier": 1},
		"ports":              map[string]any{"https": -1, "dns": -1, "grpc": -1, "serf_wan": -1},
		"leave_on_terminate": false, "skip_leave_on_interrupt": true, "disable_update_check": true,
	}
	var others []string
	for _, s := range all {
		if s != c {
			others = append(others, s.host.Addr)
		}
	}
	cfg["retry_join"], cfg["retry_interval"] = others, "1s"
	b, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("configure Consul: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return fmt.Errorf("configure Consul: %w", err)
	}
	return os.WriteFile(filepath.Join(c.dir, "config.json"), b, 0o644)
}

// httpFrom is a client whose connections begin at a host.
func httpFrom(h *netns.Host) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: 20 * time.Second}}
}

// do sends one request to whichever server answers, and decodes the answer into out, which may be nil. A request that was
// sent is not sent again.
func (c *consulServer) do(ctx context.Context, method, path string, body []byte, out any) (index uint64, err error) {
	for _, s := range c.servers() {
		var refused *net.OpError
		if index, err = s.send(ctx, method, path, body, out); !errors.As(err, &refused) || refused.Op != "dial" {
			return index, err
		}
	}
	return index, err
}

func (c *consulServer) send(ctx context.Context, method, path string, body []byte, out any) (index uint64, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr()+path, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("ask Consul: %w", err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask Consul: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("ask Consul %s: %w", path, err)
	}
	index, _ = strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	if resp.StatusCode == http.StatusNotFound && method == http.MethodGet {
		return index, nil // out stays empty
	}
	if resp.StatusCode != http.StatusOK {
		return index, fmt.Errorf("ask Consul %s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(b))
	}
	if out == nil {
		return index, nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return index, fmt.Errorf("ask Consul %s: %w", path, err)
	}
	return index, nil
}

// ask is do within a few seconds.
func (c *consulServer) ask(method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := c.do(ctx, method, path, body, out)
	return err
}

// kv is one key as Consul shows it.
type kv struct {
	Key         string
	Value       []byte
	Session     string
	ModifyIndex uint64
}

// get reads a key; ok is false when it does not exist.
func (c *consulServer) get(key string) (k kv, ok bool, err error) {
	var found []kv
	if err := c.ask(http.MethodGet, "/v1/kv/"+key+"?consistent", nil, &found); err != nil || len(found) == 0 {
		return kv{}, false, err
	}
	return found[0], true, nil
}

// put writes a key as a careless hand would, or, with an index, only if it has not changed since.
func (c *consulServer) put(key string, value []byte, index uint64) (done bool, err error) {
	path := "/v1/kv/" + key
	if index != 0 {
		path += "?cas=" + url.QueryEscape(strconv.FormatUint(index, 10))
	}
	err = c.ask(http.MethodPut, path, value, &done)
	return done, err
}

// remove deletes a key.
func (c *consulServer) remove(key string) error {
	return c.ask(http.MethodDelete, "/v1/kv/"+key, nil, nil)
}

// ready waits until it has a leader.
func (c *consulServer) ready(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		var leader string
		err := c.ask(http.MethodGet, "/v1/status/leader", nil, &leader)
		if err == nil && leader != "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for Consul: no leader within %v: %w", limit, err)
		}
	}
}
