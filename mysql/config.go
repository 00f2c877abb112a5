package mysql

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	// maxSocketPath is the longest unix socket path mysqld accepts (sun_path is 108 bytes with its NUL).
	maxSocketPath = 107

	// maxConnections is what applications and cluster share unless the user sets max_connections.
	maxConnections = 544
	// spareConnections stay free when one account uses up all it may have: max_connections alone
	// would leave a single login to everybody with CONNECTION_ADMIN together.
	spareConnections = 32

	// semiSyncTimeout is ten years in milliseconds. MySQL's own fall-back to asynchronous would
	// acknowledge what nobody holds, so it must never come.
	semiSyncTimeout = 10 * 365 * 24 * 3600 * 1000

	// defaultSyncRelayLog is MySQL's default; 1 survives a power cut of every acker at two thirds of
	// the throughput (measured, 8 writers).
	defaultSyncRelayLog = 10000

	// binlogExpire is how long a replica may be away and still find its place: a week.
	binlogExpire = 7 * 24 * 3600
	// maxBinlogSize bounds how long a source looks for the place of a receiver that connects: it reads the log file of that
	// place from its beginning, about 1 ms for each MB of small transactions (measured). With MySQL's 1 GiB that was up to a
	// second without writes after a failover. The same holds for a mysqld that recovers: it reads the newest file.
	maxBinlogSize, smallMaxBinlogSize = 64 << 20, 4 << 20

	// parallelWorkers are the threads that apply on a replica.
	parallelWorkers = 16
	// fewCPUs is on how many CPUs one that is kept busy for nothing takes a good part of what there is.
	fewCPUs = 4

	smallBufferPool   = 64 << 20
	defaultBufferPool = 128 << 20
)

// Config says how the mysqld of one node runs. It is a value and may be copied.
type Config struct {
	// Dir is the node directory: the volume. mysqld's own files are below Dir/data, run-time files
	// (socket, my.cnf, pid) below Dir/run.
	Dir string
	// Mysqld is the path of the server binary.
	Mysqld string
	// Host is the address mysqld listens on; empty means all of them.
	Host string
	// Port is the TCP port mysqld listens on.
	Port int
	// ReportHost and ReportPort are where the other nodes reach this one; empty and zero mean Host and Port.
	ReportHost string
	ReportPort int
	// ServerID must differ between all nodes of a cluster; 1 … 2^32-1.
	ServerID uint32
	// BufferPoolBytes is innodb_buffer_pool_size; zero means 128 MiB (64 MiB when Small).
	BufferPoolBytes int64
	// ReplNetTimeout is how long a receiver waits for a silent source; rounded up to seconds, zero means 5 s.
	ReplNetTimeout time.Duration
	// SyncRelayLog is sync_relay_log; zero means MySQL's default of 10000 events.
	SyncRelayLog int
	// Extra are the user's own mysqld options. They come last, so they win; Validate refuses those
	// that would break a promise of the protocol.
	Extra []string
	// User is the operating system user mysqld runs as; empty means the one that starts it.
	User string
	// CPUs is how many mysqld may use; 0: those that this process may use.
	CPUs int
	// Small trades speed for memory and disk: playgrounds and tests run many servers on one machine.
	Small bool
	// TLS are the certificates of the node and the CA of the others.
	TLS TLS
	// Log receives what helper processes (initialise, clone) say, line by line; nil drops it.
	Log func(line string)
}

// Socket is the unix socket of the node's mysqld.
func (c Config) Socket() string { return filepath.Join(c.runDir(), "mysql.sock") }

// DataDir is the data directory of the node's mysqld.
func (c Config) DataDir() string { return filepath.Join(c.Dir, "data") }

// File is the path of the option file WriteConfig writes.
func (c Config) File() string { return filepath.Join(c.runDir(), "my.cnf") }

func (c Config) runDir() string { return filepath.Join(c.Dir, "run") }

