package operate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// change applies what decide makes of the newest picture, again when somebody else was quicker. With no operations there
// is nothing to do.
func (d *Desk) change(ctx context.Context, what string, decide func(picture) ([]election.Op, *cluster.HistoryEntry, error)) error {
	for range attempts {
		p, err := d.read(ctx, what)
		if err != nil {
			return err
		}
		ops, e, err := decide(p)
		if err != nil || len(ops) == 0 || d.DryRun {
			return err
		}
		if e != nil {
			e.At, e.Term, e.By = d.Now().UTC(), p.Sync.Term, d.By
			ops = append(ops, d.keys().WriteHistory(*e))
		}
		tctx, cancel := context.WithTimeout(ctx, callTimeout)
		ok, _, err := d.Store.Txn(tctx, ops...)
		cancel()
		if errors.Is(err, election.ErrUnknown) {
			return &cli.Error{Code: cli.Unknown, What: what, Why: err.Error(), Err: err, Next: "look whether it happened: autopilot-mysql status"}
		}
		if err != nil {
			return consulError(what, err, "nothing was changed")
		}
		if ok {
			return nil
		}
	}
	return &cli.Error{What: what, Why: "others change the same record all the time", Next: "try again; nothing was changed"}
}

// Pause stops automatic failover. The pause that is in force is returned, and whether it is a former one.
func (d *Desk) Pause(ctx context.Context, reason string) (p roles.Pause, former bool, err error) {
	p = roles.Pause{By: d.By, At: d.Now().UTC().Truncate(time.Second), Reason: reason}
	err = d.change(ctx, "pause", func(now picture) ([]election.Op, *cluster.HistoryEntry, error) {
		if now.Paused {
			p, former = now.View.Pause, true
			return nil, nil, nil
		}
		why := "automatic failover was paused by " + d.By
		if reason != "" {
			why += ": " + reason
		}
		return []election.Op{election.CAS(d.keys().Pause(), 0, cluster.Encode(p))}, &cluster.HistoryEntry{Kind: cluster.HistoryPause, Why: why}, nil
	})
	return p, former, err
}

// gone deletes a record if it is still the one that was read: of two operators only one has ended it.
func gone(now picture, key string) []election.Op {
	return []election.Op{election.CheckIndex(key, now.index(key)), election.Delete(key)}
}

// Resume ends the pause; paused is false when there was none.
func (d *Desk) Resume(ctx context.Context) (paused bool, err error) {
	err = d.change(ctx, "resume", func(now picture) ([]election.Op, *cluster.HistoryEntry, error) {
		if paused = now.Paused; !paused {
			return nil, nil, nil
		}
		return gone(now, d.keys().Pause()), &cluster.HistoryEntry{Kind: cluster.HistoryResume, Why: "the pause was ended by " + d.By}, nil
	})
	return paused, err
}

// Shared reads the cluster-wide settings. A cluster that is not there yet has none.
func (d *Desk) Shared(ctx context.Context) (map[string]string, error) {
	const what = "read cluster-wide settings"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := d.Store.Read(ctx, d.keys().Settings(), true)
	if err != nil {
		return nil, consulError(what, err, "a node's own settings alone are shown by: autopilot-mysql config check")
	}
	_, extra, err := d.keys().Parse(v)
	if err == nil && extra.SettingsTrouble != "" {
		err = errors.New(extra.SettingsTrouble)
	}
	if err != nil {
		return nil, &cli.Error{What: what, Why: err.Error(), Err: err, Next: "repair or delete that key"}
	}
	return extra.Settings, nil
}

// Set changes cluster-wide settings: "name=value", or "name=" to take one back. The settings then in force are returned.
func (d *Desk) Set(ctx context.Context, changes []string) (now map[string]string, err error) {
	const what = "set cluster-wide settings"
	wanted, err := parseChanges(what, changes)
	if err != nil {
		return nil, err
	}
	err = d.change(ctx, what, func(p picture) ([]election.Op, *cluster.HistoryEntry, error) {
		if p.extra.SettingsTrouble != "" {
			return nil, nil, &cli.Error{What: what, Why: p.extra.SettingsTrouble, Next: "repair or delete that key; nothing was changed"}
		}
		now = maps.Clone(p.extra.Settings)
		if now == nil {
			now = map[string]string{}
		}
		was := maps.Clone(now)
		for name, value := range wanted {
			if now[name] = value; value == "" {
				delete(now, name)
			}
		}
		if maps.Equal(was, now) {
			return nil, nil, nil
		}
		if err := config.CheckShared(now); err != nil {
			return nil, nil, &cli.Error{Code: cli.Usage, What: what, Why: err.Error(), Next: "nothing was changed"}
		}
		if err := p.maySet(what, was, now); err != nil {
			return nil, nil, err
		}
		stored := map[string]string{}
		for name, value := range now {
			stored[strings.ReplaceAll(name, "-", "_")] = value
		}
		return []election.Op{election.CAS(d.keys().Settings(), p.extra.SettingsVer, cluster.Encode(stored))},
			&cluster.HistoryEntry{Kind: cluster.HistorySettings, Why: d.By + " set " + strings.Join(slices.Sorted(slices.Values(changes)), ", ")}, nil
	})
	return now, err
}

func parseChanges(what string, changes []string) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range changes {
		name, value, ok := strings.Cut(c, "=")
		name = strings.ReplaceAll(name, "_", "-")
		switch _, twice := out[name]; {
		case !ok:
			return nil, &cli.Error{Code: cli.Usage, What: what, Why: fmt.Sprintf("%q is not KEY=VALUE", c), Next: "see autopilot-mysql config set --help"}
		case !slices.Contains(config.Shared(), name):
			return nil, &cli.Error{Code: cli.Usage, What: what, Why: name + " is not a setting of the whole cluster", Next: "there are: " + strings.Join(config.Shared(), ", ")}
		case twice:
			return nil, &cli.Error{Code: cli.Usage, What: what, Why: name + " is given twice", Next: "give each setting once"}
		}
		out[name] = strings.TrimSpace(value)
	}
	return out, nil
}

// maySet refuses what running nodes could not take over together.
func (p picture) maySet(what string, was, now map[string]string) error {
	for _, name := range config.Shared() {
		if !config.OnlyAtStart(name) || was[name] == now[name] {
			continue
		}
		for _, i := range p.Incs() {
			if p.Nodes[i].Alive() {
				return refusal(what, "", &roles.Refusal{Guard: roles.GuardUnsafeSetting, Why: fmt.Sprintf("%s changes only while no node runs, and %s does: stop all nodes, set it, start them again", name, i.Name())})
			}
		}
	}
	return nil
}

// Past is what the history has to tell.
type Past struct {
	// Open are the requests without an outcome.
	Open    []roles.Request        `json:"open"`
	Entries []cluster.HistoryEntry `json:"history"`
}

// History reads the newest entries, the oldest of them first; limit 0: all.
func (d *Desk) History(ctx context.Context, limit int) (Past, error) {
	p, err := d.read(ctx, "show history")
	if err != nil {
		return Past{}, err
	}
	rctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := d.Store.Read(rctx, d.keys().History(), true)
	if err != nil {
		return Past{}, consulError("show history", err, "")
	}
	past := Past{Open: p.Requests, Entries: cluster.ParseHistory(v)}
	if past.Open == nil {
		past.Open = []roles.Request{}
	}
	if limit > 0 {
		past.Entries = past.Entries[max(0, len(past.Entries)-limit):]
	}
	return past, nil
}
