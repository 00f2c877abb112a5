package roles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Names of the guards that refuse an operator's request. They are part of the interface: scripts read them.
const (
	GuardPaused         = "paused"
	GuardPrimary        = "primary"         // the node is the primary
	GuardPrimaryLives   = "primary-lives"   // there is nothing to fail over from
	GuardNoPrimary      = "no-primary"      // it takes a primary to do this
	GuardAckPromise     = "ack-promise"     // too few would hold an acknowledged write
	GuardNodeLives      = "node-lives"      // only a dead node is removed just like that
	GuardNodeDown       = "node-down"       // the node has to do something itself
	GuardDataLoss       = "data-loss"       // acknowledged writes may be lost
	GuardElection       = "election"        // somebody else can take over without any loss
	GuardAnotherRequest = "another-request" // somebody else's request is under way
	GuardUnsafeSetting  = "unsafe-setting"  // not while the cluster runs
	GuardConfirmation   = "not-confirmed"   // the operator did not confirm
	GuardNoStandby      = "no-standby"      // nobody could take over
	GuardTarget         = "target"          // the named node cannot take over
	GuardVersions       = "versions"        // somebody would follow a MySQL newer than its own
)

// Guards lists the names of all guards.
func Guards() []string {
	return []string{GuardPaused, GuardPrimary, GuardPrimaryLives, GuardNoPrimary, GuardAckPromise, GuardNodeLives, GuardNodeDown, GuardDataLoss,
		GuardElection, GuardAnotherRequest, GuardUnsafeSetting, GuardConfirmation, GuardNoStandby, GuardTarget, GuardVersions}
}

// Refusal is a safety guard's no: which guard, and one sentence with what overrides it.
type Refusal struct {
	Guard string
	Why   string
}

func refused(guard, format string, args ...any) *Refusal {
	return &Refusal{Guard: guard, Why: fmt.Sprintf(format, args...)}
}

// Refuse says why a request cannot be granted as things are; nil when it can. The command line asks before it writes a
// request, and the node that is responsible asks again before it begins: things change in between.
func Refuse(r Request, v View) *Refusal {
	switch r.Kind {
	case RequestSwitchover:
		return refuseSwitchover(r, v)
	case RequestRebuild:
		return refuseRebuild(r, v)
	case RequestRemove:
		return refuseRemove(r, v)
	case RequestFailover:
		return refuseFailover(r, v)
	}
	return nil
}

func refuseRebuild(r Request, v View) *Refusal {
	h, ok := v.ValidPrimary()
	switch {
	case !ok:
		return refused(GuardNoPrimary, "there is no primary to get the data from; bring one back first, see: autopilot-mysql status")
	case h.Name == r.Node:
		return refused(GuardPrimary, "%s is the primary: first hand over with: autopilot-mysql switchover", r.Node)
	}
	if n, _ := v.Living(r.Node); !n.Alive() {
		return refused(GuardNodeDown, "%s is not running and replaces its data itself: start it first, or take it out with: autopilot-mysql remove %s", r.Node, r.Node)
	}
	return refuseShrinking(r, v, "rebuild")
}

func refuseRemove(r Request, v View) *Refusal {
	h, ok := v.ValidPrimary()
	switch {
	case !ok:
		return refused(GuardNoPrimary, "there is no primary, which would have to take %s out of the ack set; bring one back first, see: autopilot-mysql status", r.Node)
	case h.Name == r.Node:
		return refused(GuardPrimary, "%s is the primary: first hand over with: autopilot-mysql switchover", r.Node)
	}
	n, _ := v.Living(r.Node)
	if n.Alive() && !n.Inc.HasData() {
		return refused(GuardNodeLives, "%s is running and has no data yet, so it would join again at once: stop it first", r.Node)
	}
	if n.Alive() && !r.Options.Force {
		return refused(GuardNodeLives, "%s is running: stop it first, or end it with: autopilot-mysql remove %s --force", r.Node, r.Node)
	}
	if !n.Alive() { // it acknowledges nothing any more, whatever the ack set says
		return nil
	}
	return refuseShrinking(r, v, "remove")
}

// refuseShrinking: without the node at least as many others must acknowledge as were promised.
func refuseShrinking(r Request, v View, verb string) *Refusal {
	if r.Options.Force || !slices.ContainsFunc(v.Sync.Ackers(), func(a Inc) bool { return a.Name() == r.Node }) {
		return nil
	}
	left := 0
	for _, a := range v.Sync.Ackers() {
		if n := v.Nodes[a]; a.Name() != r.Node && n.Alive() && n.Healthy && n.Armed {
			left++
		}
	}
	if left >= v.Sync.Acks {
		return nil
	}
	return refused(GuardAckPromise, "without %s %s would acknowledge, and every write is promised to be on %d more: add a node first, or accept that the newest writes are on fewer disks with: autopilot-mysql %s %s --force",
		r.Node, standbys(left), v.Sync.Acks, verb, r.Node)
}

func standbys(n int) string {
	switch n {
	case 0:
		return "no standby"
	case 1:
		return "only 1 standby"
	}
	return fmt.Sprintf("only %d standbys", n)
}

