package mysql

import (
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxPlainScript is the largest SQL script that is read into memory when there is no mysql client.
const maxPlainScript = 32 << 20

// initDir runs the user's scripts by name, as root, on a server nobody else can write to.
func (b *bootstrapper) initDir(ctx context.Context) error {
	if b.spec.InitDir == "" {
		return nil
	}
	entries, err := os.ReadDir(b.spec.InitDir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read init directory: %w", err)
	}
	options, remove, err := b.clientOptions()
	if err != nil {
		return fmt.Errorf("write client options: %w", err)
	}
	defer remove()
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		path := filepath.Join(b.spec.InitDir, e.Name())
		if err := b.script(ctx, path, options); err != nil {
			return fmt.Errorf("run init script %s: %w", path, err)
		}
	}
	return nil
}

func (b *bootstrapper) script(ctx context.Context, path, options string) error {
	switch {
	case strings.HasSuffix(path, ".sh"):
		b.log("running %s", path)
		return b.shell(ctx, path, options)
	case strings.HasSuffix(path, ".sql"), strings.HasSuffix(path, ".sql.gz"):
		b.log("running %s", path)
		return b.sqlFile(ctx, path, options)
	}
	b.log("ignoring %s: neither .sh, .sql nor .sql.gz", path)
	return nil
}

// clientOptions writes an option file that logs the mysql client in as root, so that no password is
// in an argument. Only its owner can read it, and remove ends it.
func (b *bootstrapper) clientOptions() (path string, remove func(), err error) {
	f, err := os.CreateTemp(b.cfg.runDir(), "init-*.cnf") // 0600
	if err != nil {
		return "", nil, err
	}
	_, err = fmt.Fprintf(f, "[client]\nuser=root\npassword=%s\nsocket=%s\n", quoteOption(b.root), quoteOption(b.cfg.Socket()))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), func() { _ = os.Remove(f.Name()) }, nil
}

// shell runs a script: directly when it is executable, else by the shell.
func (b *bootstrapper) shell(ctx context.Context, path, options string) error {
	cmd := exec.CommandContext(ctx, path)
	if !isProgram(path) {
		sh := "sh"
		if bash, err := exec.LookPath("bash"); err == nil {
			sh = bash
		}
		cmd = exec.CommandContext(ctx, sh, path)
	}
	cmd.Dir = "/"
	cmd.Env = b.scriptEnv(options)
	return runChild(ctx, cmd, b.spec.Log)
}

// ownSecrets are variables of the agent that scripts of an application have no business with.
var ownSecrets = regexp.MustCompile(`^(MYSQL_REPL_PASSWORD|CONSUL_HTTP_TOKEN|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|MINIO_SECRET_KEY|MANTA_PRIVATE_KEY)(_FILE)?=`)

// scriptEnv is the agent's environment less its secrets, with the MYSQL_* names people know.
// MYSQL_DEFAULTS_FILE is for `mysql --defaults-file="$MYSQL_DEFAULTS_FILE"`, which logs in as root.
func (b *bootstrapper) scriptEnv(options string) []string {
	env := slices.DeleteFunc(os.Environ(), ownSecrets.MatchString)
	return append(env,
		"MYSQL_UNIX_PORT="+b.cfg.Socket(), "SOCKET="+b.cfg.Socket(), "MYSQL_DEFAULTS_FILE="+options,
		"MYSQL_ROOT_PASSWORD="+b.root, "MYSQL_DATABASE="+b.spec.Database,
		"MYSQL_USER="+b.spec.User, "MYSQL_PASSWORD="+b.spec.Password)
}

// sqlFile runs a SQL script, packed or not: by the mysql client where there is one, because only that
// knows DELIMITER and streams files of any size.
func (b *bootstrapper) sqlFile(ctx context.Context, path, options string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		defer z.Close() //nolint:errcheck // only read
		r = z
	}
	if client := findBeside(b.cfg.Mysqld, "mysql"); client != "" {
		return b.byClient(ctx, client, options, r)
	}
	return b.byDriver(ctx, r)
}

func (b *bootstrapper) byClient(ctx context.Context, client, options string, r io.Reader) error {
	args := []string{"--defaults-file=" + options, "--init-command=SET SESSION sql_log_bin=0", "--batch"}
	if b.spec.Database != "" {
		args = append(args, "--database="+b.spec.Database)
	}
	source := &brokenReader{r: r}
	cmd := exec.CommandContext(ctx, client, args...)
	cmd.Stdin = source
	err := runChild(ctx, cmd, b.spec.Log)
	if source.err != nil {
		return fmt.Errorf("read script: %w", source.err)
	}
	return err
}

// brokenReader remembers an error of its source: the client takes a torn file for a short one.
type brokenReader struct {
	r   io.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

var delimiterLine = regexp.MustCompile(`(?mi)^\s*delimiter\s`)

// byDriver is for installations without the mysql client.
func (b *bootstrapper) byDriver(ctx context.Context, r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxPlainScript+1))
	switch {
	case err != nil:
		return fmt.Errorf("read script: %w", err)
	case len(text) > maxPlainScript:
		return fmt.Errorf("has more than %d bytes, which needs the mysql client; install it", maxPlainScript)
	case delimiterLine.Match(text):
		return errors.New("uses DELIMITER, which only the mysql client knows; install it")
	case strings.TrimSpace(string(text)) == "":
		return nil
	}
	db := sql.OpenDB(socketConnector(b.cfg.Socket(), "root", b.root, true))
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	setup := "SET SESSION sql_log_bin=0"
	if b.spec.Database != "" {
		setup += "; USE " + sqlName(b.spec.Database)
	}
	if _, err := conn.ExecContext(ctx, setup); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, string(text))
	return err
}
