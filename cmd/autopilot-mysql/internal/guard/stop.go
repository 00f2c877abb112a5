package guard

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

const (
	// agentGrace is how long an agent that asked for the end may take to end itself.
	agentGrace = 5 * time.Second
	// reapLimit bounds the wait for processes that were given SIGKILL; one that hangs in the kernel
	// longer than this runs no instruction of its own any more.
	reapLimit = 30 * time.Second
	// sameStop is the time within which a second SIGTERM is the same request: some senders signal the
	// process and then its group.
	sameStop = 200 * time.Millisecond
)

// ending is the last phase: everything is being killed and reaped.
type ending struct {
	code   int // or MysqldStatus
	reason string
	forced bool // the agent gets no time
	over   bool // reapLimit passed
}

// stopping says whether the graceful stop has been asked for.
func (g *guard) stopping() bool { return g.stop != 0 }

// onSignal handles a signal sent to the guard.
func (g *guard) onSignal(sig syscall.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		g.onStop(sig)
	case syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2:
		// Before its hello the agent may have no handler yet, and would die of it.
		if g.agent != nil && g.agent.connected {
			_ = syscall.Kill(g.agent.pid, sig)
		}
	}
}

// onStop begins the graceful stop; a second request ends the patience.
func (g *guard) onStop(sig syscall.Signal) {
	switch {
	case g.end != nil:
		g.force()
	case !g.stopping():
		g.stop, g.stopAt = sig, time.Now()
		time.AfterFunc(g.opts.StopTimeout, func() {
			g.post(func() { g.giveUp(fmt.Sprintf("not stopped within %v", g.opts.StopTimeout)) })
		})
		if g.agent == nil {
			g.giveUp(fmt.Sprintf("%v while no agent was running", sig))
			return
		}
		g.send(g.agent, message{Stop: sig}) // or with its hello
	case time.Since(g.stopAt) >= g.opts.times.sameStop:
		g.giveUp(fmt.Sprintf("a second %v while stopping", sig))
	}
}

// giveUp ends everything with SIGKILL. It does nothing when the end has been reached another way.
func (g *guard) giveUp(why string) {
	if g.end == nil {
		if g.mysqld != nil {
			why += ": mysqld was killed"
		}
		g.finish(MysqldStatus, why)
	}
	g.force()
}

// finish begins the end: mysqld is killed if it still runs, and the agent has agentGrace to leave.
func (g *guard) finish(code int, reason string) {
	if g.end != nil {
		return
	}
	g.end = &ending{code: code, reason: reason}
	if g.restart != nil {
		g.restart.Stop()
	}
	g.killMysqld(CauseStop)
	time.AfterFunc(g.opts.times.agentGrace, func() { g.post(g.force) })
	time.AfterFunc(reapLimit, func() { g.post(func() { g.end.over = true }) })
}

// force takes the agent's grace away.
func (g *guard) force() {
	if g.end == nil {
		return
	}
	g.end.forced = true
	if g.agent != nil && g.agent.pid != 0 {
		killGroup(g.agent.pid)
	}
}

// ended says whether everything is gone.
func (g *guard) ended() bool {
	return g.end != nil && (g.end.over || g.agent == nil && g.mysqld == nil && g.forking == 0)
}

// result is the exit code of the whole; the reason is printed here, once.
func (g *guard) result() int {
	if reason := strings.Join(strings.Fields(g.end.reason), " "); reason != "" {
		g.log.printf("%s", reason)
	}
	if g.end.code == MysqldStatus {
		return g.mysqldStatus(1)
	}
	return g.end.code
}
