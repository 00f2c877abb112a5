package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

const shippedHAProxy = "../docker/haproxy/haproxy.cfg"

// TestHAProxy: the shipped configuration is a valid one, and with its checks writes follow a failover, and reads go on, with
// no other help. Only the names of the compose network are replaced: here the nodes have ports of their own on loopback.
func TestHAProxy(t *testing.T) {
	bin := os.Getenv("AUTOPILOT_TEST_HAPROXY")
	require.NotEmpty(t, bin, "make e2e fetches HAProxy: autopilot-mysql parts --env --haproxy")
	out, err := exec.Command(bin, "-c", "-f", shippedHAProxy).CombinedOutput()
	require.NoError(t, err, "%s", out)

	c := harness.Up(t, harness.Options{Nodes: 3, RestartAfter: "1s"})
	d := c.WaitWhole(3)
	writes, reads := freeAddr(t), freeAddr(t)
	cfg := filepath.Join(c.Dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(cfg, []byte(onLoopback(t, d, writes, reads)), 0o644))
	proxy := exec.Command(bin, "-db", "-f", cfg)
	log := &buffer{}
	proxy.Stdout, proxy.Stderr = log, log
	proxy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, proxy.Start())
	end := sync.OnceFunc(func() {
		_ = proxy.Process.Kill() // it was started above
		_ = proxy.Wait()
	})
	t.Cleanup(func() {
		end()
		if t.Failed() {
			t.Log(log.String())
		}
	})

	db := proxied(t, d, writes)
	var acked []int
	write := func() bool { // one more write through the proxy; false if it has no answer
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		i := len(acked) + 1
		_, err := db.ExecContext(ctx, "INSERT INTO proxied VALUES (?) ON DUPLICATE KEY UPDATE i = i", i)
		if err == nil {
			acked = append(acked, i)
		}
		return err == nil
	}
	waitFor(t, "the writer's port", func() bool {
		_, err := db.Exec("CREATE TABLE IF NOT EXISTS proxied (i INT PRIMARY KEY)")
		return err == nil
	})
	for range 20 {
		waitFor(t, "a write", write)
	}
	c.Kill(d.Primary)
	c.WaitNewPrimary(d.Primary, d.Term)
	for range 20 {
		waitFor(t, "a write at the new primary", write)
	}
	waitFor(t, "every write that got its answer", func() bool { // a check that is answered late cuts a connection
		var n int
		return db.QueryRow("SELECT COUNT(*) FROM proxied").Scan(&n) == nil && n == len(acked)
	})
	rdb := proxied(t, d, reads)
	waitFor(t, "all writes at a reader", func() bool {
		var n int
		return rdb.QueryRow("SELECT COUNT(*) FROM proxied").Scan(&n) == nil && n == len(acked)
	})
	c.WaitWhole(3)
	end()
	c.Down()
}

// proxied is a pool that opens a connection for every statement: a proxy judges connections.
func proxied(t *testing.T, d harness.Document, addr string) *sql.DB {
	t.Helper()
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName, cfg.Net, cfg.Addr, cfg.Timeout, cfg.ReadTimeout = d.User, d.Password, d.Database, "tcp", addr, 5*time.Second, 10*time.Second
	cfg.TLSConfig = "skip-verify"
	connector, err := driver.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1)
	t.Cleanup(func() { db.Close() })
	return db
}

// onLoopback is the shipped file with the compose network's names replaced by these nodes' addresses.
func onLoopback(t *testing.T, d harness.Document, writes, reads string) string {
	t.Helper()
	b, err := os.ReadFile(shippedHAProxy)
	require.NoError(t, err)
	var servers []string
	for _, n := range d.Nodes {
		servers = append(servers, fmt.Sprintf("    server %s %s port %s", n.Name, n.MySQL, portOf(n.HTTP)))
	}
	text := string(b)
	for _, r := range []struct{ from, to string }{
		{" init-addr none resolvers docker", ""},
		{"bind :3306", "bind " + writes},
		{"bind :3307", "bind " + reads},
		{"    server-template node 9 mysql:3306", strings.Join(servers, "\n")},
	} {
		require.Contains(t, text, r.from, "the shipped file has changed: so must this test")
		text = strings.ReplaceAll(text, r.from, r.to)
	}
	return text
}
