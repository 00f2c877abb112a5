package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Times of a follower.
const (
	// connectRetry is how long a receiver waits between two attempts; a whole second is the least MySQL takes.
	connectRetry = time.Second
	// letInWait is how long a follower waits to be let in by the primary before it starts its receiver anyway.
	letInWait = 1500 * time.Millisecond
	// historyTimeout bounds reading another server's history.
	historyTimeout = 3 * time.Second
)

// followPrimary is FOLLOW: compare histories, be closed for writes, stop, confirm, and only then receive.
func (a *Agent) followPrimary(ctx context.Context, f roles.Facts) error {
	h, ok := f.View.Admitting()
	if !ok {
		return errNotNow
	}
	sync, next := f.View.Sync, roles.Following(f, h)
	r := a.status.Replica
	refused := r != nil && r.Receiver == mysql.Off && r.IOErrno != 0 && f.MySQL.Source == h.MySQL // by anybody else, it says nothing about h
	refused = refused && !a.hasConfirmed(f, next)                                                 // nor does what was before this term
	switch {
	case !refused && a.checked == (checkedHistory{h.Inc, sync.Term}):
	case !refused && roles.WinnerHolds(f, h): // should its binary logs not reach back to here, it refuses the receiver
		a.checked = checkedHistory{h.Inc, sync.Term}
	default:
		if f.MySQL.Receiver != roles.Off && f.MySQL.Source != h.MySQL { // what still arrives from elsewhere would not be compared
			if err := a.srv.StopReceiver(ctx); err != nil {
				return fmt.Errorf("follow %s: %w", h.Name, err)
			}
		}
		diverged, err := a.compare(ctx, h)
		if err != nil || diverged {
			return err
		}
		a.checked = checkedHistory{h.Inc, sync.Term}
	}
	if err := a.noteFollowed(f); err != nil {
		return fmt.Errorf("follow %s: %w", h.Name, err)
	}
	m := f.MySQL
	if m.Source == h.MySQL && m.Receiver != roles.Off && m.Applier == roles.On && m.ArmedWanted == next.Armed && m.Armed == next.Armed && !m.Offline {
		a.follow, a.chained = next, nil // only the term is new: nothing about the stream changes
		return nil
	}
	if err := a.repoint(ctx, f, h, next); err != nil {
		return fmt.Errorf("follow %s: %w", h.Name, err)
	}
	return nil
}

// expected is what a node has confirmed before the primary was open, and under which version of sync.
type expected struct {
	roles.Follow
	ver uint64
}

// expectPrimary confirms that the winner of an election will be followed, while it opens. Nothing is received here, and nothing
// will be before it is open.
func (a *Agent) expectPrimary(ctx context.Context, f roles.Facts) error {
	h, ok := f.View.Promoted()
	if !ok || !roles.WinnerHolds(f, h) {
		return errNotNow
	}
	next := roles.Following(f, h)
	a.checked = checkedHistory{h.Inc, next.Term}
	err := a.noteFollowed(f)
	if err == nil {
		err = a.confirmAs(ctx, f, next)
	}
	if err != nil {
		return fmt.Errorf("expect %s: %w", h.Name, err)
	}
	a.expected = expected{next, f.View.Sync.Ver}
	if f.MySQL.Applier != roles.On { // the relay log would be deleted
		return nil
	}
	src, err := a.sourceAt(h, next.Armed)
	if err == nil {
		err = a.srv.Point(ctx, src)
	}
	if err != nil {
		return fmt.Errorf("expect %s: %w", h.Name, err)
	}
	return nil
}

// sourceAt is h as this node's source.
func (a *Agent) sourceAt(h roles.Node, armed bool) (mysql.Source, error) {
	host, port, err := splitAddr(h.MySQL)
	return mysql.Source{
		Host: host, Port: port, User: a.creds.Node(a.Settings.Name), Password: a.creds.Password, Armed: armed,
		Heartbeat: heartbeat, ConnectRetry: connectRetry,
	}, err
}

