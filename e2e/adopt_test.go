package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// plain is a MySQL server that nobody of ours runs.
type plain struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
	db   *sql.DB
}

const plainPassword = "of somebody else"

func startPlain(t *testing.T, dir string, id int) *plain {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	require.NoError(t, err)
	p := &plain{t: t, dir: dir}
	p.port, err = strconv.Atoi(port)
	require.NoError(t, err)
	p.cmd = exec.Command(os.Getenv("AUTOPILOT_TEST_MYSQLD"), append(plainArgs(dir), "--socket="+dir+".sock", "--pid-file="+dir+".pid", "--port="+port, "--bind-address=127.0.0.1",
		"--server-id="+strconv.Itoa(id), "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--skip-replica-start", "--innodb-buffer-pool-size=32M", "--innodb-flush-method=fsync")...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }) // both fail when it was ended
	p.db = plainDB(t, dir+".sock", "")
	waitFor(t, "a plain server", func() bool { return p.db.Ping() == nil })
	return p
}

func plainArgs(dir string) []string {
	args := []string{"--no-defaults", "--datadir=" + dir, "--mysqlx=OFF", "--secure-file-priv=NULL"}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	return args
}

func plainDB(t *testing.T, socket, password string) *sql.DB {
	t.Helper()
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.MultiStatements, cfg.Timeout = "root", password, "unix", socket, true, 10*time.Second
	connector, err := driver.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1) // kept when the password changes
	t.Cleanup(func() { db.Close() })
	return db
}

func (p *plain) exec(statement string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), orderTime)
	defer cancel()
	_, err := p.db.ExecContext(ctx, statement)
	require.NoError(p.t, err, statement)
}

func (p *plain) value(query string) string {
	p.t.Helper()
	return plainValue(p.t, p.db, query)
}

func plainValue(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), orderTime)
	defer cancel()
	var v string
	require.NoError(t, db.QueryRowContext(ctx, query).Scan(&v), query)
	return v
}

func (p *plain) shutdown() {
	p.t.Helper()
	p.exec("SHUTDOWN")
	require.NoError(p.t, p.cmd.Wait())
}

// TestAdoptAReplicaSet: an ordinary source and its asynchronous replica are shut down in order and become the nodes of a
// cluster with --adopt. No file is copied, no transaction lost, accounts and data are there, each can be the primary, and an
// empty node joins them.
// Without --adopt their directories are not touched.
func TestAdoptAReplicaSet(t *testing.T) {
	c := harness.New(t, nil)
	dirs := []string{filepath.Join(c.Dir, "nodes", "node1"), filepath.Join(c.Dir, "nodes", "node2")}
	require.NoError(t, os.MkdirAll(filepath.Dir(dirs[0]), 0o755))
	out, err := exec.Command(os.Getenv("AUTOPILOT_TEST_MYSQLD"), append(plainArgs(dirs[0]), "--initialize-insecure")...).CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command("cp", "-a", dirs[0], dirs[1]).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.RemoveAll(filepath.Join(dirs[1], "auto.cnf")))

	source, replica := startPlain(t, dirs[0], 1), startPlain(t, dirs[1], 2)
	source.exec("CREATE USER r@'%' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO r@'%'; CREATE DATABASE shop; CREATE TABLE shop.t (i INT PRIMARY KEY)")
	replica.exec(fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='r', SOURCE_PASSWORD='r', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA", source.port))
	source.exec("INSERT INTO shop.t VALUES (1), (2), (3)")
	source.exec("ALTER USER root@localhost IDENTIFIED BY '" + plainPassword + "'")
	executed := source.value("SELECT @@GLOBAL.gtid_executed")
	require.Equal(t, "0", replica.value("SELECT WAIT_FOR_EXECUTED_GTID_SET('"+executed+"', 60)"))

	// While they run, and without --adopt, nothing is touched.
	for _, r := range []struct {
		args []string
		says string
	}{{[]string{"--adopt"}, "runs on it"}, {nil, "start with --adopt"}} {
		args := append([]string{"run", "--datadir", dirs[0], "--mysqld", os.Getenv("AUTOPILOT_TEST_MYSQLD"), "--consul", freeAddr(t), "--http", "127.0.0.1:0", "--bind", "127.0.0.1",
			"--advertise", "127.0.0.1", "--port", portOf(freeAddr(t))}, r.args...)
		ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
		cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
		cmd.Env = append(os.Environ(), "MYSQL_REPL_PASSWORD=x")
		out, err := cmd.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 3, exit.ExitCode(), "%s", out)
		require.Contains(t, string(out), r.says)
		require.FileExists(t, filepath.Join(dirs[0], "ibdata1"))
	}

	source.shutdown()
	replica.shutdown()
	inodes := []uint64{inode(t, filepath.Join(dirs[0], "shop", "t.ibd")), inode(t, filepath.Join(dirs[1], "shop", "t.ibd"))}
	require.NoError(t, c.Begin(harness.Options{Nodes: 2, Lease: patientLease, RestartAfter: "1s", NodeArgs: []string{"--adopt"}}))
	d := c.WaitWhole(2)
	for i, n := range d.Nodes {
		require.Equal(t, inodes[i], inode(t, filepath.Join(dirs[i], "data", "shop", "t.ibd")), "%s copied it", n.Name)
		db := plainDB(t, filepath.Join(dirs[i], "run", "mysql.sock"), plainPassword)
		require.Equal(t, "3", plainValue(t, db, "SELECT COUNT(*) FROM shop.t"), n.Name)
		require.Equal(t, "1", plainValue(t, db, "SELECT GTID_SUBSET('"+executed+"', @@GLOBAL.gtid_executed)"))
		require.NoDirExists(t, filepath.Join(dirs[i], "adopt"))
		require.NoFileExists(t, filepath.Join(dirs[i], "data", "autopilot-adopted"))
	}

	// An application's account as for any server; then everything as in any cluster.
	at := 0
	for i, n := range d.Nodes {
		if n.Name == d.Primary {
			at = i
		}
	}
	db := plainDB(t, filepath.Join(dirs[at], "run", "mysql.sock"), plainPassword)
	_, err = db.Exec("CREATE DATABASE " + d.Database + "; CREATE USER " + d.User + "@'%' IDENTIFIED BY '" + d.Password + "'; GRANT ALL ON " + d.Database + ".* TO " + d.User + "@'%'")
	require.NoError(t, err)
	w := load.Start(t, c)
	w.WaitAcks(20)
	d = c.WaitWhole(2)
	handsOver(t, c, "switchover")
	c.WaitNewPrimary(d.Primary, d.Term)
	c.WaitWhole(2)
	w.WaitAcks(20)

	c.Add(1) // an empty node beside them gets its data as in any cluster
	c.WaitWhole(3)
	added := filepath.Join(c.Dir, "nodes", "node3")
	require.Equal(t, "3", plainValue(t, plainDB(t, filepath.Join(added, "run", "mysql.sock"), plainPassword), "SELECT COUNT(*) FROM shop.t"))
	w.Verify(c)
	c.Down()
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}
