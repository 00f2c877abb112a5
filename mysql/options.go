package mysql

import (
	"fmt"
	"strconv"
	"strings"
)

// forbidden are options that are nowhere in the option file and still must not be given by the user,
// each with the reason an operator reads.
var forbidden = map[string]string{
	"defaults_file":                   "autopilot-mysql writes the option file itself",
	"defaults_extra_file":             "autopilot-mysql writes the option file itself",
	"defaults_group_suffix":           "autopilot-mysql writes the option file itself",
	"no_defaults":                     "autopilot-mysql writes the option file itself",
	"initialize":                      "autopilot-mysql decides who initialises a database",
	"initialize_insecure":             "autopilot-mysql decides who initialises a database",
	"daemonize":                       "mysqld must stay a child of the guard",
	"skip_networking":                 "the other nodes must reach this one",
	"skip_grant_tables":               "a replication account could not be locked",
	"init_file":                       "it writes at every start; use the init directory",
	"plugin_load":                     "it would drop the semi-synchronous plugins; use --plugin-load-add",
	"binlog_format":                   "only row events replicate exactly",
	"binlog_error_action":             "a write that is not in the binary log could be acknowledged",
	"binlog_do_db":                    "replicas must hold everything",
	"binlog_ignore_db":                "replicas must hold everything",
	"replicate_do_db":                 "replicas must hold everything",
	"replicate_ignore_db":             "replicas must hold everything",
	"replicate_do_table":              "replicas must hold everything",
	"replicate_ignore_table":          "replicas must hold everything",
	"replicate_wild_do_table":         "replicas must hold everything",
	"replicate_wild_ignore_table":     "replicas must hold everything",
	"replicate_rewrite_db":            "replicas must hold everything",
	"replicate_same_server_id":        "a node must get back what it wrote itself and has lost",
	"replica_skip_errors":             "replicas must hold everything",
	"replica_exec_mode":               "replicas must hold everything",
	"relay_log_purge":                 "relay logs are kept until they are executed",
	"relay_log_index":                 "the relay log has a fixed name",
	"log_bin_index":                   "the binary log has a fixed name",
	"sync_source_info":                "autopilot-mysql keeps positions by GTID",
	"innodb_read_only":                "a node must be able to become primary",
	"innodb_force_recovery":           "a damaged node must be rebuilt, not served",
	"innodb_doublewrite":              "a torn page would lose acknowledged writes",
	"server_uuid":                     "autopilot-mysql gives every rebuilt node a new one",
	"innodb_data_home_dir":            "all data must be inside the node directory",
	"innodb_log_group_home_dir":       "all data must be inside the node directory",
	"innodb_undo_directory":           "all data must be inside the node directory",
	"group_replication_start_on_boot": "two replication managers do not mix",
}

// option is one of the user's mysqld options, its name in canonical spelling.
type option struct {
	raw, name, value string
	hasValue         bool
}

// parseExtra reads the user's options in all spellings mysqld takes: dashes or underscores, the
// prefixes loose, maximum, skip, disable, enable, and a value in the next argument.
func parseExtra(extra []string) ([]option, error) {
	var all []option
	for i := 0; i < len(extra); i++ {
		raw := extra[i]
		body, long := strings.CutPrefix(raw, "--")
		if !long || body == "" {
			return nil, fmt.Errorf("mysqld option %q: write it as --name=value", raw)
		}
		o := option{raw: raw}
		o.name, o.value, o.hasValue = strings.Cut(body, "=")
		o.name = canonical(o.name)
		if !o.hasValue && i+1 < len(extra) && !strings.HasPrefix(extra[i+1], "-") {
			return nil, fmt.Errorf("mysqld option %q %q: write it as %s=%s", raw, extra[i+1], raw, extra[i+1])
		}
		for _, p := range []struct{ prefix, value string }{{"skip_", "OFF"}, {"disable_", "OFF"}, {"enable_", "ON"}} {
			if rest, ok := strings.CutPrefix(o.name, p.prefix); ok && !keepsPrefix[o.name] {
				o.name, o.value, o.hasValue = rest, p.value, true
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// keepsPrefix are names in which skip_ is part of the name and not the negation of an option.
var keepsPrefix = map[string]bool{
	"skip_name_resolve": true, "skip_networking": true, "skip_grant_tables": true, "skip_replica_start": true,
	"skip_show_database": true, "skip_stack_trace": true, "skip_external_locking": true, "skip_host_cache": true,
}

var oldWords = strings.NewReplacer("slave", "replica", "master", "source")

func canonical(name string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	for _, p := range []string{"loose_", "maximum_"} {
		name = strings.TrimPrefix(name, p)
	}
	return oldWords.Replace(name)
}

// checkExtra refuses options that would break a promise of the protocol. mysqld takes every
// unambiguous beginning of a name, so a beginning of a protected name is refused as well.
func checkExtra(extra []string, all []setting) error {
	options, err := parseExtra(extra)
	if err != nil {
		return err
	}
	for _, o := range options {
		if why, bad := forbidden[o.name]; bad {
			return fmt.Errorf("mysqld option %q: not allowed: %s", o.raw, why)
		}
		for _, s := range all {
			if s.protected && s.name == o.name && !sameValue(o, s.value) {
				return fmt.Errorf("mysqld option %q: the cluster needs %s=%s", o.raw, s.name, s.value)
			}
			if s.protected && o.name != s.name && strings.HasPrefix(s.name, o.name) && !isSetting(all, o.name) {
				return fmt.Errorf("mysqld option %q: is a beginning of %s, and the cluster needs %s=%s; write names in full",
					o.raw, s.name, s.name, s.value)
			}
		}
	}
	return nil
}

func isSetting(all []setting, name string) bool {
	for _, s := range all {
		if s.name == name {
			return true
		}
	}
	return false
}

// sameValue tells whether the user merely repeats what the cluster sets anyway.
func sameValue(o option, want string) bool {
	got := o.value
	if !o.hasValue {
		got = "ON"
	}
	return boolWord(got) == boolWord(want)
}

func boolWord(v string) string {
	switch strings.ToUpper(v) {
	case "1", "ON", "TRUE":
		return "ON"
	case "0", "OFF", "FALSE":
		return "OFF"
	}
	return v
}

// extraInt is the last value the user gave for a whole-number option.
func extraInt(extra []string, name string) (int, bool) {
	options, err := parseExtra(extra)
	if err != nil {
		return 0, false
	}
	for i := len(options) - 1; i >= 0; i-- {
		if options[i].name != name {
			continue
		}
		n, err := strconv.Atoi(options[i].value)
		return n, err == nil
	}
	return 0, false
}
