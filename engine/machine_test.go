package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type (
	state string
	event string
	// facts say whether the door may be locked.
	facts struct{ key bool }
	// door records what actions did to it.
	door struct {
		did  []string
		fail error
		hook func(context.Context)
	}
	doorRule = Rule[state, event, facts, *door]
	doorSpec = Spec[state, event, facts, *door]
)

const (
	open      state = "open"
	closed    state = "closed"
	lockedUp  state = "locked-up"
	push      event = "push"
	pull      event = "pull"
	turn      event = "turn"
	emergency event = "emergency"
)

var errNoKey = errors.New("nobody holds the key")

func act(name string) func(context.Context, *door, facts) error {
	return func(ctx context.Context, d *door, _ facts) error {
		d.did = append(d.did, name)
		if d.hook != nil {
			d.hook(ctx)
		}
		return d.fail
	}
}

func hasKey(f facts) error {
	if !f.key {
		return errNoKey
	}
	return nil
}

// newSpec returns a sound table that each test may spoil.
func newSpec() doorSpec {
	return doorSpec{
		Name: "door", Initial: open,
		States: []state{open, closed, lockedUp},
		Events: []event{push, pull, turn, emergency},
		Rules: []doorRule{
			{From: []state{open}, On: push, To: closed, Do: act("shut"), Why: "pushed shut"},
			{From: []state{closed}, On: pull, To: open, Why: "pulled open"},
			{From: []state{closed}, On: turn, To: lockedUp, Guard: "hasKey", If: hasKey, Action: "bolt", Do: act("bolt"), Why: "key turned"},
			{From: []state{lockedUp}, On: turn, To: closed, Guard: "hasKey", If: hasKey, Why: "key turned back"},
			{From: []state{open, closed, lockedUp}, On: emergency, To: open, Why: "fire alarm"},
		},
		Ignore: slices.Concat(
			IgnoreIn[state, event]("a shut door does not move", push, closed, lockedUp),
			IgnoreIn("nothing to pull", pull, open, lockedUp),
			IgnoreIn("no lock in reach", turn, open),
		),
	}
}

func newMachine(t require.TestingT, opts Options[state, event]) (*Machine[state, event, facts, *door], *door) {
	d := &door{}
	m, err := New(newSpec(), d, opts)
	require.NoError(t, err)
	return m, d
}

func TestFireChangesState(t *testing.T) {
	start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := start
	var seen []Transition[state, event]
	m, d := newMachine(t, Options[state, event]{
		Now:          func() time.Time { clock = clock.Add(time.Second); return clock },
		OnTransition: func(tr Transition[state, event]) { seen = append(seen, tr) },
	})
	require.Equal(t, open, m.State())

	tr, err := m.Fire(t.Context(), push, facts{}, "draught")
	require.NoError(t, err)
	require.Equal(t, Transition[state, event]{From: open, To: closed, On: push, Why: "pushed shut", Detail: "draught",
		At: start.Add(2 * time.Second), Took: time.Second}, tr)
	require.Equal(t, closed, m.State())
	require.Equal(t, []string{"shut"}, d.did)
	require.Equal(t, []Transition[state, event]{tr}, seen)
}

// unchanged fires an event that must fail and proves that nothing happened.
func unchanged(t *testing.T, m *Machine[state, event, facts, *door], e event, f facts) error {
	t.Helper()
	before, scope := m.State(), m.Scope()
	tr, err := m.Fire(t.Context(), e, f, "")
	require.Error(t, err)
	require.Zero(t, tr)
	require.Equal(t, before, m.State())
	require.NoError(t, scope.Err(), "the scope goes on")
	require.Equal(t, scope, m.Scope())
	return err
}