// noteFollowed makes durable which record this node acts on.
func (a *Agent) noteFollowed(f roles.Facts) error {
	sync := f.View.Sync
	return a.disk.save(func(s *diskState) {
		s.LastSync = newer(refusedTakeover(s.LastSync, sync, f.Self.Inc), sync)
		s.Promised = max(s.Promised, sync.Term)
	})
}

// confirmAs stops the receiver before it confirms: whoever the primary lets in acknowledges only as confirmed.
func (a *Agent) confirmAs(ctx context.Context, f roles.Facts, next roles.Follow) error {
	if err := a.closeAsReplica(ctx); err != nil {
		return err
	}
	if f.MySQL.Receiver != roles.Off {
		if err := a.srv.StopReceiver(ctx); err != nil {
			return err
		}
		a.steady.planned()
	}
	a.follow, a.chained = next, nil
	if err := a.confirmFollow(ctx, f); err != nil {
		a.follow = roles.Follow{}
		return err
	}
	return nil
}

// hasConfirmed tells whether next was confirmed before the primary was open, and nothing has changed or been received since.
func (a *Agent) hasConfirmed(f roles.Facts, next roles.Follow) bool {
	return a.expected == expected{next, f.View.Sync.Ver} && a.follow == next && f.MySQL.Receiver == roles.Off
}

// repoint confirms, unless that was done while the primary opened, and receives from it.
func (a *Agent) repoint(ctx context.Context, f roles.Facts, h roles.Node, next roles.Follow) error {
	done := a.hasConfirmed(f, next)
	a.expected = expected{}
	if !done {
		if err := a.confirmAs(ctx, f, next); err != nil {
			return err
		}
	}
	src, err := a.sourceAt(h, next.Armed)
	if err != nil {
		return err
	}
	if done && roles.LetIn(f) && a.creds.Former == "" { // nothing to find out: the winner let it in before it said so
		err = a.srv.Begin(ctx, src, a.status)
	} else {
		wctx, cancel := context.WithTimeout(ctx, letInWait)
		src.Password, err = awaitLogin(wctx, h.MySQL, src.User, a.creds)
		cancel()
		if err != nil && ctx.Err() == nil {
			a.Log.Debug("not let in yet; the receiver will retry", "primary", h.Name, "err", err)
		}
		err = a.srv.Follow(ctx, src)
	}
	if err != nil {
		if errors.Is(err, mysql.ErrNoReplication) { // the next turn starts it anew; it serves nobody as it is
			return errors.Join(err, a.killMysqld(ctx))
		}
		return err
	}
	return a.srv.OfflineOff(ctx)
}

// closeAsReplica makes a server that may have been a source a proper replica: the source side off (else its applier
// waits for acknowledgements), events disabled. It has no waiters: it was fenced.
func (a *Agent) closeAsReplica(ctx context.Context) error {
	if a.status.Source.Enabled {
		if a.status.Source.WaitSessions > 0 {
			return fmt.Errorf("%d commits still wait here: %w", a.status.Source.WaitSessions, errNotNow)
		}
		if err := a.srv.SetSource(ctx, false, 0); err != nil {
			return err
		}
	}
	return a.srv.DisableEvents(ctx)
}

// confirmFollow publishes what this node is about to do, and only returns when the others can see it.
func (a *Agent) confirmFollow(ctx context.Context, f roles.Facts) error {
	n, conditions := confirmation(a.ownRecord(f), f.View.Sync, a.keys)
	return a.record.write(ctx, n, conditions...)
}

// confirmation is the record of a follower that is about to begin another receiver, and what must be true when it is
// written. That it will acknowledge is said only while the version of sync stands that names it a member: the primary may
// take it out at any moment, and a follower that was frozen since its decision would complete commits as nobody.
func confirmation(n roles.Node, sync roles.Sync, keys cluster.Keys) (roles.Node, []election.Op) {
	n.Receiver, n.Armed, n.Confirms, n.Caught = "", false, nil, false
	if !n.ArmedWanted {
		return n, nil
	}
	return n, []election.Op{election.CheckIndex(keys.Sync(), sync.Ver)}
}

