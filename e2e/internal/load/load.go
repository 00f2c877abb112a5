// Package load writes to a cluster as an application does, and keeps books of what was acknowledged, so that a test can
// say afterwards which acknowledged write is missing where.
package load

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const (
	// clients is how many write at the same time.
	clients = 4
	// statementLimit is an application's patience with one write; afterwards its outcome is unknown.
	statementLimit = 2 * time.Second
	// patientLimit is that of clients whose every write must succeed: longer than a starved machine holds one up.
	patientLimit = 15 * time.Second
	// setUpLimit bounds the creation of the table.
	setUpLimit = 60 * time.Second
	// between two writes of a client: the checks are about every write, not about their number.
	between = 5 * time.Millisecond
	// again is how soon a client that failed looks for the primary again.
	again = 20 * time.Millisecond
	// disorder is how far two acknowledgements may be out of order in the books: a client looks at the clock before it enters
	// its own, and may have to wait in between.
	disorder = 10 * time.Second
	// Table gets the writes.
	Table = "e2e_writes"
)

// Ack is one acknowledged write.
type Ack struct {
	ID   int64
	At   time.Time // when the acknowledgement came
	From string    // address of the server that gave it
}

// Writers are clients that write until Stop. Safe for concurrent use.
type Writers struct {
	t      testing.TB
	doc    harness.Document
	limit  time.Duration // for one write
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	acks     []Ack // in the order of their coming
	begun    int   // clients that have had an acknowledgement
	failures int   // writes whose client got an error; each may have happened or not
	last     error
}

// Start creates the table and starts the clients, and returns when each has written. They end with the test at the latest.
func Start(t testing.TB, c *harness.Cluster) *Writers { t.Helper(); return start(t, c, statementLimit) }

// StartPatient is Start for tests in which no write may fail: a write that only takes long has not failed.
func StartPatient(t testing.TB, c *harness.Cluster) *Writers {
	t.Helper()
	return start(t, c, patientLimit)
}

func start(t testing.TB, c *harness.Cluster, limit time.Duration) *Writers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writers{t: t, doc: c.Doc(), cancel: cancel, limit: limit}
	t.Cleanup(w.end)
	w.create()
	base := time.Now().UnixMilli() << 22 // later writers on the same cluster use other ids
	for i := range clients {
		cl := &client{w: w, next: base + int64(i)<<18}
		w.wg.Go(func() { cl.run(ctx) })
	}
	w.WaitAcks(20)
	w.waitBegun()
	return w
}

func (w *Writers) create() {
	w.t.Helper()
	cl := &client{w: w}
	defer cl.close()
	for deadline := time.Now().Add(setUpLimit); ; time.Sleep(again) {
		_, err := cl.do("CREATE TABLE IF NOT EXISTS " + Table + " (id BIGINT PRIMARY KEY, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))")
		if err == nil {
			return
		}
		require.Truef(w.t, time.Now().Before(deadline), "create table: %v", err)
	}
}

// Stop ends the clients after their last write.
func (w *Writers) Stop() { w.end() }

func (w *Writers) end() {
	w.cancel()
	w.wg.Wait()
}

// Acks are the acknowledged writes until now.
func (w *Writers) Acks() []Ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Ack(nil), w.acks...)
}

// Failures is how many writes their clients got an error for.
func (w *Writers) Failures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failures
}

// since counts the acknowledged writes after from. It looks at as few as it can and copies none: after a while they are
// so many that a copy every few milliseconds, with the clients waiting for it, shows in their gaps.
func (w *Writers) since(from time.Time) (count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if from.IsZero() {
		return len(w.acks)
	}
	for i := len(w.acks) - 1; i >= 0 && w.acks[i].At.After(from.Add(-disorder)); i-- {
		if w.acks[i].At.After(from) {
			count++
		}
	}
	return count
}

// WaitAcks waits for count more acknowledged writes.
func (w *Writers) WaitAcks(count int) {
	w.t.Helper()
	w.wait(w.since(time.Time{})+count, time.Time{})
}

// WaitAcksSince waits until count writes were acknowledged after from.
func (w *Writers) WaitAcksSince(from time.Time, count int) { w.t.Helper(); w.wait(count, from) }

