package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestEveryRefusalToFailOverNamesWhatIsMissingAndTheOverride: whatever keeps the cluster without a primary is one sentence
// in status, and the command that overrides it stands beside it.
func TestEveryRefusalToFailOverNamesWhatIsMissingAndTheOverride(t *testing.T) {
	seal := func(v *roles.View, name, pos string) {
		v.Seals[inc(name)] = roles.Seal{Promise: 4, Position: gtid.MustParse(pos)}
	}
	const a, b = "aaaaaaaa-0000-0000-0000-000000000001:1-9", "bbbbbbbb-0000-0000-0000-000000000001:1"
	held := func(recent ...time.Duration) func(*roles.View) {
		return func(v *roles.View) {
			headless(v)
			seal(v, "db2", a)
			seal(v, "db10", a)
			f := roles.Facts{Self: roles.Self{Inc: inc("db10")}, View: *v, Recent: recent, Set: roles.Settings{Cooldown: time.Minute, FailoversPerHour: 3}}
			change(*v, "db10", func(n *roles.Node) { n.Held = roles.HeldBack(f) })
		}
	}
	for name, c := range map[string]struct {
		edit    func(*roles.View)
		missing []string
		command string
	}{
		"not enough sealed": {func(v *roles.View) { headless(v); change(*v, "db2", die) },
			[]string{"db1", "db2 (not running)"}, "autopilot-mysql failover --to NODE --force --accept-data-loss"},
		"sealed, but void": {func(v *roles.View) {
			headless(v)
			change(*v, "db2", func(n *roles.Node) { n.Void = true })
			seal(v, "db10", a)
			v.Seals[inc("db2")] = roles.Seal{Promise: 4, Position: gtid.MustParse(a), Void: true}
		}, []string{"db1 (not running)", "db2 (its acknowledgements may not have survived"}, "autopilot-mysql failover --to NODE --force --accept-data-loss"},
		"diverged positions": {func(v *roles.View) { headless(v); seal(v, "db2", a); seal(v, "db10", b) },
			[]string{a, b, "db2", "db10"}, "autopilot-mysql failover --to NODE --force --accept-data-loss"},
		"cooldown": {held(10 * time.Second), []string{"10s ago", "another 50s", "cooldown"}, "autopilot-mysql failover --to db10"},
		"too many failovers": {held(2*time.Minute, 3*time.Minute, 4*time.Minute), []string{"3 automatic failovers", "failovers-per-hour", "56m0s"},
			"autopilot-mysql failover --to db10"},
		"paused": {func(v *roles.View) {
			headless(v)
			v.Paused, v.Pause = true, roles.Pause{By: "ann", Reason: "maintenance"}
		}, []string{"paused by ann (maintenance)"}, "autopilot-mysql resume"},
	} {
		t.Run(name, func(t *testing.T) {
			v := well()
			c.edit(&v)
			d := Build("c", v, Extra{}, "", "")
			require.Equal(t, Broken, d.Health)
			require.NotEmpty(t, d.Problems)
			p := d.Problems[0]
			require.Equal(t, p.What, d.Summary, "it is what status begins with")
			require.NotContains(t, p.What, "\n")
			for _, m := range c.missing {
				require.Contains(t, p.What, m)
			}
			require.Contains(t, p.Do, c.command)
		})
	}
}