func refuseFailover(r Request, v View) *Refusal {
	if h, ok := v.ValidPrimary(); ok {
		return refused(GuardPrimaryLives, "%s is the primary and lives: hand over with: autopilot-mysql switchover", h.Name)
	}
	if v.Paused {
		return refused(GuardPaused, "automatic failover is paused%s: end that with: autopilot-mysql resume", v.Pause.Text())
	}
	if !v.Leader.Free() {
		return refused(GuardElection, "%s holds the lock and is about to open; if it does not: wait until the lock is free again", v.Leader.Holder.Name())
	}
	if v.RecordLost() {
		return refuseUnrecorded(r, v)
	}
	e := Elect("", v, v.Sync.Acks)
	switch {
	case e.Winner != "" && (r.Node == "" || e.Winner.Name() == r.Node):
		return nil
	case e.Winner != "":
		return refused(GuardElection, "%s takes over without losing anything: let it, then hand over with: autopilot-mysql switchover --to %s", e.Winner.Name(), r.Node)
	case r.Options.Force && r.Options.AcceptDataLoss:
		return refuseForced(r, v)
	case !e.Alarm && v.LivingSuffice():
		return nil // the missing seals are on their way: the election ends by itself
	}
	return refused(GuardDataLoss, "acknowledged writes may be lost: %s; start what is missing, or give up what only it holds with: %s", e.Why, forcedFailover(r.Node))
}

// refuseForced checks what not even force can do without.
func refuseForced(r Request, v View) *Refusal {
	n, no := aliveTarget(r, v)
	if no != nil {
		return no
	}
	if s, ok := v.Seals[n.Inc]; !ok || s.Promise != v.Sync.Term+1 {
		return refused(GuardElection, "%s has not yet said what it holds (it seals itself as soon as it has data and sees no primary): try again in a moment", r.Node)
	}
	return nil
}

// aliveTarget is the node that a forced failover names.
func aliveTarget(r Request, v View) (Node, *Refusal) {
	if r.Node == "" {
		return Node{}, refused(GuardDataLoss, "with --force the node whose history the cluster goes on with must be named with: --to NODE")
	}
	n, _ := v.Living(r.Node)
	if !n.Alive() {
		return Node{}, refused(GuardNodeDown, "%s is not running: start it, or name another node with --to", r.Node)
	}
	return n, nil
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

// Text is who paused and why, for the middle of a sentence.
func (p Pause) Text() string {
	s := ""
	if p.By != "" {
		s = " by " + p.By
	}
	if p.Reason != "" {
		s += " (" + p.Reason + ")"
	}
	return s
}

// Living is the record of a node by its bare name: the living one, else the newest.
func (v View) Living(name string) (found Node, ok bool) {
	for i, n := range v.Nodes {
		if i.Name() != name {
			continue
		}
		n.Inc, n.Name = i, name
		better := n.Alive() && !found.Alive() || n.Alive() == found.Alive() && i.rebuilds() > found.Inc.rebuilds()
		if !ok || better {
			found, ok = n, true
		}
	}
	return found, ok
}

// Knows reports whether there is a node of this bare name: a record of it, or a place in the ack set.
func (v View) Knows(name string) bool {
	_, ok := v.Living(name)
	return ok || slices.ContainsFunc(v.Sync.Members, func(m Inc) bool { return m.Name() == name })
}

// LivingSuffice says whether the members that are alive can end the election without anybody's help.
func (v View) LivingSuffice() bool {
	alive := 0
	for _, m := range v.Sync.Members {
		switch n := v.Nodes[m]; {
		case !n.Alive():
		case m == v.Sync.Primary:
			return true
		case !n.Void:
			alive++
		}
	}
	return alive > len(v.Sync.Ackers())-v.Sync.Acks
}

// Loss is what a forced failover gives up.
type Loss struct {
	// Known are the transactions that a sealed node holds and the target lacks, by the node's name.
	Known map[string]gtid.Set
	// Silent are the members that say nothing: acknowledged writes that only they hold cannot be named.
	Silent []string
}

// LossOf computes what is lost when the cluster goes on with the named node's history: positions are compared as sealed.
// While the cluster's record is lost nobody is sealed; those who report elect one of themselves once it is back.
func LossOf(v View, node string) Loss {
	l := Loss{Known: map[string]gtid.Set{}}
	if v.RecordLost() {
		_, l.Silent, _ = v.Forgotten()
		return l
	}
	target, _ := v.Living(node)
	have := v.Seals[target.Inc].Position
	term := v.Sync.Term + 1
	for i, s := range v.Seals {
		if i == target.Inc || s.Promise != term {
			continue
		}
		if extra := s.Position.Subtract(have); !extra.IsEmpty() {
			l.Known[i.Name()] = extra
		}
	}
	for _, m := range v.Sync.Members {
		if s, ok := v.Seals[m]; m != target.Inc && (!ok || s.Promise != term) {
			l.Silent = append(l.Silent, m.Name())
		}
	}
	slices.Sort(l.Silent)
	return l
}

// String names everything, in one sentence.
func (l Loss) String() string {
	var parts []string
	names := make([]string, 0, len(l.Known))
	for name := range l.Known {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s (%d transactions, known from %s)", l.Known[name], l.Known[name].Count(), name))
	}
	if len(l.Silent) > 0 {
		parts = append(parts, "whatever was acknowledged and is only on "+strings.Join(l.Silent, ", ")+" (not reachable, so it cannot be named)")
	}
	if len(parts) == 0 {
		return "nothing that is known"
	}
	return strings.Join(parts, "; and ")
}

// Forced is the record with which the cluster goes on with me alone: nobody else votes or wins any more, and whoever
// comes back with other writes is found to have diverged, its difference is archived, and it is rebuilt. The lock is
// still to be taken in the ordinary way, in the term after it.
func Forced(me Inc, v View) Sync {
	return Sync{Ver: v.Sync.Ver, Term: v.Sync.Term + 1, Primary: me, Members: []Inc{me}}
}
