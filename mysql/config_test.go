package mysql

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func plainConfig() Config {
	return Config{Dir: "/d", Mysqld: "mysqld", Port: 3306, ServerID: 7}
}

// What START of the protocol demands, read back from a running server whose directory has a name
// that needs every kind of quoting.
func TestServerStartsClosedAndDurable(t *testing.T) {
	c := procFresh(t)
	odd := filepath.Join(c.Dir, `od#d;"'\$x\nx`)
	require.NoError(t, os.Mkdir(odd, 0o755))
	require.NoError(t, os.Rename(c.DataDir(), filepath.Join(odd, "data")))
	c.Dir = odd
	c.CPUs = 2
	c.ReportHost, c.ReportPort = "node-1.example", 4711
	c.ReplNetTimeout = 4200 * time.Millisecond
	c.Extra = []string{"--max-connections=100", "--sql-mode=NO_BACKSLASH_ESCAPES"}
	require.NoError(t, WriteConfig(c))
	procStart(t, c)
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds}))
	db := procAdmin(t, c)
	for name, want := range map[string]string{
		"datadir": c.DataDir() + "/", "socket": c.Socket(), "port": "", "server_id": "",
		"super_read_only": "1", "read_only": "1", "offline_mode": "1", "skip_replica_start": "1", "event_scheduler": "OFF",
		"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "log_bin": "1", "log_replica_updates": "1", "binlog_gtid_simple_recovery": "0", "sync_binlog": "1",
		"innodb_flush_log_at_trx_commit": "1", "innodb_log_writer_threads": "ON", "relay_log_recovery": "0", "sync_relay_log": "10000", "relay_log": "relay",
		"log_bin_basename":             c.DataDir() + "/binlog",
		"rpl_semi_sync_source_enabled": "0", "rpl_semi_sync_replica_enabled": "0", "rpl_semi_sync_source_timeout": "315360000000",
		"rpl_semi_sync_source_wait_no_replica": "1", "rpl_semi_sync_source_wait_point": "AFTER_SYNC",
		"replica_net_timeout": "5", "replica_parallel_workers": "16", "binlog_transaction_dependency_history_size": "16", "replica_preserve_commit_order": "1",
		"report_host": "node-1.example", "report_port": "4711", "skip_name_resolve": "1", "secure_file_priv": "NULL",
		"max_connections": "100", "max_user_connections": "68", "persisted_globals_load": "0", "character_set_server": "utf8mb4",
		"innodb_buffer_pool_size": "33554432", "performance_schema": "1",
	} {
		if want != "" {
			require.Equal(t, want, procValue(t, db, "SELECT @@GLOBAL."+name), name)
		}
	}
	require.Equal(t, "0", procValue(t, db, "SELECT COUNT(*) FROM performance_schema.global_status WHERE variable_name LIKE 'Mysqlx%'"))
	require.Equal(t, "3", procValue(t, db, "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_status='ACTIVE' AND plugin_name IN ('clone','rpl_semi_sync_source','rpl_semi_sync_replica')"))
}

func TestMissingPluginIsAnErrorAtTheStart(t *testing.T) {
	c := procFresh(t)
	c.Extra = []string{"--plugin-dir=" + t.TempDir()}
	require.NoError(t, WriteConfig(c))
	ctx := procContext(t)
	err := runChild(ctx, exec.CommandContext(ctx, c.Mysqld, c.Args()...), nil)
	require.ErrorContains(t, err, "semisync_source.so")
	require.NotContains(t, err.Error(), "\n")
}

// A variable somebody persisted must not open a server at its start.
func TestPersistedVariablesDoNotWin(t *testing.T) {
	c := procFresh(t)
	stop := procStart(t, c)
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds}))
	procExec(t, procAdmin(t, c), "SET PERSIST_ONLY super_read_only=OFF; SET PERSIST_ONLY read_only=OFF; SET PERSIST_ONLY offline_mode=OFF; SET PERSIST_ONLY sync_binlog=0")
	stop()
	procStart(t, c)
	require.Equal(t, "1111", procValue(t, procAdmin(t, c), "SELECT CONCAT(@@super_read_only,@@read_only,@@offline_mode,@@sync_binlog)"))
}

// The agent still gets in when an application has opened all the connections it may.
func TestConnectionsAreLeftWhenAnApplicationTakesAll(t *testing.T) {
	c := procFresh(t)
	c.Extra = []string{"--max-connections=70"}
	require.NoError(t, WriteConfig(c))
	procStart(t, c)
	require.NoError(t, Bootstrap(procContext(t), c, BootstrapSpec{Creds: procCreds, Database: "app", User: "app", Password: "x"}))
	procExec(t, procAdmin(t, c), "SET GLOBAL offline_mode=OFF")
	app := procDB(t, c, "app", "x")
	ctx := procContext(t)
	var refused error
	for opened := 0; refused == nil && opened <= 70; opened++ {
		conn, err := app.Conn(ctx)
		if refused = err; err == nil {
			defer conn.Close()
		}
	}
	require.ErrorContains(t, refused, "max_user_connections")
	require.NoError(t, procAdmin(t, c).PingContext(ctx))
}

