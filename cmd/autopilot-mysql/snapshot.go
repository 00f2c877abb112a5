package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// commandPatience is for how long a command goes on trying a store that fails in the middle of a transfer.
const commandPatience = 15 * time.Minute

// snapshotHandlers is what `snapshot …` does. All but create need the store only.
func snapshotHandlers() cli.SnapshotHandlers {
	return cli.SnapshotHandlers{
		SnapshotCreate: snapshotCreate, SnapshotList: snapshotList, SnapshotVerify: snapshotVerify,
		SnapshotRestore: snapshotRestore, SnapshotPrune: snapshotPrune,
	}
}

// vault is a store and what is needed to use it.
type vault struct {
	store snapshot.Store
	keys  *snapshot.Keys
	rate  *snapshot.Limiter
}

// openVault opens the store of a command that cannot do without one.
func openVault(what string, c *config.Common) (vault, error) {
	if c.Store == "" {
		return vault{}, &cli.Error{Code: cli.Usage, What: what, Why: "no snapshot store is named", Next: "give it with --store or AUTOPILOT_STORE"}
	}
	return vaultOf(c, true)
}

// vaultOf opens the store, if there is one, without talking to it. mustExist is for commands: a mistyped name is an error
// there and makes nothing.
func vaultOf(c *config.Common, mustExist bool) (v vault, err error) {
	v.store, err = snapshotStore(c, mustExist)
	if err != nil {
		return vault{}, err
	}
	v.keys, err = snapshot.ParseKeys(snapshot.KeyOptions{
		Recipients: c.SnapshotRecipients, Identities: string(c.SnapshotIdentity), Passphrase: string(c.SnapshotPassphrase),
	})
	if err != nil {
		return vault{}, &cli.Error{Code: cli.Usage, What: "read snapshot keys", Why: err.Error(), Next: "correct the --snapshot-… settings"}
	}
	v.rate = snapshot.NewLimiter(int64(c.SnapshotRate))
	return v, nil
}

// reading is how a command restores.
func (v vault) reading() snapshot.RestoreOptions {
	return snapshot.RestoreOptions{Keys: v.keys, Rate: v.rate, Patience: commandPatience}
}

// failed is one line about a store that cannot be listed.
func (v vault) failed(what string, err error) error {
	e := &cli.Error{What: what, Why: brief(err), Err: err, Next: "see whether the store " + v.store.URL() + " answers, and the credentials"}
	if errors.Is(err, snapshot.ErrNoStore) {
		e.Code, e.Next = cli.Usage, "correct --store; a store that is new is made by the first node that stores something in it"
	}
	return e
}

// broken is one line about work with the store that did not come to its end; next says what that leaves.
func (v vault) broken(ctx context.Context, what string, err error, next string) error {
	switch {
	case errors.Is(err, snapshot.ErrNoStore):
		return v.failed(what, err)
	case errors.Is(err, snapshot.ErrNoKey):
		return &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Err: err,
			Next: "nothing was changed; give the key it was made with: AUTOPILOT_SNAPSHOT_IDENTITY_FILE or AUTOPILOT_SNAPSHOT_PASSPHRASE_FILE"}
	case interrupted(ctx, err):
		return &cli.Error{What: what, Why: "interrupted", Err: err, Next: next + "; run it again"}
	}
	return &cli.Error{What: what, Why: brief(err), Err: err, Next: next + "; run it again when the cause is gone"}
}

// brief leaves out what a library tells about a request that reached nobody: all of it is about the request.
func brief(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return "no answer: " + op.Error()
	}
	return err.Error()
}

// list is snapshot.List; what cannot be used is said on stderr.
func (v vault) list(ctx context.Context, inv *cli.Invocation, what, cluster string) ([]snapshot.Manifest, []error, error) {
	list, bad, err := snapshot.List(ctx, v.store, cluster)
	if err != nil {
		return nil, nil, v.failed(what, err)
	}
	for _, e := range bad {
		fmt.Fprintf(inv.Stderr, "passed over: %s\n", e)
	}
	return list, bad, nil
}

// pick finds the snapshot with the id, or all of them, newest first, when it is empty.
func (v vault) pick(ctx context.Context, inv *cli.Invocation, what, cluster, id string) ([]snapshot.Manifest, error) {
	list, bad, err := v.list(ctx, inv, what, cluster)
	if err != nil {
		return nil, err
	}
	if id == "" {
		if len(list) == 0 {
			return nil, &cli.Error{What: what, Why: fmt.Sprintf("the store holds no usable snapshot of cluster %q", cluster), Next: "see: autopilot-mysql snapshot list --cluster " + cluster}
		}
		return list, nil
	}
	for _, m := range list {
		if m.ID == id {
			return []snapshot.Manifest{m}, nil
		}
	}
	for _, e := range bad {
		if strings.Contains(e.Error(), id) {
			return nil, &cli.Error{What: what, Why: e.Error(), Err: e, Next: "choose another one: autopilot-mysql snapshot list"}
		}
	}
	return nil, &cli.Error{Code: cli.Usage, What: what, Why: fmt.Sprintf("cluster %q has no snapshot %s", cluster, id), Next: "see: autopilot-mysql snapshot list"}
}

// snapshotDoc is one snapshot in JSON. The names are a stable interface.
type snapshotDoc struct {
	ID          string                 `json:"id"`
	At          time.Time              `json:"at"`
	ClusterID   string                 `json:"cluster_id"`
	Node        string                 `json:"node"`
	MySQL       string                 `json:"mysql_version"`
	GTID        string                 `json:"gtid"`
	Files       int                    `json:"files"`
	Bytes       int64                  `json:"bytes"`
	StoredBytes int64                  `json:"stored_bytes"`
	Parts       int                    `json:"parts"`
	Encryption  *snapshot.Encryption   `json:"encryption"`
	Verified    *snapshot.Verification `json:"verified"`
}

