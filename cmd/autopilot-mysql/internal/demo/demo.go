// Package demo is `autopilot-mysql demo`: a real cluster on this machine under write load, whose primary is killed before
// the viewer's eyes, with the books kept: every write that was acknowledged is looked for afterwards on every node.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/parts"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/playground"
)

const (
	// nodes is the size of the cluster, writers the number of clients.
	nodes, writers = 3, 4
	// showTimeout bounds the show, fetching the parts not included: several times what it takes on two cores.
	showTimeout = 12 * time.Minute
	// stepTimeout bounds each wait within it.
	stepTimeout = 3 * time.Minute
	// checkTimeout bounds how long a node may take to have every acknowledged write.
	checkTimeout = 90 * time.Second
	// warmUp is how long the writers run before something happens, and between the scenes.
	warmUp = 3 * time.Second
	// downTimeout bounds the end.
	downTimeout = 90 * time.Second
)

// Command is `autopilot-mysql demo`.
type Command struct {
	Dir       string        `help:"Keep the cluster's files here (default: a temporary directory, removed at the end)." placeholder:"DIR"`
	Lease     time.Duration `help:"Lease of the primary." default:"3s"`
	Mysqld    string        `help:"MySQL server to use (default: found or fetched)." placeholder:"PATH"`
	ConsulBin string        `help:"Consul to use (default: found or fetched)." placeholder:"PATH"`
	config.Output
}

// Help is the long text of `demo --help`.
func (*Command) Help() string {
	return "Needs no container and no configuration: MySQL and Consul are looked for, or fetched. Everything runs on the loopback address and is gone afterwards, unless --dir keeps its files.\n\nExample: autopilot-mysql demo"
}

// Run plays the demo. It fails if anything promised was not seen. As JSON the result alone is on standard output.
func (c *Command) Run(ctx context.Context, inv *cli.Invocation) error {
	if _, err := config.Resolve(&c.Output, config.FlagsOf(inv.Kong), inv.Environ); err != nil {
		return err
	}
	if c.Output.Output != "json" {
		return c.play(ctx, &demo{n: newNarrator(inv.Stdout)})
	}
	d := &demo{n: newNarrator(inv.Stderr)}
	err := c.play(ctx, d)
	return errors.Join(err, d.document(inv.Stdout, err))
}

func (c *Command) play(ctx context.Context, d *demo) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	d.n.scene("Getting the real parts: a MySQL server and Consul")
	found, err := parts.Find(ctx, parts.Options{Mysqld: c.Mysqld, Consul: c.ConsulBin, Progress: d.n})
	if err != nil {
		return err
	}
	d.n.say("%s", found)
	dir, cleanUp, err := workDir(c.Dir)
	if err != nil {
		return err
	}
	defer cleanUp()
	d.options = playground.Options{
		Dir: dir, Nodes: nodes, Lease: c.Lease, Mysqld: found.Mysqld, ConsulBin: found.Consul, ConsulVersion: found.ConsulVersion,
		Command: []string{exe, "run"}, Log: func(line string) { d.n.say("%s", line) },
	}
	return d.run(ctx)
}

// workDir is the directory of the user, or a temporary one with a short path.
func workDir(dir string) (path string, cleanUp func(), err error) {
	if dir != "" {
		return dir, func() {}, nil
	}
	if path, err = os.MkdirTemp("", "autopilot-demo-"); err != nil {
		return "", nil, fmt.Errorf("create directory: %w", err)
	}
	return path, func() { _ = os.RemoveAll(path) }, nil
}

// demo is one performance.
type demo struct {
	n       *narrator
	options playground.Options
	pg      *playground.Playground
	books   *books
	checks  []check
	gap     time.Duration
	took    time.Duration
}

// check is one line of the summary.
type check struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Seen string `json:"seen"`
}

func (d *demo) check(ok bool, what, seen string, args ...any) {
	d.checks = append(d.checks, check{What: what, OK: ok, Seen: fmt.Sprintf(seen, args...)})
}

// run plays all scenes and always takes the cluster down.
func (d *demo) run(ctx context.Context) (err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, showTimeout, fmt.Errorf("not done within %v", showTimeout))
	defer cancel()
	d.n.scene("Starting %d nodes at the same instant", nodes)
	if d.pg, err = playground.Start(ctx, d.options); err != nil {
		return err
	}
	defer func() {
		d.n.scene("Stopping everything")
		down, cancel := context.WithTimeout(context.Background(), downTimeout)
		defer cancel()
		err = errors.Join(err, d.pg.Down(down))
		if err == nil {
			d.n.say("no process is left")
		}
	}()
	if err := d.step(ctx, d.pg.WaitReady); err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		return err
	}
	d.took = time.Since(began)
	return d.summary()
}

// step gives one wait its limit.
func (d *demo) step(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("not within %v", stepTimeout))
	defer cancel()
	return f(ctx)
}

