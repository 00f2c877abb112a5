package engine

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckPassesASoundTable(t *testing.T) {
	require.Empty(t, Check(newSpec()))
}

// Each case spoils a sound table in one way; the problems must name exactly that.
func TestCheckFindsEachFlaw(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*doorSpec)
		want  []string
	}{
		{"no name", func(s *doorSpec) { s.Name = "" }, []string{"machine: has no name"}},
		{"state twice", func(s *doorSpec) { s.States = append(s.States, open) }, []string{`state "open": declared twice`}},
		{"event twice", func(s *doorSpec) { s.Events = append(s.Events, push) }, []string{`event "push": declared twice`}},
		{"unprintable event", func(s *doorSpec) {
			s.Events[3] = "fire alarm"
			s.Rules[4].On = "fire alarm"
		}, []string{`event "fire alarm": a name consists of letters, digits, dash and underscore`}},
		{"empty state", func(s *doorSpec) {
			s.States = append(s.States, "")
			s.Ignore = append(s.Ignore, IgnoreIn("x", push, state(""))...)
			s.Ignore = append(s.Ignore, IgnoreIn("x", turn, state(""))...)
			s.Ignore = append(s.Ignore, IgnoreIn("x", emergency, state(""))...)
			s.Rules = append(s.Rules, doorRule{From: []state{""}, On: pull, To: open, Why: "x"})
			s.Rules[1].To = ""
		}, []string{`state "": a name consists of letters, digits, dash and underscore`}},
		{"unknown initial", func(s *doorSpec) { s.Initial = "ajar" }, []string{
			`initial: unknown state "ajar"`,
			"state open: cannot be reached from ajar", "state closed: cannot be reached from ajar", "state locked-up: cannot be reached from ajar"}},
		{"from nowhere", func(s *doorSpec) {
			s.Rules = append(s.Rules, doorRule{On: push, To: open, Why: "?"})
		}, []string{"rule  --push--> open: no state to come from"}},
		{"from an unknown state", func(s *doorSpec) {
			s.Rules[0].From = []state{open, "ajar"}
		}, []string{`rule open,ajar --push--> closed: unknown state "ajar"`}},
		{"to an unknown state", func(s *doorSpec) { s.Rules[1].To = "ajar" }, []string{`rule closed --pull--> ajar: unknown state "ajar"`}},
		{"on an unknown event", func(s *doorSpec) {
			s.Rules = append(s.Rules, doorRule{From: []state{open}, On: "kick", To: closed, Why: "kicked"})
		}, []string{`rule open --kick--> closed: unknown event "kick"`}},
		{"no reason", func(s *doorSpec) { s.Rules[0].Why = " " }, []string{"rule open --push--> closed: does not say why"}},
		{"nameless guard", func(s *doorSpec) { s.Rules[2].Guard = "" }, []string{"rule closed --turn--> locked-up: has a guard without a name"}},
		{"guard by name only", func(s *doorSpec) { s.Rules[2].If = nil }, []string{`rule closed --turn--> locked-up: names guard "hasKey" but has none`}},
		{"action by name only", func(s *doorSpec) { s.Rules[2].Do = nil }, []string{`rule closed --turn--> locked-up: names action "bolt" but has none`}},
		{"two rules for a pair", func(s *doorSpec) {
			s.Rules = append(s.Rules, doorRule{From: []state{closed}, On: turn, To: open, Why: "?"})
		}, []string{"rule closed --turn--> open: state closed and event turn are answered already by: rule closed --turn--> locked-up"}},
		{"one state twice in a row", func(s *doorSpec) {
			s.Rules[1].From = []state{closed, closed}
		}, []string{"rule closed,closed --pull--> open: state closed and event pull are answered already by: rule closed,closed --pull--> open"}},
		{"rule and ignored", func(s *doorSpec) {
			s.Ignore = append(s.Ignore, IgnoreIn("?", push, open)...)
		}, []string{"ignored push in open: state open and event push are answered already by: rule open --push--> closed"}},
		{"ignored twice", func(s *doorSpec) {
			s.Ignore = append(s.Ignore, s.Ignore[0])
		}, []string{"ignored push in closed: state closed and event push are answered already by: ignored push in closed"}},
		{"ignored without reason", func(s *doorSpec) { s.Ignore[0].Why = "" }, []string{"ignored push in closed: does not say why"}},
		{"ignored in an unknown state", func(s *doorSpec) {
			s.Ignore = append(s.Ignore, IgnoreIn[state]("?", push, "ajar")...)
		}, []string{`ignored push in ajar: unknown state "ajar"`}},
		{"ignored unknown event", func(s *doorSpec) {
			s.Ignore = append(s.Ignore, IgnoreIn[state, event]("?", "kick", open)...)
		}, []string{`ignored kick in open: unknown event "kick"`}},
		{"uncovered pair", func(s *doorSpec) { s.Ignore = s.Ignore[1:] }, []string{
			"state closed: event push is neither in a rule nor ignored with a reason"}},
		{"unreachable state", func(s *doorSpec) { s.Rules[2].To = open }, []string{"state locked-up: cannot be reached from open"}},
		{"reachable only from the unreachable", func(s *doorSpec) {
			s.Rules[0].To = open
		}, []string{"state closed: cannot be reached from open", "state locked-up: cannot be reached from open"}},
		{"event in no rule", func(s *doorSpec) {
			s.Events = append(s.Events, "knock")
			s.Ignore = append(s.Ignore, IgnoreIn[state, event]("nobody in", "knock", open, closed, lockedUp)...)
		}, []string{"event knock: is in no rule"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			spec := newSpec()
			tc.spoil(&spec)
			var got []string
			for _, p := range Check(spec) {
				got = append(got, p.String())
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestRequireAsksEachRow(t *testing.T) {
	spec := newSpec()
	locksNeedAKey := func(r doorRule) error {
		if r.To == lockedUp && r.Guard != "hasKey" {
			return errors.New("every rule into locked-up carries guard hasKey")
		}
		return nil
	}
	alarmIsFree := func(r doorRule) error {
		if r.On == emergency && (r.If != nil || r.Do != nil) {
			return errors.New("an emergency has neither guard nor action")
		}
		return nil
	}
	spec.Require = []func(doorRule) error{locksNeedAKey, alarmIsFree}
	require.Empty(t, Check(spec))

	spec.Rules[2].Guard, spec.Rules[2].If = "", nil
	spec.Rules[4].Do = func(context.Context, *door, facts) error { return nil }
	require.Equal(t, []Problem{
		{"rule closed --turn--> locked-up", "every rule into locked-up carries guard hasKey"},
		{"rule open,closed,locked-up --emergency--> open", "an emergency has neither guard nor action"},
	}, Check(spec))
}

func TestFind(t *testing.T) {
	spec := newSpec()
	rule, ignored := spec.Find(lockedUp, emergency)
	require.NotNil(t, rule)
	require.Nil(t, ignored)
	require.Equal(t, "fire alarm", rule.Why)
	rule, ignored = spec.Find(open, turn)
	require.Nil(t, rule)
	require.Equal(t, "no lock in reach", ignored.Why)
	rule, ignored = spec.Find("ajar", turn)
	require.Nil(t, rule)
	require.Nil(t, ignored)
}

func TestIgnoreIn(t *testing.T) {
	got := IgnoreIn[state, event]("why", turn, open, closed)
	require.True(t, slices.Equal([]Ignored[state, event]{{open, turn, "why"}, {closed, turn, "why"}}, got))
}
