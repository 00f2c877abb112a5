package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// nameMargin is added to the lease when the session of a node that died is waited for: Consul is told of it by another
// machine, and the first session after the start of a Consul agent lives a little longer.
const nameMargin = 2 * time.Second

// nameTaken looks whether another data directory lives under this node's name. While that may be one that has just died it
// is waited for; after that this node ends, before it has touched anything. wait is the sentence meanwhile. A node that
// has had a session is the one of the name, and stays.
func (a *Agent) nameTaken(v roles.View) (wait string, end *ending) {
	s := a.keeper.state()
	if s.session != "" || a.leftOpen != 0 {
		a.named = true
	}
	switch {
	case a.named:
		return "", nil
	case s.trouble == nil:
		return "opening a session in Consul", nil
	case !errors.Is(s.trouble, election.ErrNameTaken): // Consul is out of reach: what needs no session goes on
		a.takenAt = 0
		return "", nil
	}
	now := election.Boottime()
	if a.takenAt == 0 {
		a.takenAt = now
	}
	other := "another data directory"
	for _, n := range v.Nodes {
		if n.Name == a.Settings.Name && n.Alive() {
			other = fmt.Sprintf("another node (MySQL %s, data directory %s)", n.MySQL, n.Datadir)
		}
	}
	if now-a.takenAt < a.Params.C+nameMargin {
		return other + " has this node's name; waiting for the end of its lease, if it is dead", nil
	}
	r := refuse("node "+a.Settings.Name, other+" is alive under this name in cluster "+a.Settings.Cluster,
		"give this one another --name; if the other one is gone, start again when its lease has run out; nothing was changed")
	return "", &ending{r.Code, r.Error()}
}
