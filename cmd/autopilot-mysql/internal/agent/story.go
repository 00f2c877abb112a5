package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// scene is what every log line of an agent tells beside its own words: where the story is.
type scene struct {
	State roles.State
	Term  uint64
	// Operation is the same on all nodes for everything that belongs to one change of the primary: "term-7" is the way to
	// term 7, its opening, and everybody's following it.
	Operation string
}

// sceneOf says which operation a node in this state works on: whoever is sealed while nobody leads in term is on the way to
// the next one.
func sceneOf(s roles.State, term uint64, led bool) scene {
	next := term
	if s == roles.Failover && !led {
		next++
	}
	return scene{State: s, Term: term, Operation: operation(next)}
}

func operation(term uint64) string { return fmt.Sprintf("term-%d", term) }

// storyteller adds the scene to each record that does not say those things itself. Safe for concurrent use.
type storyteller struct {
	slog.Handler
	now *atomic.Pointer[scene]
}

// Handle implements [slog.Handler].
func (h storyteller) Handle(ctx context.Context, r slog.Record) error {
	s := h.now.Load()
	if s == nil {
		return h.Handler.Handle(ctx, r)
	}
	said := map[string]bool{}
	r.Attrs(func(a slog.Attr) bool { said[a.Key] = true; return true })
	r = r.Clone()
	for _, a := range []slog.Attr{slog.String("state", string(s.State)), slog.Uint64("term", s.Term), slog.String("operation", s.Operation)} {
		if !said[a.Key] {
			r.AddAttrs(a)
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h storyteller) WithAttrs(attrs []slog.Attr) slog.Handler {
	return storyteller{h.Handler.WithAttrs(attrs), h.now}
}

// WithGroup implements [slog.Handler].
func (h storyteller) WithGroup(name string) slog.Handler {
	return storyteller{h.Handler.WithGroup(name), h.now}
}

// setScene is called at the beginning of a turn.
func (a *Agent) setScene(f roles.Facts) {
	_, led := f.View.Promoted() // what is done while it opens belongs to its term
	a.narrate(sceneOf(a.machine.State(), max(f.View.Sync.Term, a.disk.s.LastSync.Term), led))
}

// changeScene is called after a transition. Whoever stops leading a term belongs to the change to the next one, also when
// that has happened already.
func (a *Agent) changeScene(from, to roles.State) {
	term := a.disk.s.LastSync.Term
	if old := a.scene.Load(); old != nil {
		term = max(term, old.Term)
	}
	s := sceneOf(to, term, false)
	if from == roles.Primary && a.openTerm != 0 {
		s.Operation = operation(a.openTerm + 1)
	}
	a.narrate(s)
}

func (a *Agent) narrate(s scene) {
	if old := a.scene.Load(); old == nil || *old != s {
		a.scene.Store(&s)
	}
}
