package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// Waiting is how a command that asks the cluster for something goes on after it has asked.
type Waiting struct {
	Wait   bool `name:"wait" negatable:"" default:"true" vars:"-" help:"Wait for the outcome; with --no-wait the request goes on by itself."`
	DryRun bool `name:"dry-run" vars:"-" help:"Say what would happen, and change nothing."`
}

// Switchover asks for a planned hand-over.
type Switchover struct {
	To      string        `name:"to" placeholder:"NODE" vars:"-" help:"The next primary. Default: the standby that is best prepared."`
	Timeout time.Duration `name:"timeout" default:"30s" vars:"-" help:"How long it may take before it is given up."`
	Waiting
	config.Output
	config.Common
}

// Failover asks for another primary when there is none.
type Failover struct {
	To             string        `name:"to" placeholder:"NODE" vars:"-" help:"The next primary. Default: the one the election finds; needed with --force."`
	Force          bool          `name:"force" vars:"-" help:"Go on with NODE alone although others may hold acknowledged writes."`
	AcceptDataLoss bool          `name:"accept-data-loss" vars:"-" help:"Accept that what only others hold is lost; needed with --force."`
	Yes            bool          `name:"yes" short:"y" vars:"-" help:"Do not ask for confirmation."`
	Timeout        time.Duration `name:"timeout" default:"60s" vars:"-" help:"How long it may take before it is given up."`
	Waiting
	config.Output
	config.Common
}

// Pause asks for no automatic failover; with Node for the maintenance of one node.
type Pause struct {
	Node    string        `arg:"" optional:"" name:"node" help:"Take this node alone out of service, for maintenance. Default: pause the whole cluster's automatic failover."`
	Reason  string        `name:"reason" placeholder:"TEXT" vars:"-" help:"Why, for whoever looks at the status."`
	Force   bool          `name:"force" vars:"-" help:"With NODE: even if fewer standbys than promised hold the newest writes meanwhile."`
	Timeout time.Duration `name:"timeout" default:"1m" vars:"-" help:"With NODE: how long to wait until it is out of the ack set."`
	Waiting
	config.Output
	config.Common
}

// Resume ends a pause; with Node the maintenance of one node.
type Resume struct {
	Node   string `arg:"" optional:"" name:"node" help:"Put this node back into service. Default: end the cluster's pause."`
	DryRun bool   `name:"dry-run" vars:"-" help:"Say what would happen, and change nothing."`
	config.Output
	config.Common
}

// Rebuild asks for new data on a node.
type Rebuild struct {
	Node    string        `arg:"" name:"node" help:"Name of the node."`
	Force   bool          `name:"force" vars:"-" help:"Even if fewer standbys than promised hold the newest writes meanwhile."`
	Timeout time.Duration `name:"timeout" default:"1h" vars:"-" help:"How long to wait."`
	Waiting
	config.Output
	config.Common
}

// Remove takes a node out for good.
type Remove struct {
	Node    string        `arg:"" name:"node" help:"Name of the node."`
	Force   bool          `name:"force" vars:"-" help:"Even if it runs (it ends then), or fewer standbys than promised are left."`
	Timeout time.Duration `name:"timeout" default:"2m" vars:"-" help:"How long it may take before it is given up."`
	Waiting
	config.Output
	config.Common
}

// History asks for what happened.
type History struct {
	Limit   int    `name:"limit" short:"n" default:"20" vars:"-" help:"Newest entries to show. 0: all."`
	Request string `name:"request" placeholder:"ID" vars:"-" help:"Show this request alone, and wait for its outcome if it has none yet."`
	config.Output
	config.Common
}

// ConfigSet changes cluster-wide settings.
type ConfigSet struct {
	Changes []string `arg:"" name:"key=value" help:"Setting and its value; nothing after the = takes the setting back to what each node was started with."`
	DryRun  bool     `name:"dry-run" vars:"-" help:"Say what would happen, and change nothing."`
	config.Output
	config.Common
}

type (
	switchoverCmd struct{ Switchover }
	failoverCmd   struct{ Failover }
	pauseCmd      struct{ Pause }
	resumeCmd     struct{ Resume }
	rebuildCmd    struct{ Rebuild }
	removeCmd     struct{ Remove }
	historyCmd    struct{ History }
	setCmd        struct{ ConfigSet }
)

const exitsOfRequests = "\n\nThe request is a record in Consul: a lost terminal loses nothing, see autopilot-mysql history. Exit codes: 0 done, 1 failed (the line says what has changed, if anything has), 3 refused by the guard that is named, 4 outcome unknown or still under way."

// Help is the long text of `switchover --help`.
func (*switchoverCmd) Help() string {
	return "Hands the writes over to a standby that holds everything; they go on at the old primary if it cannot be done in time." + exitsOfRequests +
		"\n\nExample: autopilot-mysql switchover --to db2"
}

// Help is the long text of `failover --help`.
func (*failoverCmd) Help() string {
	return `For when there is no primary and none comes by itself. Without --force nothing is done that could lose an acknowledged write; what is missing is said instead. With a living primary and --to this is a switchover.

--force --accept-data-loss goes on with the history of NODE. What would be lost is named before you are asked. The nodes left out are rebuilt when they come back; what only they held is archived in the snapshot store.` +
		exitsOfRequests + "\n\nExample: autopilot-mysql failover --to db2 --force --accept-data-loss"
}

