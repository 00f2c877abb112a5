package cli

import (
	"context"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// grammar is the command line.
type grammar struct {
	Run        runCmd        `cmd:"" help:"Run this node: the container's entrypoint."`
	Agent      agentCmd      `cmd:"" hidden:"" help:"The agent that run starts."`
	Playground playgroundCmd `cmd:"" help:"A real cluster on this machine, without containers."`
	Status     statusCmd     `cmd:"" help:"Every node of the cluster: state, health, lag, and what is wrong."`
	Switchover switchoverCmd `cmd:"" help:"Hand the writes over to another node, without losing any."`
	Failover   failoverCmd   `cmd:"" help:"Bring a primary back when none comes by itself."`
	Pause      pauseCmd      `cmd:"" help:"No automatic failover until resume."`
	Resume     resumeCmd     `cmd:"" help:"End a pause."`
	Rebuild    rebuildCmd    `cmd:"" help:"Give a node new data."`
	Remove     removeCmd     `cmd:"" help:"Take a node out of the cluster for good."`
	History    historyCmd    `cmd:"" help:"What happened, when and why."`
	Snapshot   snapshotCmd   `cmd:"" help:"Take, list, prove, restore and remove snapshots."`
	Config     configCmd     `cmd:"" help:"Settings and where they come from."`
	FSM        fsmCmd        `cmd:"" name:"fsm" help:"The declared state machine."`
	Completion completionCmd `cmd:"" help:"Completion for bash, zsh or fish."`
	Version    versionCmd    `cmd:"" help:"Version, and the MySQL series it works with."`
}

// PlaygroundUp asks for a playground. A zero value means: as before, or the default in a new directory. The
// environment's Consul and store are not used: a playground must not meet a real cluster by accident.
type PlaygroundUp struct {
	Dir          string         `name:"dir" placeholder:"DIR" help:"Where everything lives. Default: below the user's cache directory."`
	Nodes        int            `name:"nodes" placeholder:"3" help:"Number of nodes."`
	Detach       bool           `name:"detach" short:"d" help:"Return when the cluster is ready and leave it running."`
	Consul       string         `name:"consul" placeholder:"ADDR" vars:"-" help:"Use this Consul instead of starting one."`
	Store        string         `name:"store" placeholder:"URL" vars:"-" help:"Use this snapshot store instead of a directory."`
	RestartAfter *time.Duration `name:"restart-after" placeholder:"5s" help:"Start a dead node again after this time. 0: never."`
	Mysqld       string         `name:"mysqld" placeholder:"PATH" vars:"-" help:"The mysqld binary. Default: found or fetched."`
	ConsulBin    string         `name:"consul-bin" placeholder:"PATH" help:"The Consul binary. Default: found or fetched."`
	Cluster      string         `name:"cluster" placeholder:"NAME" vars:"-" help:"Name of the cluster."`
	Service      string         `name:"service" placeholder:"NAME" vars:"-" help:"Name of the Consul service."`
	Lease        time.Duration  `name:"lease" placeholder:"3s" vars:"-" help:"How long a silent primary keeps its lease."`
	Acks         int            `name:"acks" placeholder:"1" vars:"-" help:"Standbys that must hold a write before it is acknowledged."`
	Timeout      time.Duration  `name:"timeout" default:"3m" help:"How long the cluster may take to become ready."`
	// NodeArgs are the arguments after "--": more flags for every node's run.
	NodeArgs []string `kong:"-"`
	config.Logging
	config.Output
}

// PlaygroundNode names a node of a running playground.
type PlaygroundNode struct {
	Node string `arg:"" name:"node" help:"Name of the node, or primary."`
	PlaygroundDown
}

// PlaygroundAdd asks for more nodes.
type PlaygroundAdd struct {
	Count   int           `arg:"" name:"count" optional:"" default:"1" help:"How many."`
	Timeout time.Duration `name:"timeout" default:"3m" help:"How long they may take until they follow."`
	PlaygroundDown
}

// PlaygroundDown names the playground to end.
type PlaygroundDown struct {
	Dir string `name:"dir" placeholder:"DIR" help:"Directory of the playground. Default: below the user's cache directory."`
	config.Output
}

// Status asks for the state of the cluster.
type Status struct {
	Watch bool `name:"watch" short:"w" help:"Keep showing it until interrupted."`
	config.Output
	config.Common
}

// FSM asks for the state machine.
type FSM struct {
	Format string `name:"format" default:"table" enum:"table,mermaid,dot,json" help:"table, mermaid, dot or json; --output json is the last."`
	Check  bool   `name:"check" help:"Check the table instead of printing it: exit code 1 with every problem found."`
	config.Output
}

// newParser builds the command line. helped turns true once a help text was printed.
func newParser(inv *Invocation) (parser *kong.Kong, helped *bool, err error) {
	helped = new(bool)
	options := []kong.Option{
		kong.Name(Program),
		kong.Description("MySQL in containers that run themselves as one primary/replica cluster. No acknowledged write is ever lost.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 usage or settings, 3 refused by a safety guard, 4 outcome unknown."),
		kong.Writers(inv.Stdout, inv.Stderr),
		kong.Exit(func(int) { *helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ValueFormatter(helpWithEnv),
		kong.ExplicitGroups([]kong.Group{
			{Key: "cluster", Title: "Cluster"}, {Key: "node", Title: "Node"}, {Key: "failover", Title: "Failover"},
			{Key: "mysql", Title: "A new cluster's database and accounts"}, {Key: "store", Title: "Snapshots"},
			{Key: "consul", Title: "Consul access"}, {Key: "output", Title: "Output"},
		}),
	}
	for _, c := range inv.handlers.More {
		var tags []string
		if c.Hidden {
			tags = append(tags, `hidden:""`)
		}
		options = append(options, kong.DynamicCommand(c.Name, c.Help, "", c.Struct, tags...))
	}
	parser, err = kong.New(&grammar{}, options...)
	return parser, helped, err
}

// helpWithEnv is a flag's help with its default, where the placeholder hides it, and the setting's environment names.
func helpWithEnv(v *kong.Value) string {
	help := v.Help
	if v.HasDefault && v.Tag.PlaceHolder != "" {
		help += " Default: " + v.Default + "."
	}
	if v.Tag.Get("vars") == "-" || !v.Tag.Has("group") {
		return help
	}
	names := config.EnvNames(v.Name)
	if len(names) == 0 {
		return help
	}
	return help + " ($" + strings.Join(names, ", $") + ")"
}

// resolve completes parsed flags from environment and file, and sets up logging; a command that logs nothing has no log.
func (inv *Invocation) resolve(target any, log *config.Logging) (*config.Report, error) {
	report, err := config.Resolve(target, inv.given, inv.Environ)
	if log != nil {
		inv.Log = NewLogger(inv.Stderr, log.LogLevel, log.LogFormat)
	}
	return report, err
}

type runCmd struct{ config.Settings }

// Help is the long text of `run --help`.
func (*runCmd) Help() string {
	return `Arguments after -- go to mysqld: autopilot-mysql run -- --max-connections=500

Every setting is a flag, an environment variable and a key of the JSON file; flags win over the environment, the environment over the file. Values are taken literally. A secret is never a flag: set its variable, or name a file with the flag or the variable ending in _FILE.

Example: MYSQL_REPL_PASSWORD=… autopilot-mysql run --consul consul:8500 --store s3://backups/shop`
}

// Run is called by kong.
func (c *runCmd) Run(ctx context.Context, inv *Invocation) error {
	c.Extra = inv.extra
	report, err := inv.resolve(&c.Settings, &c.Logging)
	if err != nil {
		return err
	}
	for _, w := range report.Warnings {
		inv.Log.Warn(w) //nolint:sloglint // a sentence for an operator, complete
	}
	if inv.handlers.Run == nil {
		return missing("run")
	}
	return inv.handlers.Run(ctx, inv, &c.Settings)
}

type agentCmd struct{ config.Settings }

// Run is called by kong. Warnings have been logged by run already.
func (c *agentCmd) Run(ctx context.Context, inv *Invocation) error {
	c.Extra = inv.extra
	if _, err := inv.resolve(&c.Settings, &c.Logging); err != nil {
		return err
	}
	if inv.handlers.Agent == nil {
		return missing("agent")
	}
	return inv.handlers.Agent(ctx, inv, &c.Settings)
}

type statusCmd struct{ Status }

// Help is the long text of `status --help`.
func (*statusCmd) Help() string {
	return "Example: autopilot-mysql status --consul consul:8500 --cluster shop --watch"
}

// Run is called by kong.
func (c *statusCmd) Run(ctx context.Context, inv *Invocation) error {
	if _, err := inv.resolve(&c.Status, &c.Logging); err != nil {
		return err
	}
	if inv.handlers.Status == nil {
		return missing("status")
	}
	return inv.handlers.Status(ctx, inv, c.Status)
}

type fsmCmd struct{ FSM }

// Help is the long text of `fsm --help`.
func (*fsmCmd) Help() string { return "Example: autopilot-mysql fsm --format mermaid" }

// Run is called by kong.
func (c *fsmCmd) Run(ctx context.Context, inv *Invocation) error {
	if _, err := inv.resolve(&c.Output, nil); err != nil {
		return err
	}
	if c.Format == "table" && c.Output.Output == "json" {
		c.Format = "json"
	}
	if inv.handlers.FSM == nil {
		return missing("fsm")
	}
	return inv.handlers.FSM(ctx, inv, c.FSM)
}
