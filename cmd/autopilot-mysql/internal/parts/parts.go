// Package parts finds the real programs a playground, the demo and the tests need (a MySQL server with its tools, and
// Consul), and on Debian fetches those that are missing into a cache folder.
//
// The order is: what the user names, PATH, the cache, the distribution's mirror. MariaDB calls its server mysqld too and
// is passed over. Nothing is installed into the system but mmdebstrap, the tool that unpacks the packages.
package parts

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Parts are absolute paths of programs that were run once with --version and answered.
type Parts struct {
	Mysqld        string `json:"mysqld"`
	MysqldVersion string `json:"mysqld_version"`
	// Tools beside the server; empty if an installation on PATH comes without them.
	Mysql            string `json:"mysql"`
	Mysqlbinlog      string `json:"mysqlbinlog"`
	MysqlTzinfoToSQL string `json:"mysql_tzinfo_to_sql"`
	Consul           string `json:"consul,omitempty"`
	ConsulVersion    string `json:"consul_version,omitempty"`
	HAProxy          string `json:"haproxy,omitempty"`
}

// Env returns the assignments by which the project's tests find the parts, as KEY=value.
func (p Parts) Env() []string {
	env := []string{"AUTOPILOT_TEST_MYSQLD=" + p.Mysqld}
	if p.Mysql != "" {
		env = append(env, "AUTOPILOT_TEST_MYSQL="+p.Mysql)
	}
	if p.Consul != "" {
		env = append(env, "AUTOPILOT_TEST_CONSUL="+p.Consul)
	}
	if p.HAProxy != "" {
		env = append(env, "AUTOPILOT_TEST_HAPROXY="+p.HAProxy)
	}
	return env
}

// Options say where to look. The zero value looks everywhere and fetches silently.
type Options struct {
	Mysqld   string    // path given by the user; "" looks further
	Consul   string    // the same for Consul
	NoConsul bool      // a Consul is running elsewhere, none is needed
	HAProxy  bool      // find an HAProxy too, for tests
	Cache    string    // folder of fetched parts; "" is CacheDir()
	Offline  bool      // never fetch
	Progress io.Writer // one line per step; nil is silent
	// FetchTimeout bounds the fetch of one part, the wait for another fetcher included. Zero is ten minutes.
	FetchTimeout time.Duration
}

// MissingError says which part is not there and what to install. It is the operator's next step, so it is one line.
type MissingError struct {
	Part   string // "mysqld", "consul" or "haproxy"
	Reason string // why it cannot be fetched here
}

func (e *MissingError) Error() string {
	switch e.Part {
	case "consul":
		return "find consul: not on PATH and " + e.Reason + "; install Consul and put it on PATH, or name it with --consul-bin, or a running one with --consul"
	case "haproxy":
		return "find haproxy: not on PATH and " + e.Reason + "; install HAProxy and put it on PATH"
	default:
		return "find mysqld: no MySQL 8.4 or newer on PATH and " + e.Reason + "; install a MySQL server and put mysqld on PATH, or name it with --mysqld"
	}
}

// CacheDir is where fetched parts are kept: autopilot-mysql/parts below the user's cache directory.
func CacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	return filepath.Join(base, "autopilot-mysql", "parts"), nil
}

// Find returns all parts, fetching what is missing. It is bounded by ctx and by Options.FetchTimeout, and safe to call
// from several processes at once. A part that cannot be had is a *MissingError.
func Find(ctx context.Context, o Options) (Parts, error) {
	if o.Cache == "" {
		dir, err := CacheDir()
		if err != nil {
			return Parts{}, err
		}
		o.Cache = dir
	}
	if o.FetchTimeout == 0 {
		o.FetchTimeout = 10 * time.Minute
	}
	var p Parts
	if err := findMySQL(ctx, o, &p); err != nil {
		return Parts{}, err
	}
	if !o.NoConsul {
		if err := findConsul(ctx, o, &p); err != nil {
			return Parts{}, err
		}
	}
	if o.HAProxy {
		if err := findHAProxy(ctx, o, &p); err != nil {
			return Parts{}, err
		}
	}
	return p, nil
}

func (o Options) progress(format string, args ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", args...)
	}
}

// findMySQL fills in the server and its tools.
func findMySQL(ctx context.Context, o Options, p *Parts) error {
	path, version, err := lookMysqld(ctx, o)
	if err != nil {
		return err
	}
	if path != "" {
		p.Mysqld, p.MysqldVersion = path, version
		p.Mysql = beside(path, "mysql")
		p.Mysqlbinlog = beside(path, "mysqlbinlog")
		p.MysqlTzinfoToSQL = beside(path, "mysql_tzinfo_to_sql")
		return nil
	}
	return cachedMySQL(ctx, o, p)
}

// findConsul fills in Consul.
func findConsul(ctx context.Context, o Options, p *Parts) error {
	path, version, err := lookConsul(ctx, o)
	if err != nil {
		return err
	}
	if path != "" {
		p.Consul, p.ConsulVersion = path, version
		return nil
	}
	return cachedConsul(ctx, o, p)
}

// String is the line people see.
func (p Parts) String() string {
	lines := []string{fmt.Sprintf("MySQL %s (%s)", p.MysqldVersion, p.Mysqld)}
	if p.Consul != "" {
		lines = append(lines, fmt.Sprintf("Consul %s (%s)", p.ConsulVersion, p.Consul))
	}
	return strings.Join(lines, ", ")
}