func TestFireRefusals(t *testing.T) {
	told := 0
	m, d := newMachine(t, Options[state, event]{Start: closed, OnTransition: func(Transition[state, event]) { told++ }})

	var refused *GuardError
	err := unchanged(t, m, turn, facts{})
	require.ErrorAs(t, err, &refused)
	require.ErrorIs(t, err, errNoKey)
	require.EqualError(t, err, "closed --turn--> locked-up refused by guard hasKey: nobody holds the key")
	require.Empty(t, d.did, "a refused event runs no action")

	var ignored *IgnoredError
	err = unchanged(t, m, push, facts{})
	require.ErrorIs(t, err, ErrIgnored)
	require.ErrorAs(t, err, &ignored)
	require.Equal(t, "a shut door does not move", ignored.Why)

	var unknown *UnknownEventError
	err = unchanged(t, m, "kick", facts{})
	require.ErrorAs(t, err, &unknown)
	require.NotErrorIs(t, err, ErrIgnored)

	d.fail = errors.New("bolt is stuck")
	var failed *ActionError
	err = unchanged(t, m, turn, facts{key: true})
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, d.fail)
	require.EqualError(t, err, "closed --turn--> locked-up failed: bolt is stuck")
	require.Zero(t, told)

	d.fail = nil
	_, err = m.Fire(t.Context(), turn, facts{key: true}, "")
	require.NoError(t, err, "the next tick tries again")
	require.Equal(t, lockedUp, m.State())
	require.Equal(t, 1, told)
}

func TestScopeEndsWithItsState(t *testing.T) {
	type ctxKey struct{}
	parent, stop := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "node a"))
	m, d := newMachine(t, Options[state, event]{Context: parent})
	inOpen := m.Scope()
	require.Equal(t, "node a", inOpen.Value(ctxKey{}))
	d.hook = func(context.Context) { require.NoError(t, inOpen.Err(), "the action still runs in the old state") }

	_, err := m.Fire(t.Context(), push, facts{}, "draught")
	require.NoError(t, err)
	<-inOpen.Done()
	var left *LeftError
	require.ErrorAs(t, context.Cause(inOpen), &left)
	require.Equal(t, &LeftError{From: "open", To: "closed", On: "push", Why: "pushed shut", Detail: "draught"}, left)
	require.EqualError(t, left, "left state open for closed on push: pushed shut (draught)")
	require.NoError(t, m.Scope().Err())

	stop()
	<-m.Scope().Done()
	_, err = m.Fire(parent, emergency, facts{}, "")
	require.NoError(t, err, "a state can be left after the parent's end")
	require.Equal(t, open, m.State())
	require.Error(t, m.Scope().Err(), "but nothing starts in the new one")
}

func TestRuleBackIntoItsStateRenewsTheScope(t *testing.T) {
	m, _ := newMachine(t, Options[state, event]{})
	before := m.Scope()
	tr, err := m.Fire(t.Context(), emergency, facts{}, "")
	require.NoError(t, err)
	require.Equal(t, []state{open, open}, []state{tr.From, tr.To})
	require.Error(t, before.Err())
	require.NoError(t, m.Scope().Err())
}

// The trap of looplab/fsm: a transition under a cancelled context wedges it.
func TestCancelledContextNeitherStopsNorWedges(t *testing.T) {
	m, d := newMachine(t, Options[state, event]{Start: closed})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Fire(cancelled, pull, facts{}, "")
	require.NoError(t, err, "a rule without action cannot fail")
	require.Equal(t, open, m.State())
	d.hook = func(ctx context.Context) { d.fail = ctx.Err() }
	_, err = m.Fire(cancelled, push, facts{}, "")
	require.ErrorIs(t, err, context.Canceled, "the action saw the caller's context")
	_, err = m.Fire(t.Context(), push, facts{}, "")
	require.NoError(t, err)
	require.Equal(t, closed, m.State())
}

func TestStartState(t *testing.T) {
	m, _ := newMachine(t, Options[state, event]{Start: lockedUp})
	require.Equal(t, lockedUp, m.State())
	_, err := New(newSpec(), &door{}, Options[state, event]{Start: "ajar"})
	require.EqualError(t, err, `start state machine "door": unknown state "ajar"`)
}

func TestNewRefusesABrokenTable(t *testing.T) {
	spec := newSpec()
	spec.Rules = append(spec.Rules, spec.Rules[0])
	_, err := New(spec, &door{}, Options[state, event]{})
	var broken *SpecError
	require.ErrorAs(t, err, &broken)
	require.Len(t, broken.Problems, 1)
	require.EqualError(t, err, `check state machine "door": rule open --push--> closed: `+
		`state open and event push are answered already by: rule open --push--> closed`)
}

func TestMachineKeepsItsOwnRules(t *testing.T) {
	spec := newSpec()
	m, err := New(spec, &door{}, Options[state, event]{})
	require.NoError(t, err)
	spec.Rules[0].To = lockedUp
	tr, err := m.Fire(t.Context(), push, facts{}, "")
	require.NoError(t, err)
	require.Equal(t, closed, tr.To)
}

