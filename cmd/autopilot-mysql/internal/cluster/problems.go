package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// Problem is one thing that is wrong: what, what the cluster does about it by itself, and what an operator can do.
type Problem struct {
	Node string `json:"node"` // "" when it is about the whole cluster
	What string `json:"what"`
	Next string `json:"next"` // "" when nothing happens by itself
	Do   string `json:"do"`   // "" when there is nothing to do but wait
}

// judge fills in health, summary and problems.
func (d *Doc) judge(v roles.View) {
	d.Problems = []Problem{}
	if !v.OK {
		d.Problems = append(d.Problems, Problem{What: "this node " + cannotRead,
			Next: "it goes on with what it knows, and reads again as soon as Consul answers", Do: "ask another node, or look at Consul and at the way there"})
	}
	whole := wholeProblem(v)
	if whole != nil {
		d.Problems = append(d.Problems, *whole)
	}
	d.Problems = append(d.Problems, garbageProblems(v, d.Primary)...)
	for _, n := range d.Nodes {
		if p := nodeProblem(n, v, d.Primary); p != nil {
			d.Problems = append(d.Problems, *p)
		}
	}
	d.Problems = append(d.Problems, versionProblems(d)...)
	if h, ok := v.ValidPrimary(); ok && h.Neighbour != "" {
		d.Problems = append(d.Problems, Problem{What: h.Neighbour + ": applications cannot tell it from " + h.Name,
			Do: "give one of the two another service name: the setting --service, the same on all of its nodes"})
	}
	// The primary's own trouble and what is dead come before what is on its way.
	slices.SortStableFunc(d.Problems, func(a, b Problem) int { return d.rank(a) - d.rank(b) })
	d.Problems = append(d.Problems, lasting(d)...)
	switch {
	case d.Primary == "":
		d.Health = Broken
	case len(d.Problems) > 0:
		d.Health = Degraded
	default:
		d.Health = Well
	}
	d.Summary = d.summary(whole)
}

// cannotRead is what a document says that is shown although it may not be true any more.
const cannotRead = "cannot read Consul; what follows is as it was when it last could"

// Unread is d as a command shows it while it cannot read Consul any more: what it was, and that nobody knows whether it
// still is so. A program that reads one document after another sees the same as from a node that is cut off.
func (d Doc) Unread(why string) Doc {
	d.Problems = slices.Insert(slices.Clone(d.Problems), 0, Problem{What: "this command " + cannotRead + ": " + why,
		Next: "it reads again every second", Do: "look at Consul and at the way there, or name other Consul servers with --consul"})
	if d.Primary != "" {
		d.Health, d.Summary = Degraded, d.summary(nil)
	}
	return d
}

func (d *Doc) rank(p Problem) int {
	i := slices.IndexFunc(d.Nodes, func(n NodeDoc) bool { return n.Name == p.Node })
	switch {
	case i < 0:
		return 0
	case p.Node == d.Primary:
		return 1
	case d.Nodes[i].State == Down:
		return 2
	}
	return 3
}

func (d *Doc) summary(whole *Problem) string {
	if whole != nil {
		return whole.What
	}
	s := fmt.Sprintf("%s is primary in term %d, ", d.Primary, d.Term)
	switch n := d.AckSet.Acks; n {
	case 0:
		s += "and acknowledges writes alone"
	case 1:
		s += "and every acknowledged write is on at least 1 standby too"
	default:
		s += fmt.Sprintf("and every acknowledged write is on at least %d standbys too", n)
	}
	if n := len(d.Problems); n == 1 {
		s += "; 1 thing is wrong"
	} else if n > 1 {
		s += fmt.Sprintf("; %d things are wrong", n)
	}
	return s
}

