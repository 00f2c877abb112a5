package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// writer inserts rows with names of its own making. That is the whole art: because the application names the row, it can
// ask after an unanswered commit whether it happened, instead of guessing.
type writer struct {
	found  *finder
	config *mysql.Config
	source string // of this run: rows of several applications never mix

	mu      sync.Mutex
	db      *sql.DB
	addr    string // of db
	acked   []int64
	unknown int // unanswered attempts that turned out, or had, to be tried again
	last    time.Time
	longest time.Duration
}

func newWriter(f *finder, user, password, database string) (*writer, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net = user, password, database, "tcp"
	c.Timeout, c.ReadTimeout, c.WriteTimeout = writeTimeout, writeTimeout, writeTimeout
	c.TLSConfig = env("MYSQL_TLS", "preferred")
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return &writer{found: f, config: c, source: host + "-" + hex.EncodeToString(id), last: time.Now()}, nil
}

// run writes one row after the other until ctx ends. A row is given up only by the end of the program.
func (w *writer) run(ctx context.Context) {
	for n := int64(1); ctx.Err() == nil; n++ {
		for ctx.Err() == nil {
			err := w.write(ctx, n)
			if err == nil {
				break
			}
			sleep(ctx, retryPause)
		}
		sleep(ctx, pause)
	}
}

// write makes sure that row n is there. The same statement again is harmless, so an unknown outcome is simply tried again.
func (w *writer) write(ctx context.Context, n int64) error {
	db, err := w.primary(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if _, err := db.ExecContext(ctx, "INSERT IGNORE INTO example_writes (source, n) VALUES (?, ?)", w.source, n); err != nil {
		var refused *mysql.MySQLError
		if errors.As(err, &refused) && refused.Number == 1146 {
			_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS example_writes (source VARCHAR(100), n BIGINT, at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6), PRIMARY KEY (source, n))")
			return errors.Join(errors.New("there was no table yet"), err)
		}
		w.mu.Lock()
		w.unknown++
		w.mu.Unlock()
		w.forget()
		return err
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, n)
	if gap := now.Sub(w.last); len(w.acked) > 1 && gap > w.longest {
		w.longest = gap
	}
	w.last = now
	return nil
}

// primary is a connection pool to the present primary; a new one when it has moved.
func (w *writer) primary(context.Context) (*sql.DB, error) {
	addr := w.found.current()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case addr == "":
		return nil, errors.New("nobody is writable")
	case addr == w.addr && w.db != nil:
		return w.db, nil
	case w.db != nil:
		go w.db.Close() // a connection to a dead host may take its time
	}
	c := w.config.Clone()
	c.Addr = addr
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	log.Printf("the primary is %s", addr)
	w.db, w.addr = sql.OpenDB(connector), addr
	w.db.SetMaxOpenConns(2)
	return w.db, nil
}

// forget drops the connections after a failed attempt: they may lead to a server that is no longer the primary.
func (w *writer) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.db != nil {
		go w.db.Close()
	}
	w.db, w.addr = nil, ""
}

// result is what /check says.
type result struct {
	Primary      string  `json:"primary"`
	Acknowledged int     `json:"acknowledged"`
	Missing      []int64 `json:"missing"`
	Unknown      int     `json:"unknown"`
	LongestGapMS int64   `json:"longest_gap_ms"`
}

// check reads every acknowledged row back.
func (w *writer) check(ctx context.Context) (result, error) {
	db, err := w.primary(ctx)
	if err != nil {
		return result{}, err
	}
	w.mu.Lock()
	acked := w.acked[:len(w.acked):len(w.acked)]
	res := result{Primary: w.addr, Acknowledged: len(acked), Missing: []int64{}, Unknown: w.unknown, LongestGapMS: w.longest.Milliseconds()}
	w.mu.Unlock()
	rows, err := db.QueryContext(ctx, "SELECT n FROM example_writes WHERE source = ?", w.source)
	if err != nil {
		return result{}, fmt.Errorf("read back: %w", err)
	}
	defer rows.Close()
	there := make(map[int64]bool, len(acked))
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return result{}, fmt.Errorf("read back: %w", err)
		}
		there[n] = true
	}
	for _, n := range acked {
		if !there[n] {
			res.Missing = append(res.Missing, n)
		}
	}
	return res, rows.Err()
}

// report says how it goes, now and then.
func (w *writer) report(ctx context.Context) {
	for t := time.NewTicker(reportEvery); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-t.C:
			log.Print(w.line())
		}
	}
}

func (w *writer) line() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d writes acknowledged, %d attempts unanswered or refused, longest gap %v", len(w.acked), w.unknown, w.longest.Round(time.Millisecond))
}
