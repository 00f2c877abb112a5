package cli

import (
	"context"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

type playgroundCmd struct {
	Up    upCmd    `cmd:"" default:"withargs" help:"Start the playground, or bring it back; Ctrl-C ends it (default)."`
	Kill  killCmd  `cmd:"" help:"Kill a whole node at once: guard, agent and mysqld."`
	Stop  stopCmd  `cmd:"" help:"Stop a node gracefully; it stays stopped."`
	Start startCmd `cmd:"" help:"Start a node."`
	Add   addCmd   `cmd:"" help:"Add fresh nodes."`
	Down  downCmd  `cmd:"" help:"End everything."`
}

// Help is the long text of `playground --help`.
func (*playgroundCmd) Help() string {
	return "Example: autopilot-mysql playground --nodes 3 --detach && autopilot-mysql playground kill node1"
}

type (
	upCmd    struct{ PlaygroundUp }
	killCmd  struct{ PlaygroundNode }
	stopCmd  struct{ PlaygroundNode }
	startCmd struct{ PlaygroundNode }
	addCmd   struct{ PlaygroundAdd }
	downCmd  struct{ PlaygroundDown }
)

// Help is the long text of `playground up --help`.
func (*upCmd) Help() string {
	return `Arguments after -- go to every node's run: autopilot-mysql playground up -- --policy strict

Ready means: one primary, its standbys, everything healthy. playground.json in the directory says where everything is.

Example: autopilot-mysql playground up --nodes 5 --lease 1s --dir /tmp/five`
}

// Help is the long text of `playground kill --help`.
func (*killCmd) Help() string { return "Example: autopilot-mysql playground kill node1" }

// Help is the long text of `playground stop --help`.
func (*stopCmd) Help() string { return "Example: autopilot-mysql playground stop node1" }

// Help is the long text of `playground start --help`.
func (*startCmd) Help() string { return "Example: autopilot-mysql playground start node1" }

// Help is the long text of `playground add --help`.
func (*addCmd) Help() string { return "Example: autopilot-mysql playground add 2" }

// Help is the long text of `playground down --help`.
func (*downCmd) Help() string { return "Example: autopilot-mysql playground down" }

// Run is called by kong.
func (c *upCmd) Run(ctx context.Context, inv *Invocation) error {
	words := struct { // the environment's Consul and store are not for a playground
		config.Logging
		config.Output
	}{c.Logging, c.Output}
	if _, err := inv.resolve(&words, &words.Logging); err != nil {
		return err
	}
	c.Logging, c.Output = words.Logging, words.Output
	after := c.RestartAfter
	if c.Nodes < 0 || c.Acks < 0 || c.Lease < 0 || c.Timeout <= 0 || after != nil && *after < 0 {
		return &Error{Code: Usage, What: "cannot read the command line", Why: "numbers and times must not be negative", Next: "see autopilot-mysql playground up --help"}
	}
	c.NodeArgs = inv.extra
	return perform(ctx, inv, "start playground", nil, inv.handlers.PlaygroundUp, &c.PlaygroundUp)
}

// Run is called by kong.
func (c *killCmd) Run(ctx context.Context, inv *Invocation) error {
	return perform(ctx, inv, "kill node", &c.Output, inv.handlers.PlaygroundKill, &c.PlaygroundNode)
}

// Run is called by kong.
func (c *stopCmd) Run(ctx context.Context, inv *Invocation) error {
	return perform(ctx, inv, "stop node", &c.Output, inv.handlers.PlaygroundStop, &c.PlaygroundNode)
}

// Run is called by kong.
func (c *startCmd) Run(ctx context.Context, inv *Invocation) error {
	return perform(ctx, inv, "start node", &c.Output, inv.handlers.PlaygroundStart, &c.PlaygroundNode)
}

// Run is called by kong.
func (c *addCmd) Run(ctx context.Context, inv *Invocation) error {
	if c.Count < 1 || c.Timeout <= 0 {
		return &Error{Code: Usage, What: "cannot read the command line", Why: "at least one node is added, and --timeout is positive", Next: "see autopilot-mysql playground add --help"}
	}
	return perform(ctx, inv, "add nodes", &c.Output, inv.handlers.PlaygroundAdd, &c.PlaygroundAdd)
}

// Run is called by kong.
func (c *downCmd) Run(ctx context.Context, inv *Invocation) error {
	return perform(ctx, inv, "end playground", &c.Output, inv.handlers.PlaygroundDown, &c.PlaygroundDown)
}

// perform calls a handler that may not be there, with the form of the output completed unless it is nil.
func perform[O any](ctx context.Context, inv *Invocation, what string, form *config.Output, handler func(context.Context, *Invocation, O) error, o *O) error {
	if form != nil {
		if _, err := inv.resolve(form, nil); err != nil {
			return err
		}
	}
	if handler == nil {
		return missing(what)
	}
	return handler(ctx, inv, *o)
}
