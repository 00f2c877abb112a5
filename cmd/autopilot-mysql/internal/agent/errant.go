package agent

import (
	"context"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// errantEvery is how often a follower compares its whole history with the primary's. Writes under its own UUID are
// noticed at once, by its own position alone.
const (
	errantEvery = time.Minute
	// errantRetry is the pause after a comparison that could not be made.
	errantRetry = 5 * time.Second
)

// errantChecker compares beside the loop: reading the primary's history takes a login.
type errantChecker struct {
	at    time.Duration // when the last comparison began
	own   gtid.Set      // this server's own transactions at that time
	about checkedHistory

	mu      sync.Mutex
	running bool
	failed  bool      // the last comparison could not be made
	found   *gtid.Set // outcome nobody has looked at yet
}

// lookForErrant reports the transactions of this follower that its primary lacks; "" for none known. In doubt there are
// none: only a comparison that succeeded says anything.
func (a *Agent) lookForErrant(ctx context.Context, now time.Duration, view roles.View, m roles.MySQL) string {
	if s := a.machine.State(); s != roles.Replica && s != roles.Standby || !m.Ready {
		return ""
	}
	c := &a.checker
	h, ok := view.ValidPrimary()
	about := checkedHistory{h.Inc, view.Sync.Term}
	if !ok || a.checked != about || m.Source != h.MySQL {
		return a.errant.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found != nil && c.about == about {
		if found := *c.found; !found.Equal(a.errant) {
			a.errant = found
			if found.IsEmpty() {
				a.Log.Info("the primary has everything that this node has")
			} else {
				a.Log.Warn("this node holds transactions that its primary lacks; somebody wrote here", "primary", h.Name, "gtids", found.String(),
					"setting_errant", a.settings().Errant)
			}
		}
	}
	c.found = nil
	own := ownPart(a.disk.s.UUID, m.Executed)
	pause := errantEvery
	if c.failed || !a.errant.IsEmpty() {
		pause = errantRetry
	}
	if c.running || c.about == about && now-c.at < pause && (c.failed || c.own.Equal(own)) {
		return a.errant.String()
	}
	c.at, c.own, c.about, c.running = now, own, about, true
	position := m.Position() // read before the primary is asked
	go c.compare(context.WithoutCancel(ctx), h, a.creds, position)
	return a.errant.String()
}

func (c *errantChecker) compare(ctx context.Context, h roles.Node, creds mysql.Credentials, position gtid.Set) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	history, _, err := mysql.HistoryOf(ctx, h.MySQL, creds, h.Inc.UUID())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
	if c.failed = err != nil; c.failed {
		return
	}
	extra := position.Subtract(history)
	c.found = &extra
}