func docOf(m snapshot.Manifest) snapshotDoc {
	return snapshotDoc{ID: m.ID, At: m.CreatedAt, ClusterID: m.ClusterID, Node: m.Node, MySQL: m.MySQLVersion, GTID: m.GTIDLower.String(), Files: m.Files,
		Bytes: m.Bytes, StoredBytes: m.StoredBytes, Parts: len(m.Parts), Encryption: m.Encryption, Verified: m.Verified}
}

func snapshotList(ctx context.Context, inv *cli.Invocation, o cli.SnapshotList) error {
	v, err := openVault("list snapshots", &o.Common)
	if err != nil {
		return err
	}
	if o.Output.Output == "json" {
		return v.listJSON(ctx, inv, o)
	}
	list, _, err := v.list(ctx, inv, "list snapshots", o.Cluster)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintf(inv.Stdout, "%s holds no usable snapshot of cluster %s\n", v.store.URL(), o.Cluster)
		return nil
	}
	now := time.Now()
	w := tabwriter.NewWriter(inv.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tAGE\tDATA\tSTORED\tNODE\tMYSQL\tENCRYPTED\tVERIFIED")
	for _, m := range list {
		sealed := "no"
		if m.Encryption != nil {
			sealed = m.Encryption.Method
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, show.Age(now.Sub(m.CreatedAt)), show.Size(m.Bytes), show.Size(m.StoredBytes),
			m.Node, m.MySQLVersion, sealed, verifiedText(m.Verified, now))
	}
	return w.Flush()
}

func (v vault) listJSON(ctx context.Context, inv *cli.Invocation, o cli.SnapshotList) error {
	list, bad, err := snapshot.List(ctx, v.store, o.Cluster)
	if err != nil {
		return v.failed("list snapshots", err)
	}
	doc := struct {
		Cluster   string        `json:"cluster"`
		Store     string        `json:"store"`
		Snapshots []snapshotDoc `json:"snapshots"`
		Unusable  []string      `json:"unusable"`
	}{o.Cluster, v.store.URL(), []snapshotDoc{}, []string{}}
	for _, m := range list {
		doc.Snapshots = append(doc.Snapshots, docOf(m))
	}
	for _, e := range bad {
		doc.Unusable = append(doc.Unusable, e.Error())
	}
	return writeJSON(inv.Stdout, doc)
}

func verifiedText(v *snapshot.Verification, now time.Time) string {
	switch {
	case v == nil:
		return "never"
	case v.OK:
		return show.Age(now.Sub(v.At)) + " ago by " + v.By
	}
	return "DAMAGED: " + v.Why
}

func writeJSON(w io.Writer, doc any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func snapshotPrune(ctx context.Context, inv *cli.Invocation, o cli.SnapshotPrune) error {
	v, err := openVault("prune snapshots", &o.Common)
	if err != nil {
		return err
	}
	keep := retention(o.SnapshotRetention)
	verdicts, err := snapshot.Judge(ctx, v.store, o.Cluster, keep)
	if err != nil {
		return v.failed("prune snapshots", err)
	}
	removed := []string{}
	if !o.DryRun {
		if removed, err = snapshot.Retire(ctx, v.store, o.Cluster, keep); err != nil {
			return &cli.Error{What: "prune snapshots", Why: fmt.Sprintf("%s; %d were removed before", err, len(removed)), Err: err, Next: "run it again: what is half removed is not listed any more"}
		}
	}
	if o.Output.Output == "json" {
		return writeJSON(inv.Stdout, struct {
			DryRun   bool               `json:"dry_run"`
			Verdicts []snapshot.Verdict `json:"verdicts"`
			Removed  []string           `json:"removed"`
		}{o.DryRun, verdicts, append([]string{}, removed...)})
	}
	w := tabwriter.NewWriter(inv.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTORED\tVERDICT\tWHY")
	for _, d := range verdicts {
		word := "keep"
		switch {
		case !d.Keep && o.DryRun:
			word = "would go"
		case !d.Keep:
			word = "removed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.ID, show.Size(d.Bytes), word, d.Why)
	}
	return w.Flush()
}

func retention(k config.SnapshotRetention) snapshot.Retention {
	return snapshot.Retention{Keep: k.SnapshotKeep, Daily: k.SnapshotKeepDaily, Weekly: k.SnapshotKeepWeekly}
}

// meter shows how far something is, on a terminal only.
type meter struct {
	w     io.Writer
	shown time.Time
}

func newMeter(inv *cli.Invocation) *meter {
	if !show.IsTerminal(inv.Stderr) {
		return &meter{}
	}
	return &meter{w: inv.Stderr}
}

// say replaces the line. unit writes a number for people.
func (m *meter) say(doing string, done, total int64, unit func(int64) string) {
	if m.w == nil || time.Since(m.shown) < 100*time.Millisecond && done != total {
		return
	}
	m.shown = time.Now()
	text := doing
	if total > 0 {
		text += fmt.Sprintf(": %s of %s (%d %%)", unit(done), unit(total), done*100/total)
	}
	fmt.Fprintf(m.w, "\r\x1b[K%s", text)
}

// end removes the line.
func (m *meter) end() {
	if m.w != nil && !m.shown.IsZero() {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

func plain(n int64) string { return fmt.Sprint(n) }

// hostName is how a command signs.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return name
}

// interrupted tells an end that the operator asked for.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}
