package mysql

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// versionTimeout bounds one `mysqld --version`; the binary may come from a cold, slow disk.
const versionTimeout = 20 * time.Second

// The oldest supported series and the one the tests run against.
const (
	oldestMajor, oldestMinor = 8, 4
	testedMajor, testedMinor = 9, 7
)

// ErrTooOld is in the chain of the error for a mysqld below the supported series.
var ErrTooOld = errors.New("mysqld is too old")

// ErrNotMySQL is in the chain of the error for a server that is no MySQL, or gives no version.
var ErrNotMySQL = errors.New("not a MySQL server")

// usualPlaces are where packages and the official images keep mysqld when it is not on PATH.
var usualPlaces = []string{
	"/usr/sbin/mysqld", "/usr/libexec/mysqld", "/usr/local/mysql/bin/mysqld", "/usr/local/sbin/mysqld", "/usr/local/bin/mysqld", "/opt/mysql/bin/mysqld",
}

// FindMysqld looks up the server binary (want: a path, a name on PATH, or empty for "mysqld") and
// reads its version. A version that is too old gives ErrTooOld together with path and version;
// VersionWarning tells about one that is merely untested.
func FindMysqld(ctx context.Context, want string) (path, version string, err error) {
	path, err = lookUp(want, usualPlaces)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := commandOutput(ctx, path, "--no-defaults", "--version")
	if err != nil {
		return path, "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	version, err = parseVersion(out)
	if err != nil {
		return path, "", fmt.Errorf("read version of %s: %w", path, err)
	}
	if err := checkVersion(version); err != nil {
		return path, version, fmt.Errorf("%s: %w", path, err)
	}
	return path, version, nil
}

// lookUp finds want on PATH or as a path; an empty want is "mysqld", also at the usual places.
func lookUp(want string, places []string) (string, error) {
	name := want
	if name == "" {
		name = "mysqld"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	if want != "" {
		return "", fmt.Errorf("find mysqld %q: %w", want, err)
	}
	for _, p := range places {
		if isProgram(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("find mysqld: neither on PATH nor at %s: install MySQL %d.%d or newer, or name its path",
		strings.Join(places, ", "), oldestMajor, oldestMinor)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&fs.FileMode(0o111) != 0
}

// findBeside finds a client program next to the server, else on PATH; empty when there is none.
func findBeside(mysqld, name string) string {
	dir := filepath.Dir(mysqld)
	for _, p := range []string{filepath.Join(dir, name), filepath.Join(dir, "..", "bin", name)} {
		if isProgram(p) {
			return p
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return ""
}

// versionPattern reads "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))".
var versionPattern = regexp.MustCompile(`\bVer (\d+\.\d+\.\d+)(\S*)`)

// parseVersion takes the version out of what `mysqld --version` prints.
func parseVersion(out string) (string, error) {
	line := strings.TrimSpace(out)
	m := versionPattern.FindStringSubmatch(line)
	if m == nil {
		return "", fmt.Errorf("%w: --version says %q", ErrNotMySQL, line)
	}
	if strings.Contains(strings.ToLower(line), "mariadb") {
		return "", fmt.Errorf("%w: it is MariaDB %s, which has no CLONE and other GTIDs", ErrNotMySQL, m[1])
	}
	return m[1], nil
}

// checkVersion is nil for a supported version, ErrTooOld for one below the oldest series.
func checkVersion(version string) error {
	major, minor, err := series(version)
	if err != nil {
		return err
	}
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return fmt.Errorf("%w: it is %s, supported is %d.%d or newer", ErrTooOld, version, oldestMajor, oldestMinor)
	}
	return nil
}

// VersionWarning is the sentence to log for a supported but untested series, empty for the tested one.
func VersionWarning(version string) string {
	major, minor, err := series(version)
	if err != nil {
		return fmt.Sprintf("mysqld version %q cannot be read; tested is %d.%d", version, testedMajor, testedMinor)
	}
	if major == testedMajor && minor == testedMinor {
		return ""
	}
	return fmt.Sprintf("mysqld %s is untested; tested is %d.%d", version, testedMajor, testedMinor)
}

func series(version string) (major, minor int, err error) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return 0, 0, fmt.Errorf("read version %q: want major.minor.patch", version)
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, fmt.Errorf("read version %q: want major.minor.patch", version)
	}
	return major, minor, nil
}
