package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// historyTimeout bounds one History whose caller gave no earlier deadline: a login can hang behind a
// CREATE USER that waits for its ACK.
const historyTimeout = 10 * time.Second

var (
	// ErrAccessDenied says that the other server refuses the account or its password.
	ErrAccessDenied = errors.New("access denied")
	// ErrAccountLocked says that the account exists there and is locked.
	ErrAccountLocked = errors.New("account locked")
	// ErrUnreachable stands for no answer from the other server: nothing is known about it.
	ErrUnreachable = errors.New("server unreachable")
	// ErrOtherServer says that somebody else answers at that address.
	ErrOtherServer = errors.New("another server answers there")
)

// History reads, as monitor, what the server at addr (host:port) has in its binary log: committed
// transactions and those that are written but still wait for their ACK, which gtid_executed lacks.
// Purged is the part whose binary logs it no longer has. Errors wrap ErrAccessDenied,
// ErrAccountLocked or ErrUnreachable; with any error nothing may be concluded.
func History(ctx context.Context, addr string, creds Credentials) (history, purged gtid.Set, err error) {
	return HistoryOf(ctx, addr, creds, "")
}

// HistoryOf is History of the server with this server_uuid and of no other: addresses are used again. ErrOtherServer says
// that another one answered.
func HistoryOf(ctx context.Context, addr string, creds Credentials, uuid string) (history, purged gtid.Set, err error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	db := sql.OpenDB(tcpConnector(addr, creds.Monitor(), creds.Password, creds.TLS))
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err == nil {
		if err = checkServer(ctx, conn, uuid); err == nil {
			history, purged, err = readHistory(ctx, conn)
		}
		_ = conn.Close() // a connection that is checked out would outlive db.Close
	}
	if err != nil {
		return gtid.Set{}, gtid.Set{}, fmt.Errorf("read history of %s as %s: %w", addr, creds.Monitor(), remoteError(ctx, err))
	}
	return history, purged, nil
}

// checkServer makes sure who answers; "" is anybody.
func checkServer(ctx context.Context, conn *sql.Conn, uuid string) error {
	if uuid == "" {
		return nil
	}
	var is string
	if err := conn.QueryRowContext(ctx, "SELECT @@GLOBAL.server_uuid").Scan(&is); err != nil {
		return fmt.Errorf("read server_uuid: %w", err)
	}
	if is != uuid {
		return fmt.Errorf("%w: server_uuid %s answers, %s was expected", ErrOtherServer, is, uuid)
	}
	return nil
}

// readHistory keeps the order owned, executed: a transaction moves from the first to the second, so
// the other order could miss it in both.
func readHistory(ctx context.Context, conn *sql.Conn) (history, purged gtid.Set, err error) {
	owned, err := readOwned(ctx, conn)
	if err != nil {
		return history, purged, err
	}
	executed, err := readSet(ctx, conn, "gtid_executed")
	if err != nil {
		return history, purged, err
	}
	purged, err = readSet(ctx, conn, "gtid_purged")
	return owned.Union(executed), purged, err
}

// readSet reads a global variable that holds a GTID set.
func readSet(ctx context.Context, conn *sql.Conn, variable string) (gtid.Set, error) {
	var text sql.NullString
	if err := conn.QueryRowContext(ctx, "SELECT @@GLOBAL."+variable).Scan(&text); err != nil {
		return gtid.Set{}, fmt.Errorf("read %s: %w", variable, err)
	}
	if !text.Valid {
		return gtid.Set{}, fmt.Errorf("read %s: server says NULL", variable)
	}
	set, err := gtid.Parse(text.String)
	if err != nil {
		return gtid.Set{}, fmt.Errorf("read %s: %w", variable, err)
	}
	return set, nil
}

func readOwned(ctx context.Context, conn *sql.Conn) (gtid.Set, error) {
	var text sql.NullString
	if err := conn.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_owned").Scan(&text); err != nil {
		return gtid.Set{}, fmt.Errorf("read gtid_owned: %w", err)
	}
	return parseOwned(text.String)
}

// owner is the thread that owns a GTID, as gtid_owned writes it behind the number: "uuid:5#17:6#18".
var owner = regexp.MustCompile(`#\d+`)

// parseOwned reads the text of gtid_owned; NULL and empty mean that no thread owns anything.
func parseOwned(text string) (gtid.Set, error) {
	set, err := gtid.Parse(owner.ReplaceAllString(text, ""))
	if err != nil {
		return gtid.Set{}, fmt.Errorf("read gtid_owned: %w", err)
	}
	return set, nil
}

// remoteError sorts the error of a remote server into the three an operator acts on differently.
func remoteError(ctx context.Context, err error) error {
	switch {
	case hasErrno(err, errnoAccountLocked):
		return fmt.Errorf("%w: %w", ErrAccountLocked, err)
	case hasErrno(err, errnoAccessDenied, errnoNoPrivilege):
		return fmt.Errorf("%w: %w", ErrAccessDenied, err)
	case errors.Is(err, ErrOtherServer), isServerError(err):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no answer in time: %w", ErrUnreachable, context.Cause(ctx))
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
