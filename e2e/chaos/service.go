package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

// Times of the supervisor, which stands for a container runtime.
const (
	restartAfter = time.Second
	killLimit    = 60 * time.Second
	stopLimit    = 100 * time.Second
)

// service is a program that runs on a host of its own and is started again whenever it ends, unless somebody holds it
// down. Safe for concurrent use.
type service struct {
	name string
	host *netns.Host
	dir  string // its files; a process whose arguments lead there is the service's, too
	log  string
	argv []string
	env  []string
	note func(format string, args ...any)

	op sync.Mutex // one start or kill at a time

	mu    sync.Mutex
	pid   int // 0: down
	done  chan struct{}
	holds int // how many hold it down
	over  bool
}

// start runs the program, if nobody holds it down and it does not run.
func (s *service) start() error {
	s.op.Lock()
	defer s.op.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 || s.holds > 0 || s.over {
		return nil
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	defer log.Close()
	argv := s.host.Command(s.argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = append(os.Environ(), s.env...), log, log, s.dir
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	done := make(chan struct{})
	s.pid, s.done = cmd.Process.Pid, done
	go s.watch(cmd, done)
	return nil
}

// watch starts the program again when it ends.
func (s *service) watch(cmd *exec.Cmd, done chan struct{}) {
	_ = cmd.Wait() // its state says how
	s.mu.Lock()
	s.pid = 0
	close(done)
	over := s.over
	s.mu.Unlock()
	if over {
		return
	}
	s.note("%s ended: %v", s.name, cmd.ProcessState)
	time.Sleep(restartAfter)
	if err := s.start(); err != nil {
		s.note("%s stays down: %v", s.name, err)
	}
}

// hold keeps it down, once it is down; free must follow.
func (s *service) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds++
}

// free ends a hold and starts it, if that was the last one.
func (s *service) free() error {
	s.mu.Lock()
	s.holds--
	s.mu.Unlock()
	return s.start()
}

// main is the process we started; 0 while it is down.
func (s *service) main() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// all are its processes, the first one first.
func (s *service) all() []proc {
	every, main := processes(), s.main()
	var list []proc
	if p, ok := every[main]; ok {
		list = append(list, p)
	}
	return append(list, below(every, main, s.dir)...)
}

func pids(ps []proc) []int {
	var list []int
	for _, p := range ps {
		list = append(list, p.pid)
	}
	return list
}

// kill ends everything of it in one instant, as a power cut would: first all are frozen, so that none acts on the death
// of another.
func (s *service) kill() error {
	s.op.Lock()
	defer s.op.Unlock()
	if main := s.main(); main != 0 {
		if err := signal(unix.SIGSTOP, main); err != nil {
			return err
		}
	}
	list := pids(s.all())
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		if err := signal(sig, list...); err != nil {
			return err
		}
	}
	return waitGone(killLimit, list...)
}

// stop asks it to end and kills what is left after the limit. graceful says whether it went by itself.
func (s *service) stop() (graceful bool, err error) {
	s.mu.Lock()
	pid, done := s.pid, s.done
	s.mu.Unlock()
	if pid == 0 {
		return true, nil
	}
	if err := signal(unix.SIGTERM, pid); err != nil {
		return false, err
	}
	select {
	case <-done:
		return true, nil
	case <-time.After(stopLimit):
		return false, s.kill()
	}
}

// end stops it for good, by force if need be.
func (s *service) end(graceful bool) error {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	if graceful {
		if _, err := s.stop(); err != nil {
			return err
		}
	}
	return s.kill()
}
