package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

const (
	// bootstrapTimeout bounds a Bootstrap whose caller gave no deadline; init scripts may load data.
	bootstrapTimeout = time.Hour
	// restoreTimeout bounds putting super_read_only back after the work, whatever its end was.
	restoreTimeout = 10 * time.Second
	// connectRetry is the pause between two tries while mysqld is still starting.
	connectRetry = 50 * time.Millisecond
)

// Server error numbers this room tells apart.
const (
	errnoAccessDenied  = 1045 // ER_ACCESS_DENIED_ERROR
	errnoAccountLocked = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED
	errnoNoPrivilege   = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
)

// ErrHasHistory is in the chain of Bootstrap's error when the database has transactions already.
var ErrHasHistory = errors.New("the database has a history already")

// BootstrapSpec is what a new database gets beside the tables of MySQL. It holds secrets: do not log it.
type BootstrapSpec struct {
	// Creds name the cluster's own accounts.
	Creds Credentials
	// RootPassword is for root@localhost and root@%. Empty with RandomRoot: one is made and told to
	// Log once, as "Generated root password: …". Empty without: root is locked, nobody can use it.
	RootPassword string
	RandomRoot   bool
	// OneTime makes root change its password at the first login.
	OneTime bool
	// Database is created; User gets all privileges on it, and none elsewhere. Each may be empty.
	Database, User, Password string
	// InitDir holds *.sh, *.sql and *.sql.gz that run once, by name; it may be missing or empty.
	InitDir string
	// TimeZones loads the system's named time zones, where the tools for it exist.
	TimeZones bool
	// Log receives progress and what scripts print; nil drops it, but not a generated password (an error then).
	Log func(string)
}

// validate finds what would fail half-way, or give an application more than it may have.
func (s BootstrapSpec) validate() error {
	if err := s.Creds.Validate(); err != nil {
		return err
	}
	ours := []string{"root", s.Creds.Admin(), s.Creds.Monitor(), "mysql.sys", "mysql.session", "mysql.infoschema"}
	system := []string{"mysql", "sys", "performance_schema", "information_schema"}
	switch {
	case (s.User == "") != (s.Password == ""):
		return fmt.Errorf("application user %q: user and password must be set together (password set: %t)", s.User, s.Password != "")
	case slices.Contains(ours, s.User) || s.User != "" && strings.HasPrefix(s.User, s.Creds.Prefix+"_"):
		return fmt.Errorf("application user %q: that account belongs to the server or the cluster (prefix %q)", s.User, s.Creds.Prefix)
	case len(s.User) > maxUserName:
		return fmt.Errorf("application user %q: has %d bytes, MySQL takes at most %d", s.User, len(s.User), maxUserName)
	case slices.Contains(system, strings.ToLower(s.Database)):
		return fmt.Errorf("application database %q: belongs to the server", s.Database)
	case s.RootPassword == "" && s.RandomRoot && s.Log == nil:
		return errors.New("random root password: nobody listens to learn it")
	}
	return nil
}

// bootstrapper is one Bootstrap at work.
type bootstrapper struct {
	cfg  Config
	spec BootstrapSpec
	db   *sql.DB // nil before the first login; conn is its only connection
	conn *sql.Conn
	// root is root's password as it is now.
	root string
}

// Bootstrap fills a new database whose mysqld runs under c: the cluster's accounts, root's password,
// the application's database and user, time zones, init scripts. Nothing of it is in the binary log
// and gtid_executed is empty afterwards, so all nodes, made from this one, share one history. The
// server may be closed (super_read_only, offline_mode); it is left as it was found.
//
// It refuses a database with a history (ErrHasHistory). Called again after a break it goes on; but
// init scripts may then run twice, so a caller that can start over uses DiscardUnfinished.
func Bootstrap(ctx context.Context, c Config, spec BootstrapSpec) error {
	if err := spec.validate(); err != nil {
		return fmt.Errorf("bootstrap database: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	b := &bootstrapper{cfg: c, spec: spec}
	if err := b.connect(ctx); err != nil {
		return fmt.Errorf("bootstrap database: connect: %w", err)
	}
	defer func() { _ = b.db.Close() }() // a session without open work: nothing to lose
	if err := b.run(ctx); err != nil {
		return fmt.Errorf("bootstrap database: %w", err)
	}
	return nil
}

func (b *bootstrapper) log(format string, args ...any) {
	if b.spec.Log != nil {
		b.spec.Log(fmt.Sprintf(format, args...))
	}
}

// connect waits for the server and logs in: as root of a new database, or, when root has a password
// already, as the cluster's own administrator.
func (b *bootstrapper) connect(ctx context.Context) error {
	logins := []struct{ user, password string }{
		{"root", ""}, {b.spec.Creds.Admin(), b.spec.Creds.Password}, {"root", b.spec.RootPassword},
	}
	for {
		var last error
		for _, l := range logins {
			if last = b.login(ctx, l.user, l.password); last == nil {
				return nil
			}
			if !hasErrno(last, errnoAccessDenied, errnoAccountLocked) {
				break
			}
		}
		if hasErrno(last, errnoAccessDenied, errnoAccountLocked) {
			return fmt.Errorf("neither root without password nor %s may log in: %w", b.spec.Creds.Admin(), last)
		}
		if err := sleep(ctx, connectRetry); err != nil {
			return fmt.Errorf("%w: %w", err, last)
		}
	}
}

// login makes a session, whose statements are not logged, the one in use.
func (b *bootstrapper) login(ctx context.Context, user, password string) error {
	db := sql.OpenDB(socketConnector(b.cfg.Socket(), user, password, false))
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, unloggedSession)
	}
	if err != nil {
		return also(err, db.Close())
	}
	if b.db != nil {
		_ = b.db.Close() // its statements are all answered
	}
	b.db, b.conn = db, conn
	return nil
}

