package harness

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// queryLimit bounds one statement of a check.
const queryLimit = 30 * time.Second

// Open is a pool of the application's connections to a server. dial and statements are bounded by ctx of the caller and
// by the timeouts given here.
func Open(d Document, addr string) (*sql.DB, error) {
	cfg := config(d, addr)
	cfg.TLSConfig = "skip-verify"
	return open(cfg)
}

// OpenPlain is Open without TLS: a login that costs both sides a tenth.
func OpenPlain(d Document, addr string) (*sql.DB, error) { return open(config(d, addr)) }

func config(d Document, addr string) *mysql.Config {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = d.User, d.Password, d.Database
	cfg.Net, cfg.Addr = "tcp", addr
	cfg.Timeout = 5 * time.Second
	return cfg
}

func open(cfg *mysql.Config) (*sql.DB, error) {
	cfg.Logger = &mysql.NopLogger{} // failing connections are what these tests are about
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cfg.Addr, err)
	}
	return sql.OpenDB(connector), nil
}

// Root runs statements as root over the node's socket, as an operator on that machine would.
func (c *Cluster) Root(node string, statements ...string) {
	c.t.Helper()
	require.NoError(c.t, c.TryRoot(node, statements...))
}

// TryRoot is Root for statements that may fail.
func (c *Cluster) TryRoot(node string, statements ...string) error {
	c.t.Helper()
	db := c.root(node)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %s: %w", node, s, err)
		}
	}
	return nil
}

// RootValue is the one value a query of root gives.
func (c *Cluster) RootValue(node, query string) string {
	c.t.Helper()
	db := c.root(node)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	var value string
	require.NoErrorf(c.t, db.QueryRowContext(ctx, query).Scan(&value), "%s: %s", node, query)
	return value
}

// UseUpConnections opens connections of these users until the server takes no more of anybody's, and holds them until the
// test ends. It returns the server's last refusal.
func (c *Cluster) UseUpConnections(n Node, users, passwords []string) error {
	c.t.Helper()
	const most = 1000
	var refused error
	for i := range users {
		cfg := mysql.NewConfig()
		cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.TLSConfig, cfg.Timeout = users[i], passwords[i], "tcp", n.MySQL, "skip-verify", 5*time.Second
		db, err := open(cfg)
		require.NoError(c.t, err)
		c.t.Cleanup(func() { db.Close() })
		for refused = nil; refused == nil; {
			ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
			_, refused = db.Conn(ctx)
			cancel()
			require.Less(c.t, db.Stats().OpenConnections, most, "it takes any number")
		}
		var answer *mysql.MySQLError
		require.ErrorAs(c.t, refused, &answer)
		require.Contains(c.t, []uint16{1040, 1203, 1226}, answer.Number, refused.Error())
	}
	return refused
}

// CutReceivers locks all replication accounts of a server and ends their streams.
func (c *Cluster) CutReceivers(node string) {
	c.t.Helper()
	db := c.root(node)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	conn, err := db.Conn(ctx)
	require.NoError(c.t, err)
	defer conn.Close()
	rows, err := conn.QueryContext(ctx, "SELECT ID, USER FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'")
	require.NoError(c.t, err)
	streams := map[int]string{}
	for rows.Next() {
		var id int
		var user string
		require.NoError(c.t, rows.Scan(&id, &user))
		streams[id] = user
	}
	require.NoError(c.t, rows.Err())
	require.NoError(c.t, rows.Close()) //nolint:sqlclosecheck // the connection is used again
	require.NotEmpty(c.t, streams)
	statements := []string{"SET SESSION sql_log_bin=0"}
	for _, user := range streams {
		statements = append(statements, "ALTER USER '"+user+"'@'%' ACCOUNT LOCK")
	}
	for id := range streams {
		statements = append(statements, fmt.Sprintf("KILL %d", id))
	}
	for _, s := range statements {
		_, err := conn.ExecContext(ctx, s)
		require.NoErrorf(c.t, err, "%s: %s", node, s)
	}
}

// ReplPassword is the secret the cluster's nodes share.
func (c *Cluster) ReplPassword() string { c.t.Helper(); return c.secrets().Repl }

// RootDB is a pool of root's connections to the node's server, over its socket.
func (c *Cluster) RootDB(node string) *sql.DB { c.t.Helper(); return c.root(node) }

// RootPassword is root's, also after the playground has ended.
func (c *Cluster) RootPassword() string { c.t.Helper(); return c.secrets().Root }

type secrets struct{ Repl, Root string }

func (c *Cluster) secrets() secrets {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, "plan.json"))
	require.NoError(c.t, err)
	var plan struct{ Secrets secrets }
	require.NoError(c.t, json.Unmarshal(b, &plan))
	return plan.Secrets
}

func (c *Cluster) root(node string) *sql.DB {
	c.t.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd = "root", c.secrets().Root
	cfg.Net, cfg.Addr = "unix", filepath.Join(c.Dir, "nodes", node, "run", "mysql.sock")
	cfg.Timeout = 5 * time.Second
	db, err := open(cfg)
	require.NoError(c.t, err)
	return db
}

// Contents is what one server holds: its executed GTIDs and a checksum of every table of the application.
type Contents struct {
	GTID   string
	Tables string
}

// contents reads a server as the application.
func contents(ctx context.Context, d Document, addr string) (Contents, error) {
	db, err := Open(d, addr)
	if err != nil {
		return Contents{}, err
	}
	defer db.Close()
	var c Contents
	if err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&c.GTID); err != nil {
		return Contents{}, fmt.Errorf("read gtid_executed of %s: %w", addr, err)
	}
	c.GTID = strings.ReplaceAll(c.GTID, "\n", "")
	names, err := column(ctx, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name")
	if err != nil {
		return Contents{}, fmt.Errorf("list tables of %s: %w", addr, err)
	}
	for _, name := range names {
		var table, sum string
		if err := db.QueryRowContext(ctx, "CHECKSUM TABLE `"+name+"`").Scan(&table, &sum); err != nil {
			return Contents{}, fmt.Errorf("checksum %s of %s: %w", name, addr, err)
		}
		c.Tables += name + "=" + sum + " "
	}
	return c, nil
}

func column(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
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

// WaitSame waits until all running nodes have executed the same transactions, and then demands the same contents of all.
// Nobody may be writing.
func (c *Cluster) WaitSame() Contents {
	c.t.Helper()
	for deadline := time.Now().Add(FailoverLimit); ; time.Sleep(100 * time.Millisecond) {
		all, err := c.contents()
		first, same := firstOf(all), err == nil && len(all) > 0
		for _, one := range all {
			same = same && one.GTID == first.GTID
		}
		different := ""
		for name, one := range all {
			if same && !reflect.DeepEqual(first, one) {
				different = name
			}
		}
		if same && different == "" {
			return first
		}
		// A straggling statement may come between the positions and the sums of the data: only what lasts is a difference.
		late := time.Now().After(deadline)
		require.Falsef(c.t, late && same, "%s has executed the same transactions and holds other data: %v", different, all)
		require.Falsef(c.t, late, "the nodes do not come to the same history within %v: %v, %v", FailoverLimit, all, err)
	}
}

func firstOf(all map[string]Contents) Contents {
	for _, one := range all {
		return one
	}
	return Contents{}
}

func (c *Cluster) contents() (map[string]Contents, error) {
	d, err := c.read()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	all := map[string]Contents{}
	for _, n := range d.Nodes {
		if n.State == "down" {
			continue
		}
		if all[n.Name], err = contents(ctx, d, n.MySQL); err != nil {
			return all, err
		}
	}
	return all, nil
}
