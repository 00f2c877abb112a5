package playground

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what a unix socket's address holds (108 bytes on Linux), less what mysqld adds for its lock file.
const maxSocketPath = 100

// ErrRunning means that another supervisor holds the directory.
var ErrRunning = errors.New("a playground is already running there; `playground down` ends it")

// layout names the files of a playground.
type layout struct{ dir string }

// newLayout makes the directory. Its path is absolute and free of symbolic links, because it identifies the processes.
func newLayout(dir string) (layout, error) {
	if dir == "" {
		d, err := DefaultDir()
		if err != nil {
			return layout{}, err
		}
		dir = d
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, fmt.Errorf("find playground directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(abs, "nodes"), 0o755); err != nil {
		return layout{}, fmt.Errorf("create playground directory: %w", err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return layout{}, fmt.Errorf("find playground directory: %w", err)
	}
	l := layout{dir: abs}
	if sock := filepath.Join(l.volume(nodeName(maxNodes)), "run", "mysql.sock"); len(sock) >= maxSocketPath {
		return layout{}, usagef("use directory %s: its path is %d bytes too long for MySQL's unix socket below it; choose a shorter --dir",
			abs, len(sock)-maxSocketPath+1)
	}
	return l, nil
}

// openLayout is newLayout for a directory that must already hold a playground.
func openLayout(dir string) (layout, error) {
	if dir == "" {
		d, err := DefaultDir()
		if err != nil {
			return layout{}, err
		}
		dir = d
	}
	if _, err := os.Stat(filepath.Join(dir, "plan.json")); err != nil {
		return layout{}, usagef("open playground: %s holds none; name its directory with --dir", dir)
	}
	return newLayout(dir)
}

// DefaultDir is where a playground lives when nobody says otherwise.
func DefaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w; name a directory with --dir", err)
	}
	return filepath.Join(base, "autopilot-mysql", "playground"), nil
}

func (l layout) file(name string) string    { return filepath.Join(l.dir, name) }
func (l layout) volume(node string) string  { return filepath.Join(l.dir, "nodes", node) }
func (l layout) nodeLog(node string) string { return filepath.Join(l.dir, "nodes", node+".log") }
func (l layout) document() string           { return l.file("playground.json") }
func nodeName(number int) string            { return fmt.Sprintf("node%d", number) }
func (l layout) consulDir() string          { return l.file("consul") }

// socket is the supervisor's. A directory too deep for a socket gets one in a folder that its path leads to.
func (l layout) socket() string {
	if path := l.file("control.sock"); len(path) < maxSocketPath {
		return path
	}
	sum := sha256.Sum256([]byte(l.dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("autopilot-mysql-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])), "control.sock")
}

// lock makes this process the only supervisor of the directory, until it ends.
func (l layout) lock() (unlock func(), err error) {
	f, err := os.OpenFile(l.file("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", l.dir, ErrRunning)
		}
		return nil, fmt.Errorf("lock %s: %w", l.dir, err)
	}
	return func() { _ = f.Close() }, nil
}

func (l layout) loadPlan() (plan, error) {
	var p plan
	err := readJSON(l.file("plan.json"), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return plan{}, nil
	}
	return p, err
}

func (l layout) savePlan(p plan) error { return writeJSON(l.file("plan.json"), p) }

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces the file by a rename: a reader sees the old or the new one, never half of it. Only the user may read
// it, it may hold passwords.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
