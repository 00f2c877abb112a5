package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"
)

// mysqlPort is every node's: each has an address of its own.
const mysqlPort = "3306"

// volumeSize is far more than a campaign needs; only what is used takes memory.
const volumeSize = "8g"

// node is one `autopilot-mysql run` with its volume, a file system in memory of its own.
type node struct {
	service
	name string
	root string // password of root
	// boots is the machine it believes to run on; nil: this one.
	boots *boots
}

func (n *node) addr() string { return n.host.Addr + ":" + mysqlPort }

// makeVolume gives the node its directory: without namespaces, and so without somebody who unmounts whatever happens, a
// plain one.
func (n *node) makeVolume(plain bool) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return fmt.Errorf("make volume of %s: %w", n.name, err)
	}
	if plain {
		return nil
	}
	if err := unix.Mount("tmpfs", n.dir, "tmpfs", 0, "size="+volumeSize+",mode=0755"); err != nil {
		return fmt.Errorf("mount volume of %s: %w", n.name, err)
	}
	return nil
}

// wipe takes everything from the volume; the node must be down.
func (n *node) wipe() error {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return fmt.Errorf("wipe volume of %s: %w", n.name, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(n.dir, e.Name())); err != nil {
			return fmt.Errorf("wipe volume of %s: %w", n.name, err)
		}
	}
	return nil
}

// fill leaves no free block on the volume; space makes it wide again. Neither takes memory.
func (n *node) fill() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(n.dir, &fs); err != nil {
		return fmt.Errorf("fill volume of %s: %w", n.name, err)
	}
	used := (fs.Blocks - fs.Bfree) * uint64(fs.Bsize)
	return n.remount(fmt.Sprint(used + 64<<10))
}

func (n *node) space() error { return n.remount(volumeSize) }

func (n *node) remount(size string) error {
	if err := unix.Mount("", n.dir, "", unix.MS_REMOUNT, "size="+size); err != nil {
		return fmt.Errorf("resize volume of %s to %s: %w", n.name, size, err)
	}
	return nil
}

// part finds one of the node's processes: guard, agent or mysqld.
func (n *node) part(which string) (int, error) {
	main := n.main()
	if main == 0 {
		return 0, fmt.Errorf("%s is down", n.name)
	}
	if which == "guard" {
		return main, nil
	}
	for _, p := range processes() {
		if p.ppid != main {
			continue
		}
		if server := strings.Contains(p.args, "--defaults-file="); server == (which == "mysqld") {
			return p.pid, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s now", n.name, which)
}

// rootDB talks to the node's own server as root, over its socket: no fault of the network is in the way.
func (n *node) rootDB() (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr = "root", n.root, "unix", filepath.Join(n.dir, "run", "mysql.sock")
	cfg.Timeout, cfg.Logger = 3*time.Second, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", n.name, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(2)
	return db, nil
}

// exec runs statements as root in one session.
func (n *node) exec(limit time.Duration, statements ...string) error {
	db, err := n.rootDB()
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", n.name, err)
	}
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %s: %w", n.name, s, err)
		}
	}
	return nil
}

// value is the one value a query of root gives.
func (n *node) value(query string) (string, error) {
	db, err := n.rootDB()
	if err != nil {
		return "", err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var v sql.NullString
	if err := db.QueryRowContext(ctx, query).Scan(&v); err != nil {
		return "", fmt.Errorf("%s: %s: %w", n.name, query, err)
	}
	return v.String, nil
}
