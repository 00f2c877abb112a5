package snapbench

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/s3server"
)

// What is uploaded by hand.
const (
	handBucket = "bench"
	handKey    = "by-hand.tar.zst"
)

// hand is an operator with a shell.
type hand struct {
	t      testing.TB
	c      *harness.Cluster
	s3     *s3.Client
	stored int64
}

func newClient(t testing.TB, addr string) *s3.Client {
	t.Helper()
	env := map[string]string{}
	for _, e := range s3server.Env() {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	return s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://" + addr), UsePathStyle: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		Credentials:                credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], "")})
}

// program demands what an operator's shell has.
func (h *hand) program(t testing.TB) {
	t.Helper()
	for _, p := range []string{"bash", "tar", "zstd", "sync"} {
		_, err := exec.LookPath(p)
		require.NoErrorf(t, err, "the work by hand needs %s: install it (apt-get install zstd)", p)
	}
}

// take is clone + tar + zstd + upload. The compression is ours: level 1, with as many threads.
func (h *hand) take() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	d := h.c.Doc()
	clone := filepath.Join(d.Node(d.Primary).Datadir, "by-hand")
	db := h.c.RootDB(d.Primary)
	defer db.Close()
	_, err := db.ExecContext(ctx, "CLONE LOCAL DATA DIRECTORY = '"+clone+"'")
	require.NoError(h.t, err)
	cmd, stderr := shell(ctx, `tar -c -C "$DIR" . | zstd -q -1 -T2`, "DIR="+clone)
	out, err := cmd.StdoutPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Start())
	counted := &counter{r: out}
	_, err = transfermanager.New(h.s3, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = 8<<20, 8<<20, 4
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	}).UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: aws.String(handBucket), Key: aws.String(handKey), Body: counted})
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Wait(), stderr.String())
	require.NoError(h.t, os.RemoveAll(clone))
	h.stored = counted.n
}

// restore is download + zstd -d + tar -x, and everything on the disk.
func (h *hand) restore(into string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	require.NoError(h.t, os.Mkdir(into, 0o755))
	got, err := h.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(handBucket), Key: aws.String(handKey)})
	require.NoError(h.t, err)
	defer got.Body.Close()
	cmd, stderr := shell(ctx, `zstd -q -d | tar -x -C "$DIR" && sync -f "$DIR"`, "DIR="+into)
	cmd.Stdin = got.Body
	require.NoError(h.t, cmd.Run(), stderr.String())
}

// clone is CLONE INSTANCE from the primary into a directory, by a server that has nothing else to do.
func (h *hand) clone() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	donor := h.c.Doc().Node(h.c.Doc().Primary).MySQL
	host, port, _ := strings.Cut(donor, ":")
	source := h.c.RootDB(h.c.Doc().Primary)
	defer source.Close()
	conn := unlogged(ctx, h.t, source)
	defer conn.Close()
	for _, q := range []string{"CREATE USER bench_clone IDENTIFIED BY 'bench' REQUIRE SSL", "GRANT BACKUP_ADMIN ON *.* TO bench_clone"} {
		_, err := conn.ExecContext(ctx, q)
		require.NoError(h.t, err, q)
	}
	defer func() { _, err := conn.ExecContext(ctx, "DROP USER bench_clone"); require.NoError(h.t, err) }()
	db, stop := recipient(h.t, h.c.Dir)
	defer stop()
	to := filepath.Join(h.c.Dir, "cloned")
	_, err := db.ExecContext(ctx, "SET GLOBAL clone_valid_donor_list='"+donor+"'")
	require.NoError(h.t, err)
	_, err = db.ExecContext(ctx, fmt.Sprintf("CLONE INSTANCE FROM bench_clone@'%s':%s IDENTIFIED BY 'bench' DATA DIRECTORY='%s' REQUIRE SSL", host, port, to))
	require.NoError(h.t, err)
	require.NoError(h.t, os.RemoveAll(to))
}

// recipient is an empty server. Its start is part of the way by hand, as it is of ours.
func recipient(t testing.TB, root string) (*sql.DB, func()) {
	t.Helper()
	dir, err := os.MkdirTemp(root, "r")
	require.NoError(t, err)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	args := []string{"--no-defaults", "--datadir=" + data, "--innodb-redo-log-capacity=33554432", "--innodb-flush-method=fsync"}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	out, err := exec.Command(harness.Mysqld(t), append(args, "--initialize-insecure")...).CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(harness.Mysqld(t), append(args, "--socket="+socket, "--skip-networking", "--mysqlx=OFF", "--pid-file="+filepath.Join(dir, "pid"),
		"--secure-file-priv=NULL", "--plugin-load-add=mysql_clone.so", "--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.Logger = "root", "unix", socket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	stop := func() { _ = db.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait(); require.NoError(t, os.RemoveAll(dir)) }
	for deadline := time.Now().Add(harness.FailoverLimit); db.Ping() != nil; time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "the server that shall receive the clone does not start")
	}
	return db, stop
}

func shell(ctx context.Context, script string, env ...string) (*exec.Cmd, *bytes.Buffer) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", script)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), &stderr
	return cmd, &stderr
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
