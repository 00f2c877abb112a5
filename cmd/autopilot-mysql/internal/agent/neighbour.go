package agent

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

const (
	// neighbourEvery is how often a primary looks for strangers under its names: two cheap requests, for a mistake that
	// somebody makes once.
	neighbourEvery = 10 * time.Second
	// neighbourTimeout bounds one request.
	neighbourTimeout = 3 * time.Second
)

// neighbours finds servers of others under the names of this cluster's services: to applications they look the same, so
// that the writes of one cluster would go to the other.
type neighbours struct {
	catalog election.Discovery // nil: nobody is looked for
	set     *config.Settings
	leads   atomic.Bool // only a primary looks: its record tells everybody
	seen    atomic.Pointer[string]
}

// look names one such server; "" when there is none.
func (n *neighbours) look(ctx context.Context) (string, error) {
	if n.catalog == nil {
		return "", nil
	}
	for _, name := range []string{primaryService(n.set), n.set.Service} {
		wctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
		all, err := n.catalog.Healthy(wctx, name)
		cancel()
		if err != nil {
			return "", fmt.Errorf("look for others under the name %s: %w", name, err)
		}
		for _, i := range all {
			if of := i.Meta["cluster"]; of == "" {
				return fmt.Sprintf("service %s in Consul also leads to %s at %s:%d, which is no node of this program", name, i.ID, i.Address, i.Port), nil
			} else if of != n.set.Cluster {
				return fmt.Sprintf("service %s in Consul also leads to node %s of cluster %q at %s:%d", name, cmp.Or(i.Meta["node"], i.ID), of, i.Address, i.Port), nil
			}
		}
	}
	return "", nil
}

// refusal is why no new cluster may begin under these names; nil if it may.
func (n *neighbours) refusal(ctx context.Context) error {
	who, err := n.look(ctx)
	if err != nil || who == "" {
		return err
	}
	return refuse("create cluster "+n.set.Cluster, who+": applications could not tell the two apart",
		"give this cluster another service name with --service, or join that one with --cluster; nothing was changed")
}

// run looks now and then while this node leads, until ctx ends. What it cannot find out it keeps silent about: Consul's
// troubles are told elsewhere.
func (n *neighbours) run(ctx context.Context) {
	for pause(ctx, neighbourEvery); ctx.Err() == nil; pause(ctx, neighbourEvery) {
		who := ""
		if n.leads.Load() {
			found, err := n.look(ctx)
			if err != nil {
				continue
			}
			who = found
		}
		n.seen.Store(&who)
	}
}

// says is what was found last; "" for nothing. Safe for concurrent use.
func (n *neighbours) says() string {
	if s := n.seen.Load(); s != nil {
		return *s
	}
	return ""
}
