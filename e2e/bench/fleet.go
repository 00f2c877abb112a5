// Package bench measures the pauses that faults and hand-overs make for clients, beside what people would use instead.
package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// table gets the writes.
	table = "bench_writes"
	// patience is how long a client waits for one write; afterwards its outcome is unknown.
	patience = 5 * time.Second
	// failedPause is how soon a client tries again that found nobody to write to.
	failedPause = 5 * time.Millisecond
	// metronome is the pause between two writes of the only client of an idle cluster.
	metronome = 5 * time.Millisecond
	// knockPause is how often a knocking client asks a server whether it may write now.
	knockPause = time.Millisecond
)

// ack is one acknowledged write.
type ack struct {
	id     int64
	at     time.Time // when the acknowledgement was here
	from   string    // the server that gave it
	knocks bool      // of a client that knows the server and does not look for it
}

// opener opens a pool of the application's connections to a server.
type opener func(addr string) (*sql.DB, error)

// fleet are clients that write as fast as they are acknowledged, and keep books. Each finds the primary by a finder.
type fleet struct {
	find   finder
	open   opener
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu     sync.Mutex
	acks   []ack
	failed int
	last   error
	base   int64         // of the ids of the next client
	held   chan struct{} // closed when the clients may go on; nil: they may
}

// start begins with count clients; 0 is one that writes every 5 ms, to see gaps in an idle cluster.
func start(find finder, open opener, count int) *fleet {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fleet{find: find, open: open, ctx: ctx, cancel: cancel, base: time.Now().UnixMilli() << 22}
	pause := time.Duration(0)
	if count == 0 {
		count, pause = 1, metronome
	}
	for range count {
		id := f.ids()
		f.wg.Go(func() { f.write(id, pause) })
	}
	return f
}

// ids is where a client's ids begin; each is written once, as nobody knows whether a failed write happened.
func (f *fleet) ids() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base += 1 << 32
	return f.base
}

func (f *fleet) write(id int64, pause time.Duration) {
	var c conn
	defer c.close()
	for f.ctx.Err() == nil {
		if held := f.gate(); held != nil {
			f.wait(held, patience)
			continue
		}
		addr, changed := f.find.primary()
		if addr == "" {
			f.wait(changed, failedPause)
			continue
		}
		if addr != c.addr {
			c.close()
		}
		id++
		if err := c.insert(f.stays(addr, &c), f.open, addr, id); err != nil {
			c.close()
			f.fail(err)
			if now, _ := f.find.primary(); now == addr {
				f.wait(changed, failedPause)
			}
			continue
		}
		f.note(ack{id: id, at: time.Now(), from: addr})
		if pause > 0 {
			f.wait(nil, pause)
		}
	}
}

// stays ends once the primary is another one than addr: a client gives up then what a frozen server never answers. It is the
// connection's own.
func (f *fleet) stays(addr string, c *conn) context.Context {
	if c.stays == nil {
		c.stays, c.end = context.WithCancel(f.ctx)
		go func(ctx context.Context, end func()) {
			for ctx.Err() == nil {
				now, changed := f.find.primary()
				if now != "" && now != addr {
					end()
				}
				select {
				case <-changed:
				case <-ctx.Done():
				}
			}
		}(c.stays, c.end)
	}
	return c.stays
}

// gate is what a client waits for before its next write; nil is nothing.
func (f *fleet) gate() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// pause has the clients write no more after the write each is at; resume lets them go on.
func (f *fleet) pause() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = make(chan struct{})
	}
}

func (f *fleet) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held != nil {
		close(f.held)
		f.held = nil
	}
}

// wait ends early when what is waited for has changed, or with the fleet.
func (f *fleet) wait(changed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-f.ctx.Done():
	}
}

