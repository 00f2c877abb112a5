package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// NoCluster is one line about a cluster that Consul does not know: its name may be mistyped, so those that exist are named.
func NoCluster(ctx context.Context, store election.Store, what, name string) error {
	return &cli.Error{What: what, Why: fmt.Sprintf("Consul knows no cluster %q", name), Next: others(ctx, store)}
}

// others says which clusters there are instead.
func others(ctx context.Context, store election.Store) string {
	const root = "mysql/"
	next := "name it with --cluster"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := store.Read(ctx, root, false)
	if err != nil {
		return next
	}
	var names []string
	for key := range v.KVs {
		name, rest, ok := strings.Cut(strings.TrimPrefix(key, root), "/")
		if ok && rest != "" && !strings.Contains(name, "~") && !slices.Contains(names, name) { // a history is no cluster
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return next + ", or start nodes: there is no cluster at all"
	}
	slices.Sort(names)
	return next + "; there are: " + strings.Join(names, ", ")
}