// compare reads this node's position and then the primary's history, in that order. What the primary lacks is archived
// and the data is given up; so is data that the primary's binary logs no longer reach back to. In doubt nothing happens.
func (a *Agent) compare(ctx context.Context, h roles.Node) (diverged bool, err error) {
	st, err := a.srv.Status(ctx)
	if err != nil {
		return false, fmt.Errorf("compare with %s: %w", h.Name, err)
	}
	hctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	history, purged, err := mysql.HistoryOf(hctx, h.MySQL, a.creds, h.Inc.UUID())
	if err != nil {
		return false, fmt.Errorf("compare with %s: %w", h.Name, err)
	}
	extra, missing := st.Position().Subtract(history), purged.Subtract(st.Position())
	if extra.IsEmpty() && missing.IsEmpty() {
		return false, nil
	}
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return false, fmt.Errorf("compare with %s: %w", h.Name, err)
	}
	if p, ok := view.ValidPrimary(); !ok || p.Inc != h.Inc {
		return false, fmt.Errorf("compare with %s: it is no longer the primary: %w", h.Name, errNotNow)
	}
	if extra.IsEmpty() { // everything here is there as well; only the way from here to there is gone
		a.Log.Warn("this node needs transactions that are in no binary log of the primary any more; it gets a new copy",
			"primary", h.Name, "gtids", missing.String())
		return true, a.disk.save(func(s *diskState) { s.Condemned = true })
	}
	if a.onlyReport(extra) {
		a.errant = extra
		return false, nil
	}
	a.condemn(h, extra)
	return true, nil
}

// confirm answers the primary's checkpoint. A question to let a void node in again, asked of this very receiver, is
// also what makes its acknowledgements hold again.
func (a *Agent) confirm(ctx context.Context, f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok {
		return errNotNow
	}
	a.confirms = stillAsked(a.confirms, h.Checkpoints)
	for _, c := range roles.Answers(f, h) {
		if f.Disk.Void && c.For == roles.ReadmitQuestion(f.Self.Inc, f.MySQL.ReceiverID) {
			if err := a.disk.save(func(s *diskState) { s.Void = false }); err != nil {
				return fmt.Errorf("confirm checkpoint: %w", err)
			}
		}
		a.confirms = append(a.confirms, roles.Confirmation{Seq: c.Seq, Receiver: f.MySQL.ReceiverID})
	}
	if err := a.record.write(ctx, a.ownRecord(f)); err != nil {
		return fmt.Errorf("confirm checkpoint: %w", err)
	}
	_, err := a.watch.refresh(ctx)
	return err
}

// stillAsked keeps the answers to questions that still stand.
func stillAsked(given []roles.Confirmation, standing []roles.Checkpoint) []roles.Confirmation {
	return slices.DeleteFunc(slices.Clone(given), func(g roles.Confirmation) bool {
		return !slices.ContainsFunc(standing, func(c roles.Checkpoint) bool { return c.Seq == g.Seq })
	})
}

func splitAddr(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", addr, err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", addr, err)
	}
	return host, port, nil
}

// awaitLogin returns when the primary lets user in, with the password it does that with: the present one, or the former
// one while that is being rotated and the primary does not know better yet.
func awaitLogin(ctx context.Context, addr, user string, c mysql.Credentials) (string, error) {
	for {
		err := mysql.TryLogin(ctx, addr, user, c.Password, c.TLS)
		if err == nil || ctx.Err() != nil {
			return c.Password, err
		}
		if c.Former != "" && errors.Is(err, mysql.ErrAccessDenied) && mysql.TryLogin(ctx, addr, user, c.Former, c.TLS) == nil {
			return c.Former, nil
		}
		pause(ctx, 3*time.Millisecond)
	}
}
