package roles_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

var update = flag.Bool("update", false, "rewrite what is generated from the table")

func TestTheTableIsSound(t *testing.T) {
	require.Empty(t, engine.Check(roles.Table()))
	_, err := engine.New(roles.Table(), roles.Actor(nil), engine.Options[roles.State, roles.Event]{})
	require.NoError(t, err)
}

// TestABrokenTableIsRefused breaks the table in every way it may not be broken: the check must say so, and no machine may
// run on it.
func TestABrokenTableIsRefused(t *testing.T) {
	into := func(s *roles.Spec) *roles.Rule { return find(s, roles.Failover, roles.Won) }
	out := func(s *roles.Spec) *roles.Rule { return find(s, roles.Primary, roles.LeaseLost) }
	for name, tc := range map[string]struct {
		breakIt func(*roles.Spec)
		says    string
	}{
		"unguarded way into primary": {func(s *roles.Spec) { into(s).If, into(s).Guard = nil, "" }, "a way into primary without the lease guard"},
		"guard of another kind":      {func(s *roles.Spec) { into(s).Guard = "data" }, "a way into primary without the lease guard"},
		"shortcut into primary": {func(s *roles.Spec) {
			s.Ignore = slices.DeleteFunc(s.Ignore, func(g engine.Ignored[roles.State, roles.Event]) bool {
				return g.State == roles.Replica && g.Event == roles.Won
			})
			s.Rules = append(s.Rules, roles.Rule{From: []roles.State{roles.Replica}, On: roles.Won, To: roles.Primary, Why: "quick"})
		}, "a way into primary without the lease guard"},
		"guarded lease loss": {func(s *roles.Spec) { out(s).If, out(s).Guard = func(roles.Facts) error { return nil }, "polite" },
			"a way out of primary that could be refused or could wait"},
		"action on lease loss": {func(s *roles.Spec) {
			out(s).Do = func(context.Context, roles.Actor, roles.Facts) error { return nil }
		}, "a way out of primary that could be refused or could wait"},
		"forgotten pair":       {func(s *roles.Spec) { s.Rules = s.Rules[1:] }, "neither in a rule nor ignored"},
		"duplicate":            {func(s *roles.Spec) { s.Rules = append(s.Rules, s.Rules[0]) }, "answered already by"},
		"rule and ignored":     {func(s *roles.Spec) { s.Ignore = append(s.Ignore, engine.IgnoreIn("x", roles.Won, roles.Failover)...) }, "answered already by"},
		"unknown state":        {func(s *roles.Spec) { s.Rules[0].To = "primray" }, `unknown state "primray"`},
		"unknown event":        {func(s *roles.Spec) { s.Rules[0].On = "found" }, `unknown event "found"`},
		"unreachable standby":  {func(s *roles.Spec) { find(s, roles.Replica, roles.Admitted).To = roles.Replica }, "cannot be reached"},
		"row without a reason": {func(s *roles.Spec) { s.Rules[0].Why = "" }, "does not say why"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := roles.Table()
			tc.breakIt(&spec)
			var all strings.Builder
			for _, p := range engine.Check(spec) {
				all.WriteString(p.String() + "\n")
			}
			require.Contains(t, all.String(), tc.says)
			_, err := engine.New(spec, roles.Actor(nil), engine.Options[roles.State, roles.Event]{})
			require.ErrorContains(t, err, tc.says)
		})
	}
}

func find(s *roles.Spec, from roles.State, on roles.Event) *roles.Rule {
	r, _ := s.Find(from, on)
	return r
}

// TestTheWaysIntoAndOutOfPrimary states the two laws once more, without the table's own words for them.
func TestTheWaysIntoAndOutOfPrimary(t *testing.T) {
	in, out := 0, 0
	for _, r := range roles.Table().Rules {
		if r.To == roles.Primary {
			in++
			require.NotNil(t, r.If, r.Why)
			require.Error(t, r.If(roles.Facts{}), "nothing known, nothing held: %s must refuse", r.Guard)
			require.NotNil(t, r.Do, "opening is the action, not a side effect")
		}
		if slices.Contains(r.From, roles.Primary) {
			out++
			require.Nil(t, r.If, r.Why)
			require.Nil(t, r.Do, r.Why)
			require.Equal(t, roles.Failover, r.To)
		}
	}
	require.Equal(t, 4, in, "founding, promotion, a hand-over, and a restarted agent")
	require.Equal(t, 3, out, "lease, mysqld, stop")
}

const (
	drawingBegin = "<!-- states:begin -->"
	drawingEnd   = "<!-- states:end -->"
)

// TestTheDrawingIsTheTable compares the drawing in README.md with the table; -update redraws it.
func TestTheDrawingIsTheTable(t *testing.T) {
	const path = "../README.md"
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(b), drawingBegin)
	require.True(t, ok, "README.md has no %s", drawingBegin)
	_, after, ok := strings.Cut(rest, drawingEnd)
	require.True(t, ok, "README.md has no %s", drawingEnd)
	var drawing bytes.Buffer
	require.NoError(t, engine.WriteMermaid(&drawing, roles.Table()))
	want := before + drawingBegin + "\n```mermaid\n" + drawing.String() + "```\n" + drawingEnd + after
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(b), "the drawing in README.md is not the table; redraw it: go test ./roles -run Drawing -update")
}