// Help is the long text of `pause --help`.
func (*pauseCmd) Help() string {
	return "No failover, promotion or hand-over until resume; a primary that loses its lease still stops serving. It survives restarts of everything.\n\nWith NODE only that node is taken out of service, for maintenance: it leaves the ack set in order, is not offered to readers, and never becomes primary; it follows on as long as it runs. Everything else goes on as ever.\n\nExample: autopilot-mysql pause --reason 'moving the rack'\n\nExample: autopilot-mysql pause db3 --reason 'new memory'"
}

// Help is the long text of `resume --help`.
func (*resumeCmd) Help() string {
	return "Example: autopilot-mysql resume\n\nExample: autopilot-mysql resume db3"
}

// Help is the long text of `rebuild --help`.
func (*rebuildCmd) Help() string {
	return "The node leaves the ack set in order, gives its data up (what only it holds is archived), and gets new data from a snapshot or another member." + exitsOfRequests +
		"\n\nExample: autopilot-mysql rebuild db3"
}

// Help is the long text of `remove --help`.
func (*removeCmd) Help() string {
	return "The node leaves the ack set in order, its replication account and its records go. Its data stays where it is, and never joins this cluster again; with an empty data directory the node may." + exitsOfRequests +
		"\n\nExample: autopilot-mysql remove db3"
}

// Help is the long text of `history --help`.
func (*historyCmd) Help() string {
	return "Promotions with how long each phase took, lost leases, rebuilds, requests of operators and their outcome; the newest 200 are kept.\n\nExample: autopilot-mysql history --limit 50"
}

// Help is the long text of `config set --help`.
func (*setCmd) Help() string {
	return "Sets values for the whole cluster, in Consul: " + strings.Join(config.Shared(), ", ") +
		". They win over what a node was started with, and running nodes take them over at once, but for the lease, which changes only while no node runs.\n\nExample: autopilot-mysql config set acks=2 max-lag=20s"
}

// Run is called by kong.
func (c *switchoverCmd) Run(ctx context.Context, inv *Invocation) error {
	return ask(ctx, inv, "switch over", &c.Switchover, &c.Logging, c.Timeout, inv.handlers.Switchover)
}

// Run is called by kong.
func (c *failoverCmd) Run(ctx context.Context, inv *Invocation) error {
	if c.AcceptDataLoss != c.Force {
		return &Error{Code: Usage, What: "fail over", Why: "--force and --accept-data-loss go together", Next: "give both, or none of them to fail over without any loss"}
	}
	return ask(ctx, inv, "fail over", &c.Failover, &c.Logging, c.Timeout, inv.handlers.Failover)
}

// Run is called by kong.
func (c *pauseCmd) Run(ctx context.Context, inv *Invocation) error {
	if c.Node == "" && c.Force {
		return &Error{Code: Usage, What: "pause", Why: "--force is about the maintenance of one node", Next: "name the node, or leave --force out"}
	}
	return ask(ctx, inv, "pause", &c.Pause, &c.Logging, c.Timeout, inv.handlers.Pause)
}

// Run is called by kong.
func (c *resumeCmd) Run(ctx context.Context, inv *Invocation) error {
	return ask(ctx, inv, "resume", &c.Resume, &c.Logging, time.Second, inv.handlers.Resume)
}

// Run is called by kong.
func (c *rebuildCmd) Run(ctx context.Context, inv *Invocation) error {
	return ask(ctx, inv, "rebuild", &c.Rebuild, &c.Logging, c.Timeout, inv.handlers.Rebuild)
}

// Run is called by kong.
func (c *removeCmd) Run(ctx context.Context, inv *Invocation) error {
	return ask(ctx, inv, "remove", &c.Remove, &c.Logging, c.Timeout, inv.handlers.Remove)
}

// Run is called by kong.
func (c *historyCmd) Run(ctx context.Context, inv *Invocation) error {
	if c.Limit < 0 {
		return &Error{Code: Usage, What: "show history", Why: fmt.Sprintf("--limit %d is negative", c.Limit), Next: "see autopilot-mysql history --help"}
	}
	return ask(ctx, inv, "show history", &c.History, &c.Logging, time.Second, inv.handlers.History)
}

// Run is called by kong.
func (c *setCmd) Run(ctx context.Context, inv *Invocation) error {
	return ask(ctx, inv, "set cluster-wide settings", &c.ConfigSet, &c.Logging, time.Second, inv.handlers.ConfigSet)
}

// ask completes the settings and calls the handler.
func ask[O any](ctx context.Context, inv *Invocation, what string, o *O, log *config.Logging, timeout time.Duration, handler func(context.Context, *Invocation, O) error) error {
	if timeout <= 0 {
		return &Error{Code: Usage, What: what, Why: fmt.Sprintf("--timeout %v is not positive", timeout), Next: "use a duration like 30s"}
	}
	if _, err := inv.resolve(o, log); err != nil {
		return err
	}
	if handler == nil {
		return missing(what)
	}
	return handler(ctx, inv, *o)
}
