package agent

import (
	"context"
	"strconv"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/hooks"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// hooksAtStop is how long hooks may go on when the node's work is over: long enough for one that takes an address away,
// and far below the stop period.
const hooksAtStop = 5 * time.Second

// newHooks makes the runner of the operator's hooks; nil when there are none.
func newHooks(d Deps) (*hooks.Runner, error) {
	dir := d.Settings.Hooks
	if dir == "" {
		return nil, nil
	}
	if err := hooks.Check(dir); err != nil {
		return nil, unusable("hooks", err.Error(), "correct the directory, or leave --hooks out")
	}
	return hooks.New(hooks.Options{Dir: dir, Timeout: d.Settings.HookTimeout, Log: d.Log}), nil
}

// hookFacts are what every hook is told.
func hookFacts(s *config.Settings, http string) hooks.Facts {
	return hooks.Facts{
		"NODE": s.Name, "CLUSTER": s.Cluster, "SERVICE": s.Service, "DATADIR": s.Datadir,
		"ADDRESS": s.Advertise, "PORT": strconv.Itoa(s.AdvertisePort), "HTTP": http,
	}
}

// tell is hookFacts and what this event is about.
func (a *Agent) tell(more hooks.Facts) hooks.Facts {
	f := hookFacts(a.Settings, a.HTTPAddr)
	for name, v := range more {
		f[name] = v
	}
	return f
}

// hookTransition starts the hooks of a change of state. It waits for nothing: a demotion goes through here.
func (a *Agent) hookTransition(t engine.Transition[roles.State, roles.Event]) {
	why := t.Why
	if t.Detail != "" {
		why += ": " + t.Detail
	}
	f := hooks.Facts{"FROM": string(t.From), "TO": string(t.To), "ON": string(t.On), "WHY": why, "TERM": strconv.FormatUint(a.disk.s.LastSync.Term, 10)}
	switch {
	case t.To == roles.Primary:
		a.hooks.Start(hooks.AfterPromote, a.tell(f))
	case t.From == roles.Primary:
		a.hooks.Start(hooks.BeforeDemote, a.tell(f))
	case t.To == roles.RestoreSnapshot:
		a.hooks.Start(hooks.BeforeRebuild, a.tell(f))
	case t.From == roles.RestoreSnapshot:
		a.hooks.Start(hooks.AfterRebuild, a.tell(f))
	}
}

// hookDemoted starts what comes after a demotion: no client writes here any more.
func (a *Agent) hookDemoted(why string) {
	a.hooks.Start(hooks.AfterDemote, a.tell(hooks.Facts{"FROM": string(roles.Primary), "TO": string(a.machine.State()), "WHY": why,
		"TERM": strconv.FormatUint(a.disk.s.LastSync.Term, 10)}))
}

// hookPromotion runs what comes before a promotion, for a bounded time. The term is this node's already, so nobody else
// can open meanwhile; the lease is looked at again before writes are let in.
func (a *Agent) hookPromotion(ctx context.Context, f roles.Facts, left time.Duration) {
	limit := min(a.Settings.HookWait, left/2)
	a.hooks.Wait(ctx, hooks.BeforePromote, a.tell(hooks.Facts{"FROM": string(a.machine.State()), "TO": string(roles.Primary),
		"TERM": strconv.FormatUint(f.View.Sync.Term, 10), "WHY": a.why}), limit)
}

// snapshotFacts are told around a snapshot.
func (s *snapshotter) snapshotFacts(v noticed, why, id string, err error) hooks.Facts {
	f := hooks.Facts{"WHY": why, "STATE": string(v.state)}
	switch {
	case err != nil:
		f["OUTCOME"], f["ERROR"] = "failed", err.Error()
	case id != "":
		f["OUTCOME"], f["SNAPSHOT"] = "done", id
	}
	return s.a.tell(f)
}
