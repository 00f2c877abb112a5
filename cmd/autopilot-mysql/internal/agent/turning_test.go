package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// A term that was handed over is opened only when nothing came from the old primary that was not offered.
func TestOpeningWaitsForTheReceiver(t *testing.T) {
	offer, more := gtid.MustParse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"), gtid.MustParse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-6")
	ctx := t.Context()
	turned := func(held mysql.Held, err error) *turning {
		turn := &turning{offer: offer, held: held}
		turn.stopped.begin(func() error { return err })
		return turn
	}
	require.NoError(t, turned(mysql.Held{Executed: more, Received: offer, Receiver: mysql.Off}, nil).nothingElse(ctx), "somebody with every privilege wrote here meanwhile")
	require.NoError(t, turned(mysql.Held{Received: offer, Receiver: mysql.Off}, nil).nothingElse(ctx), "it stopped before all was executed")
	for what, turn := range map[string]*turning{
		"it does not stop":     turned(mysql.Held{}, errors.New("no answer")),
		"it was started again": turned(mysql.Held{Executed: offer, Receiver: mysql.Connecting}, nil),
		"it got something":     turned(mysql.Held{Executed: offer, Received: more, Receiver: mysql.Off}, nil),
		"it got half of it":    turned(mysql.Held{Executed: offer, Half: more.Subtract(offer), Receiver: mysql.Off}, nil),
	} {
		require.Error(t, turn.nothingElse(ctx), what)
	}

	var slow turning
	wait := make(chan struct{})
	slow.stopped.begin(func() error { <-wait; return nil })
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, slow.nothingElse(ctx), context.DeadlineExceeded, "the lease bounds it")
	require.ErrorContains(t, slow.over(ctx), "still stops the receiver", "nobody may use it meanwhile")
	close(wait)
	require.NoError(t, slow.over(t.Context()))
	var none *turning
	require.NoError(t, none.over(ctx))
}

// Only an offer to this node, for the hand-over it is prepared for, is worth a look that is a turn old, and only once: when
// it was not taken, what is the matter is asked for.
func TestALookIsUsedTwiceForAnOffer(t *testing.T) {
	d, err := openDisk(t.TempDir(), "main", "n2")
	require.NoError(t, err)
	me := d.inc()
	view := func(h roles.Handover) roles.View {
		primary := roles.Inc("n1~1~u")
		return roles.View{OK: true, Leader: roles.Leader{Session: "s", Holder: primary}, Sync: roles.Sync{Ver: 1, Term: 1, Primary: primary, Members: []roles.Inc{primary, me}},
			Nodes: map[roles.Inc]roles.Node{primary: {Inc: primary, Name: "n1", Session: "s", State: roles.Primary, Open: 1, Handover: &h}}}
	}
	offer := roles.Handover{Seq: 7, To: me, Term: 1, Offer: &roles.Offer{Ver: 1}}
	other, plan := offer, offer
	other.To, plan.Offer = "n3~1~u", nil
	a := &Agent{disk: d, ready: 7, status: mysql.Status{UUID: "here"}}
	_, ok := view(offer).ValidPrimary()
	require.True(t, ok)
	for _, h := range []roles.Handover{other, plan} {
		a.hasten(view(h))
		require.Nil(t, a.seen)
	}
	a.ready = 6
	a.hasten(view(offer))
	require.Nil(t, a.seen, "it is not prepared for this one")
	a.ready = 7
	a.hasten(view(offer))
	require.Equal(t, "here", a.seen.UUID)
	a.seen = nil
	a.hasten(view(offer))
	require.Nil(t, a.seen)
}
