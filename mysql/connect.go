package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// dialTimeout bounds the opening of one connection beyond what the caller's context allows.
const dialTimeout = 10 * time.Second

// silent keeps the driver's own lines off standard error: every error is returned and handled once.
type silent struct{}

func (silent) Print(...any) {}

// socketConnector logs in over a unix socket. Multi allows several statements in one call, for scripts only.
func socketConnector(socket, user, password string, multi bool) sqldriver.Connector {
	cfg := baseConfig(user, password)
	cfg.Net, cfg.Addr = "unix", socket
	cfg.MultiStatements = multi
	return connector{cfg}
}

// tcpConnector logs in over TCP, with TLS wherever the server offers it, and always where there is a CA: then a server
// that cannot prove itself never sees the password.
func tcpConnector(addr, user, password string, t TLS) sqldriver.Connector {
	cfg := baseConfig(user, password)
	cfg.Net, cfg.Addr = "tcp", addr
	secure, err := t.client(addr)
	if err != nil {
		return broken{err}
	}
	cfg.TLS = secure
	cfg.AllowFallbackToPlaintext = t.CA == ""
	return connector{cfg}
}

func baseConfig(user, password string) *driver.Config {
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd = user, password
	cfg.Timeout = dialTimeout
	cfg.Logger = silent{}
	return cfg
}

// connector defers a broken configuration to the first connection, where errors are handled anyway.
type connector struct{ cfg *driver.Config }

func (c connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	real, err := driver.NewConnector(c.cfg)
	if err != nil {
		return nil, err
	}
	return real.Connect(ctx)
}

// broken is a connector for which something was missing.
type broken struct{ err error }

func (b broken) Connect(context.Context) (sqldriver.Conn, error) { return nil, b.err }

func (b broken) Driver() sqldriver.Driver { return &driver.MySQLDriver{} }

func (c connector) Driver() sqldriver.Driver { return &driver.MySQLDriver{} }

// hasErrno tells whether err is a server's error of one of these numbers.
func hasErrno(err error, numbers ...uint16) bool {
	var e *driver.MySQLError
	return errors.As(err, &e) && slices.Contains(numbers, e.Number)
}

// sqlText is s as a string literal, for a session without NO_BACKSLASH_ESCAPES.
func sqlText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", `\0`, "\n", `\n`, "\r", `\r`, "\x1a", `\Z`).Replace(s) + "'"
}

// sqlName is s as a quoted identifier.
func sqlName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// account is user@host as it is written in account statements.
func account(user, host string) string { return sqlText(user) + "@" + sqlText(host) }

// sleep waits, or ends early with the context's cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// isServerError tells whether a server answered with an error, whatever it was.
func isServerError(err error) bool {
	var e *driver.MySQLError
	return errors.As(err, &e)
}
