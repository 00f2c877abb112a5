// Package chaos runs a real cluster under writers, strikes it with one fault after another, up to three at once, and
// checks what the clients were told against what the servers hold. `make chaos` runs it; README.md tells how to read it.
package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

// Options of a campaign.
type Options struct {
	Seed   uint64
	Time   time.Duration // no round begins later
	Rounds int           // at most so many; 0: as many as fit
	From   int           // rounds before this one are dealt and not played
	Only   []string      // faults to draw from; none: all
	Enable []string      // faults to draw that are switched off
	NoNet  bool          // no namespaces, and none of the faults that need them
	Consul int           // servers of Consul: 1 or 3
	Dir    string        // where the campaign's directory is made
	Lease  time.Duration
	Args   []string // further settings for every node
	Parts  programs
	Logf   func(format string, args ...any)
}

// errNotNow means that a fault has nothing to strike at this moment. It is counted, and no violation.
var errNotNow = errors.New("not possible at this moment")

// campaign is one run.
type campaign struct {
	o       Options
	dir     string
	began   time.Time
	net     *netns.Net
	cluster *cluster
	writers *writers
	watch   *watcher
	plan    *schedule

	mu         sync.Mutex
	log        *os.File
	violations []string
	totals     totals
}

// totals are what a report adds up.
type totals struct {
	Rounds  int
	Faults  map[string]int
	NotNow  map[string]int
	Counts  map[string]int
	Slowest map[string]time.Duration // per settling: the longest
}

// Run plays a campaign. A violation is an error; the directory then holds what is needed to understand it.
func Run(o Options) (*Result, error) {
	dir, err := os.MkdirTemp(o.Dir, "chaos")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	c := &campaign{o: o, dir: dir, began: time.Now(),
		totals: totals{Faults: map[string]int{}, NotNow: map[string]int{}, Counts: map[string]int{}, Slowest: map[string]time.Duration{}}}
	if c.log, err = os.Create(filepath.Join(dir, "campaign.log")); err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	defer c.log.Close()
	if err := c.layOut(); err != nil { // nothing has run: there is nothing to keep
		return nil, errors.Join(err, c.close(), os.RemoveAll(c.dir))
	}
	c.play()
	return c.result()
}

// layOut makes network, cluster and schedule.
func (c *campaign) layOut() (err error) {
	c.net = netns.Off()
	if !c.o.NoNet {
		if c.net, err = netns.New(c.dir); err != nil {
			return err
		}
	}
	if c.cluster, err = build(c.dir, c.net, c.o.Parts, c.o.Consul, append([]string{"--lease", c.o.Lease.String(), "--cooldown", "0s", "--failovers-per-hour", "0"}, c.o.Args...), c.note); err != nil {
		return err
	}
	faults, left, err := choose(c.o.Only, c.o.Enable, c.can)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(left) {
		c.note("not drawn: %s: %s", name, left[name])
	}
	c.plan = newSchedule(c.o.Seed, faults)
	c.writers, c.watch = newWriters(c.cluster), &watcher{c: c.cluster}
	return nil
}

func (c *campaign) can(n need) bool {
	switch n {
	case nothing:
		return true
	case reboots:
		return c.cluster.reboots
	case threeConsuls:
		return c.o.Consul == 3
	}
	return !c.o.NoNet
}

// note writes a line to the campaign's log, with the time.
func (c *campaign) note(format string, args ...any) {
	line := fmt.Sprintf("%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.log.WriteString(line) // a full disk shows elsewhere
}

// say is for the log and for whoever watches.
func (c *campaign) say(format string, args ...any) {
	c.note(format, args...)
	c.o.Logf("%s", fmt.Sprintf(format, args...))
}

// violation is what the campaign looks for.
func (c *campaign) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.mu.Lock()
	c.violations = append(c.violations, text)
	c.mu.Unlock()
	c.say("VIOLATION: %s", text)
}

func (c *campaign) bad() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.violations)
}

func (c *campaign) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals.Counts[what]++
}

// await waits until ok, and reports whether it came to that.
func (c *campaign) await(limit time.Duration, ok func() bool) bool {
	return c.awaitEach(limit, 100*time.Millisecond, ok)
}

func (c *campaign) awaitEach(limit, pause time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(pause) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// try repeats until it succeeds or the limit is over.
func (c *campaign) try(limit time.Duration, do func() error) error {
	var err error
	c.await(limit, func() bool { err = do(); return err == nil })
	return err
}

func (c *campaign) consulReady() error { return c.cluster.consul.ready(time.Minute) }

// roles are the primary as Consul last named it, and the others that acknowledge, by name.
func (c *campaign) roles() (primary *node, standbys []*node) {
	now := c.watch.now()
	primary = c.cluster.node(nameOf(now.Primary))
	for _, n := range c.cluster.nodes {
		if n != primary && slices.ContainsFunc(now.Members, func(m string) bool { return nameOf(m) == n.name }) {
			standbys = append(standbys, n)
		}
	}
	return primary, standbys
}

// find resolves a role to a node of this moment.
func (c *campaign) find(role string, rng *rand.Rand) (*node, error) {
	primary, standbys := c.roles()
	switch {
	case role == "primary" && primary != nil:
		return primary, nil
	case role == "standby" && len(standbys) > 0:
		return standbys[rng.IntN(len(standbys))], nil
	case role == "standby":
		others := slices.DeleteFunc(slices.Clone(c.cluster.nodes), func(n *node) bool { return n == primary })
		return others[rng.IntN(len(others))], nil
	case role == "any":
		return c.cluster.nodes[rng.IntN(len(c.cluster.nodes))], nil
	}
	return nil, fmt.Errorf("no %s: %w", role, errNotNow)
}

func sorted(all []fault) []fault {
	slices.SortFunc(all, func(a, b fault) int { return strings.Compare(a.name, b.name) })
	return all
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
