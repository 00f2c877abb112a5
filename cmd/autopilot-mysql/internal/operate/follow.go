package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// outcomeGrace is how much longer than the request's own time its outcome is waited for.
const outcomeGrace = 10 * time.Second

// follow shows a request's progress until it is finished or the time is over. What nobody has begun by then is taken back.
func (d *Desk) follow(ctx context.Context, what string, r roles.Request, limit time.Duration) (roles.Request, error) {
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var (
		index uint64
		said  string
		lost  bool
	)
	for !r.Final() {
		now, next, err := d.look(wctx, r.ID, index)
		switch {
		case ctx.Err() != nil:
			return r, &cli.Error{Code: cli.Unknown, What: what, Node: r.Node, Why: "interrupted; the request goes on", Next: "see its outcome with: autopilot-mysql history --request " + r.ID}
		case wctx.Err() != nil:
			return d.overdue(ctx, what, r)
		case errors.Is(err, errGone):
			if a, herr := d.remembered(ctx, what, r.ID); a.Request.ID != "" {
				return a.Request, herr
			}
			return r, &cli.Error{Code: cli.Unknown, What: what, Node: r.Node, Why: "somebody deleted the record of the request", Next: "look at the cluster: autopilot-mysql status"}
		case err != nil:
			if !lost {
				d.Say("Consul does not answer; the request goes on without this command: " + err.Error())
			}
			lost, index = true, 0
			sleep(wctx, retryPause)
			continue
		}
		r, index, lost = now, next, false
		if s := sentence(r); s != said && !r.Final() {
			said = s
			d.Say(s)
		}
	}
	return r, outcome(what, r)
}

var errGone = errors.New("the record is gone")

// look reads one request: at once without an index, else when it has changed.
func (d *Desk) look(ctx context.Context, id string, index uint64) (roles.Request, uint64, error) {
	key := d.keys().Request(id)
	var (
		v   election.View
		err error
	)
	if index == 0 {
		rctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		v, err = d.Store.Read(rctx, key, true)
	} else {
		v, err = d.Store.Wait(ctx, key, index, watchMost)
	}
	if err != nil {
		return roles.Request{}, 0, err
	}
	_, extra, err := d.keys().Parse(v)
	if err != nil {
		return roles.Request{}, 0, err
	}
	for _, r := range extra.Requests {
		if r.ID == id {
			return r, v.Index, nil
		}
	}
	return roles.Request{}, 0, errGone
}

// overdue ends the waiting: a request that nobody has begun is taken back, so that it cannot come as a surprise later.
func (d *Desk) overdue(ctx context.Context, what string, r roles.Request) (roles.Request, error) {
	for range attempts {
		now, _, err := d.look(ctx, r.ID, 0)
		if err != nil {
			return r, &cli.Error{Code: cli.Unknown, What: what, Node: r.Node, Why: "no outcome in time, and Consul does not answer: " + err.Error(), Err: err,
				Next: "see its outcome with: autopilot-mysql history --request " + r.ID}
		}
		r = now
		if r.Final() {
			return r, outcome(what, r)
		}
		if r.State == roles.RequestRunning {
			return r, &cli.Error{Code: cli.Unknown, What: what, Node: r.Node, Why: "no outcome in time; it is still under way: " + sentence(r),
				Next: "wait on with: autopilot-mysql history --request " + r.ID}
		}
		r.State, r.Outcome, r.UpdatedAt = roles.RequestFailed, "no node took it up in time; nothing was changed", d.Now().UTC()
		tctx, cancel := context.WithTimeout(ctx, callTimeout)
		ok, _, err := d.Store.Txn(tctx, election.CAS(d.keys().Request(r.ID), r.Ver, cluster.Encode(r)))
		cancel()
		if err == nil && ok {
			return r, outcome(what, r)
		}
	}
	return r, &cli.Error{Code: cli.Unknown, What: what, Node: r.Node, Why: "no outcome in time", Next: "see its outcome with: autopilot-mysql history --request " + r.ID}
}

// sentence says where a request stands.
func sentence(r roles.Request) string {
	switch {
	case r.Progress != "":
		return r.Progress
	case r.State == roles.RequestOpen:
		return "asked; waiting for the cluster to begin"
	}
	return string(r.State)
}

// outcome turns a finished request into an error, or nil when it was done.
func outcome(what string, r roles.Request) error {
	e := &cli.Error{What: what, Node: r.Node, Why: r.Outcome}
	switch r.State {
	case roles.RequestDone:
		return nil
	case roles.RequestRefused:
		e.Code, e.Why = cli.Refused, "refused by guard "+r.Guard+": "+r.Outcome
	case roles.RequestUnknown:
		e.Code = cli.Unknown
		if e.Why == "" {
			e.Why, e.Next = "nobody knows whether it took effect", "look at the cluster: autopilot-mysql status"
		}
	default:
		if e.Why == "" {
			e.Why = fmt.Sprintf("it ended as %s", r.State)
		}
	}
	return e
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
