package main

import (
	"context"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/agent"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/httpapi"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/metrics"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// nodeSource turns what the agent shows into what HTTP and metrics ask for. The agent is set before the first question.
type nodeSource struct {
	a *agent.Agent
	s *config.Settings
	g *guard.Client
}

// Self is this node.
func (n *nodeSource) Self() (httpapi.Self, bool) {
	sh := n.a.Shown()
	if sh == nil {
		return httpapi.Self{}, false
	}
	own := sh.Node
	own.Session = "self" // it answers, so it is alive, whatever Consul thinks
	self := httpapi.Self{Doc: cluster.NodeDocOf(own, sh.View.Sync), Answers: sh.MySQL.Ready, At: sh.At, MaxLag: sh.MaxLag}
	_, self.Leads = n.a.Lease()
	if r := sh.Status.Replica; r != nil && r.SQLErrno != 0 {
		self.Applier = r.SQLError
	}
	return self, true
}

// Cluster is what this node knows of the cluster.
func (n *nodeSource) Cluster() (cluster.Doc, bool) {
	sh := n.a.Shown()
	if sh == nil {
		return cluster.Doc{}, false
	}
	return cluster.Build(n.s.Cluster, sh.View, sh.Extra, n.s.Common.Consul[0], n.s.Store), true
}

// History is what the cluster remembers.
func (n *nodeSource) History(ctx context.Context) ([]cluster.HistoryEntry, error) {
	return n.a.History(ctx)
}

// Sample is what a scrape sees.
func (n *nodeSource) Sample() (metrics.Sample, bool) {
	sh := n.a.Shown()
	if sh == nil {
		return metrics.Sample{}, false
	}
	s := metrics.Sample{Node: sh.Node, View: sh.View, Extra: sh.Extra, Status: sh.Status, MySQL: sh.MySQL, GuardKills: n.g.DeadlineKills(), Now: time.Now()}
	s.Age = s.Now.Sub(sh.At)
	s.LeaseLeft, s.Leads = n.a.Lease()
	if p, err := election.ParamsFor(n.s.Lease); err == nil {
		s.Holds = p.H
	}
	return s, true
}
