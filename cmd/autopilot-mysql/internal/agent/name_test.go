package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// named is an agent as far as it looks at its name, beside another owner of that name.
func named(t *testing.T) (a *Agent, k *keeping, other election.Session) {
	t.Helper()
	k = newKept(t, true)
	s := &config.Settings{Name: "n1"}
	s.Cluster = "main"
	a = &Agent{Deps: Deps{Settings: s, Params: k.params}, keeper: k.keeper}
	other = k.store.Session("n1", 0)
	other.Own("theirs")
	k.session.Own("mine")
	return a, k, other
}

var theirs = roles.View{OK: true, Nodes: map[roles.Inc]roles.Node{"n1~1~x": {Inc: "n1~1~x", Name: "n1", Session: "s", MySQL: "there:1", Datadir: "/there"}}}

func TestANameThatIsTakenIsRefusedAfterALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, k, other := named(t)
		wait, end := a.nameTaken(theirs)
		require.Nil(t, end)
		require.NotEmpty(t, wait, "nothing is decided before it is known")
		require.NoError(t, other.Open(t.Context()))
		for began := time.Now(); time.Since(began) < k.params.C; time.Sleep(k.params.I) {
			k.beat(t.Context())
			wait, end = a.nameTaken(theirs)
			require.Nil(t, end, "it may have died a moment ago")
			require.Contains(t, wait, "/there")
		}
		a.takenAt -= k.params.C + nameMargin // the clock of the agent is the machine's
		_, end = a.nameTaken(theirs)
		require.NotNil(t, end)
		require.Equal(t, 3, end.code)
		require.Contains(t, end.reason, "there:1")
		require.NoError(t, other.Pass(t.Context()), "the other one noticed nothing")
	})
}

func TestANameThatBecomesFreeIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, k, other := named(t)
		require.NoError(t, other.Open(t.Context()))
		k.beat(t.Context())
		wait, _ := a.nameTaken(theirs)
		require.NotEmpty(t, wait)
		k.store.Expire(other.ID())
		k.beat(t.Context())
		wait, end := a.nameTaken(roles.View{OK: true})
		require.Nil(t, end)
		require.Empty(t, wait)
	})
}

// TestWhoHadTheNameKeepsIt: a node that was cut off for long may find another one in its place. It does not end: it may
// be the primary, by its quorum.
func TestWhoHadTheNameKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, k, other := named(t)
		k.beat(t.Context())
		_, end := a.nameTaken(theirs)
		require.Nil(t, end)
		k.store.Expire(k.session.ID())
		require.NoError(t, other.Open(t.Context()))
		for range 100 {
			k.beat(t.Context())
			wait, end := a.nameTaken(theirs)
			require.Nil(t, end)
			require.Empty(t, wait)
			a.takenAt -= k.params.C
		}
		require.ErrorIs(t, k.state().trouble, election.ErrNameTaken, "and says why it has no session")
	})
}

func TestConsulOutOfReachIsNoOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, k, _ := named(t)
		k.store.Partition("n1", true)
		k.beat(t.Context())
		wait, end := a.nameTaken(roles.View{})
		require.Nil(t, end)
		require.Empty(t, wait, "what needs no session goes on")
	})
}
