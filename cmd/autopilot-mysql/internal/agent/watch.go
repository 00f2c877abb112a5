package agent

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Limits on reading the records.
const (
	// watchMax is the longest a blocking query stays open; it bounds how long a dead connection goes unnoticed, and with it
	// how long a node sleeps through an election after packets to Consul were lost. A node passes its check several times
	// in that time anyway, so a shorter query costs Consul little.
	watchMax = 2 * time.Second
	// watchRetry is the pause after a failed read.
	watchRetry = 200 * time.Millisecond
	// apartRest is how long a node that leaves an election to others does not ask for changes again: an election writes some thirty
	// records, and Consul shows each of them to everybody who has asked.
	apartRest = 200 * time.Millisecond
	// outageMin is how long reads must have failed to be called an outage of Consul: a single lost answer is none.
	outageMin = time.Second
	// readTimeout bounds a plain read of the records.
	readTimeout = 2 * time.Second
	// showLimit is how long a change that was just made may take to be shown by the query that waits for changes: a
	// millisecond as a rule. Later it is read.
	showLimit = 100 * time.Millisecond
)

// watch keeps the newest view of the cluster's records. It is safe for concurrent use.
type watch struct {
	store election.Store
	keys  cluster.Keys
	wake  func()
	now   func() time.Duration

	mu     sync.Mutex
	view   roles.View
	extra  cluster.Extra
	index  uint64
	err    error         // why the last read failed; nil after a good one
	failed time.Duration // since when reads have been failing
	free   time.Duration // since when the lock has been seen free; 0: held
	back   time.Duration // since when reads succeed again after an outage; 0: there was none
	news   bell          // rung with every view

	// spare is set while this node waits for the lock or the record of the term to change, and for nothing else: changes of
	// other records do not wake it then. Its next look by the clock sees them.
	spare atomic.Bool
	// apart is set while this node leaves an election to others: no change wakes it then. The winner, too, is found by the clock, so
	// that the nodes nobody waits for do not all turn to it in the moment in which the clients do.
	apart atomic.Bool
	known settled           // when the node was woken last
	told  map[string]string // what the last answer had to say, see news; only run uses it
}

// listen says what this node waits for, see spare and apart. missed is true when it listens to more than before: what changed
// meanwhile woke nobody.
func (w *watch) listen(spare, apart bool) (missed bool) {
	missed = w.spare.Swap(spare) && !spare
	return w.apart.Swap(apart) && !apart || missed
}

// settled is what a hand-over waits for.
type settled struct {
	leader roles.Leader
	sync   uint64 // its version
}

// run follows the records until ctx ends.
func (w *watch) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		index := w.index
		if w.err != nil {
			index = 0
		}
		w.mu.Unlock()
		v, err := w.next(ctx, index)
		if ctx.Err() != nil {
			return
		}
		view, err := w.take(v, index, err)                     // an answer that cannot be read is a failure like no answer: it is not asked for at once again
		news := err == nil && (w.tells(v, view) || index == 0) // else the query waited in vain, or nothing changed but what people look at
		if now := (settled{view.Leader, view.Sync.Ver}); err != nil || news && !w.apart.Load() && (now != w.known || !w.spare.Load()) {
			w.known = now
			w.wake()
		}
		switch {
		case err != nil:
			pause(ctx, watchRetry)
		case w.apart.Load():
			pause(ctx, apartRest)
		}
	}
}

// tells reports whether an answer has something in it that a decision may depend on, and that the one before had not. In a cluster that
// is at work every node brings up to date, every other second, what only people look at, see material; three nodes that look at mysqld
// because of each would do so three times a second instead of twice.
func (w *watch) tells(v election.View, view roles.View) bool {
	told := make(map[string]string, len(v.KVs))
	for key, kv := range v.KVs {
		told[key] = strconv.FormatUint(kv.ModifyIndex, 10) + kv.Session
	}
	for inc, n := range view.Nodes {
		told[w.keys.Node(inc)] = material(n) + n.Session
	}
	same := maps.Equal(told, w.told)
	w.told = told
	return !same
}

func (w *watch) next(ctx context.Context, index uint64) (election.View, error) {
	if index == 0 {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		return w.store.Read(ctx, w.keys.Prefix, false)
	}
	return w.store.Wait(ctx, w.keys.Prefix, index, watchMax)
}

// refresh reads the records now, consistently, and returns what it saw.
func (w *watch) refresh(ctx context.Context) (roles.View, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	v, err := w.store.Read(ctx, w.keys.Prefix, true)
	if err != nil {
		return roles.View{}, err
	}
	return w.take(v, v.Index, nil)
}

// written returns a view that shows next, which has just been written in place of version ver. The query that waits for
// changes brings it sooner than asking does; whoever does not know whether it was written asks with refresh.
func (w *watch) written(ctx context.Context, ver uint64, next roles.Sync) (roles.View, error) {
	limit, cancel := context.WithTimeout(ctx, showLimit)
	defer cancel()
	for {
		w.mu.Lock()
		view, shown := w.view, w.err == nil && w.view.Sync.Ver > ver && w.view.Sync.Equal(next)
		news := w.news.next()
		w.mu.Unlock()
		if shown {
			return view, nil
		}
		select {
		case <-news:
		case <-limit.Done():
			return w.refresh(ctx)
		}
	}
}

// take adopts an answer. since is the index the question started from.
func (w *watch) take(v election.View, since uint64, err error) (roles.View, error) {
	var view roles.View
	var extra cluster.Extra
	if err == nil {
		view, extra, err = w.keys.Parse(v)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.err == nil {
			w.failed = w.now()
		}
		w.err = err
		return roles.View{}, err
	}
	if w.err == nil && v.Index < w.index && w.index != since {
		return w.view, nil // this answer was overtaken by a refresh; a store that went back in time is read again next
	}
	extra.NoteFailovers(w.extra, w.now())
	if w.err != nil && w.now()-w.failed >= outageMin {
		w.back = w.now()
	}
	w.view, w.extra, w.index, w.err = view, extra, v.Index, nil
	w.news.ring()
	switch {
	case !view.Leader.Free():
		w.free = 0
	case w.free == 0:
		w.free = w.now()
	}
	return view, nil
}

// current returns the newest view; it is not OK once reads have been failing for longer than patience. The error is
// the newest failure, for the operator's sentence.
func (w *watch) current(patience time.Duration) (v roles.View, x cluster.Extra, leaderFree time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, x = w.view, w.extra
	if w.err != nil && w.now()-w.failed > patience {
		v.OK = false
	}
	if w.free != 0 {
		leaderFree = w.now() - w.free
	}
	return v, x, leaderFree, w.err
}

// sinceBack is for how long Consul has answered again after an outage; 0 when there was none.
func (w *watch) sinceBack() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.back == 0 || w.err != nil {
		return 0
	}
	return max(w.now()-w.back, 1)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
