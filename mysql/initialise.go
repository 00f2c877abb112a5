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
	"strings"

	"github.com/google/uuid"
)

// pendingMarker lies in a data directory that Initialise made and Bootstrap has not finished. It
// does not travel with clones and snapshots, which copy InnoDB files only.
const pendingMarker = "autopilot-bootstrap-pending"

// ErrDataExists is in the chain of Initialise's error when there is a data directory already.
var ErrDataExists = errors.New("a data directory exists already")

// Initialise makes an empty database in c.DataDir(), with root@localhost without a password. It
// builds beside it and renames when everything is on disk, so that a killed Initialise leaves
// nothing that could be mistaken for data, and may simply be called again. It never touches an
// existing data directory (ErrDataExists).
func Initialise(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	empty, err := isEmptyDir(c.DataDir())
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	if !empty {
		return fmt.Errorf("initialise %s: %w", c.DataDir(), ErrDataExists)
	}
	tmp := filepath.Join(c.Dir, "init.tmp")
	if err := c.initialiseInto(ctx, tmp, birthFull); err != nil {
		return also(fmt.Errorf("initialise database: %w", err), os.RemoveAll(tmp))
	}
	if err := writeFileAtomic(filepath.Join(tmp, pendingMarker), nil, 0o644); err != nil {
		return fmt.Errorf("mark new database: %w", err)
	}
	if err := syncFilesystem(tmp); err != nil {
		return fmt.Errorf("write out new database: %w", err)
	}
	if err := os.Rename(tmp, c.DataDir()); err != nil {
		return fmt.Errorf("put new database in place: %w", err)
	}
	if err := syncPath(c.Dir); err != nil {
		return fmt.Errorf("write out node directory: %w", err)
	}
	return nil
}

// Unfinished tells whether the data directory is one that Initialise made and whose Bootstrap never
// came to its end. Nobody but this node has ever seen its content.
func Unfinished(c Config) (bool, error) {
	_, err := os.Stat(filepath.Join(c.DataDir(), pendingMarker))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// DiscardUnfinished removes a data directory that is Unfinished, so that Initialise can start over;
// any other it refuses to touch. mysqld must not be running on it.
func DiscardUnfinished(c Config) error {
	switch unfinished, err := Unfinished(c); {
	case err != nil:
		return fmt.Errorf("look at data directory: %w", err)
	case !unfinished:
		return fmt.Errorf("discard %s: it is not an unfinished database of ours", c.DataDir())
	}
	// Moved first: a half-removed directory must never look like data.
	tmp := filepath.Join(c.Dir, "init.tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("discard unfinished database: %w", err)
	}
	if err := os.Rename(c.DataDir(), tmp); err != nil {
		return fmt.Errorf("discard unfinished database: %w", err)
	}
	return also(syncPath(c.Dir), os.RemoveAll(tmp))
}

// birth is how complete a new database has to be.
type birth bool

const (
	birthFull    birth = false
	birthScratch birth = true // serves one CLONE and is removed: nothing needs to survive, no keys
)

// initialiseInto runs mysqld --initialize-insecure into dir, which is emptied first. Nothing is
// flushed while it works: the caller writes out everything at once when it is to be kept.
func (c Config) initialiseInto(ctx context.Context, dir string, b birth) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove unfinished database: %w", err)
	}
	if err := c.ownDir(dir, 0o750); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	args := []string{
		"--no-defaults", "--initialize-insecure", "--datadir=" + dir, "--skip-log-bin", "--performance-schema=OFF",
		"--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=64M", "--innodb-flush-log-at-trx-commit=0",
		"--innodb-flush-method=nosync", "--innodb-doublewrite=OFF",
	}
	if b == birthScratch {
		args = append(args, withoutKeys()...)
	}
	if user := c.osUser(); user != "" {
		args = append(args, "--user="+user)
	}
	args = append(args, c.formatOptions()...)
	return runChild(ctx, exec.CommandContext(ctx, c.Mysqld, args...), c.Log)
}

// withoutKeys saves the making of TLS and RSA keys.
func withoutKeys() []string {
	return []string{"--auto-generate-certs=OFF", "--caching-sha2-password-auto-generate-rsa-keys=OFF"}
}

// formatPattern matches the options that shape the files of a database and so must be known when it is made.
var formatPattern = regexp.MustCompile(`^(innodb_page_size|innodb_data_file_path|innodb_checksum_algorithm|innodb_undo_.*|` +
	`lower_case_table_names|character_set_server|collation_server|default_table_encryption|keyring.*|early_plugin_load|basedir|plugin_dir|lc_messages.*|` +
	`character_sets_dir|tmpdir|innodb_tmpdir|innodb_use_native_aio)$`)

// formatOptions are those of the user's options that a database has to be made with.
func (c Config) formatOptions() []string {
	options, err := parseExtra(c.Extra)
	if err != nil {
		return nil // Validate has refused it already
	}
	var out []string
	for _, o := range options {
		if formatPattern.MatchString(o.name) {
			out = append(out, o.raw)
		}
	}
	return out
}

// NewServerUUID gives the data directory a fresh server_uuid and returns it. A rebuilt node must
// never go on under its old one: reused GTIDs are silent loss. mysqld must not be running.
func NewServerUUID(c Config) (string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("make server uuid: %w", err)
	}
	path := filepath.Join(c.DataDir(), "auto.cnf")
	if err := writeFileAtomic(path, []byte("[auto]\nserver-uuid="+id.String()+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("write server uuid: %w", err)
	}
	if err := c.give(path); err != nil {
		return "", fmt.Errorf("write server uuid: %w", err)
	}
	return id.String(), nil
}

// ServerUUID reads the server_uuid of the data directory; the error wraps fs.ErrNotExist when it has none yet.
func ServerUUID(c Config) (string, error) {
	data, err := os.ReadFile(filepath.Join(c.DataDir(), "auto.cnf"))
	if err != nil {
		return "", fmt.Errorf("read server uuid: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, "=")
		if canonical(strings.TrimSpace(name)) != "server_uuid" {
			continue
		}
		id, err := uuid.Parse(strings.TrimSpace(value))
		if err != nil {
			return "", fmt.Errorf("read server uuid: %w", err)
		}
		return id.String(), nil
	}
	return "", fmt.Errorf("read server uuid: %s holds none", filepath.Join(c.DataDir(), "auto.cnf"))
}
