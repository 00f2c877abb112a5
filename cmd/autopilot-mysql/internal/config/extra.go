package config

import "strings"

// owned maps mysqld options to the setting that decides them, or to "" when the safety protocol does and nothing may.
var owned = map[string]string{
	"datadir": "datadir", "port": "port", "bind-address": "bind", "innodb-buffer-pool-size": "buffer-pool",
	"sync-relay-log": "sync-relay-log", "user": "run-as", "report-host": "advertise", "report-port": "advertise-port",
	"replica-net-timeout": "lease", "socket": "datadir", "pid-file": "datadir",
	"ssl-ca": "mysql-ca", "ssl-cert": "mysql-cert", "ssl-key": "mysql-key", "require-secure-transport": "mysql-tls-required",
	"defaults-file": "", "defaults-extra-file": "", "no-defaults": "", "initialize": "", "initialize-insecure": "",
	"daemonize": "", "upgrade": "", "bootstrap": "", "server-id": "", "gtid-mode": "", "enforce-gtid-consistency": "",
	"log-bin": "", "log-replica-updates": "", "log-slave-updates": "", "sync-binlog": "", "innodb-flush-log-at-trx-commit": "",
	"relay-log-recovery": "", "read-only": "", "super-read-only": "", "offline-mode": "", "event-scheduler": "",
	"replica-start": "", "slave-start": "", "grant-tables": "", "networking": "",
}

// ownedPrefixes are whole families of such options.
var ownedPrefixes = []string{"rpl-semi-sync", "replicate-", "binlog-do-db", "binlog-ignore-db", "group-replication"}

// checkExtra refuses mysqld arguments that would take a decision away from the settings or from the safety protocol.
func (r *resolver) checkExtra(s *Settings) {
	for _, arg := range s.Extra {
		name, isOption := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		if !isOption || name == "" {
			if !strings.HasPrefix(arg, "-") {
				r.problems.add("write --option=value in one word", "mysqld argument %q is not an option", arg)
			}
			continue
		}
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		for _, prefix := range []string{"loose-", "skip-", "disable-", "enable-"} {
			name = strings.TrimPrefix(name, prefix)
		}
		setting, ok := owned[name]
		switch {
		case ok && setting != "":
			r.problems.add("use the setting, not the argument", "mysqld argument %s contradicts %s", optionOf(arg), r.cite(setting))
		case ok || hasAnyPrefix(name, ownedPrefixes):
			r.problems.add("leave it out", "mysqld argument %s belongs to the cluster's safety and cannot be set", optionOf(arg))
		}
	}
}

// optionOf is the argument without its value, which may be a secret.
func optionOf(arg string) string {
	name, _, _ := strings.Cut(arg, "=")
	return name
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
