package parts

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// onlyPath makes dir, and the system's shell tools, all of PATH, and forgets what the environment names.
func onlyPath(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("PATH", dir+":/bin")
	t.Setenv("MYSQLD", "")
	t.Setenv("CONSUL_BIN", "")
}

func TestVersions(t *testing.T) {
	for out, want := range map[string]string{
		"/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))":                  "9.7.4",
		"mysqld  Ver 8.4.0 for Linux on aarch64 (MySQL Community Server - GPL)":         "8.4.0",
		"mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian)": "",
		"something else": "",
	} {
		text, _, err := parseMysqld(out)
		require.Equal(t, want, text, out)
		require.Equal(t, want == "", err != nil, out)
	}
	require.True(t, version{8, 4}.less(version{9, 0}))
	require.True(t, version{8, 3}.less(version{8, 4}))
	require.False(t, version{9, 0}.less(version{8, 4}))
	require.False(t, version{8, 4}.less(version{8, 4}))
}

func TestMariaDBAndOldServersOnPathArePassedOver(t *testing.T) {
	dir := t.TempDir()
	onlyPath(t, dir)
	var said bytes.Buffer
	for _, answer := range []string{"mysqld  Ver 10.11.6-MariaDB", "mysqld  Ver 8.0.36 for Linux"} {
		said.Reset()
		script(t, dir, "mysqld", "echo '"+answer+"'")
		_, err := Find(t.Context(), Options{Cache: t.TempDir(), Offline: true, Progress: &said})
		var missing *MissingError
		require.ErrorAs(t, err, &missing)
		require.Contains(t, said.String(), "passing over "+dir)
	}
}

func TestServerOnPathComesWithItsTools(t *testing.T) {
	dir := t.TempDir()
	onlyPath(t, filepath.Join(dir, "sbin"))
	mysqld := script(t, dir, "sbin/mysqld", "echo 'mysqld  Ver 8.4.3 for Linux'")
	mysql := script(t, dir, "bin/mysql", "")
	consul := script(t, dir, "sbin/consul", "echo 'Consul v1.22.0'")
	p, err := Find(t.Context(), Options{Cache: t.TempDir(), Offline: true})
	require.NoError(t, err)
	require.Equal(t, mysqld, p.Mysqld)
	require.Equal(t, "8.4.3", p.MysqldVersion)
	require.Equal(t, mysql, p.Mysql)
	require.Equal(t, consul, p.Consul)
	require.Equal(t, "1.22.0", p.ConsulVersion)
	require.Contains(t, p.Env(), "AUTOPILOT_TEST_MYSQLD="+mysqld)
}

func TestNamedServerMustFit(t *testing.T) {
	dir := t.TempDir()
	old := script(t, dir, "mysqld", "echo 'mysqld  Ver 5.7.44 for Linux'")
	_, err := Find(t.Context(), Options{Mysqld: old, Offline: true, NoConsul: true})
	require.ErrorContains(t, err, "older than 8.4")
	_, err = Find(t.Context(), Options{Mysqld: filepath.Join(dir, "none"), Offline: true, NoConsul: true})
	require.ErrorContains(t, err, "find mysqld")
}

// fakeMirror puts an mmdebstrap on PATH that unpacks a tree whose loader shows how it was called, and notes each call.
func fakeMirror(t *testing.T, version string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	onlyPath(t, dir)
	calls = filepath.Join(dir, "calls")
	script(t, dir, "mmdebstrap", `echo "$@" >>"`+calls+`"
for to; do :; done
mkdir -p "$to"/usr/lib/x-linux-gnu "$to"/usr/sbin
printf '#!/bin/sh\nprintf "%%s\\n" "$@"\necho " Ver `+version+` "\n' >"$to"/usr/lib/x-linux-gnu/ld-linux-x.so.2
chmod +x "$to"/usr/lib/x-linux-gnu/ld-linux-x.so.2
echo I: success`)
	return calls
}

func requireRootOnDebian(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || !debian() {
		t.Skip("fetching works only as root on Debian")
	}
}

func TestFetchesOnceAndPublishesByRename(t *testing.T) {
	requireRootOnDebian(t)
	calls := fakeMirror(t, "9.7.4")
	cache := filepath.Join(t.TempDir(), "it's a cache")
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := Find(context.Background(), Options{Cache: cache, NoConsul: true})
			errs <- err
		}()
	}
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
	b, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(b), "sid"), "two fetchers at once are one")
	left, err := filepath.Glob(filepath.Join(cache, "*fetching*"))
	require.NoError(t, err)
	require.Empty(t, left)

	// MySQL wants an option about defaults files first, whatever the wrapper adds.
	out, err := exec.Command(filepath.Join(cache, "bin", "mysqld"), "--defaults-file=/a b", "--port=1").Output()
	require.NoError(t, err)
	args := strings.Split(string(out), "\n")
	require.Equal(t, "--library-path", args[0])
	require.Equal(t, []string{filepath.Join(cache, "mysql-tree/usr/sbin/mysqld"), "--defaults-file=/a b", "--basedir=" + filepath.Join(cache, "mysql-tree/usr")}, args[2:5])
	require.Equal(t, "--port=1", args[7])
}

func TestFetchedServerThatIsTooOldIsRefused(t *testing.T) {
	requireRootOnDebian(t)
	fakeMirror(t, "9.6.0")
	_, err := Find(t.Context(), Options{Cache: t.TempDir(), NoConsul: true})
	require.ErrorContains(t, err, "older than 9.7")
}

func TestFetchIsBounded(t *testing.T) {
	requireRootOnDebian(t)
	fakeMirror(t, "9.7.4")
	cache := t.TempDir()
	unlock, err := lock(t.Context(), Options{}, filepath.Join(cache, "mysql-tree.lock"))
	require.NoError(t, err)
	defer unlock()
	_, err = Find(t.Context(), Options{Cache: cache, NoConsul: true, FetchTimeout: 300 * time.Millisecond})
	require.ErrorContains(t, err, "wait for another fetcher: not done after 300ms")
}
