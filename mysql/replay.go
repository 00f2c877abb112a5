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
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

const (
	// replayStart bounds the start of a server on restored data, crash recovery included.
	replayStart = 10 * time.Minute
	// replayStop bounds its clean shutdown, which writes out everything dirty.
	replayStop = 10 * time.Minute
	// replayUser is the account the work is done with. It exists while the server runs, in no binary log.
	replayUser = "autopilot_replay"
	// replayLook is how often the progress of the applier is looked at.
	replayLook = 200 * time.Millisecond
)

// Replay is a mysqld of its own on a data directory that nobody else uses, without network and without a binary log:
// it applies archived transactions to it. What it leaves behind is a data directory again, as a snapshot's: without
// server_uuid, relay logs or a replication channel, its position in its own tables.
type Replay struct {
	cfg    Config
	data   string
	server *child
	db     *sql.DB
	batch  int
}

// StartReplay starts a server on a complete data directory. c says which mysqld, as whom and with which options of the
// user; c.Dir/scratch is used for the socket and removed again by Close or Kill, one of which has to follow.
func StartReplay(ctx context.Context, c Config, data string) (_ *Replay, err error) {
	r := &Replay{cfg: c, data: data}
	defer func() {
		if err != nil {
			err = also(fmt.Errorf("start a server on %s: %w", data, err), r.Kill())
		}
	}()
	if len(r.socket()) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q has %d bytes, the system takes at most %d; use a shorter directory", r.socket(), len(r.socket()), maxSocketPath)
	}
	if err := os.RemoveAll(r.dir()); err != nil {
		return nil, err
	}
	if err := c.ownDir(r.dir(), 0o750); err != nil {
		return nil, err
	}
	if err := Own(c, data); err != nil {
		return nil, err
	}
	password := uuid.NewString()
	if err := r.writeInit(password); err != nil {
		return nil, err
	}
	if r.server, err = startChild(exec.CommandContext(context.WithoutCancel(ctx), c.Mysqld, r.args()...), &lineTail{log: c.Log}); err != nil {
		return nil, err
	}
	r.db = sql.OpenDB(socketConnector(r.socket(), replayUser, password, true))
	r.db.SetMaxOpenConns(1)
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	// A copy of a replica brings its channel along, which is of no use here.
	return r, r.exec(ctx, "clear replication", "STOP REPLICA; RESET REPLICA ALL")
}

func (r *Replay) dir() string    { return filepath.Join(r.cfg.Dir, "scratch") }
func (r *Replay) socket() string { return filepath.Join(r.dir(), "s.sock") }
func (r *Replay) init() string   { return filepath.Join(r.dir(), "init.sql") }

// writeInit writes the statements that make the account. They are in a file only the server's user can read.
func (r *Replay) writeInit(password string) error {
	user := account(replayUser, "localhost")
	text := "SET sql_log_bin=0;\nDROP USER IF EXISTS " + user + ";\nCREATE USER " + user + " IDENTIFIED BY " + sqlText(password) +
		";\nGRANT ALL ON *.* TO " + user + ";\n"
	if err := os.WriteFile(r.init(), []byte(text), 0o600); err != nil {
		return err
	}
	return r.cfg.give(r.init())
}

func (r *Replay) args() []string {
	args := []string{
		"--no-defaults", "--datadir=" + r.data, "--socket=" + r.socket(), "--pid-file=" + filepath.Join(r.dir(), "pid"),
		"--init-file=" + r.init(), "--skip-networking", "--mysqlx=OFF", "--skip-log-bin", "--server-id=1", "--persisted-globals-load=OFF",
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--event-scheduler=OFF", "--secure-file-priv=NULL",
		"--skip-replica-start", "--relay-log=relay", "--relay-log-purge=ON", "--relay-log-recovery=OFF", "--replica-preserve-commit-order=ON",
		// The events come from servers of any id, this one's perhaps among them.
		"--replicate-same-server-id=ON", "--log-replica-updates=OFF",
		// A power cut means starting over, so nothing has to be durable before the end.
		"--innodb-flush-log-at-trx-commit=2",
		"--innodb-buffer-pool-size=" + fmt.Sprint(max(r.cfg.BufferPoolBytes, smallBufferPool)),
		"--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so", "--plugin-load-add=mysql_clone.so",
	}
	if r.cfg.Small {
		args = append(args, "--innodb-flush-method=fsync", "--innodb-redo-log-capacity=32M")
	}
	if user := r.cfg.osUser(); user != "" {
		args = append(args, "--user="+user)
	}
	args = append(args, withoutKeys()...)
	args = append(args, r.cfg.formatOptions()...)
	options, err := parseExtra(r.cfg.Extra)
	if err != nil {
		return args // Validate has refused it already
	}
	for _, o := range options {
		if o.name == "plugin_load_add" || strings.HasPrefix(o.name, "innodb_") && !formatPattern.MatchString(o.name) || o.name == "max_allowed_packet" {
			args = append(args, o.raw)
		}
	}
	return args
}

func (r *Replay) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, replayStart)
	defer cancel()
	for {
		err := r.db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-r.server.done:
			return fmt.Errorf("it ended: %w", r.server.explain(ctx))
		case <-time.After(connectRetry):
		case <-ctx.Done():
			return fmt.Errorf("it takes no logins: %w", err)
		}
	}
}

