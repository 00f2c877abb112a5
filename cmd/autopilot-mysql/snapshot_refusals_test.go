package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// realMysqld is a server's binary; what needs one to get to its refusal is passed over without.
func realMysqld(t *testing.T) string {
	t.Helper()
	path, _, err := mysql.FindMysqld(t.Context(), os.Getenv("AUTOPILOT_TEST_MYSQLD"))
	if testing.Short() || err != nil {
		t.Skip("AUTOPILOT_TEST_MYSQLD names no server")
	}
	return path
}

var warning = regexp.MustCompile(`(?m)^\{"time".*"level":"WARN".*\n`)

// refusedInOneLine demands the exit code, nothing on standard output, and one line that has all the texts; what was passed
// over on the way may be logged.
func refusedInOneLine(t *testing.T, want int, texts []string, args ...string) {
	t.Helper()
	code, out, errs := call(t, args...)
	require.Equal(t, want, code, "%v: %s", args, errs)
	require.Empty(t, out, args)
	errs = warning.ReplaceAllString(errs, "")
	require.Equal(t, 1, strings.Count(errs, "\n"), "%v: %s", args, errs)
	require.True(t, strings.HasPrefix(errs, cli.Program+": "), errs)
	for _, text := range texts {
		require.Contains(t, errs, text)
	}
	for _, doubled := range []string{"list snapshots: list snapshots:", "verify snapshot: verify snapshot:", "restore snapshot: restore snapshot:", "SDK "} {
		require.NotContains(t, errs, doubled)
	}
}

// TestSnapshotCommandsRefuse what cannot be, each in one line, and write nothing.
func TestSnapshotCommandsRefuse(t *testing.T) {
	dir, ids := stocked(t, "c", "c")
	store := []string{"--store", "file://" + dir, "--cluster", "shop"}
	into, full := filepath.Join(t.TempDir(), "new"), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "file"), nil, 0o600))
	for _, c := range []struct {
		code  int
		args  string
		texts []string
	}{
		{cli.Refused, "restore --into " + full, []string{full + " is not empty", "nothing was changed"}},
		{cli.Usage, "restore", []string{"missing flags: --into=DIR", "snapshot restore --help"}},
		{cli.Usage, "restore 20200101T000000Z-00000000 --into " + into, []string{`cluster "shop" has no snapshot 20200101T000000Z-00000000`, "snapshot list"}},
		{cli.Usage, "restore --into " + into + " --to-time yesterday", []string{"--to-time", `"yesterday"`, "snapshot restore --help"}},
		{cli.Usage, "restore --into " + into + " --to-gtid yesterday", []string{`"yesterday": not a server uuid; correct --to-gtid`}},
		{cli.Usage, "restore --into " + into + " --to-gtid end --to-time 2026-11-23T14:05:00Z", []string{"--to-time and --to-gtid can't be used together"}},
		{cli.Usage, "restore " + ids[0] + " --into " + into + " --to-gtid end", []string{"the point decides which snapshot is used", "leave out " + ids[0]}},
		{cli.Usage, "restore --into " + into + " --to-gtid end --mysqld /no/mysqld", []string{"/no/mysqld", "name the binary with --mysqld"}},
		{cli.Usage, "verify --mysqld /no/mysqld", []string{"/no/mysqld", "name the binary with --mysqld"}},
		{cli.Usage, "prune --snapshot-keep 0", []string{"keep at least 1"}},
		{cli.Failed, "restore --into " + into + " --cluster other", []string{`no usable snapshot of cluster "other"`, "snapshot list --cluster other"}},
	} {
		refusedInOneLine(t, c.code, c.texts, append(append([]string{"snapshot"}, strings.Fields(c.args)...), store[:2+2*(1-strings.Count(c.args, "--cluster"))]...)...)
	}
	require.NoDirExists(t, into)
}

