package mysql

import (
	"context"
	"database/sql"
	"fmt"
)

// TryLogin opens one connection to the server at addr (host:port) and closes it again: nil means that the account is
// let in. Errors wrap ErrAccessDenied, ErrAccountLocked or ErrUnreachable.
func TryLogin(ctx context.Context, addr, user, password string, t TLS) error {
	db := sql.OpenDB(tcpConnector(addr, user, password, t))
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("log in at %s as %s: %w", addr, user, remoteError(ctx, err))
	}
	return conn.Close()
}
