package mysql

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heard collects log lines.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) log(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}

const closed = "SELECT CONCAT(@@super_read_only,@@read_only,@@offline_mode)"

func TestBootstrapLeavesAClosedServerWithoutHistory(t *testing.T) {
	c := procFresh(t)
	procStart(t, c)
	unfinished, err := Unfinished(c)
	require.NoError(t, err)
	require.True(t, unfinished)

	var h heard
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds, Log: h.log}))
	db := procAdmin(t, c)
	require.Empty(t, procValue(t, db, "SELECT @@gtid_executed"))
	require.Equal(t, "111", procValue(t, db, closed))
	require.Equal(t, "Y", procValue(t, db, "SELECT account_locked FROM mysql.user WHERE user='root' AND host='localhost'"), "nobody is root without a password")
	require.Contains(t, h.all(), "root@localhost is locked")
	require.NotContains(t, h.all(), procPassword)
	require.NotContains(t, h.all(), "the history starts now", "nothing of ours was logged")
	unfinished, err = Unfinished(c)
	require.NoError(t, err)
	require.False(t, unfinished)

	// Again: nothing changes, also when the password does.
	changed := procCreds
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: changed}))
	require.Equal(t, "111", procValue(t, db, closed))
	require.Empty(t, procValue(t, db, "SELECT @@gtid_executed"))

	// Once there is a history it keeps its hands off.
	procExec(t, db, "SET GLOBAL super_read_only=OFF; CREATE DATABASE app")
	require.ErrorIs(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds}), ErrHasHistory)
	require.NotEmpty(t, procValue(t, db, "SELECT @@gtid_executed"))
}

func grants(t *testing.T, c Config, account string) string {
	t.Helper()
	rows, err := procAdmin(t, c).QueryContext(procContext(t), "SHOW GRANTS FOR "+account)
	require.NoError(t, err)
	defer rows.Close()
	var all []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		all = append(all, line)
	}
	require.NoError(t, rows.Err())
	return strings.Join(all, "\n")
}

func TestBootstrapGrantsExactlyWhatIsNeeded(t *testing.T) {
	c := procFresh(t)
	procStart(t, c)
	const password = `a'p\p"#;`
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{
		Creds: procCreds, RootPassword: password, Database: "app_1", User: "app", Password: password,
	}))
	require.Equal(t, "GRANT PROCESS, REPLICATION CLIENT ON *.* TO `repl`@`%`\n"+
		"GRANT BACKUP_ADMIN,CONNECTION_ADMIN ON *.* TO `repl`@`%`\n"+
		"GRANT SELECT ON `performance_schema`.* TO `repl`@`%`", grants(t, c, "repl@'%'"))
	require.Equal(t, "GRANT USAGE ON *.* TO `app`@`%`\nGRANT ALL PRIVILEGES ON `app\\_1`.* TO `app`@`%`", grants(t, c, "app@'%'"))
	for _, account := range []string{"repl_admin@localhost", "root@localhost", "root@'%'"} {
		all := grants(t, c, account)
		require.Contains(t, all, "WITH GRANT OPTION")
		for _, p := range []string{"CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN", "SYSTEM_USER", "CLONE_ADMIN", "SHUTDOWN"} {
			require.Contains(t, all, p, account)
		}
	}
	ctx := procContext(t)
	require.NoError(t, procDB(t, c, "root", password).PingContext(ctx))
	app := procDB(t, c, "app", password)
	require.True(t, hasErrno(app.PingContext(ctx), 3032), "offline mode keeps the application out")

	procExec(t, procAdmin(t, c), "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; SET GLOBAL offline_mode=OFF; CREATE DATABASE appx1")
	procExec(t, app, "CREATE TABLE app_1.t (id INT PRIMARY KEY); CREATE TRIGGER app_1.r BEFORE INSERT ON app_1.t FOR EACH ROW SET @a=1; CREATE FUNCTION app_1.f() RETURNS INT RETURN 1")
	for _, s := range []string{"CREATE TABLE appx1.t (id INT)", "SHUTDOWN", "SET GLOBAL read_only=ON", "SET SESSION sql_log_bin=0", "CREATE TABLE app_1.m (id INT) ENGINE=MyISAM"} {
		_, err := app.ExecContext(ctx, s)
		require.Error(t, err, s)
	}
}

func TestBootstrapMakesARootPassword(t *testing.T) {
	c := procFresh(t)
	procStart(t, c)
	var h heard
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds, RandomRoot: true, OneTime: true, Log: h.log}))
	_, password, found := strings.Cut(h.all(), "Generated root password: ")
	require.True(t, found)
	require.Len(t, password, randomPasswordLength)
	root := procDB(t, c, "root", password)
	_, err := root.ExecContext(procContext(t), "SELECT 1")
	require.True(t, hasErrno(err, 1862), "must change it first: %v", err)

	require.ErrorContains(t, BootstrapSpec{Creds: procCreds, RandomRoot: true}.validate(), "nobody listens")
}

func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return out.String()
}

