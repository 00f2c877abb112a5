package guard

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// obedient stops mysqld when asked, and passes its status on.
const obedient = "connect\n" + polite + "await-stop\nsignal 15\nawait-exit\nexit -1"

func TestStopIsTheAgentsWork(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, limit, obedient)
			r.event(`1 started \d+ err=<nil>`)
			r.until("mysqld's trap", func() bool { return strings.Contains(r.errText(), "up\n") })
			r.signal(sig)
			require.Equal(t, 7, r.status())
			r.event(`1 stop ` + sig.String())
			require.Equal(t, "up\n", r.errText())
		})
	}
}

// TestPidOne runs the guard as process 1 of a pid namespace, as in a container: no signal has a default
// action there, and every orphan is its child.
func TestPidOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a pid namespace")
	}
	inNamespace := func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID} }
	r := launchAs(t, inNamespace, limit,
		"connect\nrun (sleep 0.1 & sleep 0.1 & ) ; exit 0\n"+strings.TrimPrefix(obedient, "connect\n"))
	r.until("mysqld's trap", func() bool { return strings.Contains(r.errText(), "up\n") })
	require.Less(t, r.pid(`1 born (\d+)`), 20, "pids in the events are those of the namespace")
	r.until("the orphans to be reaped", func() bool {
		return len(children(r.cmd.Process.Pid)) == 2 // agent and mysqld
	})
	r.signal(syscall.SIGTERM)
	require.Equal(t, 7, r.status())
}

func TestStopSentTwiceAtOnceIsOneStop(t *testing.T) {
	r := launchAs(t, withTimes("same=1h"), limit, obedient)
	r.until("mysqld's trap", func() bool { return strings.Contains(r.errText(), "up\n") })
	r.signal(syscall.SIGTERM)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 7, r.status())
}

func TestStopBeforeTheAgentConnectedIsNotLost(t *testing.T) {
	r := launch(t, limit, "await-file go\nconnect\nawait-stop\nexit 0")
	r.event(`1 born \d+`)
	r.signal(syscall.SIGTERM)
	r.touch("go")
	require.Equal(t, 0, r.status())
}

func TestSecondSignalKillsAll(t *testing.T) {
	r := launchAs(t, withTimes("grace=1h"), time.Hour, "connect\n"+patient+"await-stop\nhang") // nothing else would end it
	agent, mysqld := r.pid(`1 born (\d+)`), r.pid(`1 started (\d+) err=<nil>`)
	r.signal(syscall.SIGINT)
	r.event(`1 hangs`)
	r.alive(mysqld)
	time.Sleep(sameStop)
	r.signal(syscall.SIGINT)
	require.Equal(t, 137, r.status())
	r.gone(agent)
	r.gone(mysqld)
	require.Equal(t, "autopilot-mysql: a second interrupt while stopping: mysqld was killed\n", r.errText())
}

func TestStopTimeoutKillsAll(t *testing.T) {
	r := launch(t, 300*time.Millisecond, "connect\n"+patient+"await-stop\nhang")
	agent, mysqld := r.pid(`1 born (\d+)`), r.pid(`1 started (\d+) err=<nil>`)
	begin := time.Now()
	r.signal(syscall.SIGTERM)
	require.Equal(t, 137, r.status())
	require.GreaterOrEqual(t, time.Since(begin), 300*time.Millisecond)
	r.gone(agent)
	r.gone(mysqld)
	require.Equal(t, "autopilot-mysql: not stopped within 300ms: mysqld was killed\n", r.errText())
}

func TestStopTimeoutWithoutMysqldIsAFailure(t *testing.T) {
	r := launch(t, 100*time.Millisecond, "connect\nhang")
	r.event(`1 hangs`)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 1, r.status())
	require.Equal(t, "autopilot-mysql: not stopped within 100ms\n", r.errText())
}

func TestStopWithoutAnAgentKillsMysqld(t *testing.T) {
	r := launchAs(t, withTimes("backoff=1h"), limit, "connect\n"+polite+"die 1")
	mysqld := r.pid(`1 started (\d+) err=<nil>`)
	r.until("a pause without an agent", func() bool { return strings.Contains(r.errText(), "next attempt in 1h0m0s") })
	r.signal(syscall.SIGTERM)
	require.Equal(t, 137, r.status(), "not SIGTERM: nobody knows whether clients wait")
	r.gone(mysqld)
	require.Contains(t, r.errText(), "autopilot-mysql: terminated while no agent was running: mysqld was killed\n")
}

func TestAgentThatDiesWhileStoppingIsNotReplaced(t *testing.T) {
	r := launch(t, limit, "connect\n"+polite+"await-stop\ndie 1")
	r.event(`1 started \d+ err=<nil>`)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 137, r.status())
	require.Equal(t, 1, strings.Count(r.events(), "born"))
	require.Contains(t, r.errText(), "the agent ended while stopping (exit code 1): mysqld was killed")
}

func TestFrozenAgentDoesNotHoldUpTheEnd(t *testing.T) {
	r := launch(t, 200*time.Millisecond, "connect\n"+patient+"hang")
	agent := r.pid(`1 born (\d+)`)
	r.event(`1 hangs`)
	require.NoError(t, syscall.Kill(agent, syscall.SIGSTOP))
	r.signal(syscall.SIGTERM)
	require.Equal(t, 137, r.status())
	r.gone(agent)
}
