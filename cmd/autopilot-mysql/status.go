package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/operate"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// Limits of the status command.
const (
	// statusTimeout bounds one request; Consul addresses that do not answer are passed over within it.
	statusTimeout = 3 * time.Second
	// statusWait is how long a blocking query stays open: it bounds how old the ages on the screen get.
	statusWait = 10 * time.Second
	// statusRetry is the pause after a failed read while watching.
	statusRetry = time.Second
)

// status shows the cluster as Consul knows it; no node need answer.
func status(ctx context.Context, inv *cli.Invocation, o cli.Status) error {
	client, err := consulClient(&o.Common, statusTimeout)
	if err != nil {
		return err
	}
	defer client.Close()
	r := reader{store: client.Store(), keys: cluster.KeysOf(o.Cluster), o: o}
	d, index, err := r.read(ctx)
	if err != nil {
		return err
	}
	terminal := show.IsTerminal(inv.Stdout)
	color := terminal && !slices.ContainsFunc(inv.Environ, func(e string) bool {
		return strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR=" || e == "TERM=dumb"
	})
	asJSON := o.Output.Output == "json"
	switch {
	case o.Watch:
		return r.watch(ctx, inv, &show.Screen{W: inv.Stdout, Terminal: terminal, Color: color, JSON: asJSON}, d, index)
	case asJSON:
		return show.JSON(inv.Stdout, d)
	}
	return show.Table(inv.Stdout, d, show.Options{Color: color, Width: show.Width(inv.Stdout), Now: time.Now()})
}

// reader reads one cluster's document.
type reader struct {
	store election.Store
	keys  cluster.Keys
	o     cli.Status
}

// read reads it consistently; a cluster without any record is an error.
func (r reader) read(ctx context.Context) (cluster.Doc, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	v, err := r.store.Read(ctx, r.keys.Prefix, true)
	switch {
	case errors.Is(err, election.ErrDenied):
		return cluster.Doc{}, 0, &cli.Error{What: "read status", Why: err.Error(), Err: err}
	case err != nil:
		return cluster.Doc{}, 0, &cli.Error{What: "read status", Why: err.Error(), Err: err, Next: "name the Consul servers with --consul"}
	case len(v.KVs) == 0:
		return cluster.Doc{}, 0, operate.NoCluster(ctx, r.store, "read status", r.o.Cluster)
	}
	d, err := r.doc(v)
	return d, v.Index, err
}

func (r reader) doc(v election.View) (cluster.Doc, error) {
	view, extra, err := r.keys.Parse(v)
	if err != nil {
		return cluster.Doc{}, &cli.Error{What: "read status", Why: err.Error(), Err: err}
	}
	return cluster.Build(r.o.Cluster, view, extra, r.o.Consul[0], r.o.Store), nil
}

// watch shows every change until ctx ends, which is its ordinary end.
func (r reader) watch(ctx context.Context, inv *cli.Invocation, screen *show.Screen, d cluster.Doc, index uint64) error {
	if err := screen.Show(d); err != nil {
		return fmt.Errorf("print status: %w", err)
	}
	for {
		v, err := r.next(ctx, index)
		if err == nil {
			index = v.Index
			var now cluster.Doc
			if now, err = r.doc(v); err == nil {
				d = now
			}
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the reader has gone
		}
		if err != nil {
			index = 0
			inv.Log.Debug("watch status", "err", err)
			err = screen.Trouble(d, err)
		} else {
			err = screen.Show(d)
		}
		if err != nil {
			return fmt.Errorf("print status: %w", err)
		}
		if index == 0 && !sleep(ctx, statusRetry) {
			return nil
		}
	}
}

// next waits for the next change; after an error everything is read anew, consistently.
func (r reader) next(ctx context.Context, index uint64) (election.View, error) {
	if index != 0 {
		return r.store.Wait(ctx, r.keys.Prefix, index, statusWait)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return r.store.Read(ctx, r.keys.Prefix, true)
}

// sleep waits for d; false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
