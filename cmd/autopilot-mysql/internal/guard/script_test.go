package guard

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the guard and the agent of the tests, by its first argument.
const (
	roleGuard = "guard-under-test" // DIR STOPTIMEOUT
	roleAgent = "scripted-agent"   // DIR

	envTimes = "GUARD_TEST_TIMES" // stuck=1s same=1s grace=1s backoff=1s
)

// timesOf reads envTimes.
func timesOf(text string) (t times) {
	for _, f := range strings.Fields(text) {
		name, value, _ := strings.Cut(f, "=")
		d, err := time.ParseDuration(value)
		if err != nil {
			panic(err)
		}
		*map[string]*time.Duration{"stuck": &t.stuckAfter, "same": &t.sameStop, "grace": &t.agentGrace, "backoff": &t.backoff}[name] = d
	}
	return t
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case roleGuard:
			stop, err := time.ParseDuration(os.Args[3])
			if err != nil {
				panic(err)
			}
			os.Exit(Run(context.Background(), Options{Agent: []string{os.Args[0], roleAgent, os.Args[2]}, StopTimeout: stop,
				times: timesOf(os.Getenv(envTimes))}))
		case roleAgent:
			runScript(os.Args[2])
		}
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // those that run beside each other sleep
		panic(err)
	}
	os.Exit(m.Run())
}

// scripted is an agent that follows the file DIR/script.N (N: its incarnation, from 1; the last one
// repeats) line by line and reports each result in DIR/events as "N text".
type scripted struct {
	dir    string
	n      int
	c      *Client
	ctx    context.Context
	report *os.File
}

func runScript(dir string) {
	signal.Notify(make(chan os.Signal, 8), syscall.SIGUSR1) // SIGUSR2 gets a reporter below
	f, err := os.OpenFile(filepath.Join(dir, "events"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	old, _ := os.ReadFile(f.Name())
	s := &scripted{dir: dir, n: strings.Count(string(old), " born ") + 1, ctx: context.Background(), report: f}
	s.say("born %d", os.Getpid())
	var script []byte
	for n := s.n; n > 0; n-- {
		if script, err = os.ReadFile(filepath.Join(dir, fmt.Sprintf("script.%d", n))); err == nil {
			break
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(script)), "\n") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.do(verb, rest)
	}
	s.do("hang", "")
}

func (s *scripted) say(format string, args ...any) {
	fmt.Fprintf(s.report, "%d %s\n", s.n, fmt.Sprintf(format, args...))
}

// do carries out one line of the script. "DIR/" in it is the directory of the test.
func (s *scripted) do(verb, rest string) {
	rest = strings.ReplaceAll(rest, "DIR/", s.dir+"/")
	switch verb {
	case "connect":
		c, err := connect(limit)
		if err != nil {
			s.say("connect: %v", err)
			os.Exit(1)
		}
		c.FeedTimeout = limit
		s.c = c
		pid, running := c.Mysqld()
		s.say("connected mysqld=%d running=%v memory=%q", pid, running, c.Memory())
	case "start", "startas":
		cmd := Command{Path: "/bin/sh", Args: []string{"-c", rest}}
		if verb == "startas" {
			cmd.User, rest, _ = strings.Cut(rest, " ")
			cmd.Args[1] = rest
		}
		pid, err := s.c.Start(s.ctx, cmd)
		s.say("started %d err=%v", pid, err)
	case "feed": // DURATION-FROM-NOW MEMORY
		d, memory := s.feedArgs(rest)
		s.say("fed err=%v", s.c.Feed(d, memory))
	case "feeding": // like feed, again and again
		go func() {
			for {
				d, memory := s.feedArgs(rest)
				if err := s.c.Feed(d, memory); err != nil {
					s.say("feeding ended err=%v", err)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	case "impatient": // feeds as an agent does
		s.c.FeedTimeout = feedTimeout
	case "nofeed":
		s.say("unfed err=%v", s.c.Feed(0, nil))
	case "signal":
		n, _ := strconv.Atoi(rest)
		s.say("signalled err=%v", s.c.Signal(s.ctx, syscall.Signal(n)))
	case "kill":
		err := s.c.Kill(s.ctx)
		_, running := s.c.Mysqld()
		s.say("killed err=%v running=%v", err, running)
	case "await-exit":
		e := <-s.c.Exits()
		s.say("exit pid=%d status=%d cause=%q late=%d kills=%d", e.Pid, e.Status(), e.Cause, e.Late.Microseconds(), s.c.DeadlineKills())
	case "await-stop":
		s.say("stop %v", <-s.c.Stop())
	case "await-usr2":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGUSR2)
		s.say("ready")
		s.say("got %v", <-ch)
	case "await-file":
		for {
			if _, err := os.Stat(filepath.Join(s.dir, rest)); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	case "run": // a helper of the agent
		s.say("ran err=%v", exec.Command("/bin/sh", "-c", rest).Run())
	case "garbage":
		_, _ = s.c.conn.Write([]byte("}{\n"))
	case "exit":
		code, reason, _ := strings.Cut(rest, " ")
		n, _ := strconv.Atoi(code)
		s.c.Exit(n, reason)
		os.Exit(0)
	case "die":
		n, _ := strconv.Atoi(rest)
		os.Exit(n)
	case "panic":
		panic("scripted")
	case "hang":
		s.say("hangs")
		time.Sleep(time.Hour)
	default:
		s.say("unknown verb %q", verb)
		os.Exit(1)
	}
}

func (s *scripted) feedArgs(rest string) (time.Duration, []byte) {
	d, memory, has := strings.Cut(rest, " ")
	in, err := time.ParseDuration(d)
	if err != nil {
		panic(err)
	}
	if !has {
		return boottime() + in, nil
	}
	return boottime() + in, []byte(memory)
}
