package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

const (
	inserters = 4
	updaters  = 4
	// patience is a client's with one statement; afterwards its outcome is unknown.
	patience = 2 * time.Second
	// between two writes of a client: the checks are about every write, not about their number.
	between = 25 * time.Millisecond
	again   = 30 * time.Millisecond
	// slots is how many registers are in use at a time; after perKey transactions on the average others are, so that a
	// search for an order stays small in campaigns of any length.
	slots     = 6
	perKey    = 3000
	registers = 4000
)

// writers are applications: they know Consul's address and nothing else of the cluster. Safe for concurrent use.
type writers struct {
	c      *cluster
	http   *http.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ids    atomic.Int64
	count  atomic.Int64 // transactions on registers begun
	calm   atomic.Bool  // write slowly: those who are behind shall catch up

	mu       sync.Mutex
	acks     []history.Write
	stubborn []history.Write // acknowledged to the client that does not ask Consul
	txns     []history.Txn
	failures int
	last     error
}

func newWriters(c *cluster) *writers {
	return &writers{c: c, http: httpFrom(c.clients), cancel: func() {}}
}

// open is a pool of one connection to a server, from the clients' host.
func (w *writers) open(addr string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName, cfg.Net, cfg.Addr = appUser, w.c.secrets.app, database, "tcp", addr
	cfg.TLSConfig, cfg.Logger = "skip-verify", &mysql.NopLogger{}
	cfg.Timeout = patience
	cfg.DialFunc = w.c.clients.DialContext
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", addr, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

var errPrimaries = errors.New("not exactly one writable server in Consul")

// primary asks Consul for the writable server.
func (w *writers) primary(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.c.consul.discovery()+"/v1/health/service/mysql-primary?passing=1", nil)
	if err != nil {
		return "", fmt.Errorf("ask Consul: %w", err)
	}
	resp, err := w.http.Do(req)
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
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return "", fmt.Errorf("ask Consul: %s: %w", resp.Status, err)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%w: %d", errPrimaries, len(found))
	}
	return net.JoinHostPort(found[0].Service.Address, strconv.Itoa(found[0].Service.Port)), nil
}

// start creates the tables and starts the clients.
func (w *writers) start() error {
	if err := w.create(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for range inserters {
		w.wg.Go(func() { w.loop(ctx, &client{w: w, find: w.primary}, w.insert) })
	}
	for i := range updaters {
		w.wg.Go(func() {
			w.loop(ctx, &client{w: w, find: w.primary}, func(cl *client) error { return w.update(cl, i) })
		})
	}
	w.wg.Go(func() { w.loop(ctx, &client{w: w, find: w.anyNode, stubborn: true}, w.insert) })
	return nil
}

func (w *writers) create() error {
	var rows strings.Builder
	for k := range registers {
		fmt.Fprintf(&rows, ",(%d,0)", k)
	}
	cl := &client{w: w, find: w.primary}
	defer cl.close()
	for _, s := range []string{
		"CREATE TABLE IF NOT EXISTS chaos_writes (id BIGINT PRIMARY KEY, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))",
		"CREATE TABLE IF NOT EXISTS chaos_register (k INT PRIMARY KEY, v BIGINT NOT NULL)",
		"CREATE TABLE IF NOT EXISTS chaos_ddl (id INT PRIMARY KEY)",
		"INSERT IGNORE INTO chaos_register (k, v) VALUES " + rows.String()[1:],
	} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(again) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := cl.connect(ctx)
			if err == nil {
				_, err = cl.conn.ExecContext(ctx, s)
			}
			cancel()
			if err == nil {
				break
			}
			cl.close()
			if time.Now().After(deadline) {
				return fmt.Errorf("create tables: %w", err)
			}
		}
	}
	return nil
}

// stop ends the clients after their last write.
func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
}

// client is one application with at most one connection, kept until it fails.
type client struct {
	w        *writers
	find     func(context.Context) (string, error)
	stubborn bool
	addr     string
	db       *sql.DB
	conn     *sql.Conn
}

func (w *writers) loop(ctx context.Context, cl *client, write func(*client) error) {
	defer cl.close()
	for ctx.Err() == nil {
		wait := between
		if w.calm.Load() {
			wait *= 10
		}
		if err := write(cl); err != nil {
			cl.close()
			wait = again
			if !cl.stubborn {
				w.fail(err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (c *client) connect(ctx context.Context) (err error) {
	if c.conn != nil {
		return nil
	}
	if c.addr, err = c.find(ctx); err != nil {
		return err
	}
	if c.db, err = c.w.open(c.addr); err != nil {
		return err
	}
	if c.conn, err = c.db.Conn(ctx); err != nil {
		return fmt.Errorf("connect to %s: %w", c.addr, err)
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // of a broken connection: nothing to be done
	}
	if c.db != nil {
		_ = c.db.Close()
	}
	c.conn, c.db = nil, nil
}

// insert writes one row. An id is used once: whether a failed write happened is unknown.
func (w *writers) insert(c *client) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		return err
	}
	a := history.Write{ID: w.ids.Add(1), Began: time.Now(), From: c.addr}
	if _, err := c.conn.ExecContext(ctx, insertStatement(a.ID)); err != nil {
		return fmt.Errorf("write at %s: %w", c.addr, err)
	}
	a.Acked = time.Now()
	w.acked(a, c.stubborn)
	return nil
}

func insertStatement(id int64) string {
	return "INSERT INTO chaos_writes (id) VALUES (" + strconv.FormatInt(id, 10) + ")"
}

// update is one transaction on a register: read FOR UPDATE, write, commit.
func (w *writers) update(c *client, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		return err
	}
	epoch := int(w.count.Add(1) / (slots * perKey))
	t := history.Txn{Client: number, Key: (epoch*slots + rand.IntN(slots)) % registers, Began: time.Now(), Wrote: w.ids.Add(1), From: c.addr}
	tx, err := c.conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin at %s: %w", c.addr, err)
	}
	defer tx.Rollback() // after a commit, or a broken connection: nothing to be done
	if err := tx.QueryRowContext(ctx, "SELECT v FROM chaos_register WHERE k = ? FOR UPDATE", t.Key).Scan(&t.Read); err != nil {
		return fmt.Errorf("read at %s: %w", c.addr, err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE chaos_register SET v = ? WHERE k = ?", t.Wrote, t.Key); err != nil {
		return fmt.Errorf("update at %s: %w", c.addr, err)
	}
	err = tx.Commit()
	t.Ended, t.Known = time.Now(), err == nil
	w.mu.Lock()
	w.txns = append(w.txns, t)
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("commit at %s: %w", c.addr, err)
	}
	return nil
}

// anyNode is what the stubborn client asks: it tries every server in turn and stays where it may write.
func (w *writers) anyNode(context.Context) (string, error) {
	time.Sleep(20 * time.Millisecond)
	return w.c.nodes[rand.IntN(len(w.c.nodes))].addr(), nil
}
