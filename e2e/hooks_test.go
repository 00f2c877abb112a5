package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// TestHooks: the operator's executables are told what happens, and neither one that hangs nor one that fails keeps a
// hand-over from happening.
func TestHooks(t *testing.T) {
	dir := t.TempDir()
	told := filepath.Join(t.TempDir(), "told")
	// One line per call, written at once, so that several nodes may write to the same file.
	script := fmt.Sprintf("#!/bin/sh\necho $HOOK_EVENT $HOOK_NODE term=$HOOK_TERM $HOOK_FROM-$HOOK_TO outcome=$HOOK_OUTCOME secrets=$(env | grep -c PASSWORD) >>%s\n", told)
	for hook, then := range map[string]string{"before-promote": "exec sleep 1000", "after-promote": "exit 1", "before-demote": "exec sleep 1000", "after-demote": "",
		"before-snapshot": "", "after-snapshot": "",
		"before-rebuild": "", "after-rebuild": ""} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, hook), []byte(script+then+"\n"), 0o755))
	}
	c := harness.Up(t, harness.Options{Nodes: 2, Lease: atOnceLease, Env: []string{"AUTOPILOT_HOOKS=" + dir, "AUTOPILOT_HOOK_TIMEOUT=10s"}})
	w := load.Start(t, c)
	before := c.WaitWhole(2)
	lines := func() string {
		b, err := os.ReadFile(told)
		require.NoError(t, err)
		return string(b)
	}
	waitFor(t, "the founder's hooks to end", func() bool { return strings.Contains(lines(), "after-promote "+before.Primary) })
	var r request
	for range 5 { // a busy machine: nothing was changed, and it is asked again
		if r = ask(t, c.WaitWhole(2), ""); r.State == "done" {
			break
		}
		t.Log(r.State, r.Outcome)
		c.WaitWhole(2)
	}
	require.Equalf(t, "done", r.State, "%+v", r)
	after := c.WaitNewPrimary(before.Primary, before.Term)
	c.WaitWhole(2)
	for _, want := range []string{
		"before-promote " + before.Primary + " term=1 init-primary outcome= secrets=0",
		"after-promote " + before.Primary + " term=1 init-primary outcome= secrets=0",
		"before-rebuild " + after.Primary, "after-rebuild " + after.Primary, "outcome=done",
		"before-demote " + before.Primary, "after-demote " + before.Primary, "before-snapshot ", "after-snapshot ",
		fmt.Sprintf("before-promote %s term=%d standby-primary", after.Primary, after.Term),
		fmt.Sprintf("after-promote %s term=%d standby-primary", after.Primary, after.Term),
	} {
		require.Eventuallyf(t, func() bool { return strings.Contains(lines(), want) }, time.Minute, 50*time.Millisecond, "%q in %s", want, lines())
	}
	log := c.Log(after.Primary)
	require.Contains(t, log, "hook is not waited for any longer")
	require.Eventually(t, func() bool {
		l := c.Log(after.Primary) + c.Log(before.Primary)
		return strings.Contains(l, "nothing depends on it") && strings.Contains(l, "it took too long")
	}, time.Minute, 100*time.Millisecond)
	w.Verify(c)
}
