// Package operate is what an operator's commands do: they write requests into Consul by compare-and-set, watch what the
// cluster makes of them, and turn the outcome into words and an exit code. It talks to Consul only, so a command works from
// any machine that reaches it, and Consul's ACLs decide who may.
package operate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// callTimeout bounds one exchange with Consul.
	callTimeout = 3 * time.Second
	// watchMost is how long one blocking query stays open.
	watchMost = 10 * time.Second
	// retryPause is the pause after a failed read.
	retryPause = 500 * time.Millisecond
	// keepRequests is how many finished requests stay in Consul, the newest ones: their outcomes are in the history, and with
	// every change of any record they are read along.
	keepRequests = 10
	// attempts is how often a change is tried when others change the same records at the same moment.
	attempts = 10
)

// Desk is where an operator's wishes go in.
type Desk struct {
	Store   election.Store
	Cluster string
	// By is who asks: user@host.
	By  string
	Now func() time.Time
	// DryRun lets records be decided on and never written. Requests have an option of their own.
	DryRun bool
	// Say shows one sentence while a command works. It is not part of its result.
	Say func(string)
}

func (d *Desk) keys() cluster.Keys { return cluster.KeysOf(d.Cluster) }

// picture is one consistent read.
type picture struct {
	roles.View
	extra cluster.Extra
	kvs   map[string]election.KV // for the ModifyIndex of what is changed
}

// read reads the cluster consistently; one that is not there is an error. what is the command, for the error.
func (d *Desk) read(ctx context.Context, what string) (picture, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := d.Store.Read(ctx, d.keys().Prefix, true)
	if err != nil {
		return picture{}, consulError(what, err, "nothing was changed")
	}
	if len(v.KVs) == 0 {
		return picture{}, NoCluster(ctx, d.Store, what, d.Cluster)
	}
	view, extra, err := d.keys().Parse(v)
	if err != nil {
		return picture{}, &cli.Error{What: what, Why: err.Error(), Err: err}
	}
	return picture{View: view, extra: extra, kvs: v.KVs}, nil
}

// consulError is one line for a Consul that did not do what it was asked. sure says what is certain all the same.
func consulError(what string, err error, sure string) error {
	e := &cli.Error{What: what, Why: err.Error(), Err: err, Next: sure}
	switch {
	case errors.Is(err, election.ErrDenied):
		e.Next = "" // the reason names the token already
	case errors.Is(err, election.ErrUnknown):
		e.Code, e.Next = cli.Unknown, "look whether it happened: autopilot-mysql history"
	case sure != "":
		e.Next = sure + "; name the Consul servers with --consul"
	}
	return e
}

// refusal is a guard's no as an error.
func refusal(what, node string, no *roles.Refusal) error {
	return &cli.Error{Code: cli.Refused, What: what, Node: node, Why: "refused by guard " + no.Guard + ": " + no.Why, Err: &guardError{*no}}
}

// guardError keeps a guard's name beside its sentence.
type guardError struct{ roles.Refusal }

// Error is the sentence.
func (e *guardError) Error() string { return e.Why }

// declined is a request that was not even written, as its answer shows it.
func declined(r roles.Request, err error) Answer {
	var guard *guardError
	r.ID = ""
	if errors.As(err, &guard) {
		r.State, r.Guard, r.Outcome = roles.RequestRefused, guard.Guard, guard.Why
	}
	return Answer{Request: r, Said: r.Outcome}
}

// index is the ModifyIndex of a key, 0 if there is none: what compare-and-set wants.
func (p picture) index(key string) uint64 { return p.kvs[key].ModifyIndex }

// node demands that there is a node of this name.
func (p picture) node(what, name string) error {
	if name == "" || p.Knows(name) {
		return nil
	}
	var names []string
	for i := range p.Nodes {
		if !slices.Contains(names, i.Name()) && !p.Removed[i] {
			names = append(names, i.Name())
		}
	}
	slices.Sort(names)
	return &cli.Error{Code: cli.Usage, What: what, Why: "there is no node " + name, Next: "there are: " + strings.Join(names, ", ")}
}

