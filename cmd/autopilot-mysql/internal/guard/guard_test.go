package guard

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patient is a stand-in for mysqld: it runs until it is signalled.
const patient = "start exec sleep 1000\n"

// polite ends with 7 on SIGTERM.
const polite = "start trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done\n"

func TestExitCodeIsMysqldsOwn(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   int
		stderr string
	}{
		"code":            {"connect\nstart exit 5\nawait-exit\nexit -1 mysqld ended", 5, "autopilot-mysql: mysqld ended\n"},
		"zero":            {"connect\nstart exit 0\nawait-exit\nexit -1", 0, ""},
		"signal":          {"connect\nstart kill -ABRT $$\nawait-exit\nexit -1", 134, ""},
		"agent's own":     {"connect\nexit 1 no space left on the disk", 1, "autopilot-mysql: no space left on the disk\n"},
		"reason one line": {"connect\nexit 1 first \t second", 1, "autopilot-mysql: first second\n"},
		"still running":   {"connect\n" + patient + "exit 4", 4, ""},
		"kill":            {"connect\n" + patient + "kill\nexit -1", 137, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, limit, c.script)
			require.Equal(t, c.want, r.status())
			require.Equal(t, c.stderr, r.errText())
			for _, l := range strings.Split(r.events(), "\n") {
				if f := strings.Fields(l); len(f) > 2 && (f[1] == "started" || f[1] == "born") {
					pid, _ := strconv.Atoi(f[2])
					r.gone(pid)
				}
			}
		})
	}
}

func TestStartUpFailureOfTheAgentEndsTheGuard(t *testing.T) {
	for _, code := range []int{2, 3} {
		for name, script := range map[string]string{"unconnected": "die %d", "connected": "connect\ndie %d"} {
			t.Run(fmt.Sprintf("%d %s", code, name), func(t *testing.T) {
				r := launch(t, limit, fmt.Sprintf(script, code))
				require.Equal(t, code, r.status())
				require.Equal(t, 1, strings.Count(r.events(), "born"))
				require.Empty(t, r.errText())
			})
		}
	}
}

func TestPanicAfterStartUpIsARestart(t *testing.T) { // a Go panic also ends with status 2
	r := launch(t, limit, "connect\n"+patient+"panic", "connect\nhang")
	mysqld := r.pid(`1 started (\d+) err=<nil>`)
	require.Equal(t, []string{strconv.Itoa(mysqld), "true"}, r.event(`2 connected mysqld=(\d+) running=(true|false) .*`))
	r.alive(mysqld)
}

func TestMissingAgentIsAnError(t *testing.T) {
	var out syncBuffer
	g := &guard{opts: Options{Agent: []string{"/nonexistent/agent"}}, log: newLines(&out), inbox: make(chan func()), forks: newForker(), backoff: backoffMin}
	g.startAgent()
	for !g.ended() {
		(<-g.inbox)()
	}
	require.Equal(t, 1, g.result())
	g.log.flush()
	require.Contains(t, out.String(), "autopilot-mysql: start the agent: find program:")
}

func TestGuardKilledTakesChildrenAlong(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"hang")
	agent, mysqld := r.pid(`1 born (\d+)`), r.pid(`1 started (\d+) err=<nil>`)
	r.event(`1 hangs`)
	time.Sleep(200 * time.Millisecond) // threads that Go would retire do so now: the parent thread must not
	r.alive(agent)
	r.alive(mysqld)
	r.signal(syscall.SIGKILL)
	r.dead(agent)
	r.dead(mysqld)
}

func TestCrashedAgentIsReplacedAndMysqldKept(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"feed 1h term=7\nhang", "connect\nfeed 1h term=8\nhang", "connect\nhang")
	first, mysqld := r.pid(`1 born (\d+)`), r.pid(`1 started (\d+) err=<nil>`)
	r.event(`1 connected mysqld=0 running=false memory=""`)
	r.event(`1 hangs`)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	r.event(fmt.Sprintf(`2 connected mysqld=%d running=true memory="term=7"`, mysqld))
	r.event(`2 fed err=<nil>`)
	require.NoError(t, syscall.Kill(r.pid(`2 born (\d+)`), syscall.SIGTERM))
	r.event(fmt.Sprintf(`3 connected mysqld=%d running=true memory="term=8"`, mysqld))
	r.alive(mysqld)
	r.gone(first)
	require.Contains(t, r.errText(), "next attempt in 100ms, mysqld")
	require.Contains(t, r.errText(), "next attempt in 200ms, mysqld")
}

