package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// diskState is what a node makes durable about itself, in D/state.json. It is written before it is acted on.
type diskState struct {
	Format    int    `json:"format"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id,omitempty"`
	Node      string `json:"node"`
	// DirID is the identity of this directory: with it the node that comes back is told from another one of its name.
	DirID string `json:"dir_id,omitempty"`
	// Rebuilds counts how often the data has been replaced; with UUID it makes the incarnation.
	Rebuilds int    `json:"rebuilds"`
	UUID     string `json:"uuid,omitempty"`
	// HasData is true only when D/data is complete. It is set last and cleared first.
	HasData bool `json:"has_data"`
	// Founding is true from before the cluster's records are created until it is known that they were.
	Founding bool `json:"founding,omitempty"`
	// Condemned data has diverged, its difference is archived, and it is to be replaced.
	Condemned bool `json:"condemned,omitempty"`
	// CondemnedWhy is a sentence; "" for data that diverged.
	CondemnedWhy string `json:"condemned_why,omitempty"`
	// Fresh data was copied from another node and has not been started yet.
	Fresh    bool       `json:"fresh,omitempty"`
	Promised uint64     `json:"promised"`
	Void     bool       `json:"void,omitempty"`
	LastSync roles.Sync `json:"last_sync"`
	LastVer  uint64     `json:"last_sync_ver"`
	// Led is true once this incarnation has been promoted: transactions of its own server UUID are then no errant writes.
	Led    bool   `json:"led,omitempty"`
	BootID string `json:"boot_id,omitempty"`
	// MySQL is the version of the server that used the data last; "" when none has yet.
	MySQL string `json:"mysql,omitempty"`
}

// stateFormat is the version of state.json; a higher one is refused.
const stateFormat = 1

// disk keeps the durable state and its file in step. It belongs to the loop's goroutine.
type disk struct {
	dir string
	s   diskState
	// pending is a change that is being written; nil: there is none.
	pending *saving
	// hangs ends when the write that was given up has ended after all.
	hangs chan error
	lock  *os.File // held for as long as this process lives
}

// saving is a state on its way to the disk.
type saving struct {
	next diskState
	done chan error
}

// saveLimit bounds making the state durable. The loop must not stand still with a disk that does not answer: demotion
// never waits for it, but whatever comes next would.
const saveLimit = 5 * time.Second

func (d *disk) path() string { return filepath.Join(d.dir, "state.json") }

// openDisk reads the state of the node directory. It changes nothing on disk. A directory that holds anything but ours
// is an error of type *Refusal.
func openDisk(dir, cluster, node string) (*disk, error) {
	d := &disk{dir: dir, s: diskState{Format: stateFormat, Cluster: cluster, Node: node}}
	b, err := os.ReadFile(d.path())
	if errors.Is(err, fs.ErrNotExist) {
		return d, d.refuseForeign()
	}
	if err != nil {
		return nil, unusable("data directory "+dir, "cannot read the node's state in it: "+cause(err), "give a directory this process may read and write with --datadir")
	}
	if err := json.Unmarshal(b, &d.s); err != nil {
		return nil, refuse("data directory "+dir, fmt.Sprintf("its state.json cannot be read: %v", err), "restore state.json, or move the directory away to have the node rebuilt")
	}
	switch {
	case d.s.Format > stateFormat:
		return nil, refuse("data directory "+dir, fmt.Sprintf("it was written by a newer version (state format %d, known is %d)", d.s.Format, stateFormat), "start the newer version")
	case d.s.Cluster != cluster:
		return nil, refuse("data directory "+dir, fmt.Sprintf("it belongs to cluster %q, this node is set up for %q", d.s.Cluster, cluster), "correct --cluster, or use another --datadir")
	case d.s.Node != node:
		return nil, refuse("data directory "+dir, fmt.Sprintf("it belongs to node %q, this node is %q", d.s.Node, node), "correct --name, or use another --datadir")
	}
	d.s.LastSync.Ver = d.s.LastVer
	return d, nil
}

// NameOnDisk is the name the node directory was made under; "" for one without a name of its own. Whatever is wrong with
// the directory is found when it is opened.
func NameOnDisk(dir string) string {
	d := disk{dir: dir}
	b, err := os.ReadFile(d.path())
	if err != nil || json.Unmarshal(b, &d.s) != nil {
		return ""
	}
	return d.s.Node
}

// ownNames are what a node directory may hold before there is a state file: leftovers of a start that never got far.
var ownNames = map[string]bool{"run": true, "restore.tmp": true, "scratch": true, "lost+found": true, "log": true, "snapshot.tmp": true, "init.tmp": true, "restore.tmp.partial": true, keptDir: true,
	"restore.tmp.work": true, "adopt": true, "adopt.work": true}

