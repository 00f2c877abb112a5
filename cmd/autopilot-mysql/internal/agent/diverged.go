package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

const (
	// storeAttempts bounds archiving straight to the store, which is tried only when the node's own volume takes nothing.
	storeAttempts = 3
	storeRetry    = 2 * time.Second
)

// difference describes what only this node holds.
type difference struct {
	Node        string    `json:"node"`
	Incarnation roles.Inc `json:"incarnation"`
	GTIDs       gtid.Set  `json:"gtids"`
	// Missing are those of them that are in no log any more; they exist only as rows in the data that is given up.
	Missing gtid.Set  `json:"missing,omitzero"`
	Primary string    `json:"primary"`
	At      time.Time `json:"at"`
}

// name is where it is kept, in the node's directory and in the store.
func (d difference) name() string { return strings.ReplaceAll(string(d.Incarnation), "~", ".") }

// condemn keeps what only this node holds and then gives its data up: a job with its own time, beside the loop. The
// difference is kept in the node's own directory first, which takes no time and no space (hard links), so that neither a
// store that is down nor a large log stands in the way of the node's return; it is uploaded later.
func (a *Agent) condemn(h roles.Node, extra gtid.Set) {
	a.Log.Warn("this node holds transactions that the primary's history lacks; nobody was told they were committed",
		"primary", h.Name, "gtids", extra.String())
	errant := a.settings().Errant
	srv, d := a.srv, difference{Node: a.Settings.Name, Incarnation: a.disk.inc(), GTIDs: extra, Primary: h.Name, At: time.Now().UTC()}
	a.begin(fmt.Sprintf("keeping what only this node holds (%s) before it gets a new copy", extra), func(ctx context.Context, say func(string)) (func(context.Context) error, error) {
		logs, err := srv.LogsHolding(ctx, extra)
		if err != nil {
			return nil, fmt.Errorf("archive the difference: %w", err)
		}
		d.Missing = logs.Missing
		if !d.Missing.IsEmpty() && errant != "rebuild" {
			return nil, fmt.Errorf("archive the difference: the logs with %s are purged, so it exists only in this node's tables, and the setting errant is %q; "+
				"to give it up: autopilot-mysql rebuild %s", d.Missing, errant, d.Node)
		}
		if err := a.keep(ctx, say, d, logs.Files); err != nil {
			return nil, fmt.Errorf("archive the difference: %w", err)
		}
		return func(ctx context.Context) error { return a.condemned(ctx, h, d) }, nil
	})
}

// keep puts the logs aside, or into the store if the volume takes nothing more.
func (a *Agent) keep(ctx context.Context, say func(string), d difference, files []string) error {
	if len(files) == 0 {
		return nil
	}
	err := a.attic.keep(ctx, d, files, func(done, total int) {
		say(fmt.Sprintf("keeping what only this node holds (%s): file %d of %d", d.GTIDs, done, total))
	})
	if err == nil || a.Snapshots == nil || ctx.Err() != nil {
		return err
	}
	for n := range storeAttempts {
		say(fmt.Sprintf("archiving what only this node holds (%s) to the store, attempt %d of %d", d.GTIDs, n+1, storeAttempts))
		_, serr := snapshot.Archive(ctx, a.Snapshots, a.SnapshotKeys, a.Settings.Cluster, d.name(), d, files)
		if serr == nil || errors.Is(serr, snapshot.ErrExists) {
			return nil
		}
		err = errors.Join(err, serr)
		pause(ctx, storeRetry)
	}
	return err
}

// condemned runs on the loop when everything that can be kept is kept. The data is given up only for the primary it was
// compared with.
func (a *Agent) condemned(ctx context.Context, h roles.Node, d difference) error {
	view, err := a.watch.refresh(ctx)
	if err != nil {
		return fmt.Errorf("give the data up: %w", err)
	}
	if p, ok := view.ValidPrimary(); !ok || p.Inc != h.Inc {
		return fmt.Errorf("give the data up: %s is no longer the primary: %w", h.Name, errNotNow)
	}
	if !d.Missing.IsEmpty() {
		a.Log.Warn("some of what only this node holds is in no log any more and cannot be archived; it is given up with the data, as the setting errant says",
			"gtids", d.Missing.String())
	}
	a.Log.Info("kept the difference", "dir", a.attic.path(d), "gtids", d.GTIDs.String())
	return a.disk.save(func(s *diskState) { s.Condemned = true })
}

// giveUp begins a rebuild because of errant transactions.
func (a *Agent) giveUp(f roles.Facts) error {
	h, ok := f.View.ValidPrimary()
	if !ok || a.errant.IsEmpty() {
		return errNotNow
	}
	a.condemn(h, a.errant)
	return nil
}

// onlyReport says whether extra is an errant write that the settings want left alone: made on this node, as long as it has
// never led. What a deposed primary could not get acknowledged is no such thing: nobody was told of it.
func (a *Agent) onlyReport(extra gtid.Set) bool {
	return a.settings().Errant == "report" && !a.disk.s.Led && ownPart(a.disk.s.UUID, extra).Equal(extra)
}

// ownPart are the transactions that were committed first on the server with this UUID.
func ownPart(uuid string, set gtid.Set) gtid.Set {
	own, err := gtid.Parse(uuid + ":1-9223372036854775806")
	if err != nil {
		return gtid.Set{}
	}
	return set.Intersect(own)
}
