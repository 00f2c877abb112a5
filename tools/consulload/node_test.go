package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// catalog is one that takes everything.
type catalog struct{ passes int }

func (c *catalog) Register(context.Context, election.Service) error             { return nil }
func (c *catalog) Deregister(context.Context, string) error                     { return nil }
func (c *catalog) Pass(context.Context, string, string) error                   { c.passes++; return nil }
func (c *catalog) Fail(context.Context, string, string) error                   { return nil }
func (c *catalog) Healthy(context.Context, string) ([]election.Instance, error) { return nil, nil }
func (c *catalog) WaitHealthy(context.Context, string, uint64, time.Duration) ([]election.Instance, uint64, error) {
	return nil, 0, nil
}

func TestNode_makes_an_agents_requests(t *testing.T) {
	params, err := election.ParamsFor(3 * time.Second)
	require.NoError(t, err)
	m, b := election.NewMemory(), &books{}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	leader, follower := &catalog{}, &catalog{}
	done := make(chan struct{}, 2)
	for i, c := range []*catalog{leader, follower} {
		name := []string{"node1", "node2"}[i]
		n := &node{cluster: "load", name: name, leads: i == 0, busy: true, params: params, books: b,
			session: m.Session(name, params.C), store: m.Node(name), services: c, discovery: c}
		go func() { n.run(ctx); done <- struct{}{} }()
	}
	require.Eventually(t, func() bool {
		v, err := m.Read(ctx, prefixOf("load"), true)
		return err == nil && v.KVs[prefixOf("load")+"leader"].Session != "" && len(v.KVs) == 6
	}, 5*time.Second, 10*time.Millisecond, "the lock is held, three records of the cluster and one of each node")
	<-done
	<-done
	l := b.take()
	require.Equal(t, 2, l.Up)
	require.Zero(t, l.Failed)
	require.Zero(t, l.Lost)
	require.Greater(t, len(l.Beats), 6)
	require.Positive(t, leader.passes)
	require.Positive(t, follower.passes)
}