// Args are the arguments of mysqld, without the program name: the option file, then the user's own
// options. WriteConfig must have been called with the same Config.
func (c Config) Args() []string {
	return append([]string{"--defaults-file=" + c.File()}, c.Extra...)
}

// Validate checks what mysqld itself would only complain about after its start, or not at all.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("node directory %q: must be an absolute path", c.Dir)
	case len(c.Socket()) > maxSocketPath:
		return fmt.Errorf("socket path %q: has %d bytes, the system takes at most %d; use a shorter node directory",
			c.Socket(), len(c.Socket()), maxSocketPath)
	case c.ServerID == 0:
		return fmt.Errorf("server id of %q: is 0, replication needs 1 to %d", c.Dir, uint32(math.MaxUint32))
	case c.Port < 1 || c.Port > math.MaxUint16:
		return fmt.Errorf("port %d: must be 1 to %d", c.Port, math.MaxUint16)
	case c.BufferPoolBytes < 0:
		return fmt.Errorf("buffer pool of %d bytes: must not be negative", c.BufferPoolBytes)
	}
	for _, s := range c.settings() {
		if strings.ContainsRune(s.value, 0) {
			return fmt.Errorf("option %s: holds a NUL byte", s.name)
		}
	}
	return checkExtra(c.Extra, c.settings())
}

// WriteConfig validates c, makes Dir/run and writes the option file there, atomically.
func WriteConfig(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := c.ownDir(c.runDir(), 0o755); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	if err := writeFileAtomic(c.File(), []byte(render(c.settings())), 0o644); err != nil {
		return fmt.Errorf("write mysqld option file: %w", err)
	}
	return nil
}

// setting is one line of the option file. A protected one carries a promise of the protocol, so the
// user's own options may not change it.
type setting struct {
	name, value string
	protected   bool
}

// settings is the whole option file in order.
func (c Config) settings() []setting {
	var all []setting
	all = append(all, c.placeSettings()...)
	all = append(all, c.TLS.settings()...)
	all = append(all, startSettings()...)
	all = append(all, c.replicationSettings()...)
	all = append(all, semiSyncSettings()...)
	all = append(all, c.engineSettings()...)
	return append(all, c.sizeSettings()...)
}

func (c Config) placeSettings() []setting {
	host := c.Host
	if host == "" {
		host = "*"
	}
	s := []setting{
		{"datadir", c.DataDir(), true},
		{"socket", c.Socket(), true},
		{"pid_file", filepath.Join(c.runDir(), "mysqld.pid"), true},
		{"bind_address", host, true},
		{"port", strconv.Itoa(c.Port), true},
		{"mysqlx", "OFF", false},
		{"skip_name_resolve", "ON", false},
		{"secure_file_priv", "NULL", false},
		// A persisted variable would silently win over everything in this file.
		{"persisted_globals_load", "OFF", true},
	}
	if user := c.osUser(); user != "" {
		s = append(s, setting{"user", user, true})
	}
	return s
}

// startSettings keep a starting server closed: only a role opens it (protocol: START).
func startSettings() []setting {
	return []setting{
		{"super_read_only", "ON", true},
		{"read_only", "ON", true},
		{"offline_mode", "ON", true},
		{"skip_replica_start", "ON", true},
		{"event_scheduler", "OFF", true},
	}
}

