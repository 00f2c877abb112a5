package guard

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Restart policy of a crashed agent.
const (
	backoffMin   = 100 * time.Millisecond // first restart: quick, mysqld may be a primary with a running lease
	backoffMax   = 5 * time.Second
	healthyAfter = 30 * time.Second // an agent that lived this long starts the backoff anew
	stuckAfter   = 30 * time.Second // an agent silent this long after a deadline kill is frozen or deadlocked
)

// agentSlack is how late the kernel may wake a thread of the agent that sleeps until some time, so that fewer wake-ups do. Go's watcher
// of its threads sleeps for 20 µs again and again while anything runs, which was a fifth of what an agent takes of the CPU: three of
// them, idle, took 2.4 % of a core without and 1.8 % with it. No time that an agent keeps is as exact as a millisecond.
const agentSlack = time.Millisecond

// agentProc is one incarnation of the agent. Its fields belong to the loop.
type agentProc struct {
	pid       int // 0 while it is being started
	started   time.Time
	connected bool // said hello
	commanded bool // asked for anything else: its start-up is over
	heard     bool // asked for anything since the last deadline kill
	conn      *net.UnixConn
	out       chan []byte
	gone      chan struct{} // closed when this incarnation is over
}

// newAgentConn makes the socket pair: the guard's end as a connection, the agent's as a file to inherit.
func newAgentConn() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "agent")
	ours := os.NewFile(uintptr(fds[0]), "guard")
	defer ours.Close() //nolint:errcheck // conn has a descriptor of its own
	conn, err := unixConn(ours)
	if err != nil {
		theirs.Close() //nolint:errcheck // nobody has it
		return nil, nil, err
	}
	return conn, theirs, nil
}

// unixConn makes a connection of a socket descriptor; the file can be closed afterwards.
func unixConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use socket: %w", err)
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("use socket: descriptor is a %T, not a unix socket", c)
	}
	return uc, nil
}

// startAgent begins a new incarnation.
func (g *guard) startAgent() {
	g.restart = nil
	if g.end != nil || g.agent != nil {
		return
	}
	conn, theirs, err := newAgentConn()
	if err != nil {
		g.agentNotStarted(err)
		return
	}
	a := &agentProc{started: time.Now(), conn: conn, out: make(chan []byte, 64), gone: make(chan struct{})}
	g.agent = a
	c := child{extra: []uintptr{theirs.Fd()}, slack: agentSlack}
	c.Path, c.Args = g.opts.Agent[0], g.opts.Agent[1:]
	c.Env = append(os.Environ(), EnvFD+"=3")
	g.fork(c, func(pid int, err error) {
		theirs.Close() //nolint:errcheck // the agent has its own
		if err != nil {
			g.dropAgent()
			g.agentNotStarted(err)
			return
		}
		a.pid = pid
		if g.end != nil && g.end.forced {
			killGroup(pid)
		}
		go g.readAgent(a)
		go writeAgent(a)
	})
}

// agentNotStarted handles an agent that could not even be executed. The first time that is a broken
// installation; later mysqld may be running, and the next attempt may work.
func (g *guard) agentNotStarted(err error) {
	switch {
	case g.end != nil:
	case g.stopping():
		g.finish(MysqldStatus, "stopped while the agent could not be started: "+err.Error())
	case !g.agentRan:
		g.finish(1, "start the agent: "+err.Error())
	default:
		g.restartAgent("start the agent: " + err.Error())
	}
}

// dropAgent forgets the current incarnation and ends its goroutines.
func (g *guard) dropAgent() {
	a := g.agent
	g.agent = nil
	_ = a.conn.Close()
	close(a.gone)
}

// restartAgent schedules the next incarnation.
func (g *guard) restartAgent(why string) {
	wait := g.backoff
	g.backoff = min(2*g.backoff, max(backoffMax, g.opts.times.backoff))
	mysqld := "no mysqld is running"
	if g.mysqld != nil {
		mysqld = fmt.Sprintf("mysqld (pid %d) goes on", g.mysqld.pid)
	}
	g.log.printf("%s; next attempt in %v, %s", why, wait, mysqld)
	g.restart = time.AfterFunc(wait, func() { g.post(g.startAgent) })
}

// agentExited decides what the end of the agent means.
func (g *guard) agentExited(st syscall.WaitStatus) {
	a := g.agent
	killRest(a.pid) // its helpers must not work beside the next agent's
	g.dropAgent()
	exit := exitOf(a.pid, st)
	if time.Since(a.started) >= healthyAfter {
		g.backoff = g.opts.times.backoff
	}
	startup := !a.commanded
	switch {
	case g.end != nil:
	case g.stopping() && g.mysqld != nil:
		g.finish(MysqldStatus, "the agent ended while stopping ("+exit.String()+"): mysqld was killed, the only safe stop without it")
	case g.stopping():
		g.finish(g.mysqldStatus(exit.Status()), "")
	case startup && exit.Signal == 0 && (exit.Code == 2 || exit.Code == 3):
		g.finish(exit.Code, "") // bad settings or refused: the agent has said why
	default:
		g.restartAgent(fmt.Sprintf("the agent (pid %d) ended unexpectedly (%v)", a.pid, exit))
	}
}

// readAgent passes the agent's requests to the loop until its end of the socket is closed.
func (g *guard) readAgent(a *agentProc) {
	in := bufio.NewScanner(a.conn)
	in.Buffer(make([]byte, 0, 4096), maxLine)
	for in.Scan() {
		var req request
		if err := json.Unmarshal(in.Bytes(), &req); err != nil {
			g.post(func() { g.breakAgent(a, "sent garbage") })
			return
		}
		g.post(func() { g.onRequest(a, req) })
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		g.post(func() { g.breakAgent(a, "sent an overlong line") })
	}
}

// writeAgent writes what the loop queued.
func writeAgent(a *agentProc) {
	for {
		select {
		case line := <-a.out:
			if _, err := a.conn.Write(line); err != nil {
				return
			}
		case <-a.gone:
			return
		}
	}
}

// send queues a message for the agent a. The loop must not wait for an agent that does not read.
func (g *guard) send(a *agentProc, m message) {
	if a == nil || a != g.agent || !a.connected {
		return
	}
	if g.mysqld != nil {
		m.Mysqld = g.mysqld.pid
	}
	m.Kills = g.kills
	line, err := json.Marshal(m)
	if err != nil {
		g.log.printf("encode message: %v", err)
		return
	}
	select {
	case a.out <- append(line, '\n'):
	default:
		g.breakAgent(a, "does not read its messages")
	}
}

// watchSilence replaces the agent if it stays silent after it let the deadline pass: without mysqld it
// has nothing to lose, and a deadlocked one would need a person.
func (g *guard) watchSilence() {
	a := g.agent
	if a == nil {
		return
	}
	a.heard = false
	time.AfterFunc(g.opts.times.stuckAfter, func() {
		g.post(func() {
			if !a.heard {
				g.breakAgent(a, fmt.Sprintf("said nothing for %v since mysqld was killed", g.opts.times.stuckAfter))
			}
		})
	})
}

// breakAgent kills an agent that does not keep to the protocol; the next one starts clean.
func (g *guard) breakAgent(a *agentProc, why string) {
	if a != g.agent || a.pid == 0 {
		return
	}
	g.log.printf("the agent (pid %d) %s: killed", a.pid, why)
	killGroup(a.pid)
}
