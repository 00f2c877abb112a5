package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// playgroundCluster is the name of a playground's cluster.
const playgroundCluster = "playground"

// operatorRules is what docs/operations.md says that an operator's token needs; access is write, or read for one who looks.
func operatorRules(t *testing.T, access string) string {
	t.Helper()
	const documented = `key_prefix "mysql/<cluster>/" { policy = "write" }`
	b, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	require.Contains(t, string(b), "`"+documented+"` and the same for `mysql/<cluster>~history/`")
	rule := strings.NewReplacer("<cluster>", playgroundCluster, "write", access).Replace(documented)
	return rule + "\n" + strings.Replace(rule, playgroundCluster+"/", playgroundCluster+"~history/", 1)
}

// TestConsulsACLsDecide: with the tokens that the documentation describes, on a Consul that denies by default, nodes work,
// an operator may change things, a reader may look, and everybody else is told that he may not.
func TestConsulsACLsDecide(t *testing.T) {
	consul := harness.NewGuardedConsul(t)
	rules, err := os.ReadFile("../docker/consul-policy.hcl")
	require.NoError(t, err)
	node := consul.Token("node", strings.ReplaceAll(string(rules), "mysql/main", "mysql/"+playgroundCluster))
	boss, reader := consul.Token("operator", operatorRules(t, "write")), consul.Token("reader", operatorRules(t, "read"))
	c := harness.Up(t, harness.Options{Nodes: 2, Lease: patientLease, Consul: consul.Addr, Env: []string{harness.TokenEnv + "=" + node}})
	d := c.WaitWhole(2)
	standby := d.Others()[0].Name

	as := func(token string, args ...string) said {
		ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
		defer cancel()
		cmd := operatorCommand(ctx, t, d, args...)
		if token != "" {
			cmd.Env = append(cmd.Env, harness.TokenEnv+"="+token)
		}
		s, err := saidBy(ctx, cmd)
		require.NoError(t, err)
		return s
	}
	granted := func(token string, args ...string) said {
		s := as(token, args...)
		require.Zerof(t, s.code, "%v: %s%s", args, s.out, s.err)
		return s
	}
	denied := func(token string, args ...string) {
		s := as(token, args...)
		require.Equalf(t, 1, s.code, "failed, and everything is as it was: %v: %s%s", args, s.out, s.err)
		lines := strings.Split(strings.TrimSpace(s.err), "\n")
		last := lines[len(lines)-1]
		require.Contains(t, last, "permission denied", "%v", args)
		require.Contains(t, last, "check the Consul token", "%v", args)
		require.NotContains(t, last, "--consul", "it does answer: %v", args)
		if token != "" {
			require.NotContains(t, s.out+s.err, token)
		}
	}

	looks := [][]string{
		{"status"}, {"status", "--output", "json"}, {"history"}, {"config", "show"},
		{"switchover", "--dry-run"}, {"pause", "--dry-run"}, {"config", "set", "acks=2", "--dry-run"},
	}
	changes := [][]string{
		{"switchover"}, {"switchover", "--to", standby}, {"failover", "--to", standby}, {"rebuild", standby, "--force"}, {"remove", standby, "--force"},
		{"pause"}, {"pause", standby, "--force"}, {"config", "set", "max-lag=20s"}, {"snapshot", "create"},
	}
	written := func() map[string]uint64 { // what orders write, and which version of it
		versions := map[string]uint64{}
		for name, k := range c.Keys() {
			for _, order := range []string{"request", "pause", "maintenance/", "settings", "snapshot/requests/"} {
				if strings.HasPrefix(name, order) {
					versions[name] = k.Index
				}
			}
		}
		return versions
	}
	before := written()
	for _, args := range looks {
		granted(reader, args...)
	}
	for _, args := range changes {
		denied(reader, args...)
	}
	const unknown = "99999999-2222-4333-8444-555555555555"
	for _, nobody := range []string{"", unknown} {
		for _, args := range append(slices.Clone(looks), changes...) {
			denied(nobody, args...)
		}
	}
	require.Equal(t, before, written(), "nothing was written")
	after := c.WaitWhole(2)
	require.Equal(t, []any{d.Primary, d.Term}, []any{after.Primary, after.Term})

	granted(boss, "pause")
	granted(boss, "pause", standby, "--force")
	for _, token := range []string{reader, ""} {
		denied(token, "resume")
		denied(token, "resume", standby)
	}
	status := granted(reader, "status").out
	require.Contains(t, status, "paused by tester@")
	require.Contains(t, status, standby+" is in maintenance by tester@")
	granted(boss, "resume", standby)
	granted(boss, "resume")
	granted(boss, "config", "set", "max-lag=20s")
	require.NotEqual(t, before["settings"], written()["settings"])
	granted(boss, "snapshot", "create")
	c.WaitWhole(2)
	var s said
	for try := 1; ; try++ { // a starved machine may need more than one
		waitFor(t, standby+" to be ready", func() bool { return as(reader, "switchover", "--dry-run").code == 0 })
		if s = as(boss, "switchover"); s.code == 0 {
			break
		}
		require.Lessf(t, try, maxHandOvers, "%s%s", s.out, s.err)
		time.Sleep(time.Second)
	}
	require.Equal(t, standby, c.WaitNewPrimary(d.Primary, d.Term).Primary)
	c.Down()
}