func (c Config) replicationSettings() []setting {
	host, port := c.ReportHost, c.ReportPort
	if host == "" {
		host = c.Host
	}
	if port == 0 {
		port = c.Port
	}
	sync := c.SyncRelayLog
	if sync == 0 {
		sync = defaultSyncRelayLog
	}
	s := []setting{
		{"server_id", strconv.FormatUint(uint64(c.ServerID), 10), true},
		{"gtid_mode", "ON", true},
		{"enforce_gtid_consistency", "ON", true},
		{"log_bin", "binlog", true},
		{"log_replica_updates", "ON", true},
		// A receiver drops what carries its own server_id, although GTIDs end every loop. A former primary whose disk lost the
		// end of its binary log would never get that end back from those who acknowledged it (trap 23, measured).
		{"replicate_same_server_id", "ON", true},
		{"sync_binlog", "1", true},
		// ON looks at the newest binary log only. A server that is killed while it starts leaves one with no GTIDs in it, and
		// then forgets the GTID of what its recovery before has committed: it would give it away again (trap 24, measured).
		{"binlog_gtid_simple_recovery", "OFF", true},
		{"binlog_expire_logs_seconds", strconv.Itoa(binlogExpire), false},
		{"max_binlog_size", strconv.Itoa(c.maxBinlogSize()), false}, // of relay logs, too
		// Users without SUPER could otherwise create no function or trigger; row events make it safe.
		{"log_bin_trust_function_creators", "ON", false},
		{"relay_log", "relay", true},
		// ON would discard acknowledged events at the start of an acker (measured: all of them).
		{"relay_log_recovery", "OFF", true},
		{"sync_relay_log", strconv.Itoa(sync), true},
		// With MySQL's 4 a replica applies slower than 8 clients write, and its coordinator spins for a free worker (measured:
		// `make bench NAME=appliers`). What is not applied has to be before anybody can take over.
		{"replica_parallel_workers", strconv.Itoa(parallelWorkers), false},
		{"replica_preserve_commit_order", "ON", true},
		{"replica_net_timeout", strconv.Itoa(c.replNetSeconds()), true},
		{"report_port", strconv.Itoa(port), true},
	}
	if c.cpus() <= fewCPUs {
		// A coordinator that finds no free worker asks again and again until there is one: almost half of the CPU time of a replica
		// that is behind (measured). It waits in order instead when fewer transactions than there are workers are declared
		// independent of each other. What clients commit at the same time is applied in parallel all the same.
		s = append(s, setting{"binlog_transaction_dependency_history_size", strconv.Itoa(parallelWorkers), false})
	}
	if host != "" {
		s = append(s, setting{"report_host", host, true})
	}
	return s
}

// cpus is how many CPUs this process, and so mysqld, may use: those of its affinity, within its container's limit.
func (c Config) cpus() int { return cmp.Or(c.CPUs, runtime.GOMAXPROCS(0)) }

func (c Config) maxBinlogSize() int {
	if c.Small { // logs rotate within seconds: under every test and every fault
		return smallMaxBinlogSize
	}
	return maxBinlogSize
}

func (c Config) replNetSeconds() int {
	if c.ReplNetTimeout <= 0 {
		return 5
	}
	return int(math.Ceil(c.ReplNetTimeout.Seconds()))
}

// semiSyncSettings load both sides, off; FORCE makes a missing plugin an error at the start and not
// at the first promotion.
func semiSyncSettings() []setting {
	return []setting{
		{"plugin_load_add", "semisync_source.so", false},
		{"plugin_load_add", "semisync_replica.so", false},
		{"plugin_load_add", "mysql_clone.so", false},
		{"rpl_semi_sync_source", "FORCE", true},
		{"rpl_semi_sync_replica", "FORCE", true},
		{"clone", "FORCE", true},
		{"rpl_semi_sync_source_enabled", "OFF", true},
		{"rpl_semi_sync_replica_enabled", "OFF", true},
		{"rpl_semi_sync_source_timeout", strconv.Itoa(semiSyncTimeout), true},
		{"rpl_semi_sync_source_wait_no_replica", "ON", true},
		{"rpl_semi_sync_source_wait_point", "AFTER_SYNC", true},
	}
}

