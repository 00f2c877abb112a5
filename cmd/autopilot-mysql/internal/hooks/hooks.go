// Package hooks runs the operator's own executables when a node changes what it is or does.
//
// A hook is told, never asked: its outcome decides nothing. What follows from that:
//
//   - a demotion starts its hooks and goes on; it waits for none of them;
//   - a promotion waits for before-promote, but only for a bounded time, and goes on whatever became of it;
//   - a hook that takes longer than it may is killed with everything it started;
//   - it gets the facts in HOOK_ variables and nothing else of our environment, where secrets are.
//
// Hooks of one subject (role, snapshot, rebuild) run one after another, in the order of what happened.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Event is what happens; it is also the name of the executable.
type Event string

// The events.
const (
	BeforePromote  Event = "before-promote"
	AfterPromote   Event = "after-promote"
	BeforeDemote   Event = "before-demote"
	AfterDemote    Event = "after-demote"
	BeforeSnapshot Event = "before-snapshot"
	AfterSnapshot  Event = "after-snapshot"
	BeforeRebuild  Event = "before-rebuild"
	AfterRebuild   Event = "after-rebuild"
)

// Events are all there are.
func Events() []Event {
	return []Event{BeforePromote, AfterPromote, BeforeDemote, AfterDemote, BeforeSnapshot, AfterSnapshot, BeforeRebuild, AfterRebuild}
}

// lane is the subject of an event: what has one subject happens in order.
func (e Event) lane() string {
	_, subject, _ := strings.Cut(string(e), "-")
	if subject == "promote" || subject == "demote" {
		return "role"
	}
	return subject
}

// backlog is how many hooks of one subject may wait; a node that changes faster than its hooks run loses the further ones.
const backlog = 16

// Facts are what a hook is told, by the variable's name without HOOK_: NODE becomes HOOK_NODE. No secret belongs here.
type Facts map[string]string

// Options configure a Runner.
type Options struct {
	// Dir holds the executables; "" for none.
	Dir string
	// Timeout is how long one may run; then it is killed.
	Timeout time.Duration
	Log     *slog.Logger
}

// Runner runs hooks. All of it is safe for concurrent use; a nil Runner runs nothing.
type Runner struct {
	Options
	mu     sync.Mutex
	lanes  map[string]chan call
	closed bool
	work   sync.WaitGroup
	cancel context.CancelFunc
	ctx    context.Context
}

// call is one hook that shall run. One that nobody waits for any more is passed over.
type call struct {
	event Event
	facts Facts
	given context.Context
	done  chan struct{}
}

// New makes a runner; nil when there is no directory.
func New(o Options) *Runner {
	if o.Dir == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Runner{Options: o, lanes: map[string]chan call{}, ctx: ctx, cancel: cancel}
}

// Check looks whether everything in dir is a hook that can run. A misspelt name would otherwise never be noticed, but on
// the day on which it should have run. Hidden files are passed over: schedulers mount directories with some.
func Check(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read hooks: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if !slices.Contains(Events(), Event(e.Name())) {
			return fmt.Errorf("%s is not the name of a hook; there are %s", filepath.Join(dir, e.Name()), names())
		}
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("read hook: %w", err)
		}
		if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return fmt.Errorf("%s is not an executable file", filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

func names() string {
	var list []string
	for _, e := range Events() {
		list = append(list, string(e))
	}
	return strings.Join(list, ", ")
}

// Start lets a hook run, and does not wait, not even for the file system.
func (r *Runner) Start(e Event, f Facts) {
	if r != nil {
		r.queue(context.Background(), e, f)
	}
}

// Wait lets a hook run and waits until it has ended, at most until ctx or limit ends. One that has not begun by then
// does not run any more: what it should have come before has happened.
func (r *Runner) Wait(ctx context.Context, e Event, f Facts, limit time.Duration) {
	if r == nil || limit <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := r.queue(ctx, e, f)
	select {
	case <-done:
	case <-ctx.Done():
		r.Log.Warn("hook is not waited for any longer", "hook", e, "waited", limit.String())
	}
}

// queue hands a hook to the goroutine of its subject.
func (r *Runner) queue(ctx context.Context, e Event, f Facts) <-chan struct{} {
	c := call{event: e, facts: f, given: ctx, done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		close(c.done)
		return c.done
	}
	lane, ok := r.lanes[e.lane()]
	if !ok {
		lane = make(chan call, backlog)
		r.lanes[e.lane()] = lane
		r.work.Go(func() { r.serve(lane) })
	}
	select {
	case lane <- c:
	default:
		r.Log.Warn("hook does not run: too many others wait", "hook", e)
		close(c.done)
	}
	return c.done
}

func (r *Runner) serve(lane <-chan call) {
	for c := range lane {
		switch {
		case r.ctx.Err() != nil:
			r.Log.Warn("hook does not run: the node stops", "hook", c.event)
		case c.given.Err() != nil:
			r.Log.Warn("hook does not run: others took too long", "hook", c.event)
		default:
			r.run(c)
		}
		close(c.done)
	}
}

// Close takes no further hooks and gives those under way that long; then they are killed.
func (r *Runner) Close(limit time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		for _, lane := range r.lanes {
			close(lane)
		}
	}
	r.mu.Unlock()
	end := time.AfterFunc(limit, r.cancel)
	defer end.Stop()
	r.work.Wait()
	r.cancel()
}

// find returns the executable of an event; "" when there is none.
func (r *Runner) find(e Event) string {
	path := filepath.Join(r.Dir, string(e))
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		r.Log.Warn("hook does not run", "hook", e, "err", err)
		return ""
	}
	return path
}
