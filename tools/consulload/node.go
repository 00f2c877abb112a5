package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// The rhythm of an agent; each is a constant of its own there (watch.go, record.go, catalog.go, neighbour.go).
const (
	watchMax       = 2 * time.Second
	watchRetry     = 200 * time.Millisecond
	recordRefresh  = 2 * time.Second
	catalogTimeout = time.Second
	neighbourEvery = 10 * time.Second
	// recordBytes is about what a node's record takes.
	recordBytes = 1100
	// opening bounds the first session, for which everybody asks at the same moment.
	opening = 20 * time.Second
)

// node is one agent as Consul sees it.
type node struct {
	cluster, name string
	leads, busy   bool
	params        election.Params
	books         *books

	session   election.Session
	store     election.Store
	services  election.Services
	discovery election.Discovery

	lease *election.Lease
	wrote int
}

func prefixOf(cluster string) string { return "mysql/" + cluster + "/" }

func (n *node) key(name string) string { return prefixOf(n.cluster) + name }

// run lives until ctx ends.
func (n *node) run(ctx context.Context) {
	pause(ctx, time.Duration(rand.Int64N(int64(2*time.Second)))) // nodes do not start all at the same instant
	if !n.begin(ctx) {
		return
	}
	n.books.add(func(l *line) { l.Up++ })
	var wg sync.WaitGroup
	wg.Go(func() { n.watch(ctx) })
	wg.Go(func() { n.register(ctx) })
	if n.leads {
		wg.Go(func() { n.look(ctx) })
	}
	if n.leads || n.busy { // a primary's record tells what is left of its lease
		wg.Go(func() { n.every(ctx, recordRefresh, n.record) })
	}
	n.every(ctx, n.params.I, n.beat)
	wg.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.params.R)
	defer cancel()
	_ = n.session.Close(end) // what stays behind lapses by itself
}

// begin takes a session, and the lock at a node that leads.
func (n *node) begin(ctx context.Context) bool {
	for ; ctx.Err() == nil; pause(ctx, watchRetry) {
		octx, cancel := context.WithTimeout(ctx, opening)
		err := n.session.Open(octx)
		cancel()
		if err == nil && (!n.leads || n.take(ctx)) {
			n.record(ctx)
			return true
		}
		n.books.add(func(l *line) { l.Failed++ })
	}
	return false
}

// take makes this node the holder, with a new lease, and writes what belongs to a cluster.
func (n *node) take(ctx context.Context) bool {
	tctx, cancel := context.WithTimeout(ctx, n.params.R)
	defer cancel()
	t0 := election.Boottime()
	held, err := n.session.Acquire(tctx, n.key("leader"), []byte(n.name))
	if err != nil || !held {
		return false
	}
	n.lease = election.NewLease(n.params.H)
	n.lease.Renewed(t0)
	_, _, err = n.store.Txn(tctx, election.Set(n.key("cluster"), text(170)), election.Set(n.key("sync"), text(290)), election.Set(n.key("settings"), text(20)))
	return err == nil
}

// beat is one sign of life, as the keeper gives it.
func (n *node) beat(ctx context.Context) {
	began := time.Now()
	var err error
	if n.leads {
		err = n.renew(ctx)
	} else {
		pctx, cancel := context.WithTimeout(ctx, n.params.R+time.Second)
		err = n.session.Pass(pctx)
		cancel()
	}
	if ctx.Err() != nil {
		return
	}
	took := float64(time.Since(began).Microseconds()) / 1000
	n.books.add(func(l *line) {
		if err != nil {
			l.Failed++
			return
		}
		l.Beats = append(l.Beats, took)
	})
	if err != nil {
		n.again(ctx)
	}
}

func (n *node) renew(ctx context.Context) error {
	return election.Renew(ctx, n.session, n.lease, election.Boottime, n.params.R, n.key("leader"), []byte(n.name))
}

// again sees to it that a node which lost its session, or whose lease ran out, goes on: the load stays the same.
func (n *node) again(ctx context.Context) {
	out := n.leads && !n.lease.Fresh(election.Boottime())
	octx, cancel := context.WithTimeout(ctx, n.params.R+time.Second)
	defer cancel()
	before := n.session.ID()
	err := n.session.Open(octx) // asks whether it lives, and makes a new one if it does not
	gone := err == nil && n.session.ID() != before
	if out || gone {
		n.books.add(func(l *line) { l.Lost++ })
	}
	if n.leads && (out || gone) {
		_ = n.take(ctx) // tried again with the next beat
	}
}

// record says where this node is, under its session.
func (n *node) record(ctx context.Context) {
	rctx, cancel := context.WithTimeout(ctx, watchMax)
	defer cancel()
	n.wrote++
	_, _ = n.session.Acquire(rctx, n.key("nodes/"+n.name), append(text(recordBytes), fmt.Sprint(n.wrote)...)) // the next one tries again
}

// watch follows the cluster's records.
func (n *node) watch(ctx context.Context) {
	for index := uint64(0); ctx.Err() == nil; {
		var v election.View
		var err error
		if index == 0 {
			rctx, cancel := context.WithTimeout(ctx, watchMax)
			v, err = n.store.Read(rctx, prefixOf(n.cluster), false)
			cancel()
		} else {
			v, err = n.store.Wait(ctx, prefixOf(n.cluster), index, watchMax)
		}
		if index = v.Index; err != nil {
			index = 0
			pause(ctx, watchRetry)
		}
	}
}

// nobodys is a port at which nobody ever connects: there is no server behind these services.
const nobodys = 1

// register keeps this node in the catalog, under a name of the cluster's own.
func (n *node) register(ctx context.Context) {
	service := election.Service{ID: n.cluster + "-" + n.name, Name: n.cluster, Address: "127.0.0.1", Port: nobodys, Tags: []string{"standby"},
		Meta: map[string]string{"state": "standby", "cluster": n.cluster, "node": n.name}, TTL: n.params.C, Pass: true}
	if n.leads {
		service.Name = n.cluster + "-primary"
	}
	have := false
	n.every(ctx, n.params.I, func(ctx context.Context) {
		cctx, cancel := context.WithTimeout(ctx, catalogTimeout)
		defer cancel()
		if have {
			_ = n.services.Pass(cctx, service.ID, "standby")
			return
		}
		have = n.services.Register(cctx, service) == nil
	})
}

// look is a primary's look for strangers under its names.
func (n *node) look(ctx context.Context) {
	n.every(ctx, neighbourEvery, func(ctx context.Context) {
		for _, name := range []string{n.cluster + "-primary", n.cluster} {
			lctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			_, _ = n.discovery.Healthy(lctx, name)
			cancel()
		}
	})
}

// every does something in a rhythm until ctx ends; like the agents' tickers it makes up for no missed turn.
func (n *node) every(ctx context.Context, period time.Duration, do func(context.Context)) {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			do(ctx)
		}
	}
}

func text(size int) []byte { return bytes.Repeat([]byte("x"), size) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