func (c Config) engineSettings() []setting {
	return []setting{
		{"character_set_server", "utf8mb4", false},
		{"collation_server", "utf8mb4_0900_ai_ci", false},
		{"innodb_flush_log_at_trx_commit", "1", true},
		// OFF, MySQL's default with few cores and a binary log, makes now and then all commits wait for 100 ms: the one that
		// writes the redo log waits that long for a wake-up it missed. The e2e soak commit-pauses counts both.
		{"innodb_log_writer_threads", "ON", false},
		// Clones carry InnoDB tables only: rows of these engines would be lost on every new replica.
		{"disabled_storage_engines", "MyISAM,ARCHIVE,BLACKHOLE,FEDERATED", false},
		{"performance_schema", "ON", true},
	}
}

func (c Config) sizeSettings() []setting {
	pool := c.BufferPoolBytes
	if pool == 0 {
		pool = defaultBufferPool
		if c.Small {
			pool = smallBufferPool
		}
	}
	s := []setting{{"innodb_buffer_pool_size", strconv.FormatInt(pool, 10), false}}
	limit := maxConnections
	if c.Small {
		limit = 160
	}
	if n, ok := extraInt(c.Extra, "max_connections"); ok {
		limit = n
	} else {
		s = append(s, setting{"max_connections", strconv.Itoa(limit), false})
	}
	if limit > 2*spareConnections {
		s = append(s, setting{"max_user_connections", strconv.Itoa(limit - spareConnections), false})
	}
	if c.Small {
		s = append(s, smallSettings()...)
	}
	return s
}

// smallSettings fit several servers into one machine. performance_schema stays: Status reads it.
func smallSettings() []setting {
	return []setting{
		{"innodb_redo_log_capacity", strconv.Itoa(32 << 20), false},
		{"innodb_flush_method", "fsync", false},
		{"innodb_log_buffer_size", strconv.Itoa(4 << 20), false},
		{"innodb_ddl_threads", "2", false},
		{"table_open_cache", "200", false},
		{"table_definition_cache", "400", false},
		{"key_buffer_size", strconv.Itoa(1 << 20), false},
		{"performance_schema_accounts_size", "20", false},
		{"performance_schema_hosts_size", "20", false},
		{"performance_schema_users_size", "20", false},
		{"performance_schema_max_memory_classes", "0", false},
		{"performance_schema_digests_size", "200", false},
		{"performance_schema_events_statements_history_size", "1", false},
		{"performance_schema_max_sql_text_length", "256", false},
		{"performance_schema_max_digest_length", "256", false},
		{"performance_schema_error_size", "200", false},
		{"performance_schema_events_statements_history_long_size", "10", false},
		{"performance_schema_events_stages_history_long_size", "10", false},
		{"performance_schema_events_waits_history_long_size", "10", false},
		{"performance_schema_events_transactions_history_long_size", "10", false},
	}
}

// render writes the option file: every value quoted, so that # ; $ and spaces in it mean themselves.
func render(all []setting) string {
	var b strings.Builder
	b.WriteString("# written by autopilot-mysql at every start; changes here are lost\n[mysqld]\n")
	for _, s := range all {
		b.WriteString(s.name + "=" + quoteOption(s.value) + "\n")
	}
	return b.String()
}

var optionEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

func quoteOption(v string) string { return `"` + optionEscapes.Replace(v) + `"` }

// osUser is what mysqld is told to become: as root it refuses to start without being told.
func (c Config) osUser() string {
	if c.User == "" && os.Geteuid() == 0 {
		return "root"
	}
	return c.User
}

// ClearStale removes what a killed server left in Dir/run: its socket, the lock file beside it, its pid file. mysqld
// believes the lock file's pid, which after a restart of the container, or while the killed process is a zombie, belongs
// to somebody. Call it only when no mysqld of this node runs; the data itself is guarded by InnoDB's own file locks.
func ClearStale(c Config) error {
	for _, path := range []string{c.Socket(), c.Socket() + ".lock", filepath.Join(c.runDir(), "mysqld.pid")} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clear leftovers of a killed mysqld: %w", err)
		}
	}
	return nil
}
