package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestTheOperationsGuideKnowsEveryRefusalAndAlarm: each guard has its row, and so has each sentence that status calls a
// problem, that a node gives as the reason why it waits, or that ends `run`.
func TestTheOperationsGuideKnowsEveryRefusalAndAlarm(t *testing.T) {
	b, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	guide := string(b)
	for _, guard := range roles.Guards() {
		has := strings.Contains(guide, "\n| `"+guard+"` |") // the guide is too long to be shown
		require.Truef(t, has, "the guard %s has no row in docs/operations.md", guard)
	}
	var rows strings.Builder
	for line := range strings.Lines(guide) {
		if strings.HasPrefix(line, "| ") {
			rows.WriteString(strings.ReplaceAll(line, "`", ""))
		}
	}
	for _, s := range sources() {
		said := s.read(t)
		if len(said) < s.least {
			t.Errorf("%s: %d sentences found, at least %d there were: the test does not find them any more", s.what, len(said), s.least)
		}
		for _, x := range said {
			if !strings.Contains(rows.String(), x.text) {
				t.Errorf("%s: %s says %q, and no row of docs/operations.md explains it", s.what, x.at, x.text)
			}
		}
	}
}

// sources are all places where such sentences are made.
func sources() []source {
	const agent, rules = "internal/agent", "../../roles"
	return []source{
		{what: "status", least: 30, dir: "internal/cluster", of: field("What"), elsewhere: []string{
			"err.Error()",         // versions, below
			"n.Kept",              // attic, below
			"orUnknown(n.Reason)", // NODE is STATE: what a node waits for, below
			"a.Error",             // the end of a sentence
		}},
		{what: "election", least: 6, dir: rules, files: []string{"elect.go"}, of: field("Why")},
		{what: "cooldown", least: 2, dir: rules, files: []string{"cooldown.go"}, of: returned("HeldBack")},
		{what: "versions", least: 4, dir: rules, files: []string{"versions.go"}, of: called("Errorf", 0)},
		{what: "waiting", least: 45, dir: rules, of: called("wait", 0), elsewhere: []string{"f.Busy", "steady(f)", "v.Why", "HeldBack(f)"}},
		{what: "open", least: 4, dir: rules, files: []string{"ackset.go"}, of: returned("steady")},
		{what: "job", least: 8, dir: agent, files: []string{"restore.go", "found.go", "adopt.go", "requests.go"}, of: either(called("say", 0), called("begin", 0)), elsewhere: []string{
			"fmt.Sprintf(\"%s: %d of %d MiB\", what, done>>20, total>>20)", // how far it is
		}},
		{what: "disk", least: 5, dir: agent, files: []string{"volume.go"}, of: either(either(called("set", 0), returned("look")), called("Errorf", 0)), elsewhere: []string{"say", "err.Error()"}},
		{what: "attic", least: 1, dir: agent, files: []string{"attic.go"}, of: returned("sentence")},
		{what: "snapshot", least: 1, dir: agent, files: []string{"restore.go"}, of: valueOf("errSnapshotComing")},
		{what: "name", least: 2, dir: agent, files: []string{"name.go"}, of: returned("nameTaken")},
		{what: "neighbour", least: 2, dir: agent, files: []string{"neighbour.go"}, of: returned("look")},
		{what: "refusal of run", least: 12, dir: agent, of: called("refuse", 1), elsewhere: []string{"err.Error()", "no.Error()"}},
		{what: "bad setting of run", least: 9, dir: agent, of: called("unusable", 1), elsewhere: []string{"err.Error()"}},
		{what: "end of run", least: 2, dir: ".", files: []string{"node.go"}, of: field("Why"), elsewhere: []string{"err.Error()"}},
		{what: "adoption", least: 3, dir: "../../mysql", files: []string{"rekey.go"}, of: appended("problems")},
	}
}
