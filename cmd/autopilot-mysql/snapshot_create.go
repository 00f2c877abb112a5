package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// snapshotCreate leaves a request in Consul and watches what becomes of it.
func snapshotCreate(ctx context.Context, inv *cli.Invocation, o cli.SnapshotCreate) error {
	client, err := consulClient(&o.Common, statusTimeout)
	if err != nil {
		return err
	}
	defer client.Close()
	w := &wish{store: client.Store(), keys: cluster.KeysOf(o.Cluster), o: o, by: operator(inv.Environ), bar: newMeter(inv)}
	defer w.bar.end()
	if err := w.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if err := w.leave(ctx); err != nil {
		return err
	}
	fmt.Fprintf(inv.Stderr, "request %s: a snapshot; should this command end before it does, see: autopilot-mysql history --request %s\n", w.id, w.id)
	r, err := w.watch(ctx)
	w.bar.end()
	if err != nil {
		return err
	}
	if o.Output.Output == "json" {
		if err := writeJSON(inv.Stdout, r); err != nil {
			return err
		}
	}
	if r.State == cluster.RequestFailed {
		return &cli.Error{What: "take snapshot", Node: r.Taker, Why: r.Outcome, Next: "look at the node's log; the database is not affected"}
	}
	if o.Output.Output != "json" {
		fmt.Fprintf(inv.Stdout, "%s: %s\n", r.Taker, r.Outcome)
	}
	return nil
}

// wish is one request on its way.
type wish struct {
	store election.Store
	keys  cluster.Keys
	o     cli.SnapshotCreate
	by    string
	bar   *meter
	id    string
}

// read is one consistent read of the cluster.
func (w *wish) read(ctx context.Context) (roles.View, cluster.Extra, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	v, err := w.store.Read(ctx, w.keys.Prefix, true)
	if err != nil {
		return roles.View{}, cluster.Extra{}, 0, err
	}
	view, extra, err := w.keys.Parse(v)
	return view, extra, v.Index, err
}

// check finds out whether anybody could take it.
func (w *wish) check(ctx context.Context) error {
	view, _, _, err := w.read(ctx)
	switch {
	case err != nil:
		return notAsked(err)
	case view.Cluster == nil:
		return &cli.Error{What: "take snapshot", Why: fmt.Sprintf("Consul knows no cluster %q", w.o.Cluster), Next: "name it with --cluster; a snapshot is taken by a running node: start one with autopilot-mysql run --store URL"}
	}
	alive := 0
	for _, n := range view.Nodes {
		if n.Alive() {
			alive++
			if n.Name == w.o.Node {
				return nil
			}
		}
	}
	if alive == 0 || w.o.Node != "" {
		why := "no node is alive"
		if w.o.Node != "" {
			why = "there is no living node " + w.o.Node
		}
		return &cli.Error{What: "take snapshot", Why: why, Next: "see: autopilot-mysql status"}
	}
	return nil
}

// leave writes the request. Its id is new, so an attempt whose answer was lost may be repeated.
func (w *wish) leave(ctx context.Context) error {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	now := time.Now().UTC()
	w.id = now.Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
	r := cluster.SnapshotRequest{ID: w.id, By: w.by, At: now, Node: w.o.Node, State: cluster.RequestOpen, Changed: now}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	ok, why, err := w.store.Txn(ctx, election.CAS(w.keys.SnapshotRequest(w.id), 0, cluster.Encode(r)))
	if err != nil {
		return notAsked(err)
	}
	if !ok {
		return &cli.Error{What: "take snapshot", Why: why, Next: "run it again"}
	}
	return nil
}

// notAsked is one line for a Consul that did not do what it was asked.
func notAsked(err error) error {
	e := &cli.Error{What: "take snapshot", Why: err.Error(), Err: err, Next: "nothing was asked for; name the Consul servers with --consul"}
	switch {
	case errors.Is(err, election.ErrDenied):
		e.Next = "" // the reason names the token already
	case errors.Is(err, election.ErrUnknown):
		e.Code, e.Next = cli.Unknown, "see whether one is being taken: autopilot-mysql status"
	}
	return e
}

// watch waits for the end of the request.
func (w *wish) watch(ctx context.Context) (cluster.SnapshotRequest, error) {
	var index uint64
	for {
		view, err := w.next(ctx, index)
		if ctx.Err() != nil {
			return cluster.SnapshotRequest{}, &cli.Error{Code: cli.Unknown, What: "take snapshot", Why: "not waited for any longer", Next: "the node goes on; see: autopilot-mysql status"}
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
			return cluster.SnapshotRequest{}, &cli.Error{Code: cli.Unknown, What: "take snapshot", Why: err.Error(), Next: "repair that record; the node goes on"}
		}
		r := w.find(extra)
		if r == nil {
			return cluster.SnapshotRequest{}, &cli.Error{Code: cli.Unknown, What: "take snapshot", Why: "the request is gone from Consul", Next: "see: autopilot-mysql status"}
		}
		if r.Over() {
			return *r, nil
		}
		w.show(*r, extra)
	}
}

func (w *wish) next(ctx context.Context, index uint64) (election.View, error) {
	if index != 0 {
		return w.store.Wait(ctx, w.keys.Prefix, index, statusWait)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return w.store.Read(ctx, w.keys.Prefix, true)
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