func (r *Replay) exec(ctx context.Context, op, query string) error {
	if _, err := r.db.ExecContext(ctx, query); err != nil {
		return fmt.Errorf("%s: %w", op, r.ended(err))
	}
	return nil
}

// ended adds why the server is gone, if it is.
func (r *Replay) ended(err error) error {
	if isServerError(err) {
		return err
	}
	select {
	case <-r.server.done:
		return fmt.Errorf("mysqld ended: %s: %w", r.server.tail.why(), err)
	case <-time.After(connectRetry):
		return err
	}
}

// Executed is everything the database holds.
func (r *Replay) Executed(ctx context.Context) (gtid.Set, error) {
	var text string
	if err := r.db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&text); err != nil {
		return gtid.Set{}, fmt.Errorf("read gtid_executed: %w", r.ended(err))
	}
	return gtid.Parse(text)
}

// Apply applies the files, in order, which hold the transactions in want and are moved away, and returns when all of
// them are committed. Those that are there already are passed over.
func (r *Replay) Apply(ctx context.Context, files []string, want gtid.Set) error {
	first, err := r.place(files)
	if err != nil {
		return fmt.Errorf("apply archived transactions: %w", err)
	}
	if err := r.exec(ctx, "apply archived transactions", "CHANGE REPLICATION SOURCE TO SOURCE_HOST='archive', RELAY_LOG_FILE="+sqlText(first)+
		", RELAY_LOG_POS=4; START REPLICA SQL_THREAD"); err != nil {
		return err
	}
	if err := r.applied(ctx, want); err != nil {
		return fmt.Errorf("apply archived transactions: %w", err)
	}
	return r.exec(ctx, "end applying", "STOP REPLICA; RESET REPLICA ALL")
}

// place makes relay logs of the files, under names that no other batch has had.
func (r *Replay) place(files []string) (first string, err error) {
	if len(files) == 0 {
		return "", errors.New("no files")
	}
	r.batch++
	var index strings.Builder
	for i, f := range files {
		name := fmt.Sprintf("relay.%03d%06d", r.batch, i+1)
		path := filepath.Join(r.data, name)
		if err := os.Rename(f, path); err != nil {
			return "", err
		}
		if err := r.cfg.give(path); err != nil {
			return "", err
		}
		if i == 0 {
			first = name
		}
		index.WriteString("./" + name + "\n")
	}
	path := filepath.Join(r.data, "relay.index")
	if err := os.WriteFile(path, []byte(index.String()), 0o640); err != nil {
		return "", err
	}
	return first, r.cfg.give(path)
}

// applied waits until everything is there, or the applier stopped.
func (r *Replay) applied(ctx context.Context, want gtid.Set) error {
	for {
		have, err := r.Executed(ctx)
		if err != nil {
			return err
		}
		if have.Contains(want) {
			return nil
		}
		var state string
		var number int
		var text sql.NullString
		err = r.db.QueryRowContext(ctx, `SELECT c.SERVICE_STATE, COALESCE(NULLIF(w.LAST_ERROR_NUMBER, 0), c.LAST_ERROR_NUMBER),
			COALESCE(NULLIF(w.LAST_ERROR_MESSAGE, ''), c.LAST_ERROR_MESSAGE)
			FROM performance_schema.replication_applier_status_by_coordinator c LEFT JOIN performance_schema.replication_applier_status_by_worker w
			ON w.CHANNEL_NAME = c.CHANNEL_NAME AND w.LAST_ERROR_NUMBER <> 0 LIMIT 1`).Scan(&state, &number, &text)
		if err != nil {
			return fmt.Errorf("look at the applier: %w", r.ended(err))
		}
		if state != "ON" {
			return fmt.Errorf("the applier stopped before %s: error %d: %s", want.Subtract(have), number, text.String)
		}
		if err := sleep(ctx, replayLook); err != nil {
			return err
		}
	}
}

// Close removes what was only for the replay, and ends the server cleanly: the data directory is complete and on disk.
func (r *Replay) Close(ctx context.Context) (err error) {
	defer func() { err = also(err, r.Kill()) }()
	ctx, cancel := context.WithTimeout(ctx, replayStop)
	defer cancel()
	// The session that drops its own account goes on.
	if err := r.exec(ctx, "end replay", "DROP USER "+account(replayUser, "localhost")); err != nil {
		return err
	}
	if err := syscall.Kill(r.server.cmd.Process.Pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end replay: %w", err)
	}
	select {
	case <-r.server.done:
	case <-ctx.Done():
		return fmt.Errorf("end replay: mysqld does not stop: %w", context.Cause(ctx))
	}
	if err := r.server.explain(ctx); err != nil {
		return fmt.Errorf("end replay: %w", err)
	}
	leftovers, err := filepath.Glob(filepath.Join(r.data, "relay.*"))
	if err != nil {
		return err
	}
	for _, path := range append(leftovers, filepath.Join(r.data, "auto.cnf")) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("end replay: %w", err)
		}
	}
	return syncFilesystem(r.data)
}

// Kill ends the server at once, if it still runs. The data directory is then of no use.
func (r *Replay) Kill() error {
	if r.db != nil {
		_ = r.db.Close() // nothing of it is under way
	}
	if r.server != nil {
		r.server.stop()
	}
	return os.RemoveAll(r.dir())
}
