package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// finder tells the clients of one application where to write.
type finder interface {
	// primary is the address of the writable server, "" while there is none or more than one; the channel is closed when
	// that changes.
	primary() (addr string, changed <-chan struct{})
}

// board is what somebody found out, for many to read. Safe for concurrent use.
type board struct {
	mu      sync.Mutex
	addr    string
	changed chan struct{}
}

func newBoard() *board { return &board{changed: make(chan struct{})} }

func (b *board) primary() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr, b.changed
}

func (b *board) show(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if addr == b.addr {
		return
	}
	b.addr = addr
	close(b.changed)
	b.changed = make(chan struct{})
}

// inConsul follows the service mysql-primary by blocking queries, one for the whole application, until ctx ends.
func inConsul(ctx context.Context, client *http.Client, consul string) *board {
	b := newBoard()
	go func() {
		index := uint64(0)
		for ctx.Err() == nil {
			addr, next, err := serviceIn(ctx, client, consul, index)
			if err != nil {
				index = 0
				time.Sleep(failedPause)
				continue
			}
			index = next
			b.show(addr)
		}
	}()
	return b
}

// serviceIn waits for a change of the service since index, half a minute at most.
func serviceIn(ctx context.Context, client *http.Client, consul string, index uint64) (addr string, next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	url := fmt.Sprintf("http://%s/v1/health/service/mysql-primary?passing=1&wait=30s&index=%d", consul, index)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("ask Consul: %s", resp.Status)
	}
	var found []struct {
		Service struct {
			Address string
			Port    int
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return "", 0, fmt.Errorf("ask Consul: %w", err)
	}
	next, err = strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("ask Consul: %w", err)
	}
	if len(found) == 1 {
		addr = net.JoinHostPort(found[0].Service.Address, strconv.Itoa(found[0].Service.Port))
	}
	return addr, next, nil
}

// polled asks every server by itself whether it is the primary, every 5 ms until ctx ends: for systems that tell nobody. One that
// does not answer keeps nobody from hearing another.
func polled(ctx context.Context, addrs []string, isPrimary func(context.Context, int) bool) *board {
	b := newBoard()
	for i, addr := range addrs {
		go func() {
			for ctx.Err() == nil {
				if isPrimary(ctx, i) {
					b.show(addr)
				}
				time.Sleep(failedPause)
			}
		}()
	}
	return b
}