func TestHelpersOfACrashedAgentAreKilled(t *testing.T) {
	r := launch(t, limit, "connect\nrun sleep 1000; true", "connect\nhang")
	agent := r.pid(`1 born (\d+)`)
	var helper int
	r.until("the helper", func() bool {
		for pid := range children(agent) {
			helper = pid
		}
		return helper != 0
	})
	require.NoError(t, syscall.Kill(agent, syscall.SIGKILL))
	r.gone(helper)
	r.event(`2 hangs`)
}

func TestExitWithoutAnAgentIsToldToTheNext(t *testing.T) {
	r := launch(t, limit, "connect\nstart while [ ! -e DIR/over ]; do sleep 0.05; done; exit 9\ndie 1", "await-file ended\nconnect\nawait-exit\nexit -1")
	pid := r.pid(`1 started (\d+) err=<nil>`)
	r.event(`2 born \d+`)
	r.touch("over")
	r.gone(pid) // reaped while nobody is connected
	r.touch("ended")
	r.event(fmt.Sprintf(`2 exit pid=%d status=9 cause="" late=0 kills=0`, pid))
	require.Equal(t, 9, r.status())
}

func TestGarbageIsAnswersWithANewAgent(t *testing.T) {
	r := launch(t, limit, "connect\ngarbage\nhang", "connect\nhang")
	r.event(`2 hangs`)
	require.Contains(t, r.errText(), "sent garbage: killed")
}

func TestRequestsAreChecked(t *testing.T) {
	r := launch(t, limit, `connect
		signal 15
		kill
		nofeed
		feed 1h memory without a mysqld
		start exec sleep 1000
		start exec sleep 1000
		kill
		start exec sleep 1000
		kill
		hang`, "connect\nhang")
	r.event(`1 hangs`)
	ev := r.events()
	require.Contains(t, ev, "1 signalled err=mysqld is not running")
	require.Contains(t, ev, "1 killed err=<nil> running=false\n")
	require.Contains(t, ev, "1 unfed err=<nil>")
	require.Contains(t, ev, "1 fed err=feed: mysqld is not running")
	require.Contains(t, ev, "1 started 0 err=mysqld is already running")
	require.Equal(t, 2, strings.Count(ev, "err=<nil>\n")-1, ev) // two starts (and nofeed)
	require.Equal(t, 3, strings.Count(ev, "1 killed err=<nil> running=false"))
	require.NoError(t, syscall.Kill(r.pid(`1 born (\d+)`), syscall.SIGKILL))
	r.event(`2 connected mysqld=0 running=false memory="memory without a mysqld"`)
}

func TestNoDescriptorLeaksToMysqld(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"feed 1h\nhang")
	pid := r.pid(`1 started (\d+) err=<nil>`)
	r.event(`1 hangs`)
	r.until("sleep to be executed", func() bool {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return strings.Contains(exe, "sleep") || strings.Contains(exe, "coreutils")
	})
	stderr := filepath.Join(r.dir, "stderr")
	want := map[string]string{"0": "/dev/null", "1": stderr, "2": stderr}
	open := map[string]string{}
	defer func() { t.Log(open) }()
	r.until("only the standard descriptors", func() bool { // a program that starts has others for a moment
		clear(open)
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, l := range links {
			open[filepath.Base(l)], _ = os.Readlink(l)
		}
		return maps.Equal(want, open)
	})
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	require.NoError(t, err)
	require.NotContains(t, string(env), EnvFD)
	require.Equal(t, strconv.Itoa(pid), statField(pid, 2), "mysqld has a process group of its own")
	require.Equal(t, strconv.Itoa(r.pid(`1 born (\d+)`)), statField(r.pid(`1 born (\d+)`), 2))
}

