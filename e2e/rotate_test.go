package e2e

import (
	"context"
	"crypto/tls"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestRotatePasswords: the cluster's, the application's and root's password change in their files while writers run: no
// term changes, no write fails, and in the end only the new ones are accepted. A node that was down meanwhile, and one
// that comes new, join with the new one.
func TestRotatePasswords(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path+".new", []byte(text+"\n"), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
		return path
	}
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: atOnceLease, RestartAfter: "1s", NodeArgs: []string{
		"--repl-password-file", write("repl", "the first one"), "--mysql-password-file", write("app", "the application's first one"),
		"--mysql-root-password-file", write("root", "the first of root")}})
	d := c.WaitWhole(3)
	write("app", d.Password) // what this test's writers log in with
	c.Signal(d.Node(d.Primary).Pids.Guard, syscall.SIGHUP)
	waitFor(t, "the application's new password", func() bool { return strings.Contains(c.Log(d.Primary), "the new one is accepted") })
	w := load.StartPatient(t, c)
	w.WaitAcks(50)

	root := c.RootPassword() // what this test's helpers log in with
	require.NoError(t, logsIn(d.Node(d.Primary), "root", "the first of root"))
	require.Error(t, logsIn(d.Node(d.Primary), "root", root))
	write("root", root)
	for _, n := range d.Nodes {
		waitFor(t, "root's new password at "+n.Name, func() bool { return logsIn(n, "root", root) == nil })
		waitFor(t, "root's former password to be refused at "+n.Name, func() bool { return logsIn(n, "root", "the first of root") != nil })
	}

	write("repl", "the second one")
	rotated := func(nodes ...string) func() bool {
		return func() bool {
			for _, n := range nodes {
				if strings.Count(c.Log(n), "the former one is accepted no more") == 0 {
					return false
				}
			}
			return true
		}
	}
	waitFor(t, "everybody to use the new password alone", rotated(d.Nodes[0].Name, d.Nodes[1].Name, d.Nodes[2].Name))
	w.WaitAcks(50)
	now := c.WaitWhole(3)
	require.Equal(t, d.Term, now.Term, "nobody took over")
	for _, n := range now.Others() {
		require.Equal(t, "the second one", c.RootValue(n.Name, "SELECT User_password FROM mysql.slave_master_info WHERE Channel_name = ''"))
	}
	require.Equal(t, "0", c.RootValue(now.Primary, "SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'repl%' AND JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password')"))

	require.Zero(t, w.Failures(), "no write failed")

	// Everybody is still let in everywhere: another primary, and a node without data.
	handsOver(t, c, "switchover")
	now = c.WaitNewPrimary(d.Primary, d.Term)
	c.WaitWhole(3)
	late := now.Others()[0].Name
	c.Stop(late)
	c.Wait(late+" is down", harness.FailoverLimit, func(d harness.Document) bool { return d.Node(late).State == "down" && len(d.AckSet.Members) == 2 })
	other := now.Primary
	rotations := func() int { return strings.Count(c.Log(other), "the former one is accepted no more") }
	had := rotations()
	write("repl", "the third one")
	waitFor(t, "the third password at "+other, func() bool { return rotations() > had })
	c.Start(late) // its data has never heard of the third one
	c.WaitWhole(3)
	require.Contains(t, c.Log(late), "the accounts in it are renewed")
	w.WaitAcks(50)
	w.Verify(c)
	for _, n := range c.Doc().Nodes {
		for _, secret := range []string{"the first one", "the second one", "the third one", "the first of root", root} {
			require.NotContains(t, c.Log(n.Name), secret)
		}
	}
	c.Down()
}

// logsIn tries a user's password at a node, over TCP as an application would, and whatever certificate it shows.
func logsIn(n harness.Node, user, password string) error {
	return logsInOver(&tls.Config{InsecureSkipVerify: true}, n, user, password)
}

// logsInOver is logsIn with the client's own demands on the certificate.
func logsInOver(demands *tls.Config, n harness.Node, user, password string) error {
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.TLS, cfg.Timeout = user, password, "tcp", n.MySQL, demands, 30*time.Second
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}
