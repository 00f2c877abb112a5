package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// shares tells what the machine's CPUs did between the last acknowledgement of the old primary and the first of the new one:
// where processes share a machine, that is what a hand-over consists of.
func shares(writers int) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		needsPerf(t)
		wall := r.of("on the servers, seen from outside", "ms")
		var all profiles
		rec := record(t)
		handOvers(t, r, writers, rounds(10), func(_ *stand, h handOver) {
			rec.end()
			wall.took(h.gap.Servers)
			all = append(all, rec.during(h.gap.Last, h.gap.Last.Add(h.gap.Servers), h.pids))
			t.Logf("%s to %s: servers %.1f ms", h.from, h.to, ms(h.gap.Servers))
			rec = record(t)
		})
		rec.end()
		all.tell(r)
	}
}

// faultShares tells the same of a failover: from the moment at which it began to be noticed, or from the lapse of the lease,
// to the first acknowledgement at a client.
func faultShares(o harness.Options, count int, hit func(*stand, harness.Document), from func(fault) time.Time) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		needsPerf(t)
		wall := r.of("what the CPU time is of", "ms")
		var all profiles
		var rec *recording
		recorded := func(s *stand, d harness.Document) {
			rec = record(t)
			hit(s, d)
		}
		faults(t, r, o, 8, rounds(count), recorded, func(f fault) {
			rec.end()
			began := from(f)
			wall.took(f.gap.Found.Sub(began))
			all = append(all, rec.during(began, f.gap.Found, f.pids))
			t.Logf("%s to %s: %.1f ms, of which %v", f.from, f.to, ms(f.gap.Found.Sub(began)), f.opening.Phases)
		})
		all.tell(r)
	}
}

// fromTheFault is the last acknowledgement before it.
func fromTheFault(f fault) time.Time { return f.gap.Found.Add(-f.gap.Client) }

// fromTheLapse is when the lock was free.
func fromTheLapse(f fault) time.Time {
	began := f.opening.At
	for _, p := range []string{"seal", "elect", "drain", "promote", "open"} {
		began = began.Add(-time.Duration(f.opening.Phases[p+"_ms"] * float64(time.Millisecond)))
	}
	return began
}

// profiles are who had the CPUs for how long, for each round.
type profiles []map[string]time.Duration

func (all profiles) tell(r *result) {
	names := map[string]bool{}
	for _, m := range all {
		for name := range m {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, m := range all {
			r.of("CPU time, "+name, "ms").took(m[name])
		}
	}
	r.note("the scheduler's switches were recorded meanwhile, which costs some time itself")
}

// recording is one of all switches from one process to another.
type recording struct {
	t    *testing.T
	file string
	cmd  *exec.Cmd
	ends []*os.File // of the pipes to and from perf
}

// needsPerf skips, before anything is set up, where the scheduler cannot be recorded.
func needsPerf(t *testing.T) {
	t.Helper()
	if said, err := exec.Command("perf", "record", "-q", "-e", "sched:sched_switch", "-a", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("needs perf, root, and `mount -t tracefs none /sys/kernel/tracing`: %v %s", err, bytes.TrimSpace(said))
	}
}

func record(t *testing.T) *recording {
	t.Helper()
	r := &recording{t: t, file: filepath.Join(t.TempDir(), "perf.data")}
	told, tell, err := os.Pipe()
	require.NoError(t, err)
	heard, hear, err := os.Pipe()
	require.NoError(t, err)
	r.ends = []*os.File{told, tell, heard, hear}
	// A buffer that is never full while it matters: perf does not run then. And it says when it has begun, which takes it a
	// while on a busy machine.
	r.cmd = exec.Command("perf", "record", "-q", "-B", "-N", "-k", "CLOCK_MONOTONIC", "-m", "64M", "-e", "sched:sched_switch", "-a", "-o", r.file, "-D", "-1", "--control", "fd:3,4")
	r.cmd.ExtraFiles = []*os.File{told, hear}
	var said bytes.Buffer
	r.cmd.Stderr = &said
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	_, err = tell.WriteString("enable\n")
	require.NoError(t, err)
	require.NoError(t, heard.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = heard.Read(make([]byte, 16))
	require.NoError(t, err, "perf does not record: %s", said.String())
	return r
}

func (r *recording) end() {
	_ = r.cmd.Process.Signal(syscall.SIGINT)
	_ = r.cmd.Wait() // it ends by the signal
	for _, f := range r.ends {
		_ = f.Close()
	}
}

var switched = regexp.MustCompile(`^\s*(.*?)\s+(-?\d+)/-?\d+\s+\[(\d+)\]\s+([\d.]+):`)

// during sums up what ran between two moments, over all CPUs. Processes are named by pids, others by themselves; small ones
// are put together.
func (r *recording) during(from, to time.Time, pids map[int]string) map[string]time.Duration {
	r.t.Helper()
	var now unix.Timespec
	require.NoError(r.t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	boot := time.Now().Add(-time.Duration(now.Nano()))
	at := func(m time.Time) float64 { return m.Sub(boot).Seconds() }
	const around = 0.02 // so that what ran at the beginning is seen to end
	out, err := exec.Command("perf", "script", "-i", r.file, "--time", fmt.Sprintf("%.6f,%.6f", at(from)-around, at(to)+around),
		"-F", "comm,pid,tid,cpu,time").Output()
	require.NoError(r.t, err)
	sums, last := map[string]time.Duration{}, map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		m := switched.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		pid, _ := strconv.Atoi(m[2])
		t, _ := strconv.ParseFloat(m[4], 64)
		if began, ok := last[m[3]]; ok {
			if ran := min(t, at(to)) - max(began, at(from)); ran > 0 {
				sums[runner(pid, m[1], pids)] += time.Duration(ran * float64(time.Second))
			}
		}
		last[m[3]] = t
	}
	return sums
}

// runner names what ran.
func runner(pid int, thread string, pids map[int]string) string {
	name, ours := pids[pid]
	switch {
	case pid == 0 || pid == -1:
		return "nothing"
	case ours && strings.HasSuffix(name, "mysqld") && strings.HasPrefix(thread, "rpl_rca"):
		return name + ", receiver and applier"
	case ours && strings.HasSuffix(name, "mysqld") && thread == "connection":
		return name + ", statements"
	case ours && strings.HasSuffix(name, "mysqld"):
		return name + ", InnoDB and the rest"
	case ours && !strings.HasSuffix(name, "guard"):
		return name
	case pid == os.Getpid():
		return "clients"
	case thread == "consul":
		return "Consul"
	case thread == "perf":
		return "perf"
	}
	return "everything else"
}
