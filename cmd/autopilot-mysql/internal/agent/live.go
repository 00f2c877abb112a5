package agent

import (
	"context"
	"fmt"
	"maps"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// liveSettings are this node's settings with the cluster's values on top, as they are now. Loop only.
type liveSettings struct {
	now     *config.Settings  // nil: as started
	applied map[string]string // what now was made from
	refused string            // the trouble that was logged last
}

// settings are what decisions go by at this instant.
func (a *Agent) settings() *config.Settings {
	if a.live.now != nil {
		return a.live.now
	}
	return a.Settings
}

// adoptSettings takes over the cluster-wide settings. What cannot be used is said once, and the last good values stay.
func (a *Agent) adoptSettings(v roles.View, x cluster.Extra) *ending {
	if !v.OK {
		return nil
	}
	if x.SettingsTrouble != "" {
		a.refuseSettings(x.SettingsTrouble)
		return nil
	}
	if a.live.now != nil && maps.Equal(x.Settings, a.live.applied) || a.live.now == nil && len(x.Settings) == 0 {
		return nil
	}
	next, err := config.WithShared(*a.Settings, x.Settings)
	if err != nil {
		a.refuseSettings(err.Error())
		return nil
	}
	if next.Lease != a.Params.C { // sessions, checks and mysqld's own time-outs hang on it
		if a.machine.State() == roles.Primary {
			next.Lease = a.Params.C
		} else {
			return &ending{1, fmt.Sprintf("run node %s: the cluster's lease is %v and this node was started with %v; it takes over the cluster's when it is started again", a.Settings.Name, next.Lease, a.Params.C)}
		}
	}
	a.live = liveSettings{now: &next, applied: x.Settings}
	a.keeper.setPolicy(next.Policy == "keep")
	a.Log.Info("cluster-wide settings taken over", "settings", fmt.Sprint(x.Settings))
	return nil
}

func (a *Agent) refuseSettings(why string) {
	if a.live.refused != why {
		a.Log.Warn("the cluster-wide settings cannot be used; going on with those before", "why", why)
	}
	a.live.refused = why
}

// recordLease makes this node's lease the cluster's, unless somebody has set one: every node that starts takes it over.
// Should it fail, each node goes by its own.
func (a *Agent) recordLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.Params.R)
	defer cancel()
	value := cluster.Encode(map[string]string{"lease": a.Params.C.String()})
	if _, _, err := a.Store.Txn(ctx, election.CAS(a.keys.Settings(), 0, value)); err != nil {
		a.Log.Warn("record the cluster's lease", "err", err)
	}
}

// clusterSettings are the settings in the words of decisions.
func (a *Agent) clusterSettings() roles.Settings {
	s := a.settings()
	return roles.Settings{Acks: s.Acks, MaxAckers: s.MaxAckers, GoOnAlone: s.Alone == "go-on", C: a.Params.C, H: a.Params.H, Heartbeat: heartbeat,
		RebuildErrant: s.Errant == "rebuild", Cooldown: s.Cooldown, FailoversPerHour: s.FailoversPerHour}
}

// setPolicy changes what counts as a proof from now on.
func (k *keeper) setPolicy(keep bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keep = keep
}

// caughtUp says whether a lag is within the limit.
func (a *Agent) caughtUp(lagSeconds float64) bool {
	return lagSeconds >= 0 && lagSeconds <= a.settings().MaxLag.Seconds()
}
