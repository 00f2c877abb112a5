package cli

import (
	"context"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// SnapshotHandlers do what `snapshot …` says.
type SnapshotHandlers struct {
	SnapshotCreate  func(ctx context.Context, inv *Invocation, o SnapshotCreate) error
	SnapshotList    func(ctx context.Context, inv *Invocation, o SnapshotList) error
	SnapshotVerify  func(ctx context.Context, inv *Invocation, o SnapshotVerify) error
	SnapshotRestore func(ctx context.Context, inv *Invocation, o SnapshotRestore) error
	SnapshotPrune   func(ctx context.Context, inv *Invocation, o SnapshotPrune) error
}

// SnapshotCreate asks a node of the cluster for a snapshot.
type SnapshotCreate struct {
	Node    string        `name:"node" placeholder:"NODE" vars:"-" help:"The node that shall take it. Default: the standby that lags least, or the primary when there is none."`
	Timeout time.Duration `name:"timeout" default:"24h" vars:"-" help:"How long to wait for it; the node goes on after that."`
	Waiting
	config.Output
	config.Common
}

// SnapshotList asks what is in the store.
type SnapshotList struct {
	config.Output
	config.Common
}

// SnapshotVerify asks to prove a snapshot.
type SnapshotVerify struct {
	ID      string `arg:"" name:"id" optional:"" help:"The snapshot. Default: the newest."`
	Mysqld  string `name:"mysqld" default:"mysqld" placeholder:"PATH" help:"The mysqld binary to look with."`
	RunAs   string `name:"run-as" default:"auto" placeholder:"USER" help:"System user that runs it. auto: mysql (else root) when started by root, otherwise the current user."`
	Scratch string `name:"scratch" placeholder:"DIR" help:"Where to restore to for the time being; needs the space of the data. Default: the system's temporary directory."`
	// Args are the arguments after "--": options the data needs, such as its page size.
	Args []string `kong:"-"`
	config.Output
	config.Common
}

// SnapshotRestore asks for a data directory.
type SnapshotRestore struct {
	ID   string `arg:"" name:"id" optional:"" help:"The snapshot. Default: the newest that is undamaged."`
	Into string `name:"into" required:"" placeholder:"DIR" help:"The data directory to write: it must not exist, or be empty."`
	// ToTime and ToGTID name a point between snapshots; ToTime is zero for none.
	ToTime time.Time `name:"to-time" format:"2006-01-02T15:04:05.999999999Z07:00" xor:"to" placeholder:"TIME" help:"Go on from a snapshot to this point: everything committed up to it (2026-11-23T14:05:00Z; fractions of a second count)."`
	ToGTID string    `name:"to-gtid" xor:"to" placeholder:"SET" help:"Go on from a snapshot until the database holds exactly this GTID set. 'end': everything that was archived."`
	Mysqld string    `name:"mysqld" default:"mysqld" placeholder:"PATH" help:"The mysqld binary that applies archived transactions."`
	RunAs  string    `name:"run-as" default:"auto" placeholder:"USER" help:"System user that runs it. auto: mysql (else root) when started by root, otherwise the current user."`
	// Args are the arguments after "--": options the data needs, such as its page size.
	Args []string `kong:"-"`
	config.Output
	config.Common
}

// SnapshotPrune asks to remove what the retention lets go.
type SnapshotPrune struct {
	DryRun bool `name:"dry-run" short:"n" help:"Say what would be kept and removed, and why, and change nothing."`
	config.SnapshotRetention
	config.Output
	config.Common
}

type snapshotCmd struct {
	Create  snapshotCreateCmd  `cmd:"" help:"Ask a node of the cluster to take one now."`
	List    snapshotListCmd    `cmd:"" help:"What is in the store, newest first."`
	Verify  snapshotVerifyCmd  `cmd:"" help:"Restore one into a scratch server and read every table."`
	Restore snapshotRestoreCmd `cmd:"" help:"Write a data directory from one."`
	Prune   snapshotPruneCmd   `cmd:"" help:"Remove what the retention lets go."`
}

type snapshotCreateCmd struct{ SnapshotCreate }

// Help is the long text of `snapshot create --help`.
func (*snapshotCreateCmd) Help() string {
	return `The request is a record in Consul; a node takes it up, and this command shows how far it is. An interruption, or --no-wait, does not keep the node from it: see autopilot-mysql history.

Example: autopilot-mysql snapshot create --consul consul:8500 --cluster shop`
}

// Run is called by kong.
func (c *snapshotCreateCmd) Run(ctx context.Context, inv *Invocation) error {
	return ask(ctx, inv, "take snapshot", &c.SnapshotCreate, &c.Logging, c.Timeout, inv.handlers.SnapshotCreate)
}

type snapshotListCmd struct{ SnapshotList }

// Help is the long text of `snapshot list --help`.
func (*snapshotListCmd) Help() string {
	return `Needs the store only, and works from any machine that reaches it.

Example: autopilot-mysql snapshot list --store s3://backups/shop --cluster shop`
}

// Run is called by kong.
func (c *snapshotListCmd) Run(ctx context.Context, inv *Invocation) error {
	return handle(ctx, inv, &c.SnapshotList, &c.Logging, "snapshot list", inv.handlers.SnapshotList)
}

type snapshotVerifyCmd struct{ SnapshotVerify }

// Help is the long text of `snapshot verify --help`.
func (*snapshotVerifyCmd) Help() string {
	return `Needs the store and a mysqld, and works from any machine. The outcome is stored beside the snapshot. Exit code 1 when the snapshot is damaged.

Arguments after -- go to the scratch server, for data made with options of its own: -- --innodb-page-size=8k

Example: autopilot-mysql snapshot verify --store s3://backups/shop --cluster shop`
}

// Run is called by kong.
func (c *snapshotVerifyCmd) Run(ctx context.Context, inv *Invocation) error {
	c.Args = inv.extra
	return handle(ctx, inv, &c.SnapshotVerify, &c.Logging, "snapshot verify", inv.handlers.SnapshotVerify)
}

type snapshotRestoreCmd struct{ SnapshotRestore }

// Help is the long text of `snapshot restore --help`.
func (*snapshotRestoreCmd) Help() string {
	return `Needs the store only, and works from any machine. No byte is used before its checksum was verified; a damaged snapshot is named, and without an id the next older one is used. A restore that was interrupted or killed goes on when the same command is run again.

With --to-time or --to-gtid it goes on from the newest snapshot in front of that point through the archived binary logs, with a scratch mysqld, and proves the position it reaches.

A new cluster begins with a directory called adopt in the --datadir of its first node: restore into it, start that node first, and the others when it is open.

Example: autopilot-mysql snapshot restore --store s3://backups/shop --cluster shop --into /var/lib/mysql/data`
}

// Run is called by kong.
func (c *snapshotRestoreCmd) Run(ctx context.Context, inv *Invocation) error {
	c.Args = inv.extra
	return handle(ctx, inv, &c.SnapshotRestore, &c.Logging, "snapshot restore", inv.handlers.SnapshotRestore)
}

type snapshotPruneCmd struct{ SnapshotPrune }

// Help is the long text of `snapshot prune --help`.
func (*snapshotPruneCmd) Help() string {
	return `The only usable snapshot, the newest verified one, and what a restore is reading always stay.

Example: autopilot-mysql snapshot prune --store s3://backups/shop --cluster shop --snapshot-keep 7 --snapshot-keep-weekly 4 --dry-run`
}

// Run is called by kong.
func (c *snapshotPruneCmd) Run(ctx context.Context, inv *Invocation) error {
	return handle(ctx, inv, &c.SnapshotPrune, &c.Logging, "snapshot prune", inv.handlers.SnapshotPrune)
}

// handle completes a command's settings and calls its handler.
func handle[T any](ctx context.Context, inv *Invocation, o *T, log *config.Logging, what string, do func(context.Context, *Invocation, T) error) error {
	if _, err := inv.resolve(o, log); err != nil {
		return err
	}
	if do == nil {
		return missing(what)
	}
	return do(ctx, inv, *o)
}
