// Command consulload makes the requests to Consul of many clusters in which nothing happens, so that it can be measured how
// many one Consul carries. There is no mysqld, and no decision is made: sessions, leases, records and services are kept with
// the packages that the program uses, in the rhythm of its agents.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
)

// reportEvery is how often a line is printed.
const reportEvery = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "consulload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("consulload", flag.ContinueOnError)
	addr := flags.String("consul", "127.0.0.1:8500", "address of Consul")
	clusters := flags.Int("clusters", 1, "how many clusters")
	nodes := flags.Int("nodes", 3, "nodes of each")
	lease := flags.Duration("lease", 3*time.Second, "their lease")
	busy := flags.Bool("busy", true, "the clusters take writes: what each node says of its position is brought up to date all the time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	params, err := election.ParamsFor(*lease)
	if err != nil {
		return err
	}
	b := &books{}
	var wg sync.WaitGroup
	for c := range *clusters {
		for n := range *nodes {
			// A client of its own for each node, as each is a process of its own: connections are not shared.
			client, err := consul.New(consul.Config{Addrs: []string{*addr}, RequestTimeout: params.R})
			if err != nil {
				return fmt.Errorf("set up Consul access: %w", err)
			}
			defer client.Close()
			cluster := fmt.Sprintf("load-%04d", c+1)
			name := fmt.Sprintf("node%d", n+1)
			node := &node{cluster: cluster, name: name, leads: n == 0, busy: *busy, params: params, books: b,
				session: client.Session(name, params, prefixOf(cluster)), store: client.Store(), services: client.Services(), discovery: client.Services()}
			wg.Go(func() { node.run(ctx) })
		}
	}
	tell(ctx, out, b, *clusters**nodes)
	wg.Wait()
	return nil
}

// tell prints a line each second until ctx ends.
func tell(ctx context.Context, out io.Writer, b *books, nodes int) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	enc := json.NewEncoder(out)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		l := b.take()
		l.Ready = l.Up == nodes
		if enc.Encode(l) != nil {
			return // nobody reads any more
		}
	}
}

// line is what happened in one second.
type line struct {
	// Up is how many nodes have a session, and their lease if they lead; Ready is when all do.
	Up    int  `json:"up"`
	Ready bool `json:"ready"`
	// Failed are signs of life that got no answer, or a bad one; Lost are leases that ran out, and sessions that ended.
	Failed int `json:"failed"`
	Lost   int `json:"lost"`
	// Beats are how many milliseconds each renewal took that succeeded: of a session, with the proof of the lock at a primary.
	Beats []float64 `json:"beats"`
}

// books are kept by all nodes together. Safe for concurrent use.
type books struct {
	mu   sync.Mutex
	line line
}

func (b *books) add(f func(*line)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.line)
}

// take returns what happened since it was called last.
func (b *books) take() line {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.line
	b.line = line{Up: l.Up}
	return l
}
