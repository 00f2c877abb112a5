package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// cloneTimeout bounds a clone whose caller gave no deadline: terabytes, over a slow line or from and to a slow disk.
const cloneTimeout = 24 * time.Hour

// scratchStart bounds the start of the scratch server. It takes a second; with a full redo log to apply on a slow machine,
// minutes.
const scratchStart = 10 * time.Minute

// CloneFrom copies the data of the server at donorAddr (host:port) into destDir, which must not
// exist: complete and on disk, or removed again. A scratch mysqld in c.Dir/scratch, which listens on
// no network, does the copying as its client and is gone afterwards. The copy carries no
// server_uuid, binary logs or persisted variables, but the donor's accounts; its GTID position is
// readable once a server runs on it. creds.Monitor() at the donor needs BACKUP_ADMIN.
func CloneFrom(ctx context.Context, c Config, donorAddr string, creds Credentials, destDir string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, cloneTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(donorAddr)
	if err != nil {
		return fmt.Errorf("clone: donor address: %w", err)
	}
	if _, err := os.Lstat(destDir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clone from %s: %s exists already", donorAddr, destDir)
	}
	s := scratch{Config: c, dir: filepath.Join(c.Dir, "scratch")}
	defer func() {
		err = also(err, os.RemoveAll(s.dir))
		if err != nil {
			err = also(err, os.RemoveAll(destDir))
		}
	}()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("clone from %s: start scratch server: %w", donorAddr, err)
	}
	defer s.server.stop()
	if err := s.clone(ctx, host, port, creds, destDir); err != nil {
		return fmt.Errorf("clone from %s: %w", donorAddr, err)
	}
	if err := also(syncFilesystem(destDir), syncPath(filepath.Dir(destDir))); err != nil {
		return fmt.Errorf("clone from %s: write out copy: %w", donorAddr, err)
	}
	return nil
}

// scratch is a mysqld that lives for one clone.
type scratch struct {
	Config
	dir    string
	server *child
}

func (s *scratch) socket() string { return filepath.Join(s.dir, "s.sock") }

// start makes and starts the server, and waits until it takes logins.
func (s *scratch) start(ctx context.Context) error {
	if len(s.socket()) > maxSocketPath {
		return fmt.Errorf("socket path %q: has %d bytes, the system takes at most %d", s.socket(), len(s.socket()), maxSocketPath)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove old scratch: %w", err)
	}
	if err := s.ownDir(s.dir, 0o750); err != nil {
		return fmt.Errorf("make scratch: %w", err)
	}
	data := filepath.Join(s.dir, "data")
	if err := s.initialiseInto(ctx, data, birthScratch); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	server, err := startChild(exec.CommandContext(ctx, s.Mysqld, s.args(data)...), &lineTail{log: s.Log})
	if err != nil {
		return err
	}
	s.server = server
	if err := s.ready(ctx); err != nil {
		server.stop()
		return err
	}
	return nil
}

// args are for a server without network, binary log and history. CLONE demands that every plugin of
// the donor is here too, and the same page size and character set.
func (s *scratch) args(data string) []string {
	args := []string{
		"--no-defaults", "--datadir=" + data, "--socket=" + s.socket(), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--skip-networking", "--mysqlx=OFF", "--skip-log-bin", "--server-id=1", "--event-scheduler=OFF", "--secure-file-priv=NULL",
		"--general-log=OFF", "--slow-query-log=OFF", "--log-raw=OFF",
		"--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=64M",
		"--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so", "--plugin-load-add=mysql_clone.so", "--clone=FORCE",
	}
	if user := s.osUser(); user != "" {
		args = append(args, "--user="+user)
	}
	args = append(args, withoutKeys()...)
	args = append(args, s.TLS.clone()...)
	args = append(args, s.formatOptions()...)
	options, err := parseExtra(s.Extra)
	if err != nil {
		return args // the node's own start has refused it already
	}
	for _, o := range options {
		if o.name == "plugin_load_add" || strings.HasPrefix(o.name, "clone_") || o.name == "max_allowed_packet" {
			args = append(args, o.raw)
		}
	}
	return args
}

func (s *scratch) db() *sql.DB {
	db := sql.OpenDB(socketConnector(s.socket(), "root", "", false))
	db.SetMaxOpenConns(1)
	return db
}

func (s *scratch) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scratchStart)
	defer cancel()
	db := s.db()
	defer db.Close()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.server.done:
			err := fmt.Errorf("it ended: %w", s.server.explain(ctx))
			if !s.server.wasKilled() {
				err = fmt.Errorf("%w: %w", ErrNoStart, err)
			}
			return err
		case <-time.After(connectRetry):
		case <-ctx.Done():
			return fmt.Errorf("it takes no logins: %w", err)
		}
	}
}

// clone runs the statement. The password is in its text, so no error may quote it; the scratch
// server logs no statements, and MySQL blanks passwords where it shows running ones.
func (s *scratch) clone(ctx context.Context, host, port string, creds Credentials, destDir string) error {
	db := s.db()
	defer db.Close()
	if _, err := db.ExecContext(ctx, "SET GLOBAL clone_valid_donor_list="+sqlText(host+":"+port)); err != nil {
		return fmt.Errorf("allow donor: %w", err)
	}
	_, err := db.ExecContext(ctx, "CLONE INSTANCE FROM "+account(creds.Monitor(), host)+":"+port+
		" IDENTIFIED BY "+sqlText(creds.Password)+" DATA DIRECTORY="+sqlText(destDir)+" REQUIRE SSL")
	if err == nil {
		return nil
	}
	return scrub(s.explain(ctx, err), creds.Password)
}

// errnoCloneDonor is ER_CLONE_DONOR: the donor is not there or refuses, and its own error is in the text.
const errnoCloneDonor = 3862

// explain tells a donor that cannot be reached from one that refuses; the connection may be gone.
func (s *scratch) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var e *driver.MySQLError
	if !errors.As(err, &e) {
		select {
		case <-s.server.done:
			return fmt.Errorf("scratch server ended: %s: %w", s.server.tail.why(), err)
		default:
			return err
		}
	}
	if e.Number != errnoCloneDonor {
		return err
	}
	m := donorErrno.FindStringSubmatch(e.Message)
	if m == nil {
		return err
	}
	switch m[1] {
	case "1045", "1227": // 1227: logged in, but without BACKUP_ADMIN
		return fmt.Errorf("%w: %w", ErrAccessDenied, err)
	case "3118":
		return fmt.Errorf("%w: %w", ErrAccountLocked, err)
	case "2002", "2003", "2005", "2013":
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// donorErrno reads the donor's own error number, as in "Connect failed: 1045 : Access denied …".
var donorErrno = regexp.MustCompile(`: (\d{4}) :`)

// scrub is err, or, should its text hold the password after all, an error without text.
func scrub(err error, password string) error {
	if err == nil || password == "" || !strings.Contains(err.Error(), password) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, "***"))
}