// play is everything between the ready cluster and the summary, under write load.
func (d *demo) play(ctx context.Context) error {
	d.n.table(d.pg.Document())
	d.n.scene("%d clients write through the Consul service mysql-primary, without a pause", writers)
	d.books = newBooks()
	load, err := startLoad(ctx, d.pg.Document(), d.books)
	if err != nil {
		return err
	}
	defer load.stop()
	if err := d.step(ctx, d.books.waitWrites(50)); err != nil {
		return fmt.Errorf("wait for the first writes: %w", err)
	}
	if err := sleep(ctx, warmUp); err != nil {
		return err
	}
	d.n.say("%d writes acknowledged so far", d.books.count())
	for _, scene := range []func(context.Context) error{d.failover, d.rejoin, d.add} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	load.stop()
	d.n.scene("The books: every acknowledged write, on every node")
	return d.audit(ctx)
}

// failover kills the primary and shows what follows.
func (d *demo) failover(ctx context.Context) error {
	if err := d.step(ctx, d.newPrimary("")); err != nil { // a busy machine shows none for a moment
		return fmt.Errorf("find primary: %w", err)
	}
	before := d.pg.Document()
	old, ok := before.Node(before.Primary)
	if !ok {
		return errors.New("find primary: there is none at the moment")
	}
	d.n.scene("kill -9 of the whole primary %s: guard %d, agent %d, mysqld %d", old.Name, old.Pids.Guard, old.Pids.Agent, old.Pids.MySQL)
	killed := time.Now()
	if err := d.pg.Kill(ctx, old.Name); err != nil {
		return err
	}
	if err := d.step(ctx, d.books.waitSince(killed)); err != nil {
		return fmt.Errorf("wait for the first write after the failover: %w", err)
	}
	d.gap = d.books.gapAround(killed)
	if err := d.step(ctx, d.newPrimary(old.Name)); err != nil {
		return err
	}
	after := d.pg.Document()
	d.n.say("%s is primary now, in term %d. No write was acknowledged for %.2f s", after.Primary, after.Term, d.gap.Seconds())
	d.n.table(after)
	d.check(true, "a standby took over", "%s after %s, write gap %.2f s", after.Primary, old.Name, d.gap.Seconds())
	lost, err := d.lostOn(ctx, after.Primary)
	if err != nil {
		return err
	}
	d.n.say("acknowledged writes missing on %s: %d of %d", after.Primary, lost.missing, lost.acknowledged)
	d.check(lost.missing == 0, "nothing lost in the failover", "%d of %d acknowledged writes missing on %s", lost.missing, lost.acknowledged, after.Primary)
	return nil
}

func (d *demo) newPrimary(old string) func(context.Context) error {
	return func(ctx context.Context) error {
		return d.pg.WaitFor(ctx, func(doc playground.Document) string {
			if doc.Primary == "" || doc.Primary == old {
				return "there is no new primary yet"
			}
			return ""
		})
	}
}

// rejoin waits until the cluster is whole again.
func (d *demo) rejoin(ctx context.Context) error {
	d.n.scene("The old primary comes back, as a container would")
	began := time.Now()
	if err := d.step(ctx, d.pg.WaitReady); err != nil {
		return err
	}
	d.n.table(d.pg.Document())
	d.check(true, "the old primary rejoined", "all %d nodes whole again after %.1f s", nodes, time.Since(began).Seconds())
	return nil
}

// add grows the cluster by a node without data.
func (d *demo) add(ctx context.Context) error {
	err := d.step(ctx, func(ctx context.Context) error {
		return d.pg.WaitFor(ctx, func(doc playground.Document) string {
			if doc.Snapshot == nil {
				return "there is no snapshot yet"
			}
			return ""
		})
	})
	if err != nil {
		return err
	}
	snapshot := d.pg.Document().Snapshot
	d.n.scene("A fourth, empty node joins from snapshot %s (%.1f MB)", snapshot.ID, float64(snapshot.Bytes)/1e6)
	began := time.Now()
	names, err := d.pg.Add(1)
	if err != nil {
		return err
	}
	if err := d.step(ctx, func(ctx context.Context) error { return d.pg.WaitNodes(ctx, names...) }); err != nil {
		return err
	}
	d.n.table(d.pg.Document())
	n, _ := d.pg.Document().Node(names[0])
	d.check(true, "a fresh node joined", "%s is a %s after %.1f s", n.Name, n.State, time.Since(began).Seconds())
	return nil
}

// audit looks for every acknowledged write on every node.
func (d *demo) audit(ctx context.Context) error {
	for _, n := range d.pg.Document().Nodes {
		lost, err := d.lostOn(ctx, n.Name)
		if err != nil {
			return err
		}
		d.check(lost.missing == 0, "the books agree on "+n.Name, "%d of %d acknowledged writes missing", lost.missing, lost.acknowledged)
	}
	return nil
}

// summary prints the checks and fails if one of them does.
func (d *demo) summary() error {
	d.n.scene("Summary")
	failed := 0
	for _, c := range d.checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
			failed++
		}
		d.n.say("%s %s: %s", mark, c.What, c.Seen)
	}
	d.n.say("%d writes acknowledged, %d refused or of unknown outcome, %.0f s in total", d.books.count(), d.books.failures(), d.took.Seconds())
	if failed > 0 {
		return fmt.Errorf("play demo: %d of %d checks failed", failed, len(d.checks))
	}
	return nil
}

func sleep(ctx context.Context, how time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(how):
		return nil
	}
}

// narrator prints with the time since the beginning.
type narrator struct {
	out   io.Writer
	began time.Time
}

func newNarrator(out io.Writer) *narrator { return &narrator{out: out, began: time.Now()} }
