package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// asSet is the limit of a request that names none: the setting max-lag of the cluster.
const asSet time.Duration = -1

// verdict answers a check: ok, or the sentence why not.
type verdict struct {
	OK         bool    `json:"ok"`
	Node       string  `json:"node"`
	State      string  `json:"state"`
	LagSeconds float64 `json:"lag_seconds"`
	Error      string  `json:"error,omitempty"`
}

// check makes a handler that answers 200 or 503. The answer to OPTIONS is the same as to GET: some load balancers ask
// that way.
func check(judge func(maxLag time.Duration) verdict) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := asSet
		if q := r.URL.Query().Get("max_lag"); q != "" {
			d, err := time.ParseDuration(q)
			if err != nil || d < 0 {
				fail(w, http.StatusBadRequest, fmt.Sprintf("max_lag=%q is no duration; write it as 5s or 500ms", q))
				return
			}
			limit = d
		}
		v, code := judge(limit), http.StatusServiceUnavailable
		if v.Error == "" {
			v.OK, code = true, http.StatusOK
		}
		reply(w, code, v)
	})
}

// ask judges this node, once it knows itself.
func (a *api) ask(judge func(Self) string) verdict {
	s, ok := a.Self()
	if !ok {
		return verdict{State: string(roles.Init), LagSeconds: -1, Error: "this node is starting and knows nothing yet"}
	}
	return verdict{Node: s.Doc.Name, State: s.Doc.State, LagSeconds: s.Doc.LagSeconds, Error: judge(s)}
}

func (a *api) primary(time.Duration) verdict { return a.ask(leads) }

func (a *api) standby(limit time.Duration) verdict {
	return a.ask(func(s Self) string {
		if s.Doc.State != string(roles.Standby) {
			return isNot(s, "a standby")
		}
		return reads(s, limit)
	})
}

func (a *api) replica(limit time.Duration) verdict {
	return a.ask(func(s Self) string { return reads(s, limit) })
}

func (a *api) readOnly(limit time.Duration) verdict {
	return a.ask(func(s Self) string {
		if s.Doc.State == string(roles.Primary) {
			return leads(s)
		}
		return reads(s, limit)
	})
}

// leads is why this node is not the one to write to. The lease is asked about now: the state alone may be a moment old.
func leads(s Self) string {
	switch {
	case s.Doc.State != string(roles.Primary):
		return isNot(s, "the primary")
	case !s.Doc.Healthy:
		return fmt.Sprintf("%s is the primary and not open: %s", s.Doc.Name, s.Doc.Reason)
	case !s.Leads:
		return s.Doc.Name + " cannot prove any more that it is the primary"
	}
	return ""
}

// reads is why this node is not one to read from.
func reads(s Self, limit time.Duration) string {
	n := s.Doc
	if limit == asSet {
		limit = s.MaxLag
	}
	switch {
	case n.State != string(roles.Standby) && n.State != string(roles.Replica):
		return isNot(s, "a standby or replica")
	case n.Maintenance != nil:
		return n.Name + " is in maintenance"
	case !n.Healthy:
		return fmt.Sprintf("%s does not replicate: %s", n.Name, n.Reason)
	case n.LagSeconds < 0:
		return n.Name + " does not know how far it lags behind"
	case n.LagSeconds > limit.Seconds():
		return fmt.Sprintf("%s lags %.0f s behind, more than %v", n.Name, n.LagSeconds, limit)
	}
	return ""
}

func isNot(s Self, what string) string {
	return fmt.Sprintf("%s is not %s: its state is %s", s.Doc.Name, what, s.Doc.State)
}

// live says whether a restart of this process could help: only when it has stopped looking at itself. A dead mysqld is
// its own to restart, and nothing outside of the node counts.
func (a *api) live(time.Duration) verdict {
	s, ok := a.Self()
	last := s.At
	if !ok {
		last = a.started
	}
	v := verdict{Node: s.Doc.Name, State: s.Doc.State, LagSeconds: s.Doc.LagSeconds}
	if age := a.Now().Sub(last); age > a.Stuck {
		v.Error = fmt.Sprintf("the agent has not looked at its node for %v", age.Round(time.Second))
	}
	return v
}

// ready says whether the node has done its own part: its mysqld answers on the cluster's data. Waiting for others is
// ready too: a platform that starts nodes one after the other must go on to the one that is being waited for, and one
// that replaces nodes must not hold a missing primary against those that could become it.
func (a *api) ready(time.Duration) verdict {
	return a.ask(func(s Self) string {
		n := s.Doc
		switch roles.State(n.State) {
		case roles.Init, roles.RestoreSnapshot:
			if !s.Answers {
				return fmt.Sprintf("%s has no data yet: %s", n.Name, n.Reason)
			}
		case roles.Primary:
			if !n.Healthy {
				return fmt.Sprintf("%s is the primary and not open: %s", n.Name, n.Reason)
			}
		case roles.Replica, roles.Standby, roles.Failover:
			if s.Answers && s.Applier != "" {
				return fmt.Sprintf("%s does not apply: %s", n.Name, s.Applier)
			}
		}
		if !s.Answers {
			return fmt.Sprintf("mysqld on %s does not answer: %s", n.Name, n.Reason)
		}
		return ""
	})
}