// TestOnlyTheAgentMayBeWokenLate: the threads of mysqld keep the kernel's own slack.
func TestOnlyTheAgentMayBeWokenLate(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"feed 1h\nhang")
	slack := func(pid int) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", pid))
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	mysqld := r.pid(`1 started (\d+) err=<nil>`)
	require.Equal(t, strconv.FormatInt(agentSlack.Nanoseconds(), 10), slack(r.pid(`1 born (\d+)`)))
	require.Equal(t, slack(os.Getpid()), slack(mysqld))
}

func TestMysqldRunsAsTheUserAsked(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	r := launch(t, limit, "connect\nstartas nobody:65534 echo uid $(id -u) $(id -g) >&2\nawait-exit\nstartas 12345 echo uid $(id -u) $(id -g) >&2\nawait-exit\nstartas no-such-user true\nexit 0")
	require.Equal(t, 0, r.status())
	require.Contains(t, r.errText(), "uid 65534 65534\nuid 12345 12345\n")
	require.Contains(t, r.events(), `started 0 err=start mysqld: find user "no-such-user"`)
}

func TestUnprivilegedMysqldStillDiesWithTheGuard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	r := launch(t, limit, "connect\nstartas nobody exec sleep 1000\nhang")
	pid := r.pid(`1 started (\d+) err=<nil>`)
	r.event(`1 hangs`)
	r.signal(syscall.SIGKILL)
	r.dead(pid)
}

func TestOrphansAreReaped(t *testing.T) {
	const orphan = "(while [ ! -e DIR/over ]; do sleep 0.05; done) & "
	r := launch(t, limit, "connect\nrun ("+orphan+orphan+"("+orphan+") & )\nhang")
	agent := r.pid(`1 born (\d+)`)
	r.event(`1 ran err=<nil>`)
	r.until("three orphans at the guard", func() bool { return len(children(r.cmd.Process.Pid)) == 4 })
	r.touch("over")
	r.until("the orphans to be reaped", func() bool { return len(children(r.cmd.Process.Pid)) == 1 })
	r.alive(agent)
}

func TestSignalsAreForwardedToTheAgent(t *testing.T) {
	r := launch(t, limit, "connect\nawait-usr2\nhang")
	r.event(`1 ready`)
	r.signal(syscall.SIGUSR2)
	r.event(`1 got user defined signal 2`)
	r.signal(syscall.SIGUSR1)
	r.event(`1 hangs`)
	require.Equal(t, 1, strings.Count(r.events(), "born"))
}

func TestHelpersOfTheAgentInheritNothing(t *testing.T) {
	r := launch(t, limit, "connect\nrun ! ls -l /proc/self/fd | grep socket\nrun test -z \"$"+EnvFD+"\"\nhang")
	r.event(`1 hangs`)
	require.Equal(t, 2, strings.Count(r.events(), "1 ran err=<nil>\n"))
}

func TestLostLogReaderDoesNotEndTheGuard(t *testing.T) {
	brokenPipe := func(c *exec.Cmd) {
		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { writer.Close() })
		reader.Close()
		c.Stdout, c.Stderr = writer, writer
	}
	r := launchAs(t, brokenPipe, limit, "connect\ndie 1", "connect\nexit 6 done")
	require.Equal(t, 6, r.status())
}

func TestFullLogPipeDoesNotDelayTheDeadline(t *testing.T) {
	fullPipe := func(c *exec.Cmd) {
		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { reader.Close(); writer.Close() })
		fd := int(writer.Fd())
		require.NoError(t, syscall.SetNonblock(fd, true))
		for err = nil; err == nil; {
			_, err = syscall.Write(fd, make([]byte, 4096))
		}
		require.NoError(t, syscall.SetNonblock(fd, false))
		c.Stdout, c.Stderr = writer, writer
	}
	r := launchAs(t, fullPipe, limit, "connect\n"+patient+"die 1", "connect\nfeed 100ms\nawait-exit\nexit 0 end")
	r.event(`2 exit pid=\d+ status=137 cause="deadline" late=\d+ kills=1`)
	require.Equal(t, 0, r.status())
}

func TestGuardIsSmall(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"feeding 1h\nhang")
	r.event(`1 hangs`)
	time.Sleep(500 * time.Millisecond) // some feeds
	total, anon := rssKiB(t, r.cmd.Process.Pid)
	t.Logf("guard: %d KiB resident, %d KiB of it anonymous", total, anon)
	require.Less(t, anon, 24<<10)
}
