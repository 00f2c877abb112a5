package guard

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deadline is what tests feed that must do something before it passes: longer than a busy machine pauses. They spend it
// asleep, beside each other.
const deadline = 12 * time.Second

var feed = "feed " + deadline.String()

func TestFrozenAgentLosesMysqldAtTheDeadline(t *testing.T) {
	t.Parallel()
	r := launch(t, limit, "connect\n"+patient+"feeding "+deadline.String()+"\nawait-exit\nhang")
	agent, mysqld := r.pid(`1 born (\d+)`), r.pid(`1 started (\d+) err=<nil>`)
	time.Sleep(deadline + 500*time.Millisecond) // the first ones have passed, all moved in time
	r.alive(mysqld)
	begin := time.Now()
	require.NoError(t, syscall.Kill(agent, syscall.SIGSTOP))
	r.gone(mysqld)
	require.GreaterOrEqual(t, time.Since(begin), 500*time.Millisecond)
	require.NoError(t, syscall.Kill(agent, syscall.SIGCONT))
	late := r.event(fmt.Sprintf(`1 exit pid=%d status=137 cause="deadline" late=(\d+) kills=1`, mysqld))
	t.Logf("killed %s µs after the deadline", late[0])
	require.Contains(t, r.errText(), "killed: the deadline the agent last fed passed")
	// A feed that was under way while the agent was frozen has no known outcome.
	require.Regexp(t, `1 feeding ended err=feed: (mysqld (is not running|has already been killed)|outcome unknown)`, r.events()+r.event(`(1 feeding ended .*)`)[0])
}

func TestAgentThatStaysSilentAfterTheDeadlineIsReplaced(t *testing.T) {
	t.Parallel()
	r := launchAs(t, withTimes("stuck="+deadline.String()), limit, "connect\n"+patient+"feed 100ms\nhang", "connect\n"+patient+"feed 100ms\nawait-exit\nnofeed\nhang", "connect\nhang")
	r.gone(r.pid(`1 born (\d+)`))
	r.event(`2 unfed err=<nil>`) // this one answers
	second := r.pid(`2 born (\d+)`)
	time.Sleep(deadline + 500*time.Millisecond)
	r.alive(second)
	require.Contains(t, r.errText(), "said nothing for "+deadline.String()+" since mysqld was killed: killed")
}

func TestDeadlineOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	r := launch(t, limit, "connect\n"+patient+feed+"\ndie 1", "connect\nawait-exit\nhang")
	mysqld := r.pid(`1 started (\d+) err=<nil>`)
	r.event(fmt.Sprintf(`2 connected mysqld=%d running=true .*`, mysqld))
	r.event(fmt.Sprintf(`2 exit pid=%d status=137 cause="deadline" late=\d+ kills=1`, mysqld))
}

func TestZeroRemovesTheDeadline(t *testing.T) {
	t.Parallel()
	r := launch(t, limit, "connect\n"+patient+feed+"\nnofeed\nawait-file later\nsignal 0\nhang")
	mysqld := r.pid(`1 started (\d+) err=<nil>`)
	r.event(`1 unfed err=<nil>`)
	time.Sleep(deadline + 500*time.Millisecond)
	r.touch("later") // a turn of the loop after the old deadline
	r.event(`1 signalled err=<nil>`)
	r.alive(mysqld)
}

func TestDeadlineInThePastKillsAtOnce(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"feed -1s\nawait-exit\nhang")
	mysqld := r.pid(`1 started (\d+) err=<nil>`)
	r.event(`1 fed err=feed: deadline has already passed: mysqld has already been killed`)
	r.event(fmt.Sprintf(`1 exit pid=%d status=137 cause="deadline" late=\d+ kills=1`, mysqld))
}

func TestNewMysqldHasNoDeadline(t *testing.T) {
	r := launch(t, limit, "connect\n"+patient+"feed 300ms\nawait-exit\n"+patient+"hang")
	r.event(`1 exit .* cause="deadline" .*`)
	r.event(`1 hangs`)
	first := r.pid(`1 started (\d+) err=<nil>`)
	var second int
	for pid := range children(r.cmd.Process.Pid) {
		if pid != first && pid != r.pid(`1 born (\d+)`) {
			second = pid
		}
	}
	require.NotZero(t, second)
	time.Sleep(500 * time.Millisecond)
	r.alive(second)
}

// TestFrozenGuardKillsWhenResumed also covers the late feed: the agent goes on feeding while the guard is
// frozen, so that fresh proofs lie in the socket when it wakes up, and they must not count.
func TestFrozenGuardKillsWhenResumed(t *testing.T) {
	for name, feeds := range map[string]string{
		"no feed":   feed,
		"late feed": feed + "\nawait-file late\nimpatient\nfeed 1h",
		"late zero": feed + "\nawait-file late\nimpatient\nnofeed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := launch(t, limit, "connect\n"+patient+feeds+"\nawait-exit\nhang")
			mysqld := r.pid(`1 started (\d+) err=<nil>`)
			r.event(`1 fed err=<nil>`)
			r.signal(syscall.SIGSTOP)
			time.Sleep(deadline + 500*time.Millisecond)
			r.alive(mysqld)
			if name != "no feed" {
				r.touch("late")
				r.event(`1 (?:un)?fed err=.*outcome unknown.*`)
			}
			before := boottime()
			r.signal(syscall.SIGCONT)
			r.dead(mysqld)
			took := boottime() - before
			late, err := strconv.Atoi(r.event(fmt.Sprintf(`1 exit pid=%d status=137 cause="deadline" late=(\d+) kills=1`, mysqld))[0])
			require.NoError(t, err)
			t.Logf("dead %v after SIGCONT; deadline passed %v before the kill", took, time.Duration(late)*time.Microsecond)
			require.GreaterOrEqual(t, late, 150_000)
		})
	}
}
