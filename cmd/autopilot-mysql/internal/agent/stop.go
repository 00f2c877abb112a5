package agent

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// handOverWait is how long a stopping primary stays, sealed and answering, for a successor to open.
const handOverWait = 10 * time.Second

// stopped carries the graceful stop forward and returns the ending once nothing is left to do. A primary has been
// fenced and has let go of the lock by then; its sealed position counts in the election, so it stays until a successor
// is open, nobody could be one, or the wait is over.
func (a *Agent) stopped(ctx context.Context, f roles.Facts) *ending {
	now := election.Boottime()
	if a.stopAt == 0 {
		a.stopAt = now
	}
	switch a.machine.State() {
	case roles.Primary:
		return nil // Decide steps down on the next turn
	case roles.Failover:
		if now-a.stopAt < handOverWait && a.successorPossible(f) {
			return nil
		}
	case roles.Init, roles.RestoreSnapshot, roles.Replica, roles.Standby: // nobody depends on it
	}
	return a.shutDown(ctx, f)
}

// successorPossible reports whether waiting makes sense: this node was the primary, no other is open yet, and a living
// member could become it.
func (a *Agent) successorPossible(f roles.Facts) bool {
	v := f.View
	if h, ok := v.ValidPrimary(); ok && h.Inc != f.Self.Inc || !v.OK || v.Paused || v.Sync.Primary != f.Self.Inc || !f.MySQL.Running {
		return false
	}
	for _, m := range v.Sync.Ackers() {
		if v.Nodes[m].Alive() {
			return true
		}
	}
	return false
}

// shutDown ends mysqld, which serves nobody that could be told a lie by then, and everything of this node in Consul.
func (a *Agent) shutDown(ctx context.Context, f roles.Facts) *ending {
	limit := max(a.Settings.StopTimeout-(election.Boottime()-a.stopAt)-time.Second, time.Second)
	sctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a.catalog.want(nil)
	f.Stop = true
	if err := a.record.write(sctx, a.ownRecord(f)); err != nil {
		a.Log.Debug("say that this node leaves", "err", err)
	}
	code := guard.MysqldStatus
	if _, running := a.Guard.Mysqld(); !running && a.lastExit.Pid == 0 {
		code = 128 + int(syscall.SIGTERM) // there never was a mysqld whose status could be ours
	}
	if err := a.endMysqld(sctx); err != nil {
		a.Log.Warn("mysqld did not stop in time and is killed", "err", err)
		a.kill(ctx)
	}
	cctx, ccancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer ccancel()
	if err := a.Session.Close(cctx); err != nil {
		a.Log.Debug("close session", "err", err)
	}
	return &ending{code, ""}
}

func (a *Agent) endMysqld(ctx context.Context) error {
	if _, running := a.Guard.Mysqld(); !running {
		return nil
	}
	if a.srv != nil && a.connected {
		st, err := a.srv.Status(ctx)
		if err != nil || !st.SuperReadOnly || st.Source.WaitSessions > 0 {
			return errors.Join(fmt.Errorf("it is not fenced (%d commits waiting): SIGTERM would tell their clients they are safe", st.Source.WaitSessions), err)
		}
		if st.Replica != nil { // what is received is on disk; a clean stop takes no more
			if err := a.srv.StopReplica(ctx); err != nil {
				a.Log.Debug("stop replication", "err", err)
			}
		}
		a.shut()
	}
	if err := a.Guard.Signal(ctx, syscall.SIGTERM); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-a.Guard.Exits():
			a.Log.Info("mysqld stopped", "exit", e.String())
			return nil
		}
	}
}
