package sim

import (
	"maps"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// moreMutations are the lines of the protocol's table that need more than the usual faults, or lie between two others. The
// table of DESIGN.md says which line is which.
func moreMutations() []mutation {
	scripted := func(script func() []line, r rare) plan {
		return plan{nodes: 3, k: 1, steps: 700, script: script, rare: r}
	}
	copying := plan{nodes: 3, k: 1, steps: 600, rare: rare{copies: true}}
	return []mutation{
		{name: "alone without locking", plan: plan{nodes: 3, k: 1, steps: 1500, script: aloneThenJoined, quiet: true}, from: 1500},
		{name: "old seals count", plan: scripted(staleSeal, rare{})},
		{name: "received alone is the position", plan: plan{nodes: 3, k: 1, steps: 900, script: secondPrimarySteps, quiet: true}, from: 300},
		{name: "put back without all members", plan: scripted(aloneThenWiped, rare{wipes: true})},
		{name: "a last word counts", plan: plan{nodes: 3, k: 1, steps: 900, script: lastWord, rare: rare{wipes: true}}},
		{name: "a promotion is remembered before it is recorded", plan: scripted(plannedThenWiped, rare{wipes: true})},
		{name: "an old backup counts", plan: scripted(backupOfTheFirstTerm, rare{backups: true})},
		{name: "any snapshot is used", plan: copying, stuck: true},
		{name: "purged binary logs are not noticed", plan: copying, stuck: true},
	}
}

// weaken takes a line out of what was decided; false leaves it as it is.
func (w *world) weaken(s roles.State, f roles.Facts, d roles.Decision) (roles.Decision, bool) {
	switch {
	case w.is("a throttle outlives its agent") && s == roles.Primary && f.Handing == nil && f.Throttle > 0:
		f.Throttle = 0
		return roles.Decide(s, f), true
	case w.is("alone without locking") && s == roles.Primary && len(d.Steps) > 0:
		step := d.Steps[0]
		if step.Op == roles.LockAll {
			return roles.Decision{Steps: []roles.Step{{Op: roles.SetK, Why: "MUTATION"}}, Why: "MUTATION"}, true
		}
		if step.Op == roles.Lock && strings.Contains(step.Why, "without being a member") {
			return w.overlook(s, f, step), true
		}
	case w.is("put back without all members") && strings.Contains(d.Why, "it is put back when all of its last members report"):
		last := f.Disk.LastSync
		last.Ver = 0
		return roles.Decision{Steps: []roles.Step{{Op: roles.PutBack, Sync: last, Why: "MUTATION"}}, Why: "MUTATION"}, true
	}
	return d, false
}

// tamperMore changes the facts before anybody sees them.
func (w *world) tamperMore(s roles.State, f *roles.Facts) {
	switch {
	case w.is("an old backup counts") && s == roles.Failover && f.View.Sync.Term < f.Disk.LastSync.Term:
		f.Disk.LastSync = roles.Sync{}
	case w.is("a last word counts"):
		f.View.Nodes = maps.Clone(f.View.Nodes)
		for i, n := range f.View.Nodes {
			n.Misses = true
			f.View.Nodes[i] = n
		}
	case w.is("received alone is the position") && s == roles.Failover:
		f.MySQL = receivedAlone(f.MySQL)
	}
}

// receivedAlone is a server whose position is what it has received, if it is a replica.
func receivedAlone(m roles.MySQL) roles.MySQL {
	if m.Source != "" {
		m.Executed = m.Received.Intersect(m.Executed)
	}
	return m
}

// ballotMore changes what an election sees.
func (w *world) ballotMore(v roles.View) roles.View {
	if w.is("old seals count") {
		v.Seals = maps.Clone(v.Seals)
		for i, s := range v.Seals {
			s.Promise = v.Sync.Term + 1
			v.Seals[i] = s
		}
	}
	return v
}
