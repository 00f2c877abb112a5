package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Rekey gives the accounts of the cluster in the data of c, on which no server may run, the password of creds, and makes
// those that are missing. It is for data whose accounts know only a former password: of a node that was down while it
// was rotated, or out of an older snapshot. WriteConfig must have been called. The server that does it has the node's own
// options, so that what a crash left is recovered as ever; it listens on no network and nothing of it is logged.
func Rekey(ctx context.Context, c Config, creds Credentials) error {
	s := scratch{Config: c, dir: c.runDir()}
	args := append(c.Args(), "--socket="+s.socket(), "--pid-file="+filepath.Join(s.dir, "rekey.pid"), "--skip-grant-tables", "--skip-networking",
		"--super-read-only=OFF", "--read-only=OFF", "--offline-mode=OFF")
	if err := s.during(ctx, args, func(ctx context.Context, conn *sql.Conn) error { return rekey(ctx, c, conn, creds) }); err != nil {
		return fmt.Errorf("renew the accounts' passwords: %w", err)
	}
	return nil
}

// rekey works in a server that asks for no accounts until it is told to.
func rekey(ctx context.Context, c Config, conn *sql.Conn, creds Credentials) error {
	b := bootstrapper{cfg: c, spec: BootstrapSpec{Creds: creds}, conn: conn}
	if err := b.exec(ctx, unloggedSession, "FLUSH PRIVILEGES"); err != nil {
		return err
	}
	if err := b.accounts(ctx); err != nil {
		return err
	}
	names, err := strings1(ctx, conn, "SELECT User FROM mysql.user WHERE Host = '%' AND User REGEXP '^"+creds.Prefix+"_[0-9a-f]{8}$'")
	if err != nil {
		return fmt.Errorf("list replication accounts: %w", err)
	}
	for _, user := range names { // they are locked or not as before
		if err := b.secret(ctx, "renew password of "+user, "ALTER USER "+account(user, "%")+" IDENTIFIED BY "+sqlText(creds.Password)); err != nil {
			return err
		}
	}
	return nil
}

// during runs a scratch server with these arguments, lets do work in it, and ends it in order.
func (s *scratch) during(ctx context.Context, args []string, do func(context.Context, *sql.Conn) error) error {
	if len(s.socket()) > maxSocketPath {
		return fmt.Errorf("socket path %q: has %d bytes, the system takes at most %d; use a shorter directory", s.socket(), len(s.socket()), maxSocketPath)
	}
	server, err := startChild(exec.CommandContext(ctx, s.Mysqld, args...), &lineTail{log: s.Log})
	if err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	s.server = server
	defer server.stop()
	if err := s.ready(ctx); err != nil {
		return err
	}
	db := s.db()
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := do(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "SHUTDOWN"); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	select {
	case <-server.done:
		return server.explain(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// strings1 reads one column.
func strings1(ctx context.Context, conn *sql.Conn, query string) ([]string, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// Adoptable is what Adopt found in data that another server made.
type Adoptable struct {
	Version  string   // of the server that looked
	Executed gtid.Set // what the data holds; empty for data without GTIDs
}

// NotAdoptableError names everything that keeps data from being adopted, each with what to change.
type NotAdoptableError struct{ Problems []string }

// Error is all of them in one line.
func (e *NotAdoptableError) Error() string { return strings.Join(e.Problems, "; ") }

// mostNamed is how many tables an error names.
const mostNamed = 5

// Adopt looks whether the data directory data, made by a server that is not ours and was shut down in order, can be used
// as it is, and makes it a node's: the cluster's accounts are added, a replication channel is forgotten (what was
// received and not executed is on the primary as well). Nothing else is changed, and nothing at all with a
// *NotAdoptableError. An older series is upgraded by mysqld, as ever. Nothing is logged.
func Adopt(ctx context.Context, c Config, data string, creds Credentials) (a Adoptable, err error) {
	s := scratch{Config: c, dir: c.Dir}
	if err := Own(c, data); err != nil {
		return a, fmt.Errorf("adopt %s: %w", data, err)
	}
	err = s.during(ctx, s.checkArgs(data), func(ctx context.Context, conn *sql.Conn) error {
		var executed string
		if err := conn.QueryRowContext(ctx, "SELECT @@GLOBAL.version, @@GLOBAL.gtid_executed").Scan(&a.Version, &executed); err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		var perr error
		if a.Executed, perr = gtid.Parse(executed); perr != nil {
			return fmt.Errorf("read position: %w", perr)
		}
		problems, err := adoptProblems(ctx, conn, creds)
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			return &NotAdoptableError{problems}
		}
		if err := rekey(ctx, c, conn, creds); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "RESET REPLICA ALL FOR CHANNEL ''"); err != nil {
			return fmt.Errorf("forget the replication channel: %w", err)
		}
		return nil
	})
	if errors.Is(err, ErrNoStart) {
		return a, fmt.Errorf("adopt %s: %w", data, err)
	}
	return a, err
}

func adoptProblems(ctx context.Context, conn *sql.Conn, creds Credentials) (problems []string, err error) {
	tables, err := strings1(ctx, conn, "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, ' (', ENGINE, ')') FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' "+
		"AND ENGINE <> 'InnoDB' AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1")
	if err != nil {
		return nil, fmt.Errorf("look at the tables' engines: %w", err)
	}
	if n := len(tables); n > 0 {
		more := ""
		if n > mostNamed {
			more = fmt.Sprintf(" and %d more", n-mostNamed)
		}
		problems = append(problems, fmt.Sprintf("%s%s: only InnoDB is safe in a failover and travels with a clone; change it on its own server with ALTER TABLE … ENGINE=InnoDB",
			strings.Join(tables[:min(n, mostNamed)], ", "), more))
	}
	channels, err := strings1(ctx, conn, "SELECT Channel_name FROM mysql.slave_master_info WHERE Channel_name <> ''")
	if err != nil {
		return nil, fmt.Errorf("look at the replication channels: %w", err)
	}
	if len(channels) > 0 {
		problems = append(problems, fmt.Sprintf("it has the replication channels %s: a node receives from its primary alone; end them on its own server with RESET REPLICA ALL FOR CHANNEL '…'",
			strings.Join(channels, ", ")))
	}
	users, err := strings1(ctx, conn, "SELECT CONCAT(User, '@', Host) FROM mysql.user WHERE User = '"+creds.Monitor()+"' AND Host <> '%' OR User = '"+creds.Admin()+"' AND Host <> 'localhost'")
	if err != nil {
		return nil, fmt.Errorf("look at the accounts: %w", err)
	}
	if len(users) > 0 {
		problems = append(problems, fmt.Sprintf("it has the account %s, which would stand before the cluster's own: rename it on its own server, or choose another --repl-user", strings.Join(users, ", ")))
	}
	return problems, nil
}
