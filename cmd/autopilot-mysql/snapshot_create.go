package main

import (
	"context"
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/operate"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// snapshotCreate leaves a request in Consul and watches what becomes of it.
func snapshotCreate(ctx context.Context, inv *cli.Invocation, o cli.SnapshotCreate) error {
	d, end, err := desk(inv, &o.Common)
	if err != nil {
		return err
	}
	defer end()
	w := &wish{desk: d, inv: inv, o: o, keys: cluster.KeysOf(o.Cluster), bar: newMeter(inv)}
	defer w.bar.end()
	return w.grant(ctx)
}

// wish is one request on its way.
type wish struct {
	desk *operate.Desk
	inv  *cli.Invocation
	o    cli.SnapshotCreate
	keys cluster.Keys
	bar  *meter
	id   string
}

// grant asks for it and shows what came of it.
func (w *wish) grant(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	w.desk.DryRun = w.o.DryRun
	r, plan, err := w.desk.TakeSnapshot(ctx, w.o.Node)
	switch {
	case err != nil:
		return err
	case w.o.DryRun:
		return w.tell(r, unchanged+plan)
	}
	w.id = r.ID
	if !w.o.Wait {
		return w.tell(r, "asked; see its outcome with: autopilot-mysql history --request "+w.id)
	}
	w.desk.Say(fmt.Sprintf("request %s: %s; should this command end before it does, see: autopilot-mysql history --request %s", w.id, plan, w.id))
	r, err = w.watch(ctx)
	w.bar.end()
	if err != nil {
		return err
	}
	if r.State != cluster.RequestFailed {
		return w.tell(r, r.Taker+": "+r.Outcome)
	}
	if w.o.Output.Output == "json" {
		if err := w.tell(r, ""); err != nil {
			return err
		}
	}
	return &cli.Error{What: "take snapshot", Node: r.Taker, Why: r.Outcome, Next: "look at the node's log; the database is not affected"}
}

// tell prints the request for tools, or the sentence for people.
func (w *wish) tell(r cluster.SnapshotRequest, said string) error {
	return say(w.inv, w.o.Output, said, struct {
		cluster.SnapshotRequest
		Said string `json:"said,omitempty"`
	}{r, said})
}

// watch waits for the end of the request.
func (w *wish) watch(ctx context.Context) (cluster.SnapshotRequest, error) {
	unknown := func(why, next string) (cluster.SnapshotRequest, error) {
		return cluster.SnapshotRequest{}, &cli.Error{Code: cli.Unknown, What: "take snapshot", Why: why, Next: next}
	}
	var index uint64
	for {
		view, err := w.next(ctx, index)
		if ctx.Err() != nil {
			return unknown("not waited for any longer", "the node goes on; see: autopilot-mysql history --request "+w.id)
		}
		if err != nil {
			index = 0
			w.bar.say("Consul does not answer: "+err.Error(), 0, 0, plain)
			sleep(ctx, statusRetry)
			continue
		}
		index = view.Index
		_, extra, err := w.keys.Parse(view)
		if err != nil {
			return unknown(err.Error(), "repair that record; the node goes on")
		}
		r := w.find(extra)
		if r == nil {
			return unknown("the request is gone from Consul", "see: autopilot-mysql history --request "+w.id)
		}
		if r.Over() {
			return *r, nil
		}
		w.show(*r, extra)
	}
}

func (w *wish) next(ctx context.Context, index uint64) (election.View, error) {
	if index != 0 {
		return w.desk.Store.Wait(ctx, w.keys.Prefix, index, statusWait)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return w.desk.Store.Read(ctx, w.keys.Prefix, true)
}

func (w *wish) find(x cluster.Extra) *cluster.SnapshotRequest {
	for i := range x.SnapshotRequests {
		if x.SnapshotRequests[i].ID == w.id {
			return &x.SnapshotRequests[i]
		}
	}
	return nil
}

func (w *wish) show(r cluster.SnapshotRequest, x cluster.Extra) {
	switch work := x.SnapshotWork; {
	case r.State == cluster.RequestOpen && work != nil:
		w.bar.say(fmt.Sprintf("waiting: %s is %s another one", work.Node, work.Doing), 0, 0, plain)
	case r.State == cluster.RequestOpen:
		w.bar.say("waiting for a node to take it up", 0, 0, plain)
	case work != nil:
		w.bar.say(fmt.Sprintf("%s: %s", work.Node, work.Stage), work.Done, work.Total, show.Size)
	}
}
