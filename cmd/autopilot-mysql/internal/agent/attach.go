package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// adopt deals with a mysqld that a previous agent left running. If what the guard remembers of it can still be proven,
// it goes on as what it was. Otherwise it is closed for clients before anything else, and one that cannot be closed is
// killed.
func (a *Agent) adopt(ctx context.Context) {
	pid, running := a.Guard.Mysqld()
	if !running {
		a.leftBehind = a.disk.s.LastSync.Primary == a.disk.inc()
		return
	}
	a.open()
	m := remembered(a.Guard.Memory(), pid, a.disk.inc())
	usable := a.disk.s.HasData && !a.disk.s.Fresh && !a.disk.s.Founding && !a.disk.s.Condemned
	switch {
	case usable && m.Led != nil:
		a.adoptLed(ctx, *m.Led)
		return
	case usable && m.Kept != nil:
		err := a.adoptKept(ctx, *m.Kept)
		if err == nil {
			a.Log.Info("found mysqld running as a follower; it goes on", "pid", pid, "follows", m.Kept.Follow.Primary.Name(), "term", m.Kept.Follow.Term)
			return
		}
		a.Log.Info("found mysqld running, but it does not go on as a follower", "err", err)
	}
	a.closeFound(ctx, pid)
}

// adoptLed takes over session and lease; whether the term goes on is decided from the facts of the first turns. The
// guard's deadline runs on meanwhile.
func (a *Agent) adoptLed(ctx context.Context, l led) {
	a.Log.Info("found mysqld running as the primary; looking whether the term still holds", "term", l.Term,
		"lease", (l.Lease - election.Boottime()).String())
	a.leftOpen = l.Term
	a.keeper.adopt(l, []byte(a.disk.inc()))
	if _, err := a.watch.refresh(ctx); err != nil {
		a.Log.Warn("read the records", "err", err)
	}
}

// adoptKept makes sure that the server is what its last agent said: closed for writes, no source, and the receiver that
// was started for that very confirmation. The session is a new one all the same: nothing the last agent sent counts then.
func (a *Agent) adoptKept(ctx context.Context, k kept) error {
	ctx, cancel := context.WithTimeout(ctx, a.Params.F)
	defer cancel()
	if err := a.attach(ctx); err != nil {
		return err
	}
	st, err := a.srv.Status(ctx)
	if err != nil {
		return err
	}
	r := st.Replica
	switch {
	case !st.SuperReadOnly || st.Source.Enabled || st.Source.WaitSessions > 0:
		return errors.New("it is not closed for writes")
	case r == nil || r.ReceiverStart == "" || r.ReceiverStart != k.Receiver || r.ArmedWanted != k.Follow.Armed || r.Armed != k.Follow.Armed:
		return errors.New("its receiver is not the one that was confirmed")
	case k.Follow.Term < a.disk.s.Promised:
		return fmt.Errorf("it promised to wait for term %d, and follows in term %d", a.disk.s.Promised, k.Follow.Term)
	}
	a.follow = k.Follow
	if k.Checked != 0 {
		a.checked = checkedHistory{k.Follow.Primary, k.Checked}
	}
	return nil
}

// closeFound fences a server whose role cannot be proven.
func (a *Agent) closeFound(ctx context.Context, pid int) {
	a.Log.Info("found mysqld running; closing it until it is known what it may be", "pid", pid)
	a.catalog.found(a.catalog.primary())
	cctx, cancel := context.WithTimeout(ctx, a.Params.F)
	defer cancel()
	err := a.srv.Ready(cctx)
	if err == nil {
		err = a.srv.KillOtherAdmins(cctx)
	}
	if err == nil {
		_, err = a.srv.Fence(cctx)
	}
	if err != nil || !a.disk.s.HasData {
		a.Log.Warn("mysqld could not be closed in order and is killed", "err", err)
		a.kill(ctx)
	}
	_ = a.Guard.Feed(0, memory{}.encode())
}

// GoOn is ATTACH. The previous agent may have sent a change of the ack set that is still under way; a new version of the
// same content makes every such transaction fail, and proves in the same step that the lock is this session's.
func (a *Agent) GoOn(ctx context.Context, f roles.Facts) error {
	st := a.keeper.state()
	if !st.held {
		return errors.New("go on: the lease ran out")
	}
	ctx, cancel := context.WithTimeout(ctx, st.expiresIn)
	defer cancel()
	next := f.View.Sync
	next.Rev++
	ok, why, err := a.Store.Txn(ctx, election.CheckSession(a.keys.Leader(), st.session), election.CAS(a.keys.Sync(), next.Ver, cluster.Encode(next)))
	if err := a.adoptSync(ctx, next, ok, why, err); err != nil {
		return fmt.Errorf("go on: %w", err)
	}
	if !a.keeper.state().held {
		return errors.New("go on: the lease ran out meanwhile")
	}
	a.leftOpen, a.openTerm, a.checkpoints, a.follow = 0, a.leading.Term, nil, roles.Follow{}
	a.throttle = maybeThrottled // the previous agent may have been about to hand over
	clear(a.silent)
	a.keeper.opened(a.openTerm)
	a.catalog.want(a.catalog.primary())
	return nil
}

// giveUpAttach forgets what a previous agent left: a session of our own ends whatever that one still has under way.
func (a *Agent) giveUpAttach() {
	if a.leftOpen == 0 {
		return
	}
	a.leftOpen = 0
	a.catalog.found(a.catalog.primary())
	a.keeper.disown()
}

// remember tells the guard what this follower is, for the next agent.
func (a *Agent) remember(f roles.Facts) {
	m := memory{Inc: a.disk.inc()}
	s := a.machine.State()
	if (s == roles.Replica || s == roles.Standby) && a.follow.Primary != "" && f.MySQL.Receiver == roles.On && a.disk.facts().Data == roles.DataOurs {
		m.Mysqld, _ = a.Guard.Mysqld()
		m.Kept = &kept{Follow: a.follow, Receiver: f.MySQL.ReceiverID}
		if a.checked.primary == a.follow.Primary {
			m.Kept.Checked = a.checked.term
		}
	}
	a.keeper.remember(m.encode())
}
