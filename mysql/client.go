package mysql

import (
	"database/sql"
	"fmt"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// clientTimeout bounds connecting, one read and one write of an application's connection: long enough for a write that
// waits for its acknowledgement, short enough to notice a server that is gone without a word.
const clientTimeout = 5 * time.Second

// OpenClient returns a pool of ordinary connections to the server at addr (host:port), as an application would have,
// with limits of five seconds on connecting, reading and writing. It does not connect yet. The server's certificate is
// not checked: a server makes its own at its first start. Safe for concurrent use.
func OpenClient(addr, user, password, db string) (*sql.DB, error) {
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "tcp", addr, user, password, db
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = clientTimeout, clientTimeout, clientTimeout
	// caching_sha2_password needs TLS or the server's key for its first login.
	cfg.TLSConfig, cfg.AllowNativePasswords = "skip-verify", false
	// The driver would complain about every connection that a failover cuts; the caller gets the error anyway.
	cfg.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure client of %s: %w", addr, err)
	}
	return sql.OpenDB(connector), nil
}
