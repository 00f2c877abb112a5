package sim

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// after is true from the n-th look on.
func after(n int) func(*world) bool {
	return func(*world) bool { n--; return n < 0 }
}

// first and second are two things that go wrong one after the other; the second one mostly meets whoever leads.
var (
	first = map[string]func(*world){
		"wiped":     func(w *world) { w.wipe(nil) },
		"purged":    func(w *world) { w.snapshot(w.nodes[b]); w.purge(w.nodes[a]) },
		"snapshot":  func(w *world) { w.snapshot(w.nodes[c]); w.strike(killMysqld, w.nodes[c]) },
		"settings":  func(w *world) { w.changeSettings(nil); w.tagNode(w.nodes[b]) },
		"deposed":   loseSession(a),
		"cut":       both(cutLink(a, b), cutLink(a, c)),
		"power cut": func(w *world) { w.strike(powerOff, w.nodes[b]) },
	}
	second = map[string]func(*world){
		"leader's power cut": func(w *world) { w.strike(powerOff, w.opener()) },
		"leader's mysqld":    func(w *world) { w.strike(killMysqld, w.opener()) },
		"leader's session":   func(w *world) { w.strike(expireEarly, w.opener()) },
		"leader frozen":      func(w *world) { w.strike(expireEarly, w.opener()); w.opener().frozenAgent = true },
		"leader stops":       func(w *world) { w.strike(graceful, w.opener()) },
		"wiped":              func(w *world) { w.wipe(nil) },
		"follower's power":   func(w *world) { w.strike(powerOff, w.nodes[c]) },
		"everybody's power": func(w *world) {
			w.strike(powerOff, w.nodes[a])
			w.strike(powerOff, w.nodes[b])
			w.strike(powerOff, w.nodes[c])
		},
		"the lock is deleted": func(w *world) { w.strike(deleteLock, w.nodes[a]) },
	}
)

// opener is whoever opened last.
func (w *world) opener() *node { return w.nodes[max(w.openNode, 0)] }

// TestEveryPairOfFaults: each of the first at every step (by default at every twentieth) of the same schedule, and each of the
// second at several distances from it. Nothing else goes wrong, so every run has to end well.
func TestEveryPairOfFaults(t *testing.T) {
	stride := 20
	switch {
	case os.Getenv("AUTOPILOT_TEST_SOAK") != "":
		stride = 1
	case testing.Short():
		stride = 75
	}
	runs, steps := 0, 0
	for at := 1; at < 150; at += stride {
		for one, x := range first {
			for two, y := range second {
				for _, gap := range []int{0, 7, 40, 120} {
					p := plan{nodes: 3, k: 1, steps: 330, quiet: true, rare: rare{wipes: true, copies: true, settings: true},
						script: func() []line { return []line{{after(at), x}, {after(gap), y}} }}
					r := play(p, seeded(uint64(at)), false)
					if r.bad != nil {
						require.Fail(t, r.bad.kind+": "+r.bad.text, "%s at step %d, %s %d later: %s", one, at, two, gap, explain(p, r))
					}
					runs, steps = runs+1, steps+r.steps
				}
			}
		}
	}
	t.Logf("%d schedules, %d steps with faults", runs, steps)
}
