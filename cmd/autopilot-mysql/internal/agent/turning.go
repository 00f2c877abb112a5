package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// turning is what a server that takes over does beside the takeover. When it holds everything offered it stops its receiver:
// nothing can arrive any more, as the offer is everything there is, and once it is taken the old primary can add nothing.
// When it has executed everything it cuts its readers, who shall look for another server. OPEN waits for that before anybody
// may write, and for the receiver before clients are let in. When the offer is not taken after all, this node follows again as after any stop of its receiver.
type turning struct {
	srv   *mysql.Server
	offer gtid.Set
	spare []string // accounts of those who acknowledge already

	closed, stopped work
	// Known once closed is done.
	clear    bool // no replication account is unlocked but the spared ones', and nobody else receives
	noEvents bool // no event is there that replication switched off; all is executed, so none will come
	// held is what is here without a receiver. Known once stopped is done.
	held mysql.Held
}

// work is something that goes on beside the loop. The zero value is work that was never begun.
type work struct {
	done chan struct{}
	err  error
}

func (w *work) begin(do func() error) {
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		w.err = do()
	}()
}

// wait returns how it ended.
func (w *work) wait(ctx context.Context) error {
	if w.done == nil {
		return errors.New("it was never begun")
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newTurning(srv *mysql.Server, offer gtid.Set, spare []string) *turning {
	return &turning{srv: srv, offer: offer, spare: spare}
}

// stopReceiver begins the one. It goes on when the step that began it is over, for stepTimeout at most. Once is enough.
func (t *turning) stopReceiver(ctx context.Context) {
	if t.stopped.done != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	t.stopped.begin(func() (err error) {
		defer cancel()
		if err := t.srv.StopReceiver(ctx); err != nil {
			return err
		}
		t.held, err = t.srv.Held(ctx)
		return err
	})
}

// close begins the other, likewise.
func (t *turning) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	t.closed.begin(func() error {
		defer cancel()
		var all errgroup.Group
		all.Go(func() error { return t.srv.OfflineOn(ctx) })
		all.Go(func() (err error) { t.clear, err = t.isClear(ctx); return err })
		all.Go(func() (err error) { t.noEvents, err = t.srv.NoEventsWait(ctx); return err })
		return all.Wait()
	})
}

// nothingElse waits for the receiver to be off, and makes sure that nothing came from it that was not offered. A nil turning
// is that of a sealed node: its receiver was off before.
func (t *turning) nothingElse(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.stopped.wait(ctx); err != nil {
		return err
	}
	more := t.held.Received.Subtract(t.offer)
	if t.held.Receiver != mysql.Off || !more.IsEmpty() || !t.held.Half.IsEmpty() {
		return fmt.Errorf("something came that was not offered, or still may: receiver %s, received %q, by half %q", t.held.Receiver, more, t.held.Half)
	}
	return nil
}

// isClear ends all streams but the spared ones', if only those can come back: the hand-over was prepared so.
func (t *turning) isClear(ctx context.Context) (bool, error) {
	accounts, err := t.srv.ReplicationAccounts(ctx)
	if err != nil {
		return false, err
	}
	for user, locked := range accounts {
		if !locked && !slices.Contains(t.spare, user) {
			return false, nil
		}
	}
	return true, t.srv.KillDumpThreadsBut(ctx, t.spare)
}

// over waits for the end of both, however they end. A nil turning is over.
func (t *turning) over(ctx context.Context) error {
	if t == nil {
		return nil
	}
	_ = errors.Join(t.closed.wait(ctx), t.stopped.wait(ctx)) // whether they were begun or how they ended: nobody needs them any more
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("a hand-over that did not come about still stops the receiver: %w", err)
	}
	return nil
}
