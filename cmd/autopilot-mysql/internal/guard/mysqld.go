package guard

import (
	"fmt"
	"syscall"
	"time"
)

// mysqldProc is the mysqld that runs, or is being started. Its fields belong to the loop.
type mysqldProc struct {
	pid      int           // 0 while it is being started
	deadline time.Duration // CLOCK_BOOTTIME; 0: none
	killed   bool          // SIGKILL was sent: nothing brings it back
	cause    Cause
	late     time.Duration
	waiting  []waiter // requests that are answered when it is reaped
}

// waiter is a request to answer later.
type waiter struct {
	agent *agentProc
	id    uint64
}

// enforceDeadline kills mysqld when its deadline has passed. It is the first thing in every turn of
// the loop, so it wins over every feed that has not been handled yet.
func (g *guard) enforceDeadline() {
	m := g.mysqld
	if m == nil || m.deadline == 0 || m.killed {
		return
	}
	now := boottime()
	if now < m.deadline {
		return
	}
	killGroup(m.pid)
	m.killed, m.cause, m.late = true, CauseDeadline, now-m.deadline
	m.deadline = 0
	g.kills++
	g.log.printf("mysqld (pid %d) killed: the deadline the agent last fed passed %v ago", m.pid, m.late.Round(time.Microsecond))
	g.watchSilence()
}

// onRequest handles one request of the agent a.
func (g *guard) onRequest(a *agentProc, r request) {
	if a != g.agent {
		return // a message of an incarnation that is over
	}
	a.heard = true
	if r.Op == opHello {
		g.hello(a, r)
		return
	}
	a.commanded = true
	var err error
	switch r.Op {
	case opStart:
		if err = g.startMysqld(a, r); err == nil {
			return // answered when it runs
		}
	case opSignal:
		err = g.signalMysqld(r.Signal)
	case opKill:
		if g.mysqld != nil {
			g.mysqld.waiting = append(g.mysqld.waiting, waiter{a, r.ID})
			g.killMysqld(CauseKill)
			return // answered when it is reaped
		}
	case opFeed:
		err = g.feed(r)
	case opExit:
		g.answer(a, r.ID, nil)
		g.finish(r.Code, r.Reason)
		return
	default:
		err = fmt.Errorf("unknown request %q", r.Op)
	}
	g.answer(a, r.ID, err)
}

// hello greets a new agent: memory, and what happened while nobody was there.
func (g *guard) hello(a *agentProc, r request) {
	a.connected = true
	g.agentRan = true
	g.send(a, message{ID: r.ID, Memory: g.memory})
	for _, e := range g.untold {
		g.send(a, message{Exit: &e})
	}
	g.untold = nil
	if g.stopping() {
		g.send(a, message{Stop: g.stop})
	}
}

// answer sends the answer to request id.
func (g *guard) answer(a *agentProc, id uint64, err error) {
	m := message{ID: id}
	m.setError(err)
	g.send(a, m)
}

// startMysqld forks mysqld; the answer follows when it runs.
func (g *guard) startMysqld(a *agentProc, r request) error {
	switch {
	case g.end != nil:
		return ErrEnding
	case g.mysqld != nil:
		return ErrRunning
	case r.Command == nil || r.Command.Path == "":
		return fmt.Errorf("start mysqld: no program given")
	}
	m := &mysqldProc{}
	g.mysqld = m
	g.fork(child{Command: *r.Command}, func(pid int, err error) {
		if err != nil {
			g.mysqld = nil
			for _, w := range m.waiting {
				g.answer(w.agent, w.id, nil)
			}
			g.answer(a, r.ID, fmt.Errorf("start mysqld: %w", err))
			return
		}
		m.pid = pid
		if m.killed {
			killGroup(pid)
		}
		g.answer(a, r.ID, nil)
		if a != g.agent {
			g.send(g.agent, message{}) // the agent that asked is over: the next one learns the pid
		}
	})
	return nil
}

// signalMysqld passes a signal on.
func (g *guard) signalMysqld(sig syscall.Signal) error {
	if g.mysqld == nil || g.mysqld.pid == 0 {
		return ErrNotRunning
	}
	if err := syscall.Kill(g.mysqld.pid, sig); err != nil {
		return fmt.Errorf("signal mysqld: %w", err)
	}
	return nil
}

// killMysqld sends SIGKILL; a mysqld that is being started gets it as soon as it has a pid.
func (g *guard) killMysqld(why Cause) {
	m := g.mysqld
	if m == nil || m.killed {
		return
	}
	m.killed, m.cause = true, why
	if m.pid != 0 {
		killGroup(m.pid)
	}
}

// feed takes a proof. The deadline of before has been enforced already.
func (g *guard) feed(r request) error {
	if len(r.Memory) > MaxMemory {
		return fmt.Errorf("feed: memory of %d bytes is more than %d", len(r.Memory), MaxMemory)
	}
	if r.Memory != nil {
		g.memory = r.Memory
	}
	m := g.mysqld
	if r.Deadline == 0 {
		if m == nil {
			return nil
		}
		m.deadline = 0
		return g.timer.set(0)
	}
	switch {
	case m == nil || m.pid == 0 || m.pid != r.Pid:
		return fmt.Errorf("feed: %w", ErrNotRunning)
	case m.killed:
		return fmt.Errorf("feed: %w", ErrKilled)
	}
	m.deadline = r.Deadline
	if err := g.timer.set(r.Deadline); err != nil {
		// Without a timer a proof is worth nothing: the loop might not wake in time.
		g.killMysqld(CauseDeadline)
		return err
	}
	g.enforceDeadline()
	if m.killed {
		return fmt.Errorf("feed: deadline has already passed: %w", ErrKilled)
	}
	return nil
}

// mysqldExited tells the agent, or keeps it for the next one.
func (g *guard) mysqldExited(st syscall.WaitStatus) {
	m := g.mysqld
	killRest(m.pid)
	g.mysqld = nil
	exit := exitOf(m.pid, st)
	exit.Cause, exit.Late = m.cause, m.late
	g.lastExit = &exit
	if g.agent != nil && g.agent.connected {
		g.send(g.agent, message{Exit: &exit})
	} else {
		g.untold = append(g.untold, exit)
	}
	for _, w := range m.waiting {
		g.answer(w.agent, w.id, nil)
	}
}

// mysqldStatus is the status of the last mysqld, or otherwise if there was none.
func (g *guard) mysqldStatus(otherwise int) int {
	if g.lastExit == nil {
		return otherwise
	}
	return g.lastExit.Status()
}

// exitOf translates what wait4 reported.
func exitOf(pid int, st syscall.WaitStatus) Exit {
	if st.Signaled() {
		return Exit{Pid: pid, Signal: st.Signal()}
	}
	return Exit{Pid: pid, Code: st.ExitStatus()}
}