func TestFireDuringFireIsRefused(t *testing.T) {
	var m *Machine[state, event, facts, *door]
	var inObserver error
	m, d := newMachine(t, Options[state, event]{OnTransition: func(Transition[state, event]) {
		_, inObserver = m.Fire(context.Background(), emergency, facts{}, "")
	}})
	var inAction error
	d.hook = func(ctx context.Context) {
		require.Equal(t, open, m.State(), "an action may read the machine")
		done := make(chan struct{})
		go func() { // from another goroutine, as an errant caller would
			defer close(done)
			_, inAction = m.Fire(ctx, emergency, facts{}, "")
		}()
		<-done
	}
	_, err := m.Fire(t.Context(), push, facts{}, "")
	require.NoError(t, err)
	require.ErrorIs(t, inAction, ErrConcurrent)
	require.ErrorIs(t, inObserver, ErrConcurrent)
	require.Equal(t, closed, m.State())
}

func TestPanicInAnActionLeavesAUsableMachine(t *testing.T) {
	m, d := newMachine(t, Options[state, event]{})
	d.hook = func(context.Context) { panic("hinge") }
	require.Panics(t, func() { _, _ = m.Fire(t.Context(), push, facts{}, "") })
	require.Equal(t, open, m.State())
	d.hook = nil
	_, err := m.Fire(t.Context(), push, facts{}, "")
	require.NoError(t, err)
}

// Under the race detector: readers anywhere, several would-be owners.
func TestConcurrentUseIsSafe(t *testing.T) {
	m, _ := newMachine(t, Options[state, event]{})
	const owners, each = 4, 200
	results := make(chan error, owners*each)
	var wg sync.WaitGroup
	for range owners {
		wg.Go(func() {
			for range each {
				_, err := m.Fire(t.Context(), emergency, facts{}, "")
				results <- err
				_ = m.State()
				_ = m.Scope().Err()
			}
		})
	}
	wg.Wait()
	close(results)
	for err := range results {
		if err != nil {
			require.ErrorIs(t, err, ErrConcurrent)
		}
	}
	require.Equal(t, open, m.State())
}

// TestRandomSchedules compares the machine with a second reading of the table,
// written as plainly as possible, over random events, facts and failures.
func TestRandomSchedules(t *testing.T) {
	targets := map[state]map[event]state{
		open:     {push: closed, emergency: open},
		closed:   {pull: open, turn: lockedUp, emergency: open},
		lockedUp: {turn: closed, emergency: open},
	}
	hasAction := map[state]event{open: push, closed: turn}
	rapid.Check(t, func(t *rapid.T) {
		var seen []Transition[state, event]
		m, d := newMachine(t, Options[state, event]{OnTransition: func(tr Transition[state, event]) { seen = append(seen, tr) }})
		now, steps := open, 0
		scopes := []context.Context{m.Scope()}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			e := rapid.SampledFrom([]event{push, pull, turn, emergency}).Draw(t, "event")
			f := facts{key: rapid.Bool().Draw(t, "key")}
			d.fail = nil
			if rapid.Bool().Draw(t, "action fails") {
				d.fail = errors.New("stuck")
			}
			ctx, cancel := context.WithCancel(context.Background())
			if rapid.Bool().Draw(t, "cancelled") {
				cancel()
			}
			tr, err := m.Fire(ctx, e, f, "")
			cancel()

			to, known := targets[now][e]
			switch {
			case !known:
				require.ErrorIs(t, err, ErrIgnored)
			case e == turn && !f.key:
				require.ErrorIs(t, err, errNoKey)
			case hasAction[now] == e && d.fail != nil:
				require.ErrorIs(t, err, d.fail)
			default:
				require.NoError(t, err)
				require.Equal(t, []state{now, to}, []state{tr.From, tr.To})
				now, steps = to, steps+1
				scopes = append(scopes, m.Scope())
			}
			require.Equal(t, now, m.State())
			require.Len(t, seen, steps)
			for i, scope := range scopes {
				require.Equal(t, i < len(scopes)-1, scope.Err() != nil, "only the newest scope is alive")
			}
		}
		require.Subset(t, slices.Collect(maps.Keys(targets)), []state{m.State()})
	})
}
