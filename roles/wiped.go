package roles

import (
	"fmt"
	"slices"
	"strings"
)

// decideWiped handles a Consul that lost the cluster's records while nodes have data. The newest record that anybody
// remembers is put back once all its members report, so that nobody is left out who may hold an acknowledged write; or when
// an operator goes on without those who will never report again.
func decideWiped(f Facts) Decision {
	lost := f.View.lost()
	if g, ok := f.View.garbled(keyNodes); ok {
		return wait(fmt.Sprintf("%s, and so is %s", lost, unreadable(g)))
	}
	newest := f.View.remembered(f.Disk.LastSync, f.Self.Inc)
	if !newest.Exists() {
		return wait(lost + " and no node remembers it")
	}
	newest.Ver = 0
	silent := f.View.silent(newest, f.Self.Inc)
	if len(silent) == 0 {
		return doStep(Step{Op: PutBack, Sync: newest, Why: lost + "; all of its last members are here"})
	}
	if r, ok := f.View.forcedOn(f.Self.Name); ok && !f.Stop && Refuse(r, f.View) == nil {
		newest.Absent = silent
		return doStep(Step{Op: PutBack, For: r.ID, Sync: newest, Why: fmt.Sprintf("%s; %s accepted the loss of %s", lost, r.By, LossOf(f.View, f.Self.Name))})
	}
	return wait(fmt.Sprintf("%s; it is put back when all of its last members report (%s); missing: %s", lost, newest, strings.Join(silent, ", ")))
}

// decideNewer is a node that comes back after an operator went on without it, before anybody has opened: it knows a newer
// record than the one that was put back. With that one nothing is given up.
func decideNewer(f Facts) Decision {
	newest := f.View.remembered(f.Disk.LastSync, f.Self.Inc)
	older := fmt.Sprintf("Consul's record (%s) was put back without %s and is older than what is known now (%s)", f.View.Sync,
		strings.Join(f.View.Sync.Absent, ", "), newest)
	if silent := f.View.silent(newest, f.Self.Inc); len(silent) > 0 {
		return wait(fmt.Sprintf("%s; that one is put back when all of its members report; missing: %s", older, strings.Join(silent, ", ")))
	}
	newest.Ver, newest.Absent = f.View.Sync.Ver, nil
	return doStep(Step{Op: PutBack, Sync: newest, Why: older + "; all of its members are here"})
}

// RecordLost reports whether one of the cluster's two records is not there, or garbage.
func (v View) RecordLost() bool { return v.Cluster == nil || !v.Sync.Exists() }

func unreadable(g Garbled) string {
	return fmt.Sprintf("the record %s (%s), which may know a newer one: waiting until its node writes it anew; "+
		"if that node is gone for good, delete the key", g.Key, g.Why)
}

// remembered is the newest record that anybody knows: own is what the node me itself does. With "" for me it is what
// everybody says.
func (v View) remembered(own Sync, me Inc) Sync {
	newest := own
	for _, i := range v.Incs() {
		// Inside a term only its primary changes the record, so of several copies of one term the primary's is the newest.
		if last := v.Nodes[i].LastSync; last != nil && (last.Term > newest.Term || last.Term == newest.Term && last.Primary == i) {
			newest = *last
		}
	}
	if own.Exists() && own.Term == newest.Term && own.Primary == me {
		return own
	}
	return newest
}

// Forgotten is the newest record that nodes remember while Consul has lost the cluster's, and the names of its members that
// do not report. ok is false when nothing is lost, or nobody remembers.
func (v View) Forgotten() (last Sync, missing []string, ok bool) {
	if !v.RecordLost() {
		return Sync{}, nil, false
	}
	last = v.remembered(Sync{}, "")
	return last, v.silent(last, ""), last.Exists()
}

// silent names the members of a remembered record that do not report. me, if it is not "", does.
func (v View) silent(last Sync, me Inc) []string {
	var names []string
	for _, m := range last.Members {
		if m != me && !v.reports(m) {
			names = append(names, m.Name())
		}
	}
	slices.Sort(names)
	return names
}

// reports says whether a member has said what it remembers since the record was lost. A rebuilt node does that for what it
// was: its state file outlives its data.
func (v View) reports(m Inc) bool {
	for i, n := range v.Nodes {
		if (i == m || i.Name() == m.Name() && i.rebuilds() > m.rebuilds()) && n.Alive() && (n.Misses || !v.RecordLost()) {
			return true
		}
	}
	return false
}

// refuseUnrecorded is refuseFailover while the cluster's records are lost. Once they are back an election needs no more of
// the members than ever; what a person may have to accept is that who is missing could know of a newer record.
func refuseUnrecorded(r Request, v View) *Refusal {
	if g, ok := v.garbled(keyNodes); ok {
		return refused(GuardDataLoss, "%s, and so is %s", v.lost(), unreadable(g))
	}
	newest, silent, ok := v.Forgotten()
	if !ok {
		return refused(GuardElection, "%s, and no node that is known remembers it: start the nodes that have data of the cluster", v.lost())
	}
	switch {
	case len(silent) == 0:
		return nil // it is put back in a moment
	case !r.Options.Force || !r.Options.AcceptDataLoss:
		return refused(GuardDataLoss, "acknowledged writes may be lost: %s; it is put back when all of its last members report (%s); missing: %s; start what is missing, "+
			"or give up what only it holds with: %s", v.lost(), newest, strings.Join(silent, ", "), forcedFailover(r.Node))
	}
	n, no := aliveTarget(r, v)
	switch {
	case no != nil:
		return no
	case !n.Misses:
		return refused(GuardElection, "%s has not yet said what it remembers of the record: try again in a moment", r.Node)
	case n.LastSync == nil:
		return refused(GuardTarget, "%s has no data of this cluster: name a node that has with --to", r.Node)
	}
	return nil
}

// forcedFailover is the command that overrides what a person must decide.
func forcedFailover(node string) string {
	return "autopilot-mysql failover --to " + orWord(node, "NODE") + " --force --accept-data-loss"
}

// someoneHasData names a node that remembers a term of this cluster. Creating a second database next to it would be
// the one mistake nobody could repair.
func someoneHasData(f Facts) (string, bool) {
	for _, i := range f.View.Incs() {
		if n := f.View.Nodes[i]; n.LastSync != nil && i != f.Self.Inc {
			return n.Name, true
		}
	}
	return "", false
}
