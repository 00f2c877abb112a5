package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// store implements [election.Store].
type store struct{ c *Client }

// Store is the key-value store of this Consul.
func (c *Client) Store() election.Store { return &store{c} }

// Read implements [election.Store].
func (s *store) Read(ctx context.Context, prefix string, consistent bool) (election.View, error) {
	var view election.View
	r := request{op: "read " + prefix}
	err := s.c.do(ctx, r, func(ctx context.Context, a *agent) (err error) {
		view, err = list(a, prefix, queryOptions(ctx, consistent))
		return err
	})
	return view, err
}

// Wait implements [election.Store]. Consul may answer up to a sixteenth of the time late.
func (s *store) Wait(ctx context.Context, prefix string, index uint64, most time.Duration) (election.View, error) {
	var view election.View
	most = waitLimit(most)
	r := request{op: "watch " + prefix, timeout: most + most/16 + s.c.timeout}
	err := s.c.do(ctx, r, func(ctx context.Context, a *agent) (err error) {
		q := queryOptions(ctx, false)
		q.WaitIndex, q.WaitTime = index, most
		view, err = list(a, prefix, q)
		return err
	})
	return view, err
}

// waitLimit keeps a blocking query between a millisecond (Consul takes 0 for its default of five minutes) and a minute.
func waitLimit(wanted time.Duration) time.Duration {
	return min(max(wanted, time.Millisecond), time.Minute)
}

// list reads one prefix.
func list(a *agent, prefix string, q *api.QueryOptions) (election.View, error) {
	pairs, meta, err := a.api.KV().List(prefix, q)
	if err != nil {
		return election.View{}, err
	}
	if meta.LastIndex == 0 {
		return election.View{}, errNotConsul
	}
	if err := notFiltered(a, prefix, q, pairs, meta); err != nil {
		return election.View{}, err
	}
	view := election.View{Index: meta.LastIndex, KVs: make(map[string]election.KV, len(pairs))}
	for _, p := range pairs {
		view.KVs[p.Key] = election.KV{Key: p.Key, Value: p.Value, ModifyIndex: p.ModifyIndex,
			CreateIndex: p.CreateIndex, LockIndex: p.LockIndex, Session: p.Session}
	}
	return view, nil
}

// notFiltered refuses a view from which Consul left keys out for want of permission. Consul does not call that an error,
// but to us "nothing there" must never mean "not allowed to see it": it would look like a free lock or a new cluster.
// Consul before 1.10 does not tell, except when a single key is asked for; so an empty view is asked about in that way.
func notFiltered(a *agent, prefix string, q *api.QueryOptions, pairs api.KVPairs, meta *api.QueryMeta) error {
	if meta.ResultsFilteredByACLs {
		return api.StatusError{Code: http.StatusForbidden, Body: "the token may not read all keys below " + prefix}
	}
	if len(pairs) > 0 {
		return nil
	}
	_, _, err := a.api.KV().Get(prefix, queryOptions(q.Context(), q.RequireConsistent))
	return err
}

// errNotConsul: Consul gives every answer about its records an index of at least 1, also "404, no such key". Without
// one the answer is some other server's, and its 404 must not look like an empty Consul: a free lock, or a new cluster.
var errNotConsul = errors.New("its answer has no X-Consul-Index")

// Txn implements [election.Store].
func (s *store) Txn(ctx context.Context, ops ...election.Op) (ok bool, why string, err error) {
	names := make([]string, 0, len(ops))
	for _, op := range ops {
		names = append(names, op.String())
	}
	r := request{op: "apply transaction (" + strings.Join(names, ", ") + ")", effect: once}
	err = s.c.do(ctx, r, func(ctx context.Context, a *agent) (err error) {
		ok, why, err = transact(ctx, a, ops)
		return err
	})
	return ok, why, err
}

// transact applies ops at one agent.
func transact(ctx context.Context, a *agent, ops []election.Op) (ok bool, why string, err error) {
	body := make(api.TxnOps, 0, len(ops))
	for _, op := range ops {
		body = append(body, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVOp(op.Verb), Key: op.Key, Value: op.Value, Index: op.Index, Session: op.Session}})
	}
	applied, resp, _, err := a.api.Txn().Txn(body, queryOptions(ctx, false))
	if err != nil {
		return false, "", err
	}
	for _, e := range resp.Errors {
		// In a transaction a denial comes as the reason of a refusal. There is no code for it, only these words, with
		// details after them in later versions.
		if strings.HasPrefix(e.What, "Permission denied") {
			return false, "", api.StatusError{Code: http.StatusForbidden, Body: reasons(ops, resp)}
		}
	}
	return applied, reasons(ops, resp), nil
}

// reasons says which steps of a transaction were refused.
func reasons(ops []election.Op, resp *api.TxnResponse) string {
	var texts []string
	for _, e := range resp.Errors {
		name := "step " + fmt.Sprint(e.OpIndex)
		if e.OpIndex >= 0 && e.OpIndex < len(ops) {
			name = ops[e.OpIndex].String()
		}
		texts = append(texts, name+": "+e.What)
	}
	return strings.Join(texts, "; ")
}
