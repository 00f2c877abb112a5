package hooks

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// journal is a log that may be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// patience is a limit for a busy machine; nothing is expected to take it.
const patience = 30 * time.Second

func runner(t *testing.T, timeout time.Duration, scripts map[Event]string) (*Runner, string, *journal) {
	t.Helper()
	dir, log := t.TempDir(), &journal{}
	for e, text := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(dir, string(e)), []byte("#!/bin/sh\n"+text), 0o755))
	}
	r := New(Options{Dir: dir, Timeout: timeout, Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() { r.Close(0) })
	return r, dir, log
}

func TestFactsAndNoSecrets(t *testing.T) {
	t.Setenv("MYSQL_REPL_PASSWORD", "a-secret")
	r, _, log := runner(t, patience, map[Event]string{AfterPromote: "env; echo to-stderr >&2"})
	r.Wait(t.Context(), AfterPromote, Facts{"NODE": "n1", "WHY": "two words"}, patience)
	r.Close(patience)
	require.Contains(t, log.String(), "HOOK_NODE=n1")
	require.Contains(t, log.String(), "HOOK_WHY=two words")
	require.Contains(t, log.String(), "HOOK_EVENT=after-promote")
	require.Contains(t, log.String(), "to-stderr")
	require.Contains(t, log.String(), "hook done")
	require.NotContains(t, log.String(), "a-secret")
	require.NotContains(t, log.String(), "MYSQL_REPL_PASSWORD")
}

// TestOrder: what has one subject runs in the order in which it happened, and no two of them at once.
func TestOrder(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	script := fmt.Sprintf("echo begin $HOOK_N >>%[1]s; sleep 0.05; echo end $HOOK_N >>%[1]s", out)
	r, _, _ := runner(t, patience, map[Event]string{AfterPromote: script, BeforeDemote: script, AfterDemote: script})
	for i, e := range []Event{AfterPromote, BeforeDemote, AfterDemote, AfterPromote} {
		r.Start(e, Facts{"N": fmt.Sprint(i)})
	}
	r.Close(patience)
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "begin 0\nend 0\nbegin 1\nend 1\nbegin 2\nend 2\nbegin 3\nend 3\n", string(got))
}

// TestHangs: a hook that hangs keeps nobody beyond the limit, holds up no other subject, and is killed with its children.
func TestHangs(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	r, _, log := runner(t, 12*time.Second, map[Event]string{
		BeforePromote: fmt.Sprintf("sleep 1000 & echo $! >%s; sleep 1000", pids), AfterRebuild: "echo other", AfterPromote: "echo next"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Wait(ctx, BeforePromote, nil, time.Hour) // returns
	r.Wait(t.Context(), AfterRebuild, nil, patience)
	require.Contains(t, log.String(), "line=other")
	r.Wait(t.Context(), BeforePromote, nil, patience)
	r.Wait(t.Context(), AfterPromote, nil, patience)
	require.Contains(t, log.String(), "hook killed: it took too long")
	require.Contains(t, log.String(), "line=next")
	pid, err := os.ReadFile(pids)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // a zombie of our own subreaper, if there is one, has no command line either
		cmd, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "cmdline"))
		return err != nil || len(cmd) == 0
	}, patience, 20*time.Millisecond)
}

// TestLate: one that waited behind others until its moment was over does not run.
func TestLate(t *testing.T) {
	r, _, log := runner(t, patience, map[Event]string{AfterDemote: "while [ ! -e $HOOK_GO ]; do sleep 0.02; done", BeforePromote: "echo ran-late"})
	release := filepath.Join(t.TempDir(), "go")
	r.Start(AfterDemote, Facts{"GO": release})
	r.Wait(t.Context(), BeforePromote, nil, 20*time.Millisecond)
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	r.Close(patience)
	require.Contains(t, log.String(), "others took too long")
	require.NotContains(t, log.String(), "ran-late")
}

func TestFailsAndFloods(t *testing.T) {
	r, _, log := runner(t, patience, map[Event]string{AfterSnapshot: "yes | head -n 100000; exit 7"})
	r.Wait(t.Context(), AfterSnapshot, nil, patience)
	require.Contains(t, log.String(), "exit status 7")
	require.Less(t, strings.Count(log.String(), "line=y"), maxLines)
	require.Contains(t, log.String(), "left out")
}

// TestBacklog: starting never waits, however many there are.
func TestBacklog(t *testing.T) {
	r, _, log := runner(t, patience, map[Event]string{AfterDemote: "sleep 1000"})
	for range 3 * backlog {
		r.Start(AfterDemote, nil)
	}
	require.Contains(t, log.String(), "too many others wait")
	r.Close(0)
	r.Start(AfterDemote, nil)
	var none *Runner
	none.Start(AfterDemote, nil)
	none.Close(0)
}

func TestCheck(t *testing.T) {
	_, dir, _ := runner(t, patience, map[Event]string{AfterDemote: ""})
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".hidden"), nil, 0o644))
	require.NoError(t, Check(dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "after-promotion"), nil, 0o755))
	require.ErrorContains(t, Check(dir), "after-promotion is not the name of a hook; there are before-promote, ")
	require.NoError(t, os.Rename(filepath.Join(dir, "after-promotion"), filepath.Join(dir, "after-promote")))
	require.NoError(t, os.Chmod(filepath.Join(dir, "after-promote"), 0o644))
	require.ErrorContains(t, Check(dir), "is not an executable file")
	require.Error(t, Check(filepath.Join(dir, "nowhere")))
}
