package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// DataReport is what CheckData found in a data directory.
type DataReport struct {
	Version  string   // of the server that looked
	Executed gtid.Set // gtid_executed of the data
	Tables   int      // base tables looked at, the system's own included
	Rows     int64    // counted by reading every one of them
	// Problems are sentences about damaged tables; empty when all is well.
	Problems []string
}

// ErrNoStart says that a server that was started on the data ended by itself. One that was killed, or that did not get ready
// in time, is no finding about the data.
var ErrNoStart = errors.New("mysqld does not start on it")

// CheckData starts a scratch mysqld on the data directory data, which must be
// on no server and may be changed (an older version's data is upgraded), and
// looks at every table: CHECK TABLE, then all rows are read. The server has its
// socket in c.Dir, listens on no network, and is gone when CheckData returns.
// An error means that the look could not be completed; what is wrong with the
// data is in the report. progress, if set, gets the number of tables done.
func CheckData(ctx context.Context, c Config, data string, progress func(done, total int)) (DataReport, error) {
	s := scratch{Config: c, dir: c.Dir}
	if len(s.socket()) > maxSocketPath {
		return DataReport{}, fmt.Errorf("check data: socket path %q: has %d bytes, the system takes at most %d; use a shorter directory",
			s.socket(), len(s.socket()), maxSocketPath)
	}
	if err := Own(c, data); err != nil {
		return DataReport{}, fmt.Errorf("check data: %w", err)
	}
	server, err := startChild(exec.CommandContext(ctx, c.Mysqld, s.checkArgs(data)...), &lineTail{log: c.Log})
	if err != nil {
		return DataReport{}, fmt.Errorf("check data: start mysqld: %w", err)
	}
	s.server = server
	defer server.stop()
	if err := s.ready(ctx); err != nil {
		return DataReport{}, fmt.Errorf("check data: %w", err)
	}
	r, err := s.look(ctx, progress)
	if err != nil {
		return r, fmt.Errorf("check data: %w", err)
	}
	return r, nil
}

// checkArgs are for a server that only looks: no accounts are asked for, because
// nobody here knows their passwords; the socket's directory is what protects it.
func (s *scratch) checkArgs(data string) []string {
	args := []string{
		"--no-defaults", "--datadir=" + data, "--socket=" + s.socket(), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--skip-grant-tables", "--skip-networking", "--mysqlx=OFF", "--skip-log-bin", "--server-id=1", "--event-scheduler=DISABLED",
		"--skip-replica-start", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--secure-file-priv=NULL", "--performance-schema=OFF",
		"--general-log=OFF", "--slow-query-log=OFF", "--innodb-buffer-pool-size=64M", "--persisted-globals-load=OFF",
		"--innodb-buffer-pool-dump-at-shutdown=OFF", "--innodb-buffer-pool-load-at-startup=OFF",
	}
	if user := s.osUser(); user != "" {
		args = append(args, "--user="+user)
	}
	args = append(args, withoutKeys()...)
	return append(args, s.formatOptions()...)
}

// look checks all tables, one after the other.
func (s *scratch) look(ctx context.Context, progress func(done, total int)) (r DataReport, err error) {
	db := s.db()
	defer db.Close()
	var executed string
	if err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.version, @@GLOBAL.gtid_executed").Scan(&r.Version, &executed); err != nil {
		return r, fmt.Errorf("read position: %w", err)
	}
	if r.Executed, err = gtid.Parse(executed); err != nil {
		return r, fmt.Errorf("read position: %w", err)
	}
	tables, err := baseTables(ctx, db)
	if err != nil {
		return r, fmt.Errorf("list tables: %w", err)
	}
	for i, name := range tables {
		if progress != nil {
			progress(i, len(tables))
		}
		if err := r.table(ctx, db, name); err != nil {
			return r, s.died(ctx, &r, name, err)
		}
	}
	if progress != nil {
		progress(len(tables), len(tables))
	}
	return r, nil
}

// diesWithin is how long after the loss of its connection a server that crashed may take to be gone: it may write a core.
const diesWithin = 30 * time.Second

// died tells a server that the table brought down, which is a finding, from one
// that was ended or cannot be asked.
func (s *scratch) died(ctx context.Context, r *DataReport, table string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-s.server.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(diesWithin):
		return fmt.Errorf("check %s: mysqld goes on and does not answer: %w", table, err)
	}
	if s.server.wasKilled() {
		return fmt.Errorf("check %s: mysqld was killed: %w", table, err)
	}
	r.Problems = append(r.Problems, fmt.Sprintf("mysqld ended at table %s: %s", table, s.server.tail.why()))
	return nil
}

// baseTables are the quoted names of all tables with rows of their own.
func baseTables(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'
		AND table_schema NOT IN ('information_schema', 'performance_schema') ORDER BY table_schema, table_name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var schema, table string
		if err := rows.Scan(&schema, &table); err != nil {
			return nil, err
		}
		names = append(names, sqlName(schema)+"."+sqlName(table))
	}
	return names, rows.Err()
}

// table checks one. An error of the connection is returned; one about the table
// goes into the report.
func (r *DataReport) table(ctx context.Context, db *sql.DB, name string) error {
	r.Tables++
	found, err := checkTable(ctx, db, name)
	if err != nil && !isServerError(err) {
		return err
	}
	if err != nil {
		found = []string{err.Error()}
	}
	if len(found) == 0 {
		var n int64
		err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+name).Scan(&n)
		if err != nil && !isServerError(err) {
			return err
		}
		if err != nil {
			found = []string{err.Error()}
		}
		r.Rows += n
	}
	for _, f := range found {
		r.Problems = append(r.Problems, fmt.Sprintf("table %s: %s", name, f))
	}
	return nil
}

// checkTable returns what CHECK TABLE complains about.
func checkTable(ctx context.Context, db *sql.DB, name string) (found []string, err error) {
	rows, err := db.QueryContext(ctx, "CHECK TABLE "+name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table, op, kind, text string
		if err := rows.Scan(&table, &op, &kind, &text); err != nil {
			return nil, err
		}
		if strings.EqualFold(kind, "error") {
			found = append(found, text)
		}
	}
	return found, rows.Err()
}

// ScratchDir makes an empty directory for CheckData that the server's user can
// work in, and removes what was there before.
func ScratchDir(c Config) error {
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove old scratch: %w", err)
	}
	if err := c.ownDir(c.Dir, 0o750); err != nil {
		return fmt.Errorf("make scratch: %w", err)
	}
	return nil
}
