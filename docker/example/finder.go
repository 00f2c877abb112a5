package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// finder keeps the address of the one healthy instance of a service. It asks by blocking query: Consul answers in the
// moment something changes.
type finder struct {
	consul, service string
	addr            atomic.Value // string; "" while there is none
}

func newFinder(consul, service string) *finder {
	f := &finder{consul: consul, service: service}
	f.addr.Store("")
	return f
}

// current is host:port; "" while nobody is writable.
func (f *finder) current() string { return f.addr.Load().(string) }

func (f *finder) run(ctx context.Context) {
	index := uint64(0)
	for ctx.Err() == nil {
		addr, next, err := f.ask(ctx, index)
		if err != nil { // the last known address may be as good as ever
			index = 0
			sleep(ctx, retryPause)
			continue
		}
		if next < index { // Consul went back in time: begin anew
			next = 0
		}
		index = next
		f.addr.Store(addr)
	}
}

func (f *finder) ask(ctx context.Context, index uint64) (addr string, next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 70*time.Second)
	defer cancel()
	q := url.Values{"passing": {"1"}, "wait": {"60s"}, "index": {strconv.FormatUint(index, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.consul+"/v1/health/service/"+url.PathEscape(f.service)+"?"+q.Encode(), nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("consul answers %s", resp.Status)
	}
	var entries []struct {
		Service struct {
			Address string
			Port    int
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&entries); err != nil {
		return "", 0, err
	}
	if next, err = strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64); err != nil {
		return "", 0, err
	}
	if len(entries) == 0 {
		return "", next, nil
	}
	s := entries[len(entries)-1].Service
	return net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), next, nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