// newID sorts by time and is unlike any other.
func newID(now time.Time) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return now.UTC().Format("20060102T150405.000Z") + "-" + hex.EncodeToString(b[:])
}

// submit writes the request if nothing speaks against it at the moment of writing.
func (d *Desk) submit(ctx context.Context, what string, r roles.Request) (roles.Request, error) {
	r.By, r.At, r.State = d.By, d.Now().UTC(), roles.RequestOpen
	r.ID, r.UpdatedAt = newID(d.Now()), d.Now().UTC()
	for range attempts {
		p, err := d.read(ctx, what)
		if err != nil {
			return r, err
		}
		if err := p.mayAsk(what, r); err != nil {
			return r, err
		}
		ops := []election.Op{election.CAS(d.keys().RequestGate(), p.index(d.keys().RequestGate()), []byte(r.ID)), election.CAS(d.keys().Request(r.ID), 0, cluster.Encode(r))}
		for _, old := range tooMany(p.extra.Requests) {
			ops = append(ops, election.Delete(d.keys().Request(old)))
		}
		tctx, cancel := context.WithTimeout(ctx, callTimeout)
		ok, _, err := d.Store.Txn(tctx, ops...)
		cancel()
		switch {
		case err == nil && ok:
			return r, nil
		case errors.Is(err, election.ErrUnknown):
			if p, rerr := d.read(ctx, what); rerr == nil && slices.ContainsFunc(p.extra.Requests, func(x roles.Request) bool { return x.ID == r.ID }) {
				return r, nil
			}
			return r, &cli.Error{Code: cli.Unknown, What: what, Why: err.Error(), Err: err, Next: "look whether it was written: autopilot-mysql history --request " + r.ID}
		case err != nil:
			return r, consulError(what, err, "nothing was changed")
		}
	}
	return r, &cli.Error{What: what, Why: "others change the requests all the time", Next: "try again; nothing was changed"}
}

// tooMany are the oldest finished requests beyond those that are kept.
func tooMany(rs []roles.Request) []string {
	var done []string
	for _, r := range rs {
		if r.Final() {
			done = append(done, r.ID)
		}
	}
	const most = 40 // a transaction takes 64 steps
	return done[:max(0, min(most, len(done)+1-keepRequests))]
}

// mayAsk asks the guards.
func (p picture) mayAsk(what string, r roles.Request) error {
	if err := p.node(what, r.Node); err != nil {
		return err
	}
	for _, o := range p.Requests {
		if !conflict(r, o, p.View) {
			continue
		}
		why := fmt.Sprintf("%s asked for %s at %s and it is %s", orSomebody(o.By), describe(o), o.At.UTC().Format(time.DateTime)+" UTC", o.State)
		if o.Progress != "" {
			why += " (" + o.Progress + ")"
		}
		return refusal(what, r.Node, &roles.Refusal{Guard: roles.GuardAnotherRequest, Why: why + "; wait for it with: autopilot-mysql history --request " + o.ID})
	}
	if no := roles.Refuse(r, p.View); no != nil {
		return refusal(what, r.Node, no)
	}
	return nil
}

func orSomebody(by string) string {
	if by == "" {
		return "somebody"
	}
	return by
}

// describe is a request in the middle of a sentence.
func describe(r roles.Request) string {
	s := "a " + string(r.Kind)
	switch {
	case r.Node == "":
	case r.Kind == roles.RequestSwitchover || r.Kind == roles.RequestFailover:
		s += " to " + r.Node
	default:
		s += " of " + r.Node
	}
	return s
}

// conflict says whether two requests cannot run side by side: both are about who is the primary, or about the same node.
// A node that died in the middle of a rebuild may still be removed.
func conflict(r, o roles.Request, v roles.View) bool {
	leads := func(k roles.RequestKind) bool { return k == roles.RequestSwitchover || k == roles.RequestFailover }
	if leads(r.Kind) && leads(o.Kind) {
		return true
	}
	if r.Kind == roles.RequestRemove && o.Kind == roles.RequestRebuild {
		n, _ := v.Living(r.Node)
		return r.Node == o.Node && n.Alive()
	}
	return r.Node != "" && r.Node == o.Node
}