// TestSnapshotCommandsRefuseWithAServer is about refusals that come after a mysqld was found.
func TestSnapshotCommandsRefuseWithAServer(t *testing.T) {
	mysqld := realMysqld(t)
	dir, _ := stocked(t, "c")
	tail := []string{"--store", "file://" + dir, "--cluster", "shop", "--mysqld", mysqld}
	into, full := filepath.Join(t.TempDir(), "new"), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "file"), nil, 0o600))
	refuse := func(code int, args string, texts ...string) {
		t.Helper()
		refusedInOneLine(t, code, texts, append(append([]string{"snapshot"}, strings.Fields(args)...), tail...)...)
	}
	refuse(cli.Refused, "restore --into "+full+" --to-gtid end", full+" is not an empty directory", "nothing was changed")
	refuse(cli.Refused, "restore --into "+into+" --to-gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9", "no snapshot leads to the target", "nothing was written; choose another point")
	refuse(cli.Refused, "restore --into "+into+" --to-time 2020-01-01T00:00:00Z", "after the target", "nothing was written; choose another point")
	refuse(cli.Usage, "verify 20200101T000000Z-00000000", `has no snapshot 20200101T000000Z-00000000`)
	refuse(cli.Usage, "verify --scratch /proc/no", "give another directory with --scratch")
	tail[1] = "file://" + dir + "-typo"
	refuse(cli.Usage, "verify", "directory "+dir+"-typo does not exist", "correct --store")
	refuse(cli.Usage, "restore --into "+into+" --to-gtid end", "directory "+dir+"-typo does not exist", "correct --store")
	require.NoDirExists(t, into)
	require.NoDirExists(t, dir+"-typo")
}

// TestSnapshotCommandsTellTheWrongKey: what is encrypted, and no key or another one.
func TestSnapshotCommandsTellTheWrongKey(t *testing.T) {
	keys, err := snapshot.ParseKeys(snapshot.KeyOptions{Passphrase: "right"})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "store")
	s, err := snapshot.OpenStore("file://"+dir, snapshot.StoreOptions{})
	require.NoError(t, err)
	_, err = snapshot.Create(t.Context(), s, fakeServer("x"), snapshot.CreateOptions{Cluster: "shop", ClusterID: "c", Node: "n1", MySQLVersion: "9.7.4",
		ScratchDir: filepath.Join(t.TempDir(), "scratch"), Keys: keys})
	require.NoError(t, err)
	wrong, into := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "new")
	require.NoError(t, os.WriteFile(wrong, []byte("wrong"), 0o600))
	for _, key := range [][]string{nil, {"--snapshot-passphrase-file", wrong}} {
		args := append([]string{"snapshot", "restore", "--store", "file://" + dir, "--cluster", "shop", "--into", into}, key...)
		refusedInOneLine(t, cli.Usage, []string{"none of the configured keys opens it", "AUTOPILOT_SNAPSHOT_PASSPHRASE_FILE"}, args...)
		require.NoDirExists(t, into)
		if mysqld := os.Getenv("AUTOPILOT_TEST_MYSQLD"); mysqld != "" {
			args := append([]string{"snapshot", "verify", "--store", "file://" + dir, "--cluster", "shop", "--mysqld", mysqld}, key...)
			refusedInOneLine(t, cli.Usage, []string{"none of the configured keys opens it", "AUTOPILOT_SNAPSHOT_PASSPHRASE_FILE"}, args...)
		}
	}
	list, _, err := snapshot.List(t.Context(), s, "shop")
	require.NoError(t, err)
	require.Nil(t, list[0].Verified, "that says nothing about the snapshot")
}

// TestSnapshotCommandsMakeNoStore: a typo is told, and makes neither a bucket nor a directory.
func TestSnapshotCommandsMakeNoStore(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	var changes atomic.Int32
	next := gofakes3.New(s3mem.New()).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			changes.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	typo, into := filepath.Join(t.TempDir(), "typo"), filepath.Join(t.TempDir(), "new")
	for _, command := range []string{"list", "list -o json", "prune --dry-run", "prune", "restore --into " + into} {
		args := append([]string{"snapshot"}, strings.Fields(command)...)
		refusedInOneLine(t, cli.Usage, []string{"directory " + typo + " does not exist; correct --store"}, append(args, "--store", "file://"+typo)...)
		refusedInOneLine(t, cli.Usage, []string{"bucket typo at " + srv.URL + " does not exist; correct --store"}, append(args, "--store", "s3://typo/p?endpoint="+srv.URL)...)
	}
	require.NoDirExists(t, typo)
	require.NoDirExists(t, into)
	require.Zero(t, changes.Load())
}

// TestSnapshotCommandsWithoutAnAnswer: a store that is down is a failure, with the address and no more than that.
func TestSnapshotCommandsWithoutAnAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("it tries several times")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	for _, command := range []string{"list", "prune -n"} {
		args := append([]string{"snapshot"}, strings.Fields(command)...)
		refusedInOneLine(t, cli.Failed, []string{"no answer: dial tcp 127.0.0.1:1: connect: connection refused; see whether the store s3://b/p?", "credentials"},
			append(args, "--store", "s3://b/p?endpoint=http://127.0.0.1:1")...)
	}
}
