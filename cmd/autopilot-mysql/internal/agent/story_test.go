package agent

import (
	"bytes"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestEveryLineTellsWhereTheStoryIs(t *testing.T) {
	var b bytes.Buffer
	var now atomic.Pointer[scene]
	plain := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
	log := slog.New(storyteller{plain, &now}).With("node", "db1")
	line := func(want string, args ...any) {
		b.Reset()
		log.Info("step", args...)
		require.Equal(t, want+"\n", b.String())
	}
	line(`msg=step node=db1`)
	s := sceneOf(roles.Failover, 4, false)
	now.Store(&s)
	line(`msg=step node=db1 op=seal state=failover term=4 operation=term-5`, "op", "seal")
	s = sceneOf(roles.Primary, 5, true)
	now.Store(&s)
	line(`msg=step node=db1 term=5 state=primary operation=term-5`, "term", 5)
}

// TestTheOldPrimaryBelongsToTheChange: it may learn that it does not lead any more from the record of the next term.
func TestTheOldPrimaryBelongsToTheChange(t *testing.T) {
	a := &Agent{disk: &disk{}, openTerm: 2}
	a.disk.s.LastSync.Term = 3
	a.changeScene(roles.Primary, roles.Failover)
	require.Equal(t, scene{State: roles.Failover, Term: 3, Operation: "term-3"}, *a.scene.Load())
	a.changeScene(roles.Failover, roles.Replica)
	require.Equal(t, "term-3", a.scene.Load().Operation)
	require.Equal(t, "term-3", sceneOf(roles.Failover, 3, true).Operation, "somebody leads: there is nothing to elect")
}

// TestTakenOffer: only the next term, of the candidate, and only after an offer is a hand-over that came about.
func TestTakenOffer(t *testing.T) {
	h := &handing{Handover: roles.Handover{To: "b", Term: 3, Offer: &roles.Offer{}}}
	require.True(t, h.taken(roles.Sync{Term: 4, Primary: "b"}))
	require.False(t, h.taken(roles.Sync{Term: 4, Primary: "c"}))
	require.False(t, h.taken(roles.Sync{Term: 5, Primary: "b"}))
	require.False(t, (&handing{Handover: roles.Handover{To: "b", Term: 3}}).taken(roles.Sync{Term: 4, Primary: "b"}))
	require.False(t, (*handing)(nil).taken(roles.Sync{Term: 4, Primary: "b"}))
}
