package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Ask is a request with what the command line wants of it.
type Ask struct {
	What    string // the command in an error: "switch over"
	Request roles.Request
	Wait    bool
	DryRun  bool
	// Confirm asks the operator about a sentence; nil: nothing needs to be confirmed.
	Confirm func(sentence string) error
}

// Answer is what came of it. Request has no ID when nothing was written; Said is then what there is to say.
type Answer struct {
	Request roles.Request
	Said    string
}

// Do checks, confirms, writes, and waits. The answer is worth showing also with an error.
func (d *Desk) Do(ctx context.Context, a Ask) (Answer, error) {
	p, err := d.read(ctx, a.What)
	if err != nil {
		return Answer{}, err
	}
	if err := p.node(a.What, a.Request.Node); err != nil {
		return Answer{}, err
	}
	if said, done := p.instead(&a.Request); done {
		return Answer{Said: said}, nil
	} else if said != "" {
		d.Say(said)
		a.What = "switch over"
	}
	if err := p.mayAsk(a.What, a.Request); err != nil {
		return declined(a.Request, err), err
	}
	if a.Confirm != nil && !p.loses(a.Request) {
		// Nobody is asked, so nobody has agreed to a loss: should there be one by the time it is done, it is refused.
		a.Confirm, a.Request.Options = nil, roles.RequestOptions{}
	}
	plan := p.plan(a.Request)
	if a.DryRun {
		return Answer{Request: a.Request, Said: "nothing was changed; it would be so: " + plan}, nil
	}
	if a.Confirm != nil {
		if err := a.Confirm(plan); err != nil {
			return declined(a.Request, err), err
		}
	}
	r, err := d.submit(ctx, a.What, a.Request)
	if err != nil {
		return declined(a.Request, err), err
	}
	if !a.Wait {
		return Answer{Request: r, Said: "asked; see its outcome with: autopilot-mysql history --request " + r.ID}, err
	}
	d.Say(fmt.Sprintf("request %s: %s", r.ID, plan))
	r, err = d.follow(ctx, a.What, r, r.Timeout+outcomeGrace)
	return Answer{Request: r, Said: r.Outcome}, err
}

// loses says whether a request gives up acknowledged writes, or may: unless the seals prove a winner, what others hold
// cannot be known.
func (p picture) loses(r roles.Request) bool {
	return r.Kind == roles.RequestFailover && r.Options.AcceptDataLoss && roles.Elect("", p.View, p.Sync.Acks).Winner == ""
}

// instead changes a failover with a living primary into the switchover it amounts to. done means that there is nothing to do.
func (p picture) instead(r *roles.Request) (said string, done bool) {
	h, led := p.ValidPrimary()
	switch {
	case !led || r.Node == "":
		return "", false
	case h.Name == r.Node && (r.Kind == roles.RequestSwitchover || r.Kind == roles.RequestFailover):
		return fmt.Sprintf("%s is the primary already, in term %d", h.Name, p.Sync.Term), true
	case r.Kind == roles.RequestFailover:
		r.Kind, r.Options = roles.RequestSwitchover, roles.RequestOptions{}
		return h.Name + " is the primary and lives: this is a switchover, nothing is forced", false
	}
	return "", false
}

// plan says what a granted request brings about.
func (p picture) plan(r roles.Request) string {
	switch r.Kind {
	case roles.RequestSwitchover:
		h, _ := p.ValidPrimary()
		to, _, _ := roles.SwitchoverTarget(r.Node, p.View)
		return fmt.Sprintf("%s hands the writes over to %s, or keeps them if that cannot be done within %v", h.Name, to.Name(), r.Timeout)
	case roles.RequestFailover:
		return p.planFailover(r)
	case roles.RequestRebuild:
		return r.Node + " leaves the ack set, gives its data up, and gets new data from a snapshot or another member" + p.promise(r)
	case roles.RequestRemove:
		return r.Node + " leaves the ack set, and its replication account and records are deleted; its data stays where it is" + p.promise(r)
	}
	return string(r.Kind)
}

func (p picture) planFailover(r roles.Request) string {
	e := roles.Elect("", p.View, p.Sync.Acks)
	switch {
	case e.Winner != "":
		return e.Winner.Name() + " takes over, and nothing is lost"
	case r.Options.Force && p.RecordLost():
		last, _, _ := p.Forgotten()
		return fmt.Sprintf("the cluster's record is put back (%s), the members that are there elect one of themselves, and this is lost: %s", last, roles.LossOf(p.View, r.Node))
	case r.Options.Force:
		return fmt.Sprintf("%s becomes the primary with what it holds, and this is lost: %s", r.Node, roles.LossOf(p.View, r.Node))
	}
	return "the living members elect one of themselves, and nothing is lost"
}

// promise says what forcing a node out of the ack set costs.
func (p picture) promise(r roles.Request) string {
	free := r
	free.Options = roles.RequestOptions{}
	if no := roles.Refuse(free, p.View); no == nil || no.Guard != roles.GuardAckPromise {
		return ""
	}
	return "; until another standby has caught up the newest writes are on fewer disks than promised"
}

// Show returns one request, waiting for its outcome while it has none.
func (d *Desk) Show(ctx context.Context, id string) (Answer, error) {
	const what = "show request"
	p, err := d.read(ctx, what)
	if err != nil {
		return Answer{}, err
	}
	for _, r := range p.extra.Requests {
		if r.ID != id {
			continue
		}
		limit := r.At.Add(r.Timeout).Sub(d.Now()) + outcomeGrace
		r, err := d.follow(ctx, verb(r.Kind), r, max(limit, time.Second))
		return Answer{Request: r, Said: r.Outcome}, err
	}
	for _, s := range p.extra.SnapshotRequests {
		if s.ID != id {
			continue
		}
		if !s.Over() {
			return Answer{}, &cli.Error{Code: cli.Unknown, What: what, Node: s.Taker, Why: "the snapshot is not taken yet: " + s.State, Next: "ask again, or see how far it is: autopilot-mysql status"}
		}
		r := roles.Request{ID: id, Kind: cluster.OrderSnapshot, Node: s.Taker, State: roles.RequestState(s.State), Outcome: s.Outcome, By: s.By, At: s.At, UpdatedAt: s.Changed}
		return Answer{Request: r, Said: r.Outcome}, outcome(verb(r.Kind), r)
	}
	return d.remembered(ctx, what, id)
}

// verb is the command in an error, so that a request that is looked up ends with the words it ended with.
func verb(k roles.RequestKind) string {
	switch k {
	case roles.RequestSwitchover:
		return "switch over"
	case roles.RequestFailover:
		return "fail over"
	case cluster.OrderSnapshot:
		return "take snapshot"
	case roles.RequestRebuild, roles.RequestRemove:
	}
	return string(k)
}

// remembered is the end of a request whose record is gone: the history has it longer.
func (d *Desk) remembered(ctx context.Context, what, id string) (Answer, error) {
	past, err := d.History(ctx, 0)
	if err != nil {
		return Answer{}, err
	}
	for _, e := range past.Entries {
		if e.Request != id {
			continue
		}
		r := e.Ended()
		return Answer{Request: r, Said: r.Outcome}, outcome(verb(r.Kind), r)
	}
	return Answer{}, &cli.Error{Code: cli.Usage, What: what, Why: "there is no request " + id, Next: "the newest ones are in: autopilot-mysql history"}
}