func TestBootstrapRunsInitScriptsInOrderAndWithoutHistory(t *testing.T) {
	c := procFresh(t)
	procStart(t, c)
	dir := t.TempDir()
	writeFile(t, dir, "1-table.sql", "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(200) CHARACTER SET utf8mb4);\nDELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; END//\nDELIMITER ;\nINSERT INTO t (s) VALUES ('é1');\n", 0o644)
	writeFile(t, dir, "2-more.sql.gz", packed(t, "INSERT INTO t (s) VALUES ('2');\n"), 0o644)
	client := `"$(dirname "$AUTOPILOT_TEST_MYSQLD")/mysql"`
	if os.Getenv("AUTOPILOT_TEST_MYSQLD") == "" {
		client = "mysql"
	}
	// A script that logs what it writes, with the variables people use.
	writeFile(t, dir, "3-run.sh", client+` --defaults-file="$MYSQL_DEFAULTS_FILE" "$MYSQL_DATABASE" -e "INSERT INTO t (s) VALUES ('3 $MYSQL_USER $MYSQL_PASSWORD secret:$MYSQL_REPL_PASSWORD')"`+"\necho said $MYSQL_UNIX_PORT\n", 0o644)
	writeFile(t, dir, "4-exec.sh", "#!/bin/sh\necho executed\n", 0o755)
	writeFile(t, dir, "5-readme.txt", "", 0o644)
	t.Setenv("MYSQL_REPL_PASSWORD", "hidden")
	var h heard
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{
		Creds: procCreds, RootPassword: "r#o'o\\t", Database: "app", User: "app", Password: "pw", InitDir: dir, Log: h.log,
	}))
	db := procAdmin(t, c)
	require.Equal(t, "é1,2,3 app pw secret:", procValue(t, db, "SELECT GROUP_CONCAT(s ORDER BY id) FROM app.t"))
	require.Equal(t, "root@localhost", procValue(t, db, "SELECT definer FROM information_schema.routines WHERE routine_name='p'"))
	require.Empty(t, procValue(t, db, "SELECT @@gtid_executed"))
	require.Empty(t, procValue(t, db, "SELECT @@gtid_purged"))
	require.Equal(t, "111", procValue(t, db, closed))
	for _, want := range []string{"said " + c.Socket(), "executed", "ignoring " + dir + "/5-readme.txt", "the history starts now"} {
		require.Contains(t, h.all(), want)
	}
	require.NotContains(t, h.all(), "r#o'o")
	left, err := filepath.Glob(filepath.Join(c.runDir(), "init-*"))
	require.NoError(t, err)
	require.Empty(t, left, "the file with root's password is gone")
}

func TestBootstrapStopsAtABrokenScript(t *testing.T) {
	for name, text := range map[string]string{
		"broken.sql":    "SELEKT 1;",
		"broken.sh":     "echo it went wrong >&2; exit 3",
		"broken.sql.gz": packed(t, strings.Repeat("SELECT 1;\n", 1000))[:50],
	} {
		t.Run(name, func(t *testing.T) {
			c := procFresh(t)
			procStart(t, c)
			dir := t.TempDir()
			writeFile(t, dir, name, text, 0o644)
			err := Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds, InitDir: dir, RootPassword: "topsecret"})
			t.Log(err)
			require.ErrorContains(t, err, name)
			require.NotContains(t, err.Error(), "topsecret")
			require.Equal(t, "111", procValue(t, procAdmin(t, c), closed), "closed again")
			unfinished, err := Unfinished(c)
			require.NoError(t, err)
			require.True(t, unfinished, "not mistaken for a complete database")
		})
	}
}

func TestBootstrapWithoutTheClientProgram(t *testing.T) {
	c := procFresh(t)
	procStart(t, c)
	b := &bootstrapper{cfg: c, spec: BootstrapSpec{Creds: procCreds, Database: "app"}}
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds, RootPassword: "r", Database: "app"}))
	procExec(t, procAdmin(t, c), "SET GLOBAL super_read_only=OFF")
	b.root = "r"
	require.NoError(t, b.byDriver(procContext(t), strings.NewReader("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2);\n")))
	require.Equal(t, "2", procValue(t, procAdmin(t, c), "SELECT COUNT(*) FROM app.t"))
	require.ErrorContains(t, b.byDriver(procContext(t), strings.NewReader("SELECT 1;\n delimiter //\n")), "DELIMITER")
	require.Error(t, b.byDriver(procContext(t), strings.NewReader("SELECT 1; SELEKT 2;")), "an error in a later statement counts")
}

func TestBootstrapLoadsTimeZones(t *testing.T) {
	c := procFresh(t)
	if _, err := os.Stat(zoneInfo); err != nil || findBeside(c.Mysqld, "mysql_tzinfo_to_sql") == "" {
		t.Skip("no time zone data on this machine")
	}
	procStart(t, c)
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds, TimeZones: true}))
	db := procAdmin(t, c)
	require.Equal(t, "2026-07-01 14:00:00", procValue(t, db, "SELECT CONVERT_TZ('2026-07-01 12:00:00','UTC','Europe/Berlin')"))
	require.Empty(t, procValue(t, db, "SELECT @@gtid_executed"))
}

func TestBootstrapRefusesWhatGivesTooMuch(t *testing.T) {
	for want, spec := range map[string]BootstrapSpec{
		"must be set together":   {User: "app"},
		"belongs to the server":  {Database: "MySQL"},
		"user \"root\"":          {User: "root", Password: "x"},
		"user \"repl\"":          {User: "repl", Password: "x"},
		"user \"repl_12345678\"": {User: "repl_12345678", Password: "x"},
		"at most 32":             {User: strings.Repeat("u", 33), Password: "x"},
	} {
		spec.Creds = procCreds
		require.ErrorContains(t, spec.validate(), want)
	}
}

func TestBootstrapEndsAtItsDeadlineWithoutAServer(t *testing.T) {
	c := plainConfig()
	c.Dir = t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // time for one try on a busy machine
	defer cancel()
	err := Bootstrap(ctx, c, BootstrapSpec{Creds: procCreds})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, c.Socket())
}
