package bench

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// The application's and the replication account of bare servers.
const (
	appUser, appPassword   = "app", "app-password"
	replUser, replPassword = "repl", "repl-password"
	schema                 = "app"
)

// bare is a mysqld that nobody looks after, with the settings our own nodes have.
type bare struct {
	t      testing.TB
	dir    string
	port   int
	id     int
	args   []string
	from   *session
	pid    int
	admin  *sql.DB
	exited chan struct{}
}

// bareServers initialises one database and starts count servers on copies of it.
func bareServers(t testing.TB, count int, args ...string) []*bare {
	t.Helper()
	root, err := os.MkdirTemp("", "bench")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	origin := filepath.Join(root, "origin")
	out, err := exec.Command(harness.Mysqld(t), "--no-defaults", "--initialize-insecure", "--user=root", "--datadir="+origin,
		"--innodb-redo-log-capacity=33554432").CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	require.NoError(t, os.RemoveAll(filepath.Join(origin, "auto.cnf")))
	var all []*bare
	from := newSession(t)
	for i := range count {
		b := &bare{t: t, from: from, dir: filepath.Join(root, fmt.Sprintf("n%d", i+1)), port: freePort(t), id: i + 1, args: args}
		require.NoError(t, os.MkdirAll(b.dir, 0o755))
		out, err := exec.Command("cp", "-r", origin, filepath.Join(b.dir, "data")).CombinedOutput()
		require.NoErrorf(t, err, "%s", out)
		b.start()
		all = append(all, b)
		t.Cleanup(b.kill)
	}
	for _, b := range all {
		b.ready()
		b.do("SET SESSION sql_log_bin=0", "CREATE DATABASE IF NOT EXISTS "+schema,
			"CREATE USER IF NOT EXISTS "+appUser+"@'%' IDENTIFIED BY '"+appPassword+"'", "GRANT ALL ON "+schema+".* TO "+appUser+"@'%'",
			"CREATE USER IF NOT EXISTS "+replUser+"@'%' IDENTIFIED BY '"+replPassword+"'",
			"GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO "+replUser+"@'%'",
			"GRANT SELECT ON performance_schema.* TO "+appUser+"@'%'",
			"CREATE TABLE IF NOT EXISTS "+schema+"."+table+" (id BIGINT PRIMARY KEY)", "SET SESSION sql_log_bin=1")
	}
	return all
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (b *bare) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

func (b *bare) start() {
	args := append([]string{
		"--no-defaults", "--user=root", "--datadir=" + filepath.Join(b.dir, "data"), "--socket=" + filepath.Join(b.dir, "s"), "--port=" + strconv.Itoa(b.port),
		"--bind-address=127.0.0.1", "--mysqlx=OFF", "--server-id=" + strconv.Itoa(b.id), "--log-error=" + filepath.Join(b.dir, "log"),
		"--report-host=127.0.0.1", "--report-port=" + strconv.Itoa(b.port), "--secure-file-priv=NULL",
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--log-bin=binlog", "--relay-log=relay", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1",
		"--relay-log-recovery=OFF", "--replica-preserve-commit-order=ON", "--skip-replica-start", "--innodb-log-writer-threads=ON",
		"--innodb-buffer-pool-size=67108864", "--innodb-redo-log-capacity=33554432", "--innodb-flush-method=fsync", "--innodb-log-buffer-size=4194304",
		"--max-connections=160",
	}, slices.Concat(usersLogs, b.args)...)
	b.pid, b.exited = b.from.start(b.t, harness.Mysqld(b.t), args...)
}

// ready waits until the server answers root.
func (b *bare) ready() {
	b.t.Helper()
	if b.admin != nil {
		b.admin.Close()
	}
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.MultiStatements, cfg.Logger = "root", "unix", filepath.Join(b.dir, "s"), true, &mysql.NopLogger{}
	c, err := mysql.NewConnector(cfg)
	require.NoError(b.t, err)
	b.admin = sql.OpenDB(c)
	b.admin.SetMaxOpenConns(1) // statements about the session belong together, and it is open beforehand
	for deadline := time.Now().Add(time.Minute); b.admin.Ping() != nil; time.Sleep(50 * time.Millisecond) {
		require.True(b.t, time.Now().Before(deadline), "mysqld does not start; see %s", b.dir)
	}
}

// do runs statements as root.
func (b *bare) do(statements ...string) {
	b.t.Helper()
	for _, s := range statements {
		require.NoErrorf(b.t, b.try(s), "%s", s)
	}
}

func (b *bare) try(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := b.admin.ExecContext(ctx, statement)
	return err
}

// value is what a query of root gives.
func (b *bare) value(query string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var v sql.NullString
	require.NoErrorf(b.t, b.admin.QueryRowContext(ctx, query).Scan(&v), "%s", query)
	return v.String
}

func (b *bare) signal(s syscall.Signal) {
	select {
	case <-b.exited: // its number may be another process's by now
	default:
		_ = syscall.Kill(b.pid, s)
	}
}

// kill ends the server at once and returns when it is gone.
func (b *bare) kill() {
	b.signal(syscall.SIGCONT)
	b.signal(syscall.SIGKILL)
	<-b.exited
}

// openBare opens the application's connections.
func openBare(addr string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName, cfg.Net, cfg.Addr, cfg.Timeout, cfg.TLSConfig, cfg.Logger = appUser, appPassword, schema, "tcp", addr, 5*time.Second, "skip-verify", &mysql.NopLogger{}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// follow points a server's receiver at another, armed.
func (b *bare) follow(source *bare) {
	b.t.Helper()
	b.do("SET GLOBAL rpl_semi_sync_replica_enabled=ON", fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='%s', "+
		"SOURCE_PASSWORD='%s', SOURCE_SSL=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_HEARTBEAT_PERIOD=0.5, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=100000, "+
		"SOURCE_AUTO_POSITION=1", source.port, replUser, replPassword), "START REPLICA")
}

// semiSync are the plugins our own nodes load.
var semiSync = []string{"--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so", "--rpl-semi-sync-source-timeout=315360000000",
	"--rpl-semi-sync-source-wait-no-replica=ON", "--rpl-semi-sync-source-wait-point=AFTER_SYNC"}

const sourceOn = "SET GLOBAL rpl_semi_sync_source_wait_for_replica_count=1, GLOBAL rpl_semi_sync_source_enabled=ON"

// semiSyncSet starts three servers of which the first is the primary.
func semiSyncSet(t testing.TB, args ...string) []*bare {
	t.Helper()
	all := bareServers(t, 3, append(args, semiSync...)...)
	for _, b := range all[1:] {
		b.do("SET GLOBAL super_read_only=ON")
		b.follow(all[0])
	}
	for _, b := range all[1:] {
		b.await("SELECT SERVICE_STATE='ON' FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME=''")
	}
	all[0].do(sourceOn)
	all[0].await("SELECT VARIABLE_VALUE>=2 FROM performance_schema.global_status WHERE VARIABLE_NAME='Rpl_semi_sync_source_clients'")
	return all
}

// await waits until a query says 1.
func (b *bare) await(query string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); b.value(query) != "1"; time.Sleep(5 * time.Millisecond) {
		require.True(b.t, time.Now().Before(deadline), "not within a minute: %s", query)
	}
}