// knock begins asking one server for a write, and goes on until it gets one, so that it is known when that server opened
// however long a client takes to find it. It keeps its connection as long as the server answers, and its logins should be
// cheap: it must not slow down the very server that is measured.
func (f *fleet) knock(open opener, addr string) (end func()) {
	ctx, cancel := context.WithCancel(f.ctx)
	id, done := f.ids(), make(chan struct{})
	go func() {
		defer close(done)
		var c conn
		defer c.close()
		for ctx.Err() == nil {
			id++
			err := c.insert(ctx, open, addr, id)
			if err == nil {
				f.note(ack{id: id, at: time.Now(), from: addr, knocks: true})
				return
			}
			if !errors.As(err, new(*mysql.MySQLError)) {
				c.close()
			}
			time.Sleep(knockPause)
		}
	}()
	return func() { cancel(); <-done }
}

func (f *fleet) note(a ack) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acks = append(f.acks, a)
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed++
	f.last = err
}

// count is how many writes were acknowledged and how many failed.
func (f *fleet) count() (acked, failed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.acks), f.failed
}

// settled is how many acknowledged writes show that clients have found a primary.
const settled = 50

// settle waits until that many writes were acknowledged by clients after from.
func (f *fleet) settle(from time.Time, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		have, last := 0, f.last
		for i := len(f.acks) - 1; i >= 0 && f.acks[i].at.After(from); i-- {
			if !f.acks[i].knocks {
				have++
			}
		}
		f.mu.Unlock()
		if have >= settled {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d writes acknowledged within %v; last error: %w", have, settled, limit, last)
		}
	}
}

// gap is a pause in the writes.
type gap struct {
	Client  time.Duration // between two acknowledgements at clients that look for the primary
	Servers time.Duration // last acknowledgement of one server, first of the next; whoever got it. 0: the server stayed the same
	Found   time.Time     // its end at the clients
	Last    time.Time     // the last acknowledgement of the one server; zero if the server stayed the same
}

// longest is the longest pause that ended after from.
func (f *fleet) longest(from time.Time) gap {
	f.mu.Lock()
	acks := append([]ack(nil), f.acks...)
	f.mu.Unlock()
	sort.Slice(acks, func(i, j int) bool { return acks[i].at.Before(acks[j].at) })
	var g gap
	var client, any ack
	for _, a := range acks {
		if a.at.After(from) && any.from != "" && a.from != any.from && g.Servers == 0 {
			g.Servers, g.Last = a.at.Sub(any.at), any.at
		}
		any = a
		if a.knocks {
			continue
		}
		if a.at.After(from) && client.from != "" && a.at.Sub(client.at) > g.Client {
			g.Client, g.Found = a.at.Sub(client.at), a.at
		}
		client = a
	}
	return g
}

// stop ends all clients after their last write.
func (f *fleet) stop() {
	f.cancel()
	f.wg.Wait()
}

// lost are the acknowledged writes that a server does not have.
func (f *fleet) lost(addr string) (int, error) {
	db, err := f.open(addr)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT id FROM "+table)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	have := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		have[id] = true
	}
	missing := 0
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.acks {
		if !have[a.id] {
			missing++
		}
	}
	return missing, rows.Err()
}

// conn is a client's connection to the server it wrote to last.
type conn struct {
	addr  string
	db    *sql.DB
	stays context.Context
	end   context.CancelFunc
}

// insert writes one row. After an error it is the caller's to say whether the connection is still good.
func (c *conn) insert(ctx context.Context, open opener, addr string, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if c.db == nil {
		db, err := open(addr)
		if err != nil {
			return err
		}
		db.SetMaxOpenConns(1)
		c.db, c.addr = db, addr
	}
	_, err := c.db.ExecContext(ctx, "INSERT INTO "+table+" (id) VALUES ("+strconv.FormatInt(id, 10)+")")
	return err
}

func (c *conn) close() {
	if c.end != nil {
		c.end()
		c.stays, c.end = nil, nil
	}
	if c.db != nil {
		_ = c.db.Close() // of a broken connection: nothing to be done
		c.db, c.addr = nil, ""
	}
}

// makeTable creates the table of the writes at a server that takes them.
func makeTable(open opener, addr string) error {
	db, err := open(addr)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (id BIGINT PRIMARY KEY)")
	return err
}
