package gtid_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// startLimit bounds one step of starting the server; it is reached only when
// something is broken, so it may be generous.
const startLimit = 2 * time.Minute

// erMalformedGTIDSet is the server's error for a text that is no GTID set
// (ER_MALFORMED_GTID_SET_SPECIFICATION).
const erMalformedGTIDSet = 1772

// findMysqld returns the mysqld to test against, or ends the test.
func findMysqld(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real mysqld")
	}
	if path := os.Getenv("AUTOPILOT_TEST_MYSQLD"); path != "" {
		return path
	}
	path, err := exec.LookPath("mysqld")
	require.NoError(t, err, "no mysqld: set AUTOPILOT_TEST_MYSQLD, put one on PATH, or run with -short")
	return path
}

// startServer runs an empty server that dies with the test.
func startServer(t *testing.T) *sql.DB {
	t.Helper()
	mysqld := findMysqld(t)
	// Not t.TempDir: with the test's name in it the socket's path gets too long.
	dir, err := os.MkdirTemp("", "gtid")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	args := []string{
		"--no-defaults", "--user=root", "--datadir=" + filepath.Join(dir, "data"),
		"--socket=" + socket, "--pid-file=" + filepath.Join(dir, "pid"),
		"--skip-networking", "--mysqlx=OFF", "--secure-file-priv=NULL", "--performance-schema=OFF",
		"--innodb-buffer-pool-size=16M", "--innodb-redo-log-capacity=8M", "--innodb-flush-method=fsync",
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON",
	}
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	initialise := exec.CommandContext(ctx, mysqld, append(args, "--initialize-insecure")...)
	initialise.Stderr = &log
	require.NoError(t, initialise.Run(), "initialise: %s", &log)

	log.Reset()
	server := exec.Command(mysqld, args...)
	server.Stderr = &log
	require.NoError(t, server.Start())
	exited := make(chan struct{})
	go func() {
		_ = server.Wait() // a server that ended early is told by the ping
		close(exited)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-exited
	})

	db, err := sql.Open("mysql", (&mysql.Config{User: "root", Net: "unix", Addr: socket, AllowNativePasswords: true}).FormatDSN())
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.Eventually(t, func() bool {
		select {
		case <-exited:
			return true
		default:
			_, err := os.Stat(socket)
			return err == nil && db.PingContext(ctx) == nil
		}
	}, startLimit, 20*time.Millisecond)
	require.NoError(t, db.PingContext(ctx), "mysqld did not start")
	return db
}

// randomText writes a set the way an untidy person would: any order, repeated
// uuids, overlapping intervals, mixed case, white space.
func randomText(r *rand.Rand) string {
	uuids := []string{"11111111-1111-1111-1111-111111111111", "AAAAAAAA-2222-2222-2222-222222222222",
		"{aaaaaaaa-2222-2222-2222-222222222223}", "f0000000000000000000000000000000"}
	tags := []string{"", "a", "_", "b2", "B2", "a_very_long_tag_of_32_characters"}
	blanks := []string{"", "", "", " ", "\n"}
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	var entries []string
	for range r.IntN(4) {
		e := pick(blanks) + pick(uuids) + pick(blanks)
		for range 1 + r.IntN(3) {
			if tag := pick(tags); tag != "" {
				e += ":" + tag + pick(blanks)
			}
			for range 1 + r.IntN(3) {
				first := 1 + r.IntN(20)
				e += fmt.Sprintf(":%d", first)
				if r.IntN(2) == 0 {
					e += fmt.Sprintf("%s-%d", pick(blanks), first+r.IntN(8))
				}
			}
		}
		entries = append(entries, e)
	}
	return strings.Join(entries, ","+pick(blanks))
}

// TestServerAgrees compares the algebra and the canonical text with a real
// server: 400 random pairs in one query, then the grammar piece by piece.
func TestServerAgrees(t *testing.T) {
	db := startServer(t)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	t.Run("algebra", func(t *testing.T) { testAlgebra(ctx, t, db) })
	t.Run("grammar", func(t *testing.T) { testGrammar(ctx, t, db) })
}

func testAlgebra(ctx context.Context, t *testing.T, db *sql.DB) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pairs := make([][2]string, 400)
	for i := range pairs {
		a := randomText(r)
		b := randomText(r)
		if i%4 == 0 { // otherwise one is hardly ever contained in the other
			b = a + "," + b
		}
		pairs[i] = [2]string{a, b}
	}
	doc, err := json.Marshal(pairs)
	require.NoError(t, err)
	rows, err := db.QueryContext(ctx, `
		SELECT a, b, GTID_SUBSET(a, b), GTID_SUBTRACT(a, b), GTID_SUBTRACT(a, ''),
		       GTID_SUBTRACT(CONCAT(a, ',', b), ''), GTID_SUBTRACT(a, GTID_SUBTRACT(a, b))
		FROM JSON_TABLE(?, '$[*]' COLUMNS (a TEXT PATH '$[0]', b TEXT PATH '$[1]')) AS pair`, string(doc))
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	seen, contained := 0, 0
	for rows.Next() {
		var textA, textB, minus, canonical, union, both string
		var subset bool
		require.NoError(t, rows.Scan(&textA, &textB, &subset, &minus, &canonical, &union, &both))
		a, err := gtid.Parse(textA)
		require.NoError(t, err)
		b, err := gtid.Parse(textB)
		require.NoError(t, err)
		about := fmt.Sprintf("a=%q b=%q", textA, textB)
		require.Equal(t, oneLine(canonical), a.String(), about)
		require.Equal(t, subset, b.Contains(a), about)
		require.Equal(t, oneLine(minus), a.Subtract(b).String(), about)
		require.Equal(t, oneLine(union), a.Union(b).String(), about)
		require.Equal(t, oneLine(both), a.Intersect(b).String(), about)
		seen++
		if subset {
			contained++
		}
	}
	require.NoError(t, rows.Err())
	require.Equal(t, len(pairs), seen)
	require.Greater(t, contained, len(pairs)/8, "the sample has both answers")
}

func testGrammar(ctx context.Context, t *testing.T, db *sql.DB) {
	normalise := func(text string) (string, error) {
		var out string
		err := db.QueryRowContext(ctx, "SELECT GTID_SUBTRACT(?, '')", text).Scan(&out)
		return oneLine(out), err
	}
	for _, tc := range gtid.Accepted {
		got, err := normalise(tc.In)
		require.NoError(t, err, tc.Name)
		require.Equal(t, tc.Want, got, tc.Name)
	}
	for _, tc := range gtid.Refused {
		got, err := normalise(tc.In)
		if tc.EmptyAtServer {
			require.NoError(t, err, tc.Name)
			require.Empty(t, got, tc.Name)
			continue
		}
		var refusal *mysql.MySQLError
		require.ErrorAs(t, err, &refusal, "%s: the server accepts it as %q", tc.Name, got)
		require.EqualValues(t, erMalformedGTIDSet, refusal.Number, tc.Name)
	}
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "") }