func (w *Writers) wait(count int, from time.Time) {
	w.t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(20 * time.Millisecond) {
		have := w.since(from)
		if have >= count {
			return
		}
		w.mu.Lock()
		last := w.last
		w.mu.Unlock()
		require.Truef(w.t, time.Now().Before(deadline), "%d of %d acknowledged writes within %v; last error: %v", have, count, harness.FailoverLimit, last)
	}
}

// Gap is the longest time without an acknowledgement that ended after from.
func (w *Writers) Gap(from time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest time.Duration
	for i := len(w.acks) - 1; i > 0 && w.acks[i].At.After(from.Add(-disorder)); i-- {
		if w.acks[i].At.After(from) {
			longest = max(longest, w.acks[i].At.Sub(w.acks[i-1].At))
		}
	}
	return longest
}

// Pause is a time without an acknowledgement.
type Pause struct{ From, To time.Time }

// Pauses are those between two acknowledgements that end in a span of time and are longer than least.
func (w *Writers) Pauses(from, to time.Time, least time.Duration) (all []Pause) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 1; i < len(w.acks); i++ {
		p := Pause{w.acks[i-1].At, w.acks[i].At}
		if p.To.After(from) && !p.To.After(to) && p.To.Sub(p.From) > least {
			all = append(all, p)
		}
	}
	return all
}

// waitBegun waits until every client has a connection to the primary.
func (w *Writers) waitBegun() {
	w.t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		begun, last := w.begun, w.last
		w.mu.Unlock()
		if begun == clients {
			return
		}
		require.Truef(w.t, time.Now().Before(deadline), "%d of %d clients have written, last error: %v", begun, clients, last)
	}
}

// Note enters a write that somebody else made with the table.
func (w *Writers) Note(a Ack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, a)
}

func (w *Writers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	w.last = err
}

// client is one application: it knows Consul's address and nothing else of the cluster.
type client struct {
	w     *Writers
	next  int64
	begun bool // it has had an acknowledgement
	addr  string
	db    *sql.DB // to the primary as found last; nil: look it up
}

func (c *client) run(ctx context.Context) {
	defer c.close()
	for ctx.Err() == nil {
		id := c.next
		c.next++ // an id is written once: whether a failed write happened is unknown
		wait := between
		if addr, err := c.do(Insert(id)); err == nil {
			c.w.Note(Ack{ID: id, At: time.Now(), From: addr})
			if !c.begun {
				c.begun = true
				c.w.mu.Lock()
				c.w.begun++
				c.w.mu.Unlock()
			}
		} else {
			c.w.fail(err)
			wait = again
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// Insert is the statement that writes an id.
func Insert(id int64) string {
	return "INSERT INTO " + Table + " (id) VALUES (" + strconv.FormatInt(id, 10) + ")"
}

// do executes one statement on the primary and says where; after an error the primary is looked up again.
func (c *client) do(statement string) (addr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.w.limit)
	defer cancel()
	if c.db == nil {
		if c.addr, err = Primary(ctx, c.w.doc.Consul); err != nil {
			return "", err
		}
		if c.db, err = harness.Open(c.w.doc, c.addr); err != nil {
			return "", err
		}
		c.db.SetMaxOpenConns(1)
	}
	if _, err := c.db.ExecContext(ctx, statement); err != nil {
		c.close()
		return "", fmt.Errorf("write at %s: %w", c.addr, err)
	}
	return c.addr, nil
}

func (c *client) close() {
	if c.db != nil {
		_ = c.db.Close() // of a broken connection: nothing to be done
		c.db = nil
	}
}

// ErrPrimaries means that Consul does not name exactly one writable server.
var ErrPrimaries = errors.New("not exactly one writable server in Consul")

// Primary asks Consul for the writable server, as any application would.
func Primary(ctx context.Context, consul string) (addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+consul+"/v1/health/service/mysql-primary?passing=1", nil)
	if err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	defer resp.Body.Close()
	var found []struct {
		Service struct {
			Address string
			Port    int
		}
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask Consul: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	// An agent of Consul that comes back shows for a moment what was registered with it: the same server twice is one server.
	servers := map[string]bool{}
	for _, f := range found {
		addr = net.JoinHostPort(f.Service.Address, strconv.Itoa(f.Service.Port))
		servers[addr] = true
	}
	if len(servers) != 1 {
		return "", fmt.Errorf("%w: %d", ErrPrimaries, len(servers))
	}
	return addr, nil
}