// wholeProblem is why nobody can write; nil when somebody can.
func wholeProblem(v roles.View) *Problem {
	_, ok := v.ValidPrimary()
	last, missing, forgotten := v.Forgotten()
	switch {
	case ok:
		return nil
	case forgotten && v.Leader.Free() && len(missing) > 0:
		return &Problem{What: fmt.Sprintf("there is no primary, and Consul has lost the cluster's record (its nodes remember %s)", last),
			Next: "it is put back as soon as all members of that record report; missing: " + strings.Join(missing, ", "),
			Do:   "start who is missing; if that data is gone for good: autopilot-mysql failover --to NODE --force --accept-data-loss"}
	case v.GarbledVer(roles.KeyCluster) != 0 || v.GarbledVer(roles.KeySync) != 0:
		return &Problem{What: "there is no valid primary, and the cluster's record in Consul cannot be read",
			Next: "an open primary writes it anew; without one it is put back as soon as all members of the last ack set report",
			Do:   "start the members that are down"}
	case v.Cluster == nil && v.Sync.Exists():
		return &Problem{What: "the cluster's identity is gone from Consul",
			Next: "it is put back as soon as all members of the last ack set report", Do: "start the members that are down"}
	case v.Cluster == nil && !v.Leader.Free():
		return &Problem{What: v.Leader.Holder.Name() + " is creating the cluster", Next: "it opens for writes when its database is made"}
	case v.Cluster == nil:
		return &Problem{What: "the cluster does not exist in Consul",
			Next: "the first of the running nodes creates it, or its members put the lost record back", Do: "start the nodes"}
	case !v.Sync.Exists():
		return &Problem{What: "there is no primary: no term has been opened yet", Next: "the node that created the cluster opens it",
			Do: "if that node is gone for good, look at its log before anything else"}
	case v.Paused:
		return &Problem{What: "there is no primary, and automatic failover is paused" + v.Pause.Text(), Do: "autopilot-mysql resume"}
	case !v.Leader.Free() && v.Leader.Holder == v.Sync.Primary:
		return &Problem{What: fmt.Sprintf("there is no primary: %s holds the lock and is opening term %d", v.Leader.Holder.Name(), v.Sync.Term),
			Next: "it opens, or its lease runs out and an election begins"}
	case !v.Leader.Free():
		return &Problem{What: fmt.Sprintf("there is no primary: %s won term %d and is applying what it received", v.Leader.Holder.Name(), v.Sync.Term+1),
			Next: "it opens when everything is applied, or gives the lock back"}
	}
	return electionProblem(v)
}

// electionProblem describes an election that has no winner in place yet.
func electionProblem(v roles.View) *Problem {
	e := roles.Elect("", v, v.Sync.Acks)
	switch {
	case e.Alarm:
		return &Problem{What: "there is no primary, and only a person can decide: " + e.Why,
			Do: "autopilot-mysql failover --to NODE --force --accept-data-loss keeps NODE's history; the others' difference is archived"}
	case e.Winner != "" && v.Seals[e.Winner].Unfit:
		return &Problem{What: "there is no primary: " + e.Why, Next: e.Winner.Name() + " takes over when it can write again",
			Do: fmt.Sprintf("free or repair the disk of %s: %s", e.Winner.Name(), orUnknown(v.Nodes[e.Winner].Unfit))}
	case e.Winner != "" && v.Nodes[e.Winner].Held != "":
		return &Problem{What: "there is no primary: " + v.Nodes[e.Winner].Held, Next: e.Winner.Name() + " takes over when that time is over",
			Do: "autopilot-mysql failover --to " + e.Winner.Name()}
	case e.Winner != "":
		return &Problem{What: "there is no primary: " + e.Why, Next: e.Winner.Name() + " takes over within seconds"}
	}
	if v.LivingSuffice() {
		return &Problem{What: "there is no primary: " + e.Why, Next: "the living members seal themselves and elect one of them within seconds"}
	}
	return &Problem{What: "there is no primary: " + e.Why, Next: "the election ends by itself as soon as enough of the missing are back and sealed",
		Do: "start what is missing; if its data is gone for good: autopilot-mysql failover --to NODE --force --accept-data-loss names what is lost and asks"}
}

