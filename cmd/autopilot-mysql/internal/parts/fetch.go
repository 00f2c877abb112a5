package parts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree is one set of packages unpacked into a folder of the cache.
type tree struct {
	name     string // folder in the cache
	part     string // what it is for
	suite    string // Debian release the packages come from
	packages string
	options  []string
	size     string // for the progress line
}

func mysqlTree() tree {
	return tree{
		name: "mysql-tree", part: "mysqld", suite: "sid", packages: "mysql-server-core,mysql-client-core", size: "410 MB",
		// A mirror that lags behind is no reason to refuse.
		options: []string{`--aptopt=Acquire::Check-Valid-Until "false"`},
	}
}

func consulTree() tree {
	return tree{name: "consul-tree", part: "consul", suite: "bullseye", packages: "consul", size: "130 MB"}
}

// cachedMySQL fills in the server and tools of the cache, fetched now if they are missing or do not run.
func cachedMySQL(ctx context.Context, o Options, p *Parts) error {
	bin := filepath.Join(o.Cache, "bin")
	check := func(ctx context.Context, dir string) error {
		if err := writeWrappers(dir, bin); err != nil {
			return err
		}
		version, err := checkMysqld(ctx, filepath.Join(bin, "mysqld"), oldestFetched)
		p.MysqldVersion = version
		return err
	}
	if err := ensure(ctx, o, mysqlTree(), check); err != nil {
		return err
	}
	p.Mysqld = filepath.Join(bin, "mysqld")
	p.Mysql = filepath.Join(bin, "mysql")
	p.Mysqlbinlog = filepath.Join(bin, "mysqlbinlog")
	p.MysqlTzinfoToSQL = filepath.Join(bin, "mysql_tzinfo_to_sql")
	return nil
}

// cachedConsul is cachedMySQL for Consul, whose binary runs as it is.
func cachedConsul(ctx context.Context, o Options, p *Parts) error {
	t := consulTree()
	path := filepath.Join(o.Cache, t.name, "usr/bin/consul")
	check := func(ctx context.Context, _ string) error {
		version, err := checkConsul(ctx, path)
		p.ConsulVersion = version
		return err
	}
	if err := ensure(ctx, o, t, check); err != nil {
		return err
	}
	p.Consul = path
	return nil
}

// ensure leaves a tree in the cache that passes check. A tree appears there by one rename, so what is there is whole;
// one that fails the check (another machine's cache, a half-deleted one) is fetched again.
func ensure(ctx context.Context, o Options, t tree, check func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.FetchTimeout, fmt.Errorf("not done after %v", o.FetchTimeout))
	defer cancel()
	dir := filepath.Join(o.Cache, t.name)
	if have(dir) && check(ctx, dir) == nil {
		return nil
	}
	if err := fetchable(ctx, o, t); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return fmt.Errorf("create cache: %w", err)
	}
	unlock, err := lock(ctx, o, filepath.Join(o.Cache, t.name+".lock"))
	if err != nil {
		return fmt.Errorf("fetch %s: %w", t.part, err)
	}
	defer unlock()
	// Another fetcher may have been quicker.
	if have(dir) && check(ctx, dir) == nil {
		return nil
	}
	if err := fetch(ctx, o, t, dir); err != nil {
		return fmt.Errorf("fetch %s: %w", t.part, err)
	}
	if err := check(ctx, dir); err != nil {
		return fmt.Errorf("fetch %s: what the mirror has does not fit: %w", t.part, err)
	}
	return nil
}

func have(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// fetchable says whether this machine can fetch, and installs mmdebstrap for it.
func fetchable(ctx context.Context, o Options, t tree) error {
	if o.Offline {
		return &MissingError{Part: t.part, Reason: "fetching is switched off"}
	}
	if !debian() {
		return &MissingError{Part: t.part, Reason: "only on Debian can it be fetched"}
	}
	if os.Geteuid() != 0 {
		return &MissingError{Part: t.part, Reason: "only root can fetch it"}
	}
	if _, err := exec.LookPath("mmdebstrap"); err == nil {
		return nil
	}
	o.progress("installing mmdebstrap")
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "mmdebstrap"}} {
		if err := run(ctx, o, "apt-get", args...); err != nil {
			return &MissingError{Part: t.part, Reason: "mmdebstrap cannot be installed to fetch it (" + err.Error() + ")"}
		}
	}
	return nil
}

// debian says whether the machine is a Debian or one of its children, whose apt can read Debian's archive.
func debian() bool {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(release), "\n") {
		if line == "ID=debian" {
			return true
		}
	}
	return false
}

// fetch unpacks the packages beside dir and renames the result to dir.
func fetch(ctx context.Context, o Options, t tree, dir string) error {
	began := time.Now()
	o.progress("fetching %s (Debian %s, about %s) into %s", t.packages, t.suite, t.size, dir)
	// The lock is ours, so whoever left these is gone.
	if left, err := filepath.Glob(filepath.Join(o.Cache, t.name+".fetching-*")); err == nil {
		for _, path := range left {
			os.RemoveAll(path) //nolint:errcheck // only room on the disk; tried again next time
		}
	}
	tmp, err := os.MkdirTemp(o.Cache, t.name+".fetching-")
	if err != nil {
		return fmt.Errorf("create temporary directory: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // swept up by the next one
	args := append([]string{"--mode=root", "--variant=extract"}, t.options...)
	args = append(args, "--include="+t.packages, t.suite, filepath.Join(tmp, "tree"))
	if err := run(ctx, o, "mmdebstrap", args...); err != nil {
		return err
	}
	if have(dir) {
		if err := os.Rename(dir, filepath.Join(tmp, "replaced")); err != nil {
			return fmt.Errorf("move the old tree away: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(tmp, "tree"), dir); err != nil {
		return fmt.Errorf("publish the tree: %w", err)
	}
	o.progress("fetched %s in %v", t.packages, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// lock takes the lock file, waiting for another fetcher as long as ctx allows.
func lock(ctx context.Context, o Options, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // closing ends the lock
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			o.progress("waiting for another process that fetches the same")
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for another fetcher: %w", context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// run shows what the command says, line by line, and puts its last line into the error.
func run(ctx context.Context, o Options, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	// An interrupted mmdebstrap cleans up its mounts; only one that does not listen is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	lines := make(chan string, 1)
	go func() {
		last := ""
		scan := bufio.NewScanner(r)
		for scan.Scan() {
			if text := strings.TrimSpace(scan.Text()); text != "" {
				last = text
				o.progress("  %s", text)
			}
		}
		// A line too long for the scanner must not block the command.
		_, _ = io.Copy(io.Discard, r)
		lines <- last
	}()
	err := cmd.Run()
	_ = w.Close()
	last := <-lines
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, last)
	}
	return nil
}