func TestExtraOptionsThatBreakTheProtocolAreRefused(t *testing.T) {
	for extra, want := range map[string]string{
		"--gtid-mode=OFF":                     "gtid_mode=ON",
		"--GTID_MODE=off":                     "gtid_mode=ON",
		"--gtid-mod=OFF":                      "beginning of gtid_mode",
		"--loose-gtid-mode=OFF":               "gtid_mode=ON",
		"--relay-log-recovery":                "relay_log_recovery=OFF",
		"--enable-relay-log-recovery":         "relay_log_recovery=OFF",
		"--datadir=/other":                    "datadir=/d/data",
		"--skip-super-read-only":              "super_read_only=ON",
		"--sync-binlog=0":                     "sync_binlog=1",
		"--skip-log-bin":                      "log_bin=binlog",
		"--disable-log-bin":                   "log_bin=binlog",
		"--skip-log-slave-updates":            "log_replica_updates=ON",
		"--skip-slave-start=OFF":              "skip_replica_start=ON",
		"--rpl-semi-sync-source-timeout=1000": "rpl_semi_sync_source_timeout=315360000000",
		"--rpl-semi-sync-master-enabled=1":    "rpl_semi_sync_source_enabled=OFF",
		"--port=3307":                         "port=3306",
		"--plugin-load=x.so":                  "plugin-load-add",
		"--skip-networking":                   "other nodes",
		"--skip-grant-tables":                 "locked",
		"--slave-skip-errors=all":             "replicas must hold everything",
		"--persisted-globals-load=ON":         "persisted_globals_load=OFF",
		"--server-uuid=x":                     "new one",
		"-P3307":                              "--name=value",
		"max_connections=5":                   "--name=value",
	} {
		c := plainConfig()
		c.Extra = []string{"--max-connections=10", extra}
		err := c.Validate()
		require.ErrorContains(t, err, want, extra)
		require.ErrorContains(t, err, extra, "names what the user wrote")
		require.NotContains(t, err.Error(), "\n")
	}
	c := plainConfig()
	c.Extra = []string{"--max-connections", "10"}
	require.ErrorContains(t, c.Validate(), "--max-connections=10")
}

func TestExtraOptionsThatDoNotHarmPass(t *testing.T) {
	c := plainConfig()
	c.Extra = []string{
		"--max-connections=10", "--sql-mode=", "--plugin-load-add=x.so", "--skip-name-resolve=OFF", "--gtid-mode=ON", "--sync_binlog=1",
		"--relay-log-recovery=0", "--log-bin-trust-function-creators=OFF", "--character-set-server=latin1", "--innodb-redo-log-capacity=1G",
		"--binlog-expire-logs-seconds=3600", "--skip-show-database", "--init-connect=SET a # b", "--clone-ddl-timeout=5",
	}
	require.NoError(t, c.Validate())
	require.Equal(t, append([]string{"--defaults-file=/d/run/my.cnf"}, c.Extra...), c.Args())
}

func TestConfigIsRefusedBeforeMysqldWould(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"absolute":   func(c *Config) { c.Dir = "rel" },
		"107":        func(c *Config) { c.Dir = "/" + strings.Repeat("x", 100) },
		"server id":  func(c *Config) { c.ServerID = 0 },
		"port 70000": func(c *Config) { c.Port = 70000 },
		"NUL":        func(c *Config) { c.Host = "a\x00b" },
		"-1 bytes":   func(c *Config) { c.BufferPoolBytes = -1 },
	} {
		c := plainConfig()
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}

func TestWriteConfigReplacesTheFile(t *testing.T) {
	c := plainConfig()
	c.Dir = t.TempDir()
	require.NoError(t, WriteConfig(c))
	c.Port = 3399
	require.NoError(t, WriteConfig(c))
	data, err := os.ReadFile(c.File())
	require.NoError(t, err)
	require.Contains(t, string(data), "\nport=\"3399\"\n")
	entries, err := os.ReadDir(filepath.Dir(c.File()))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
}

// On a big machine MySQL's own size lets a replica apply more in parallel; on a small one the coordinator would take a CPU.
func TestFewCPUsLimitWhatIsDeclaredIndependent(t *testing.T) {
	const name = "binlog_transaction_dependency_history_size"
	for cpus, want := range map[int]string{1: "16", 4: "16", 5: "", 64: ""} {
		got := ""
		for _, s := range (Config{CPUs: cpus}).replicationSettings() {
			if s.name == name {
				got = s.value
			}
		}
		require.Equal(t, want, got, cpus)
	}
	require.Positive(t, Config{}.cpus())
	require.NoError(t, checkExtra([]string{"--binlog-transaction-dependency-history-size=25000"}, Config{CPUs: 2}.replicationSettings()), "the user's own wins")
}