func (d *disk) refuseForeign() error {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unusable("data directory "+d.dir, "cannot read it: "+cause(err), "give a directory this process may read and write with --datadir")
	}
	if foreignData(d.dir) {
		return refuse("data directory "+d.dir, `it holds "ibdata1", so it is the data directory of a MySQL server, and was not made by autopilot-mysql; nothing in it was touched`,
			"start with --adopt to begin a cluster with it, or to join one, without copying it; or give an empty directory with --datadir")
	}
	for _, e := range entries {
		if !ownNames[e.Name()] && !strings.HasPrefix(e.Name(), ".") {
			return refuse("data directory "+d.dir, fmt.Sprintf("it holds %q and was not made by autopilot-mysql; nothing in it was touched", e.Name()), "give an empty directory with --datadir")
		}
	}
	return nil
}

// save makes the changed state durable before it returns.
func (d *disk) save(change func(*diskState)) error {
	if err := d.begin(change); err != nil {
		return err
	}
	return d.finish(context.Background()) // saveLimit bounds it
}

// begin begins to make the changed state durable. It is in force, and what s says, once finish has returned nil; whoever
// saves something else meanwhile waits for it first. In between facts tell of a new record and promise already: who opens the
// term finishes first.
func (d *disk) begin(change func(*diskState)) error {
	if err := d.answers(); err != nil {
		return err
	}
	next := d.s
	change(&next)
	next.LastVer = next.LastSync.Ver
	b, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("encode node state: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- writeDurably(d.path(), append(b, '\n')) }()
	d.pending = &saving{next, done}
	return nil
}

// answers reports whether something can be written now: the last write has ended.
func (d *disk) answers() error {
	if err := d.finish(context.Background()); err != nil {
		return err
	}
	if d.hangs == nil {
		return nil
	}
	select {
	case <-d.hangs:
		d.hangs = nil
		return nil
	default:
		return errors.New("save node state: an earlier write has still not ended: the disk does not answer")
	}
}

// finish waits for what begin began; when ctx ends first, that still goes on. It gives a write up that does not end within
// saveLimit. That may still come true, so nothing is written until it has ended; what is in memory stays behind what may be
// on disk, which is the safe side: promises only grow.
func (d *disk) finish(ctx context.Context) error {
	p := d.pending
	if p == nil {
		return nil
	}
	t := time.NewTimer(saveLimit)
	defer t.Stop()
	select {
	case err := <-p.done:
		d.pending = nil
		if err != nil {
			return fmt.Errorf("save node state: %w", err)
		}
		d.s = p.next
		return nil
	case <-ctx.Done():
		return fmt.Errorf("save node state: %w", ctx.Err())
	case <-t.C:
		d.pending, d.hangs = nil, p.done
		return fmt.Errorf("save node state: not written within %s: the disk does not answer", saveLimit)
	}
}

// look is finish for what has ended already; it does not wait.
func (d *disk) look() error {
	if d.pending == nil || len(d.pending.done) == 0 {
		return nil
	}
	return d.finish(context.Background())
}

func writeDurably(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing is written to a directory
	return f.Sync()
}

// inc is the node's present incarnation; a node without data has none of its own yet.
func (d *disk) inc() roles.Inc {
	uuid := d.s.UUID
	if !d.s.HasData || uuid == "" {
		uuid = "none"
	}
	return roles.NewInc(d.s.Node, d.s.Rebuilds, uuid)
}

// facts renders what decisions may look at.
func (d *disk) facts() roles.Disk {
	f := roles.Disk{ClusterID: d.s.ClusterID, Founding: d.s.Founding, Promised: d.s.Promised, Void: d.s.Void, LastSync: d.s.LastSync}
	if d.pending != nil {
		f.LastSync, f.Promised = d.pending.next.LastSync, d.pending.next.Promised
	}
	switch {
	case d.s.Condemned:
		f.Data, f.Condemned = roles.DataCondemned, d.s.CondemnedWhy
	case d.s.HasData:
		f.Data = roles.DataOurs
	}
	return f
}

// claim takes the directory for this process, and marks an empty one as this node's before anything else is put there:
// whatever a creation that is killed leaves behind is then known to be ours. The lock ends with the process.
func (d *disk) claim() error {
	lock, err := os.OpenFile(filepath.Join(d.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close() //nolint:errcheck // another process has the lock
		return refuse("data directory "+d.dir, "another process uses it: "+err.Error(), "stop that one, or give another directory with --datadir")
	}
	d.lock = lock
	if d.s.DirID != "" {
		return nil
	}
	return d.save(func(s *diskState) { s.DirID = uuid.NewString() })
}

// bootID identifies this boot of the machine; "" when the kernel does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// noteBoot voids past acknowledgements after a reboot: what was acknowledged may never have reached the disk.
func (d *disk) noteBoot() error {
	id := bootID()
	if !d.s.HasData || id != "" && id == d.s.BootID {
		return nil
	}
	return d.save(func(s *diskState) {
		s.BootID = id
		s.Void = true
	})
}