// nodeProblem is what is wrong with one node; nil when nothing is.
func nodeProblem(n NodeDoc, v roles.View, primary string) *Problem {
	p := &Problem{Node: n.Name, What: fmt.Sprintf("%s is %s: %s", n.Name, n.State, orUnknown(n.Reason))}
	if n.Unfit != "" && n.State != Down {
		p.Next = "it does not become primary, and is no standby, until it can write again"
		if n.State == string(roles.Primary) {
			p.Next = "another one takes over as soon as it stops to commit, if one can"
		}
		p.Do = "free or repair its disk: " + n.Datadir
		return p
	}
	if n.Errant != "" && n.State != Down {
		p.What = fmt.Sprintf("%s holds transactions that the primary lacks: somebody wrote there (%s)", n.Name, n.Errant)
		p.Next = "it is no standby meanwhile; with the setting errant=rebuild it archives them and gets a new copy"
		p.Do = "autopilot-mysql rebuild " + n.Name
		return p
	}
	switch n.State {
	case Down:
		p.Next = "it joins again by itself when it is started"
		if n.AckMember && primary != "" {
			p.Next = "the primary takes it out of the ack set and goes on; " + p.Next
		}
		p.Do = "start it; if it is gone for good: autopilot-mysql remove " + n.Name
		if primary == "" {
			p.Do = "start it"
		}
	case string(roles.Init), string(roles.RestoreSnapshot):
		p.Next = "it becomes a replica when its data is there"
	case string(roles.Failover):
		p.Next = "it goes on when a primary is open, as the winner or following it"
	case string(roles.Primary):
		if n.Healthy && n.Name == primary {
			return nil
		}
		p.Next = "it opens, or another one is elected"
		p.Do = "look at its log: " + n.Datadir
	default:
		return followerProblem(n, v, p)
	}
	return p
}

// followerProblem looks at a replica or standby.
func followerProblem(n NodeDoc, v roles.View, p *Problem) *Problem {
	switch {
	case !n.Healthy && v.Leader.Free():
		p.Next = "it is sealed and takes part in the election"
	case !n.Healthy && !n.receiving:
		p.What = fmt.Sprintf("%s receives nothing: %s", n.Name, orUnknown(n.Reason))
		p.Next = "it goes on connecting; if the primary is dead, another one is elected when the lease has run out"
		if h, ok := v.ValidPrimary(); ok {
			p.Do = fmt.Sprintf("if it stays so: see whether %s reaches %s at %s", n.Name, h.Name, h.MySQL)
		}
	case !n.Healthy:
		p.What = fmt.Sprintf("%s does not replicate: %s", n.Name, orUnknown(n.Reason))
		p.Next = "it tries again by itself"
		p.Do = "if it stays so: autopilot-mysql rebuild " + n.Name
	case !n.Caught:
		p.What = fmt.Sprintf("%s lags behind: %s", n.Name, lagText(n.LagSeconds))
		p.Next = "it is offered to readers again, and may become a standby, when it has caught up"
		p.Do = "look for long transactions, or tables without a primary key"
	default:
		return nil
	}
	return p
}

// lasting are conditions under which everything works, and still the next fault could hurt.
func lasting(d *Doc) []Problem {
	var out []Problem
	if d.Paused && d.Primary != "" {
		out = append(out, Problem{What: "automatic failover is paused" + d.Pause.Text(), Next: "nothing: if the primary dies, nobody takes over", Do: "autopilot-mysql resume"})
	}
	for _, n := range d.Nodes {
		if n.Maintenance != nil {
			out = append(out, Problem{Node: n.Name, What: n.Name + " is in maintenance" + n.Maintenance.Text(),
				Next: "it follows on if it runs; it is not offered to readers and never becomes primary", Do: "autopilot-mysql resume " + n.Name})
		}
	}
	if d.settingsTrouble != "" {
		out = append(out, Problem{What: "the cluster-wide settings cannot be read: " + d.settingsTrouble, Next: "the nodes go on with those they know", Do: "repair or delete that key"})
	}
	for _, n := range d.Nodes {
		if n.Kept != "" {
			out = append(out, Problem{Node: n.Name, What: n.Name + ": " + n.Kept, Next: "it is uploaded as soon as the store takes it; without a store it stays there",
				Do: "look at it, and remove that directory when it is not needed"})
		}
	}
	if d.Primary != "" && d.AckSet.Acks == 0 {
		p := Problem{What: "no standby holds the newest writes: they are lost if the primary's disk is",
			Next: "a replica that has caught up becomes a standby by itself"}
		if len(d.Nodes) < 2 {
			p = Problem{What: "there is only one node: nobody could take over", Do: "start more nodes with the same --cluster and --consul"}
		}
		out = append(out, p)
	}
	return out
}

func orUnknown(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "it does not say why"
	}
	return s
}

func lagText(seconds float64) string {
	if seconds < 0 {
		return "it does not know how far"
	}
	return fmt.Sprintf("%.0f s", seconds)
}
