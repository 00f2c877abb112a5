package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/looplab/fsm"
)

// Transition is one change of state that has happened.
type Transition[S, E ~string] struct {
	From, To S
	On       E
	// Why is the rule's reason, Detail what the caller of Fire added.
	Why, Detail string
	// At is when the state changed.
	At time.Time
	// Took is the time from Fire to the change: guard and action.
	Took time.Duration
}

// Options of [New]; the zero value is usable.
type Options[S, E ~string] struct {
	// Context is the parent of every scope; nil means context.Background().
	// When it ends, the current scope ends, but the machine goes on: a role
	// must still be able to leave its state then.
	Context context.Context
	// Start is the state to begin in instead of Spec.Initial, for a process
	// that goes on where its predecessor ended.
	Start S
	// OnTransition is told about every change, after it, on the goroutine that
	// called Fire. It must not fire events.
	OnTransition func(Transition[S, E])
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Machine is a running state machine. One goroutine owns it and calls Fire;
// State and Scope are safe for concurrent use.
type Machine[S, E ~string, F, N any] struct {
	node    N
	opts    Options[S, E]
	rules   map[pair[S, E]]*Rule[S, E, F, N]
	ignored map[pair[S, E]]string

	// firing is true while Fire runs; it turns concurrent use into an error.
	firing atomic.Bool

	// mu makes the change of state and scope one step for readers. Guards,
	// actions and the observer run outside of it.
	mu     sync.RWMutex
	table  *fsm.FSM
	scope  context.Context
	cancel context.CancelCauseFunc
}

// New returns a machine in its first state. It refuses a table that does not
// pass [Check] with a [*SpecError], and an unknown Options.Start.
func New[S, E ~string, F, N any](spec Spec[S, E, F, N], node N, opts Options[S, E]) (*Machine[S, E, F, N], error) {
	if problems := Check(spec); len(problems) > 0 {
		return nil, &SpecError{Name: spec.Name, Problems: problems}
	}
	start := spec.Initial
	if opts.Start != "" {
		start = opts.Start
	}
	if !slices.Contains(spec.States, start) {
		return nil, fmt.Errorf("start state machine %q: unknown state %q", spec.Name, string(start))
	}
	if opts.Context == nil {
		opts.Context = context.Background()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	m := &Machine[S, E, F, N]{
		node: node, opts: opts,
		rules:   map[pair[S, E]]*Rule[S, E, F, N]{},
		ignored: map[pair[S, E]]string{},
	}
	m.load(spec, start)
	m.enter()
	return m, nil
}

// load copies the rules and builds the transition table. The table gets no
// callbacks: looplab/fsm accepts misspelt callback names silently, deadlocks
// when one touches the machine, and reports an error for a state it has
// changed. Here it only guards which changes of state exist.
func (m *Machine[S, E, F, N]) load(spec Spec[S, E, F, N], start S) {
	var events fsm.Events
	for _, r := range spec.Rules {
		desc := fsm.EventDesc{Name: string(r.On), Dst: string(r.To)}
		for _, from := range r.From {
			m.rules[pair[S, E]{from, r.On}] = &r
			desc.Src = append(desc.Src, string(from))
		}
		events = append(events, desc)
	}
	for _, g := range spec.Ignore {
		m.ignored[pair[S, E]{g.State, g.Event}] = g.Why
	}
	m.table = fsm.NewFSM(string(start), events, nil)
}

// enter opens the scope of the current state.
func (m *Machine[S, E, F, N]) enter() {
	m.scope, m.cancel = context.WithCancelCause(m.opts.Context)
}

// State returns the current state.
func (m *Machine[S, E, F, N]) State() S {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return S(m.table.Current())
}

// Scope returns the context of the current state. It is cancelled, with a
// [*LeftError] as its cause, when the state is left.
func (m *Machine[S, E, F, N]) Scope() context.Context {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.scope
}

// Fire handles one event: it finds the rule, asks its guard about the facts,
// runs its action with ctx, changes the state, ends the old scope and tells the
// observer. detail is the caller's reason, kept beside the rule's own.
//
// Errors, all of which leave state and scope as they were: [*GuardError],
// [*ActionError], [*IgnoredError] (is [ErrIgnored]), [*UnknownEventError] and
// [ErrConcurrent].
//
// A ctx that has ended does not stop the change of state by itself; only an
// action can fail because of it. A rule with neither guard nor action therefore
// always succeeds, at once.
func (m *Machine[S, E, F, N]) Fire(ctx context.Context, event E, facts F, detail string) (Transition[S, E], error) {
	var none Transition[S, E]
	if !m.firing.CompareAndSwap(false, true) {
		return none, ErrConcurrent
	}
	// Deferred, so that a panicking guard or action leaves a usable machine.
	defer m.firing.Store(false)

	began := m.opts.Now()
	from := m.State()
	rule, err := m.allowed(from, event, facts)
	if err != nil {
		return none, err
	}
	if rule.Do != nil {
		if err := rule.Do(ctx, m.node, facts); err != nil {
			return none, &ActionError{Rule: ruleText(from, event, rule.To), Err: err}
		}
	}
	if err := m.commit(ctx, from, rule, detail); err != nil {
		return none, err
	}
	at := m.opts.Now()
	done := Transition[S, E]{From: from, To: rule.To, On: event, Why: rule.Why, Detail: detail, At: at, Took: at.Sub(began)}
	if m.opts.OnTransition != nil {
		m.opts.OnTransition(done)
	}
	return done, nil
}

// allowed finds the rule for the pair and asks its guard.
func (m *Machine[S, E, F, N]) allowed(from S, event E, facts F) (*Rule[S, E, F, N], error) {
	at := pair[S, E]{from, event}
	rule := m.rules[at]
	if rule == nil {
		if why, ok := m.ignored[at]; ok {
			return nil, &IgnoredError{State: string(from), Event: string(event), Why: why}
		}
		return nil, &UnknownEventError{State: string(from), Event: string(event)}
	}
	if rule.If != nil {
		if reason := rule.If(facts); reason != nil {
			return nil, &GuardError{Rule: ruleText(from, event, rule.To), Guard: rule.Guard, Reason: reason}
		}
	}
	return rule, nil
}

// commit changes the state and exchanges the scope in one step for readers.
func (m *Machine[S, E, F, N]) commit(ctx context.Context, from S, rule *Rule[S, E, F, N], detail string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A cancelled context would leave looplab/fsm stuck in a half-made
	// transition for good, so it never sees the cancellation.
	err := m.table.Event(context.WithoutCancel(ctx), string(rule.On))
	var same fsm.NoTransitionError // its word for a rule that ends where it began
	if err != nil && (!errors.As(err, &same) || same.Err != nil) {
		return fmt.Errorf("change state by %s: %w", ruleText(from, rule.On, rule.To), err)
	}
	m.cancel(&LeftError{From: string(from), To: string(rule.To), On: string(rule.On), Why: rule.Why, Detail: detail})
	m.enter()
	return nil
}
