package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// session is one connection to mysqld. Only one goroutine uses it at a time.
type session struct {
	id   uint64 // CONNECTION_ID(), what KILL takes
	conn driver.Conn
}

// row is one line of a result: column name → text; NULL is the empty string.
type row map[string]string

func (r row) number(name string) int64 {
	n, _ := strconv.ParseInt(r[name], 10, 64)
	return n
}

func (r row) unsigned(name string) uint64 {
	n, _ := strconv.ParseUint(r[name], 10, 64)
	return n
}

func (r row) on(name string) bool { return r[name] == "1" || r[name] == "ON" }

// openSession connects and runs the lane's setup, for instance sql_log_bin=0.
func openSession(ctx context.Context, connector driver.Connector, setup string) (*session, error) {
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn}
	sets, err := s.query(ctx, setup+"; SELECT CONNECTION_ID() AS id")
	if err != nil {
		s.close()
		return nil, err
	}
	last := sets[len(sets)-1]
	if len(last) != 1 {
		s.close()
		return nil, errors.New("mysqld did not tell the connection id")
	}
	s.id = last[0].unsigned("id")
	return s, nil
}

func (s *session) close() { _ = s.conn.Close() } // nothing to save on a connection that is given up

// alive tells, without a round trip, whether the other end has closed the connection.
func (s *session) alive(ctx context.Context) bool {
	return s.conn.(driver.SessionResetter).ResetSession(ctx) == nil
}

func (s *session) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.conn.(driver.ExecerContext).ExecContext(ctx, query, named(args))
	return err
}

// query runs one or several statements and returns the rows of each; statements without a result
// have none.
func (s *session) query(ctx context.Context, query string, args ...any) (sets [][]row, err error) {
	rows, err := s.conn.(driver.QueryerContext).QueryContext(ctx, query, named(args))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		set, err := readRows(rows)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
		more, ok := rows.(driver.RowsNextResultSet)
		if !ok || !more.HasNextResultSet() {
			return sets, nil
		}
		switch err := more.NextResultSet(); {
		case errors.Is(err, io.EOF):
			return sets, nil
		case err != nil:
			return nil, err
		}
	}
}

func readRows(rows driver.Rows) ([]row, error) {
	names := rows.Columns()
	if len(names) == 0 {
		return nil, nil
	}
	var set []row
	values := make([]driver.Value, len(names))
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return set, nil
		case err != nil:
			return nil, err
		}
		r := make(row, len(names))
		for i, name := range names {
			r[name] = text(values[i])
		}
		set = append(set, r)
	}
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func named(args []any) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return out
}
