package guard

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultStopTimeout is how long a graceful stop may take when Options says nothing: a hand-over, and a
// mysqld that needs 3–11 s to stop with clients attached, several times over.
const DefaultStopTimeout = 60 * time.Second

// Options of Run.
type Options struct {
	Agent       []string      // program and arguments of the agent
	StopTimeout time.Duration // from the first SIGTERM or SIGINT to SIGKILL for everything; 0: DefaultStopTimeout
	Stderr      io.Writer     // the guard's own few lines; nil: os.Stderr

	times times // zero ones are the constants; others in tests
}

// times are the guard's own limits.
type times struct {
	stuckAfter, sameStop, agentGrace, backoff time.Duration
}

// orElse fills what is not given.
func (t times) orElse(d times) times {
	for _, p := range []struct {
		given *time.Duration
		usual time.Duration
	}{{&t.stuckAfter, d.stuckAfter}, {&t.sameStop, d.sameStop}, {&t.agentGrace, d.agentGrace}, {&t.backoff, d.backoff}} {
		if *p.given <= 0 {
			*p.given = p.usual
		}
	}
	return t
}

// guard is the state of Run. Everything here belongs to the goroutine that runs loop.
type guard struct {
	opts  Options
	log   *lines
	inbox chan func() // turns of the loop
	forks *forker
	timer *bootTimer

	forking  int // forks under way: nobody is reaped meanwhile, or an exit could precede its pid
	agent    *agentProc
	agentRan bool // some agent has said hello
	backoff  time.Duration
	restart  *time.Timer // the scheduled next agent
	mysqld   *mysqldProc
	memory   []byte // what the last agent left
	untold   []Exit // exits of mysqld that no agent has heard of
	lastExit *Exit
	kills    uint64 // by deadline

	stop   syscall.Signal // the graceful stop asked for; 0: none
	stopAt time.Time
	end    *ending
}

// Run is the guard: it starts the agent and returns, when everything has ended, the exit code for the
// process. It takes over the whole process (signals, children, runtime limits) and must be called once,
// early in main. Ending ctx is the same as one SIGTERM.
func Run(ctx context.Context, opts Options) int {
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = DefaultStopTimeout
	}
	opts.times = opts.times.orElse(times{stuckAfter, sameStop, agentGrace, backoffMin})
	if opts.Stderr == nil {
		opts.Stderr = os.Stderr
	}
	g := &guard{opts: opts, log: newLines(opts.Stderr), inbox: make(chan func()), backoff: opts.times.backoff}
	defer g.log.flush()
	if err := g.prepare(ctx); err != nil {
		g.log.printf("start the guard: %v", err)
		return 1
	}
	g.startAgent()
	for !g.ended() {
		turn := <-g.inbox
		g.enforceDeadline()
		turn()
	}
	return g.result()
}

// prepare makes this process a guard.
func (g *guard) prepare(ctx context.Context) error {
	if len(g.opts.Agent) == 0 {
		return fmt.Errorf("no agent given")
	}
	small()
	// Nothing that was open by accident when the container started may reach mysqld.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && err != unix.ENOSYS && err != unix.EINVAL {
		return fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of orphans: %w", err)
	}
	timer, err := newBootTimer(func() { g.post(func() {}) }) // the turn itself looks at the deadline
	if err != nil {
		return err
	}
	g.timer = timer
	g.forks = newForker()
	g.catchSignals(ctx)
	return nil
}

// small keeps the runtime of this process small; the agent has its own. Two threads of Go code, not
// one: a fork holds its one until the program is loaded, and the deadline must not wait for that.
func small() {
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(32 << 20)
	debug.FreeOSMemory()
}

// catchSignals turns signals and the end of ctx into turns of the loop.
func (g *guard) catchSignals(ctx context.Context) {
	chld := make(chan os.Signal, 1) // one pending is enough: reap takes all there are
	signal.Notify(chld, syscall.SIGCHLD)
	sigs := make(chan os.Signal, 16)
	// SIGPIPE is caught, not ignored (children would inherit that), so that a log reader that went
	// away does not take the cluster with it.
	signal.Notify(sigs, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	done := ctx.Done()
	go func() {
		for {
			select {
			case <-chld:
				g.post(g.reap)
			case s := <-sigs:
				if sig, ok := s.(syscall.Signal); ok {
					g.post(func() { g.onSignal(sig) })
				}
			case <-done:
				done = nil
				g.post(func() { g.onSignal(syscall.SIGTERM) })
			}
		}
	}()
}

// post hands the loop a turn. It may be called from any goroutine but the loop's own.
func (g *guard) post(turn func()) { g.inbox <- turn }

// fork starts c on the forker's thread; done is a turn of the loop.
func (g *guard) fork(c child, done func(pid int, err error)) {
	g.forking++
	g.forks.jobs <- forkJob{child: c, done: func(pid int, err error) {
		g.post(func() {
			g.forking--
			done(pid, err)
			g.reap()
		})
	}}
}

// reap collects every child that ended: ours, and orphans that came to us.
func (g *guard) reap() {
	for g.forking == 0 {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid <= 0:
			return
		}
		switch {
		case g.mysqld != nil && pid == g.mysqld.pid:
			g.mysqldExited(st)
		case g.agent != nil && pid == g.agent.pid:
			g.agentExited(st)
		}
	}
}
