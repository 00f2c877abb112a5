package agent

import (
	"context"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

// Times of the probe commits of a primary.
const (
	// probeSoon is how long after the binary log last grew the first probe is sent: a busy server proves itself.
	probeSoon = time.Second
	// probeSeldom is the longest pause between two probes of an idle server. Each one is a transaction of its own.
	probeSeldom = 10 * time.Second
	// probeAgain is the pause after a commit that mysqld refused.
	probeAgain = 500 * time.Millisecond
	// probeLimit bounds one probe. It is long on purpose: a session that waits for its disk must not be ended while nobody
	// can take over, because mysqld then aborts as a whole (measured: "KILL" of a commit that waits for a full disk).
	probeLimit = 24 * time.Hour
)

// prober finds out whether a primary still commits. While its binary log grows nothing is asked; otherwise a marker is
// committed now and then, at most one at a time. All but the commit itself belongs to the loop.
type prober struct {
	commit  func(context.Context) error
	refused func(error) (string, bool) // whether an error is mysqld's word that it cannot commit
	wake    func()

	end    mysql.BinlogPos // of the binary log at the last look
	moved  time.Duration   // when it last grew, or the last probe succeeded
	pause  time.Duration   // from moved to the next probe
	since  time.Duration   // since when nothing has been committed although it was tried; 0: it works
	why    string          // what mysqld said about it
	run    *probeRun       // the probe that is under way
	cancel context.CancelFunc
}

// probeRun is one probe: one goroutine writes its outcome.
type probeRun struct {
	begun time.Duration
	own   bool // its own growth of the log has not been seen yet

	mu   sync.Mutex
	done bool
	err  error
}

// look is called on every turn with what mysqld has just said. It reports for how long this primary has not been able to
// commit, and mysqld's reason if it gave one. Commits that wait for an acknowledgement are not the disk's fault.
func (p *prober) look(ctx context.Context, now time.Duration, end mysql.BinlogPos, waiting int) (stuck time.Duration, why string) {
	if p.moved == 0 {
		p.moved, p.pause, p.end = now, probeSoon, end
	}
	if end != p.end {
		if p.run == nil || !p.run.own {
			p.pause = probeSoon // somebody else's: the server is in use
		}
		if p.run != nil {
			p.run.own = false
			p.run.begun = now // it does commit; whatever holds up the probe begins now
		}
		p.end, p.moved, p.since, p.why = end, now, 0, ""
	}
	switch {
	case p.run == nil:
		if now-p.moved >= p.pause {
			p.begin(ctx, now)
		}
	case p.finished(now):
	case waiting > 0:
		p.run.begun, p.since = now, 0
	case now-p.run.begun > probeSoon:
		p.since = p.run.begun
	}
	if p.since == 0 {
		return 0, ""
	}
	return now - p.since, p.why
}

func (p *prober) begin(ctx context.Context, now time.Duration) {
	r := &probeRun{begun: now, own: true}
	p.run = r
	ctx, p.cancel = context.WithTimeout(context.WithoutCancel(ctx), probeLimit)
	commit, wake := p.commit, p.wake // the rest of p is the loop's
	go func() {
		err := commit(ctx)
		r.mu.Lock()
		r.done, r.err = true, err
		r.mu.Unlock()
		wake()
	}()
}

// finished takes the outcome of the probe if there is one.
func (p *prober) finished(now time.Duration) bool {
	r := p.run
	r.mu.Lock()
	done, err := r.done, r.err
	r.mu.Unlock()
	if !done {
		return false
	}
	p.cancel()
	p.run, p.moved = nil, now
	reason, refused := p.refused(err)
	switch {
	case err == nil:
		p.since, p.why = 0, ""
		p.pause = min(2*p.pause, probeSeldom)
	case refused:
		if p.since == 0 {
			p.since = r.begun
		}
		p.why, p.pause = reason, probeAgain
	default: // locked tables, a connection that broke: says nothing about the disk
		p.since, p.why, p.pause = 0, "", probeSoon
	}
	return true
}

// forget ends the probing of a server that is no longer the primary. A probe that hangs there ends with its connection.
func (p *prober) forget() {
	if p.run != nil {
		p.cancel()
	}
	*p = prober{commit: p.commit, refused: p.refused, wake: p.wake}
}
