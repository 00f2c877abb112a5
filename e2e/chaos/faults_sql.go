package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

func sqlFaults() []fault {
	return []fault{
		{name: "long-transaction", targets: onlyPrimary, hold: seconds(3, 10), cost: "writes may stop until another one leads", strike: longTransaction},
		{name: "lock-tables", targets: onlyPrimary, hold: seconds(3, 8), cost: "writes stop while it lasts", strike: lockTables},
		{name: "global-read-lock", targets: onlyPrimary, hold: seconds(3, 8), cost: "writes stop while it lasts", strike: globalLock},
		{name: "ddl", targets: onlyPrimary, hold: seconds(3, 8), cost: "writes may stop until another one leads", strike: ddl},
		{name: "connections-exhausted", targets: onlyPrimary, hold: seconds(4, 10), cost: "new clients are refused", strike: connections},
		{name: "errant-write", targets: onlyStandby, hold: seconds(1, 3), cost: "the standby gets a new copy", strike: errantWrite},
		{name: "binary-logs-purged", hold: seconds(2, 5), solo: true, cost: "the standby that was away gets a new copy", strike: purged},
	}
}

// trigger makes the primary change hands, or not: the locks above must not matter for it.
func (s *strike) trigger() func() error {
	time.Sleep(time.Second)
	var (
		heal func() error
		err  error
	)
	kind := []string{"nothing else", "its agent freezes", "its mysqld is killed", "it is stopped gracefully", "it is frozen as a whole"}[s.rng.IntN(5)]
	s.note("%s, and %s", s.target.name, kind)
	switch kind {
	case "its agent freezes":
		heal, err = freezePart("agent")(s)
	case "its mysqld is killed":
		heal, err = killPart("mysqld")(s)
	case "it is stopped gracefully":
		heal, err = stopNode(s)
	case "it is frozen as a whole":
		heal, err = freezeNode(s)
	}
	if err != nil {
		s.note("not triggered: %v", err)
	}
	return heal
}

// session opens a connection of the application to the target, from the clients' host.
func (s *strike) app() (*sql.DB, *sql.Conn, error) {
	db, err := s.c.writers.open(s.target.addr())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("connect to %s: %w", s.target.name, err), db.Close())
	}
	return db, conn, nil
}

// during runs statements in one session, keeps it, triggers a change, and closes it at the end.
func (s *strike) during(db *sql.DB, conn *sql.Conn, end func(*sql.Conn) error, statements ...string) (func() error, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, st := range statements {
		if _, err := conn.ExecContext(ctx, st); err != nil {
			_ = conn.Close()
			return nil, errors.Join(fmt.Errorf("%s: %w", st, err), db.Close())
		}
	}
	heal := s.trigger()
	return each(func() error {
		if end != nil {
			_ = end(conn) // its outcome is in the books, or nobody's business
		}
		_, _ = conn.Close(), db.Close() // most likely the server has cut it
		return nil
	}, heal), nil
}

// longTransaction holds an open transaction over the change and commits it then; if that is acknowledged, it counts.
func longTransaction(s *strike) (func() error, error) {
	db, conn, err := s.app()
	if err != nil {
		return nil, err
	}
	w := s.c.writers
	a := history.Write{ID: w.ids.Add(1), Began: time.Now(), From: s.target.addr()}
	commit := func(conn *sql.Conn) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
			return err
		}
		a.Acked = time.Now()
		w.acked(a, true)
		s.note("the long transaction was acknowledged by %s", a.From)
		return nil
	}
	return s.during(db, conn, commit, "BEGIN", insertStatement(a.ID))
}

func lockTables(s *strike) (func() error, error) {
	db, conn, err := s.app()
	if err != nil {
		return nil, err
	}
	return s.during(db, conn, nil, "LOCK TABLES chaos_writes WRITE")
}

func globalLock(s *strike) (func() error, error) {
	db, err := s.target.rootDB()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s.during(db, conn, nil, "SET lock_wait_timeout = 3", "FLUSH TABLES WITH READ LOCK")
}

// ddl changes a table all the time.
func ddl(s *strike) (func() error, error) {
	db, conn, err := s.app()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, st := range []string{"ALTER TABLE chaos_ddl ADD COLUMN x INT DEFAULT 1", "ALTER TABLE chaos_ddl DROP COLUMN x, ALGORITHM=COPY"} {
				if _, err := conn.ExecContext(ctx, st); err != nil {
					time.Sleep(again) // the column is there or not already, or the server is gone
				}
			}
		}
	})
	heal := s.trigger()
	return each(func() error { cancel(); wg.Wait(); _, _ = conn.Close(), db.Close(); return nil }, heal), nil
}

// connections takes all that the application may have.
func connections(s *strike) (func() error, error) {
	cl := s.c.writers
	var open []*sql.DB
	closeAll := func() error {
		for _, db := range open {
			_ = db.Close()
		}
		return nil
	}
	for len(open) < 1000 {
		db, err := cl.open(s.target.addr())
		if err != nil {
			return closeAll, err
		}
		open = append(open, db)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		err = db.PingContext(ctx)
		cancel()
		if err != nil {
			s.note("%s took %d connections: %v", s.target.name, len(open)-1, err)
			break
		}
	}
	return closeAll, nil
}

// errantWrite commits on a standby what its primary never had.
func errantWrite(s *strike) (func() error, error) {
	return nil, s.target.exec(10*time.Second, "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF",
		"CREATE TABLE IF NOT EXISTS "+database+".chaos_errant (id INT)", "SET GLOBAL super_read_only = ON")
}

// purged takes the binary logs away that a dead standby still needs.
func purged(s *strike) (func() error, error) {
	primary, standbys := s.c.roles()
	if primary == nil || len(standbys) < 1 {
		return nil, errNotNow
	}
	away := standbys[s.rng.IntN(len(standbys))]
	away.hold()
	if err := away.kill(); err != nil {
		return away.free, err
	}
	time.Sleep(2 * time.Second)
	err := s.c.try(20*time.Second, func() error {
		return primary.exec(10*time.Second, "SET lock_wait_timeout = 3", "FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
	})
	if err == nil {
		s.note("%s purged its binary logs while %s was away", primary.name, away.name)
	}
	return away.free, err
}