func (b *bootstrapper) run(ctx context.Context) (err error) {
	unfinished, err := Unfinished(b.cfg)
	if err != nil {
		return fmt.Errorf("look for marker: %w", err)
	}
	executed, known, err := b.find(ctx)
	if err != nil {
		return err
	}
	if executed != "" && !unfinished {
		return fmt.Errorf("%w: %s", ErrHasHistory, executed)
	}
	restore, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = also(err, restore()) }()

	if err := b.fill(ctx, unfinished || !known); err != nil {
		return err
	}
	if err := b.forget(ctx); err != nil {
		return err
	}
	return b.unmark()
}

// unloggedSession keeps this session's statements out of the binary log and fixes how literals are read.
const unloggedSession = "SET SESSION sql_log_bin=0, sql_mode='STRICT_TRANS_TABLES', lock_wait_timeout=30"

// find reads the history and whether the cluster's administrator exists.
func (b *bootstrapper) find(ctx context.Context) (executed string, known bool, err error) {
	row := b.conn.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed, EXISTS(SELECT 1 FROM mysql.user WHERE user=? AND host='localhost')", b.spec.Creds.Admin())
	if err := row.Scan(&executed, &known); err != nil {
		return "", false, fmt.Errorf("read state of new database: %w", err)
	}
	return executed, known, nil
}

// open lifts super_read_only; restore puts it back. read_only and offline_mode bind neither root nor
// the administrator and stay, so nobody else can write meanwhile.
func (b *bootstrapper) open(ctx context.Context) (restore func() error, err error) {
	var super bool
	if err := b.conn.QueryRowContext(ctx, "SELECT @@GLOBAL.super_read_only").Scan(&super); err != nil {
		return nil, fmt.Errorf("read super_read_only: %w", err)
	}
	if !super {
		return func() error { return nil }, nil
	}
	if err := b.exec(ctx, "SET GLOBAL super_read_only=OFF"); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTimeout)
		defer cancel()
		return b.exec(ctx, "SET GLOBAL super_read_only=ON")
	}, nil
}

// fill makes the content in the order in which its parts need each other.
func (b *bootstrapper) fill(ctx context.Context, scripts bool) error {
	if err := b.accounts(ctx); err != nil {
		return err
	}
	// Not as root any more: that account is about to change, expire or be locked.
	if err := b.login(ctx, b.spec.Creds.Admin(), b.spec.Creds.Password); err != nil {
		return fmt.Errorf("log in as %s: %w", b.spec.Creds.Admin(), err)
	}
	if err := b.rootPassword(ctx); err != nil {
		return err
	}
	if err := b.application(ctx); err != nil {
		return err
	}
	if b.spec.TimeZones {
		if err := b.timeZones(ctx); err != nil {
			return err
		}
	}
	if scripts {
		if err := b.initDir(ctx); err != nil {
			return err
		}
	}
	return b.closeRoot(ctx)
}

// forget empties the history: whatever init scripts logged belongs to the birth of this database.
func (b *bootstrapper) forget(ctx context.Context) error {
	executed, _, err := b.find(ctx)
	if err != nil || executed == "" {
		return err
	}
	b.log("init scripts wrote to the binary log (%s): emptied, the history starts now", executed)
	if err := b.exec(ctx, "RESET BINARY LOGS AND GTIDS"); err != nil {
		return err
	}
	if executed, _, err = b.find(ctx); err == nil && executed != "" {
		err = fmt.Errorf("gtid_executed of the new database is %s, want none: somebody else writes to it", executed)
	}
	return err
}

// unmark says, durably, that the database is complete.
func (b *bootstrapper) unmark() error {
	err := os.Remove(filepath.Join(b.cfg.DataDir(), pendingMarker))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove marker: %w", err)
	}
	if err := syncPath(b.cfg.DataDir()); err != nil {
		return fmt.Errorf("write out data directory: %w", err)
	}
	return nil
}

// exec runs statements that hold no secret; an error names the one that failed.
func (b *bootstrapper) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := b.conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// secret runs statements that hold a password: an error names the purpose, and quotes nothing of them.
func (b *bootstrapper) secret(ctx context.Context, purpose string, statements ...string) error {
	for _, s := range statements {
		if _, err := b.conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", purpose, withoutText(err))
		}
	}
	return nil
}

// withoutText reduces a server's error to its number when its text could quote the statement.
func withoutText(err error) error {
	var e *driver.MySQLError
	if errors.As(err, &e) {
		return &driver.MySQLError{Number: e.Number, SQLState: e.SQLState, Message: "(text withheld: the statement holds a password)"}
	}
	return err
}
