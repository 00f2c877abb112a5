package playground

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Down ends everything: the replicas first, at once, then the primary, whose last writes then need no acknowledgement
// any more, then Consul. It returns when no process is left. When ctx ends, what is left is killed. It may be called
// more than once.
func (p *Playground) Down(ctx context.Context) error {
	p.mu.Lock()
	p.down = true
	primary := p.doc.Primary
	p.mu.Unlock()
	var rest, last []*node
	for _, n := range p.all() {
		n.mu.Lock()
		n.wanted = false
		n.mu.Unlock()
		if n.spec.Name == primary {
			last = append(last, n)
		} else {
			rest = append(rest, n)
		}
	}
	err := errors.Join(stopAll(ctx, rest), stopAll(ctx, last))
	p.mu.Lock()
	consul := p.consul
	p.mu.Unlock()
	if consul != nil {
		err = errors.Join(err, consul.stop(ctx))
	}
	return errors.Join(err, p.finish())
}

// abort ends everything at once, after a failed start.
func (p *Playground) abort() {
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	if err := p.finish(); err != nil {
		p.log.printf("%v", err)
	}
}

// finish ends what still runs, and the supervisor's own parts.
func (p *Playground) finish() error {
	p.bg.Lock()
	ended := p.ended
	p.ended = true
	p.bg.Unlock()
	if ended {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	var err error
	if p.spawn != nil {
		err = p.sweep(ctx, p.lay.dir)
	}
	p.cancel()
	p.wg.Wait()
	if p.spawn != nil {
		p.spawn.close()
	}
	for _, n := range p.all() {
		n.mu.Lock()
		n.proc = nil
		n.mu.Unlock()
	}
	doc := p.document()
	err = errors.Join(err, p.publish(doc))
	if e := os.Remove(p.lay.file("processes.json")); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("forget processes: %w", e))
	}
	p.unlock()
	return err
}

// stopAll stops the nodes side by side.
func stopAll(ctx context.Context, nodes []*node) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = n.stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sweep kills every process that works in dir, and returns when they are gone.
func (p *Playground) sweep(ctx context.Context, dir string) error {
	ids, err := killIn(ctx, dir, nil)
	// Those started by this process are waited for where they were started.
	reap(slices.DeleteFunc(ids, p.spawn.started))
	return err
}

// killIn kills the processes that were started to work in dir, and the recorded ones, each checked to be the very one.
func killIn(ctx context.Context, dir string, recorded []record) ([]procID, error) {
	all, err := scan()
	if err != nil {
		return nil, err
	}
	known := map[procID]bool{}
	for _, r := range recorded {
		known[r.procID] = true
	}
	var ids []procID
	for _, s := range all {
		// A recorded process must still show the directory; pids and start times begin anew with every boot.
		if s.gone() || s.id.Pid == os.Getpid() || !(s.id.runsIn(dir) || known[s.id] && s.id.mentions(dir)) {
			continue
		}
		ids = append(ids, s.id)
		for _, below := range tree(all, s.id.Pid) {
			if !contains(ids, below) {
				ids = append(ids, below)
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return ids, killAll(ctx, ids)
}

// killRecorded ends what a supervisor that is gone has left in the directory.
func killRecorded(ctx context.Context, lay layout) (int, error) {
	var recorded []record
	if err := readJSON(lay.file("processes.json"), &recorded); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Torn or foreign: the directory in the processes' arguments still tells which are ours.
		recorded = nil
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	ids, err := killIn(ctx, lay.dir, recorded)
	return len(ids), err
}

// dyingTime bounds the wait for a supervisor that no longer answers to be gone: a killed process closes its socket before
// its lock, and its nodes end by their parent-death signal earlier still. Usually that takes microseconds; a machine
// that swaps or dumps a core takes longer.
const dyingTime = 5 * time.Second

// lockOfDying takes the directory as soon as the supervisor that held it is gone. ErrRunning means that it lives.
func lockOfDying(ctx context.Context, lay layout) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, dyingTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if unlock, err = lay.lock(); !errors.Is(err, ErrRunning) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// downWithoutSupervisor ends a playground whose supervisor is gone, and puts the truth into playground.json.
func downWithoutSupervisor(ctx context.Context, lay layout) (int, error) {
	unlock, err := lockOfDying(ctx, lay)
	if err != nil {
		return 0, err
	}
	defer unlock()
	count, err := killRecorded(ctx, lay)
	if err != nil {
		return count, err
	}
	var doc Document
	if err := readJSON(lay.document(), &doc); err == nil {
		doc.Primary = ""
		for i, n := range doc.Nodes {
			doc.Nodes[i] = Node{Name: n.Name, State: "down", MySQL: n.MySQL, HTTP: n.HTTP, Datadir: n.Datadir, Reason: "the playground is down"}
		}
		if err := writeJSON(lay.document(), doc); err != nil {
			return count, err
		}
	}
	for _, path := range []string{lay.file("processes.json"), lay.socket()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return count, fmt.Errorf("remove %s: %w", filepath.Base(path), err)
		}
	}
	return count, nil
}

func (p *Playground) goingDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

func (p *Playground) restartAfter() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plan.RestartAfter
}
