package demo

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
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/playground"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

const (
	// table gets the writes; its ids are unique, so none is counted twice.
	table = "demo_writes"
	// writeTimeout bounds one write: longer than a hand-over, so that it is the exception.
	writeTimeout = 5 * time.Second
	// pause between two writes of one client: the show is about every write, not about their number.
	pause = 5 * time.Millisecond
	// retry is how soon a client that failed asks Consul again.
	retry = 20 * time.Millisecond
)

// load are the writing clients.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startLoad creates the table and starts the writers.
func startLoad(ctx context.Context, doc playground.Document, b *books) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	first := &writer{doc: doc, books: b, next: 0}
	create := "CREATE TABLE IF NOT EXISTS " + table + " (id BIGINT PRIMARY KEY, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))"
	setUp, done := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("not within %v", stepTimeout))
	defer done()
	for {
		err := first.do(setUp, create)
		if err == nil {
			break
		}
		if sleepErr := sleep(setUp, retry); sleepErr != nil {
			cancel()
			return nil, fmt.Errorf("create table: %w", errors.Join(sleepErr, err))
		}
	}
	first.close()
	for i := range writers {
		// Each writer counts in a range of its own.
		w := &writer{doc: doc, books: b, next: int64(i+1) << 32}
		l.wg.Go(func() { w.run(ctx) })
	}
	return l, nil
}

// stop ends the writers and waits for their last write.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// writer is one client: it knows Consul's address and nothing else of the cluster.
type writer struct {
	doc   playground.Document // user, password, database, Consul
	books *books
	next  int64
	db    *sql.DB // to the primary as found last; nil: look it up
}

func (w *writer) run(ctx context.Context) {
	defer w.close()
	for ctx.Err() == nil {
		id := w.next
		w.next++ // an id is written once: whether a failed write happened is unknown
		wait := pause
		if err := w.do(ctx, "INSERT INTO "+table+" (id) VALUES ("+strconv.FormatInt(id, 10)+")"); err == nil {
			w.books.note(id)
		} else if ctx.Err() == nil {
			w.books.noteFailure()
			wait = retry
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// do executes one statement on the primary; after an error the primary is looked up again.
func (w *writer) do(ctx context.Context, statement string) error {
	// A write under way is finished when the demo ends: its outcome belongs into the books.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if w.db == nil {
		addr, err := primaryAddr(ctx, w.doc.Consul)
		if err != nil {
			return err
		}
		if w.db, err = mysql.OpenClient(addr, w.doc.MySQLUser, w.doc.MySQLPassword, w.doc.MySQLDatabase); err != nil {
			return err
		}
	}
	if _, err := w.db.ExecContext(ctx, statement); err != nil {
		w.close()
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (w *writer) close() {
	if w.db != nil {
		// Closing a broken connection fails; there is nothing to do about it.
		_ = w.db.Close()
		w.db = nil
	}
}

// primaryAddr asks Consul, as any application would.
func primaryAddr(ctx context.Context, consul string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	url := "http://" + consul + "/v1/health/service/mysql-primary?passing=1"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask Consul: %s", resp.Status)
	}
	var entries []struct {
		Node    struct{ Address string }
		Service struct {
			Address string
			Port    int
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&entries); err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("ask Consul: %d writable servers", len(entries))
	}
	host := entries[0].Service.Address
	if host == "" {
		host = entries[0].Node.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(entries[0].Service.Port)), nil
}
