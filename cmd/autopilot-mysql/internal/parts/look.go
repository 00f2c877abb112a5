package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// oldestMySQL is the first supported series: 8.4 by design.
var oldestMySQL = version{8, 4}

// oldestFetched is the series the distribution has to deliver: the one this product is tested with.
var oldestFetched = version{9, 7}

// versionTimeout bounds one `--version`; on a busy machine starting mysqld's loader alone takes a second.
const versionTimeout = 20 * time.Second

// version is major and minor of a server, all a series is made of.
type version [2]int

func (v version) less(o version) bool {
	return v[0] < o[0] || v[0] == o[0] && v[1] < o[1]
}

var (
	mysqldVersion = regexp.MustCompile(`Ver ((\d+)\.(\d+)\.\d+)`)
	consulVersion = regexp.MustCompile(`Consul v(\d+\.\d+\.\d+)`)

	errMariaDB = errors.New("is MariaDB, not MySQL")
)

// parseMysqld reads the output of `mysqld --version`.
func parseMysqld(out string) (text string, v version, err error) {
	if strings.Contains(out, "MariaDB") {
		return "", version{}, errMariaDB
	}
	m := mysqldVersion.FindStringSubmatch(out)
	if m == nil {
		return "", version{}, fmt.Errorf("does not tell its version, but %q", firstLine(out))
	}
	// The pattern matched digits; a number too large for an int is no version.
	if v[0], err = strconv.Atoi(m[2]); err != nil {
		return "", version{}, fmt.Errorf("parse version: %w", err)
	}
	if v[1], err = strconv.Atoi(m[3]); err != nil {
		return "", version{}, fmt.Errorf("parse version: %w", err)
	}
	return m[1], v, nil
}

// checkMysqld runs path and returns its version if it is a MySQL of at least the series oldest.
func checkMysqld(ctx context.Context, path string, oldest version) (string, error) {
	out, err := runVersion(ctx, path, "--version")
	if err != nil {
		return "", err
	}
	text, v, err := parseMysqld(out)
	if err != nil {
		return "", fmt.Errorf("%s %w", path, err)
	}
	if v.less(oldest) {
		return "", fmt.Errorf("%s is MySQL %s, older than %d.%d", path, text, oldest[0], oldest[1])
	}
	return text, nil
}

// checkConsul runs path and returns its version.
func checkConsul(ctx context.Context, path string) (string, error) {
	out, err := runVersion(ctx, path, "version")
	if err != nil {
		return "", err
	}
	m := consulVersion.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s does not tell its version, but %q", path, firstLine(out))
	}
	return m[1], nil
}

func runVersion(ctx context.Context, path, arg string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arg)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", path, arg, err, firstLine(string(out)))
	}
	return string(out), nil
}

// lookMysqld returns the server named by the user or on PATH, "" if there is none that fits. A server the user named
// must fit; one on PATH that does not is passed over with a word about it.
func lookMysqld(ctx context.Context, o Options) (path, version string, err error) {
	for _, named := range []string{o.Mysqld, os.Getenv("MYSQLD")} {
		if named != "" {
			return checkNamed(ctx, "mysqld", named, func(ctx context.Context, p string) (string, error) {
				return checkMysqld(ctx, p, oldestMySQL)
			})
		}
	}
	for _, name := range []string{"mysqld", "/usr/sbin/mysqld"} {
		found, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		version, err := checkMysqld(ctx, found, oldestMySQL)
		if err == nil {
			return found, version, nil
		}
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		o.progress("passing over %s: %v", found, err)
	}
	return "", "", nil
}

// lookConsul is lookMysqld for Consul.
func lookConsul(ctx context.Context, o Options) (path, version string, err error) {
	for _, named := range []string{o.Consul, os.Getenv("CONSUL_BIN")} {
		if named != "" {
			return checkNamed(ctx, "consul", named, checkConsul)
		}
	}
	found, err := exec.LookPath("consul")
	if err != nil {
		return "", "", nil //nolint:nilerr // there is none; one can be fetched
	}
	if version, err = checkConsul(ctx, found); err == nil {
		return found, version, nil
	}
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	o.progress("passing over %s: %v", found, err)
	return "", "", nil
}

// checkNamed checks a program the user named and returns its absolute path and version.
func checkNamed(ctx context.Context, part, named string, check func(context.Context, string) (string, error)) (string, string, error) {
	found, err := exec.LookPath(named)
	if err != nil {
		return "", "", fmt.Errorf("find %s: %w", part, err)
	}
	if found, err = filepath.Abs(found); err != nil {
		return "", "", fmt.Errorf("find %s: %w", part, err)
	}
	version, err := check(ctx, found)
	if err != nil {
		return "", "", fmt.Errorf("find %s: %w", part, err)
	}
	return found, version, nil
}

// beside returns the tool in the server's folder, or where packages put it (server in sbin, tools in bin), or on PATH.
func beside(mysqld, tool string) string {
	dir := filepath.Dir(mysqld)
	for _, candidate := range []string{filepath.Join(dir, tool), filepath.Join(dir, "..", "bin", tool), tool} {
		if found, err := exec.LookPath(candidate); err == nil {
			if abs, err := filepath.Abs(found); err == nil {
				return abs
			}
		}
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
