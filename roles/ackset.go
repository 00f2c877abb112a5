package roles

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// decideAckSet is RECONCILE: accounts, K and sync must agree with each other and with who is there. The order of the
// rules is the order of urgency; each tick does the first that applies.
//
// finishAlone comes first: where a commit waits, a lock may hang behind it, and only finishing SELF frees the waiters.
//
// What must hold at every instant: whoever's acknowledgement can complete a commit is a member and unlocked; acks ≤ K.
func decideAckSet(f Facts) Decision {
	for _, rule := range []func(Facts) (Step, bool){finishAlone, closeStrangers, openFollowers, lowerAcks, adjustK, goOnAlone, removeAcker, dismiss, admit, raiseAcks, readmit, freeWaiters, handOver} {
		if s, ok := rule(f); ok {
			return doStep(s)
		}
	}
	return wait(steady(f))
}

// follows reports whether n has confirmed that it follows this primary in this term.
func follows(f Facts, n Node) bool {
	return n.Alive() && n.Follows == f.Self.Inc && n.FollowTerm == f.View.Sync.Term
}

// mayStream reports whether a follower may be let in: acknowledging only as a member.
func mayStream(f Facts, n Node) bool {
	return follows(f, n) && !f.View.banished(n.Inc) && (!n.ArmedWanted && !n.Armed || f.View.Sync.IsAcker(n.Inc))
}

// liveByName finds the living record of a node by its bare name: the newest, if that of a former incarnation is still there.
func liveByName(f Facts, name string) (found Node, ok bool) {
	for _, n := range f.View.Nodes {
		if n.Name == name && n.Alive() && (!ok || n.Inc.rebuilds() > found.Inc.rebuilds()) {
			found, ok = n, true
		}
	}
	return found, ok
}

// closeStrangers locks out whoever could acknowledge without being a member: nobody streams who has neither
// confirmed this term nor is a member.
func closeStrangers(f Facts) (Step, bool) {
	for _, name := range openNames(f) {
		n, live := liveByName(f, name)
		if live && mayStream(f, n) || memberByName(f, name) && (!live || f.View.Sync.Has(n.Inc)) {
			continue
		}
		return Step{Op: Lock, Node: Inc(name), Why: name + " could acknowledge without being a member"}, true
	}
	return Step{}, false
}

// open reports whether a node may send an acknowledgement now: its account is unlocked, or a stream it opened before
// still runs (a lock ends no stream, measured).
func open(f Facts, name string) bool { return f.MySQL.Unlocked[name] || f.MySQL.Streams[name] }

// openNames lists the nodes that are open, in order.
func openNames(f Facts) []string {
	all := map[string]bool{}
	for _, m := range []map[string]bool{f.MySQL.Unlocked, f.MySQL.Streams} {
		for name, is := range m {
			if is {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func memberByName(f Facts, name string) bool {
	return slices.ContainsFunc(f.View.Sync.Members, func(m Inc) bool { return m.Name() == name })
}

// finishAlone completes SELF: the record says nobody else can win, so everybody is locked out before K falls.
func finishAlone(f Facts) (Step, bool) {
	if len(f.View.Sync.Ackers()) > 0 || f.MySQL.K == 0 {
		return Step{}, false
	}
	for _, name := range openNames(f) {
		if n, live := liveByName(f, name); !(live && mayStream(f, n)) {
			return Step{Op: LockAll, Why: "nobody is left in the ack set: locking everybody out first"}, true
		}
	}
	return Step{Op: SetK, K: 0, Why: "nobody is left in the ack set: commits no longer wait"}, true
}

// openFollowers lets in whoever has confirmed this term.
func openFollowers(f Facts) (Step, bool) {
	for _, i := range f.View.Incs() {
		n := f.View.Nodes[i]
		if !mayStream(f, n) || f.MySQL.Unlocked[n.Name] || leaving(f, i) || lockedOut(f, n.Name) {
			continue
		}
		return Step{Op: Unlock, Node: i, Why: fmt.Sprintf("%s follows in term %d", n.Name, f.View.Sync.Term)}, true
	}
	return Step{}, false
}

// Sealed lists the ackers that sealed for the very term that was just won: they receive nothing from anywhere until they follow
// its primary as its members. OPEN need not wait for them to say so.
func Sealed(f Facts) []Inc {
	var out []Inc
	for _, a := range f.View.Sync.Ackers() {
		if n, live := liveByName(f, a.Name()); live && n.Inc == a && sealedFor(f, a) && !f.View.banished(a) && !lockedOut(f, a.Name()) {
			out = append(out, a)
		}
	}
	return out
}

// LetIn reports whether this node is one of those that the winner lets in by itself.
func LetIn(f Facts) bool { return f.View.Sync.IsAcker(f.Self.Inc) && sealedFor(f, f.Self.Inc) }

// sealedFor reports whether i sealed for the present term.
func sealedFor(f Facts, i Inc) bool {
	s, ok := f.View.Seals[i]
	return ok && s.Promise == f.View.Sync.Term
}

func lowerAcks(f Facts) (Step, bool) {
	if f.View.Sync.Acks <= f.Set.Acks {
		return Step{}, false
	}
	next := f.View.Sync
	next.Acks = f.Set.Acks
	return Step{Op: WriteSync, Sync: next, Why: fmt.Sprintf("the setting acks is %d", f.Set.Acks)}, true
}

// adjustK raises K once enough ackers acknowledge, and lowers it only to what sync already says.
func adjustK(f Facts) (Step, bool) {
	ackers := f.View.Sync.Ackers()
	want := min(f.Set.Acks, len(ackers))
	switch {
	case f.MySQL.K > want:
		return Step{Op: SetK, K: max(want, f.View.Sync.Acks), Why: fmt.Sprintf("%d ackers are left", len(ackers))}, f.MySQL.K != max(want, f.View.Sync.Acks)
	case f.MySQL.K < want && len(streaming(f)) >= want:
		return Step{Op: SetK, K: want, Why: "enough ackers acknowledge: commits wait for them from now on"}, true
	}
	return Step{}, false
}

// streaming lists the ackers that are connected and acknowledging now.
func streaming(f Facts) []Inc {
	var out []Inc
	for _, a := range f.View.Sync.Ackers() {
		if Streaming(f, a) {
			out = append(out, a)
		}
	}
	return out
}

// Streaming reports whether acker a is connected, alive and acknowledging, as far as the primary can see.
func Streaming(f Facts, a Inc) bool {
	n := f.View.Nodes[a]
	return f.MySQL.Streams[a.Name()] && follows(f, n) && n.Armed && n.Healthy
}

// goOnAlone is SELF: no acker is left. The record first, under the lock: from then on nobody else can win, so nobody
// else's acknowledgement is needed.
func goOnAlone(f Facts) (Step, bool) {
	ackers := f.View.Sync.Ackers()
	if len(ackers) == 0 {
		return Step{}, false
	}
	why := "no acker is left: " + names(ackers) + " silent"
	for _, a := range ackers {
		if _, forced := f.View.outgoing(a); forced || f.View.Maintenance[a.Name()].Force { // an operator knows what this costs
			why = "an operator takes the last acker out: " + names(ackers)
			continue
		}
		if !f.Set.GoOnAlone || f.Silent[a] <= 2*f.Set.H {
			return Step{}, false
		}
	}
	next := f.View.Sync
	next.Members, next.Acks = []Inc{f.Self.Inc}, 0
	return Step{Op: WriteSync, Sync: next, Why: why}, true
}

// leaving reports whether acker a is on its way out of the ack set.
func leaving(f Facts, a Inc) bool {
	sync := f.View.Sync
	if !sync.IsAcker(a) || len(sync.Ackers()) < 2 {
		return false
	}
	n, known := f.View.Nodes[a]
	out, _ := f.View.outgoing(a)
	out = out || f.View.InMaintenance(a.Name())
	return f.View.replaced(a) || (out || f.Silent[a] > f.Set.H || known && (n.NoFailover || n.Errant != "") || excess(f) == a || f.chains(a)) && enoughWithout(f, a)
}

// enoughWithout reports whether removing acker a could be completed now: whoever is connected can say that it holds
// everything, acknowledging or not. While the others are too few to keep the promise without it, locking it out would only
// keep away an acker that the promise needs, for ever if it is the one that is back.
func enoughWithout(f Facts, a Inc) bool {
	others := 0
	for _, o := range f.View.Sync.Ackers() {
		if n := f.View.Nodes[o]; o != a && f.MySQL.Streams[o.Name()] && follows(f, n) && n.Receiver != "" {
			others++
		}
	}
	return others >= min(f.View.Sync.Acks, len(f.View.Sync.Ackers())-1)
}

// excess names the acker that is one too many, the last by name; "" if none is.
func excess(f Facts) Inc {
	ackers := f.View.Sync.Ackers()
	if len(ackers) <= f.Set.MaxAckers {
		return ""
	}
	return slices.Max(ackers)
}

// lockedOut reports whether an acker of this bare name has to be locked out for its removal. Then nobody is let in under the
// name: a node that lost its disk would otherwise follow anew, and be locked out for what it was, again and again.
func lockedOut(f Facts, name string) bool {
	return slices.ContainsFunc(f.View.Sync.Ackers(), func(a Inc) bool { return a.Name() == name && leaving(f, a) && !f.View.replaced(a) })
}

// removeAcker is REMOVE: the acker's stream ends first (a time-out is never that), then enough of the others must hold
// everything up to now, and only then the record changes. Before its stream ends the others must have answered once: while
// one of them says nothing (its process hangs, its mysqld goes on), an acker that was locked out would stay locked out.
// What it says about itself is not enough: one that does not acknowledge may be about to begin.
func removeAcker(f Facts) (Step, bool) {
	sync := f.View.Sync
	for _, a := range sync.Ackers() {
		if !leaving(f, a) {
			continue
		}
		next := sync.Without(a)
		if !f.View.replaced(a) && open(f, a.Name()) {
			could := couldQuestion(f, a)
			switch s, ask := ensureAsked(f, could); {
			case len(confirmed(f, could, next.Ackers())) >= next.Acks:
				return Step{Op: Lock, Node: a, Why: a.Name() + " leaves the ack set: ending its stream"}, true
			case ask:
				return s, true
			}
			continue
		}
		what := removeQuestion(a, sync)
		if s, ask := ensureAsked(f, what); ask {
			return s, true
		}
		if len(confirmed(f, what, next.Ackers())) >= next.Acks {
			return Step{Op: WriteSync, Sync: next, Why: a.Name() + " leaves the ack set; the others hold everything"}, true
		}
	}
	return Step{}, false
}

// removeQuestion is what a checkpoint is for when it lets acker a go, which is locked out; see [AfterUnlock].
func removeQuestion(a Inc, sync Sync) string { return fmt.Sprintf("remove %s at %d", a, sync.Ver) }

// couldQuestion is what a checkpoint is for when it finds out whether the others answer, before acker a is locked out: anew
// with every hand-over, since one that answered before the last may be what made that fail.
func couldQuestion(f Facts, a Inc) string {
	what := fmt.Sprintf("remove %s at %d: could the others do without it", a, f.View.Sync.Ver)
	if f.chains(a) {
		what += fmt.Sprintf(", for hand-over %d", f.Handing.Seq)
	}
	return what
}

// AfterUnlock is what is left of the questions once node i may stream again: an answer to an older one says nothing about
// what it acknowledges from now on, should it have to go after all.
func AfterUnlock(cs []Checkpoint, i Inc) []Checkpoint {
	return slices.DeleteFunc(slices.Clone(cs), func(c Checkpoint) bool { return strings.HasPrefix(c.For, fmt.Sprintf("remove %s at ", i)) })
}

// admit is ADMIT: a follower that has caught up becomes a member. The promise stays: it has acknowledged nothing yet.
func admit(f Facts) (Step, bool) {
	sync := f.View.Sync
	if len(sync.Ackers()) >= f.Set.MaxAckers {
		return Step{}, false
	}
	for _, i := range f.View.Incs() {
		n := f.View.Nodes[i]
		if out, _ := f.View.outgoing(i); out || f.View.InMaintenance(n.Name) {
			continue
		}
		if sync.Has(i) || f.chains(i) || !follows(f, n) || n.ArmedWanted || n.Armed || n.Void || n.NoFailover || !n.Caught || !n.Healthy || n.Unfit != "" || n.Errant != "" ||
			!f.MySQL.Streams[n.Name] || !f.MySQL.Unlocked[n.Name] {
			continue
		}
		return Step{Op: WriteSync, Sync: sync.With(i), Why: n.Name + " has caught up and joins the ack set"}, true
	}
	return Step{}, false
}

// raiseAcks is RAISE: the promise follows K once enough ackers hold everything written before K was in force.
func raiseAcks(f Facts) (Step, bool) {
	sync := f.View.Sync
	want := min(f.Set.Acks, len(sync.Ackers()))
	if sync.Acks >= want || f.MySQL.K <= sync.Acks {
		return Step{}, false
	}
	what := fmt.Sprintf("raise to %d at %d with k %d", sync.Acks+1, sync.Ver, f.MySQL.K)
	if s, ask := ensureAsked(f, what); ask {
		return s, true
	}
	have := confirmed(f, what, sync.Ackers())
	if len(have) < sync.Acks+1 {
		return Step{}, false
	}
	next := sync
	next.Acks++
	return Step{Op: WriteSync, Sync: next, Why: fmt.Sprintf("%s hold everything: each acknowledged write is on %d more from now on", names(have), next.Acks)}, true
}

// readmit is READMIT: a void follower proves that it holds everything up to now. The question names the very start of
// its receiver, so that no older answer can count.
func readmit(f Facts) (Step, bool) {
	for _, i := range f.View.Incs() {
		n := f.View.Nodes[i]
		if n.Void && follows(f, n) && n.Receiver != "" && f.MySQL.Streams[n.Name] {
			if s, ask := ensureAsked(f, ReadmitQuestion(n.Inc, n.Receiver)); ask {
				return s, true
			}
		}
	}
	return Step{}, false
}

// ReadmitQuestion is what a checkpoint is for when it lets the named node's receiver start count again.
func ReadmitQuestion(i Inc, receiver string) string {
	return fmt.Sprintf("readmit %s with receiver %s", i, receiver)
}

// freeWaiters is MARKER.
func freeWaiters(f Facts) (Step, bool) {
	if f.Waiting < markerAfter || f.MySQL.K == 0 || len(streaming(f)) < f.MySQL.K {
		return Step{}, false
	}
	return Step{Op: Marker, Why: "commits wait although enough ackers are connected: an acknowledgement was lost"}, true
}

// asked finds the checkpoint that was asked for exactly this.
func asked(f Facts, what string) (Checkpoint, bool) {
	i := slices.IndexFunc(f.Checkpoints, func(c Checkpoint) bool { return c.For == what })
	if i < 0 {
		return Checkpoint{}, false
	}
	return f.Checkpoints[i], true
}

// ensureAsked returns the step that asks, unless it has been asked.
func ensureAsked(f Facts, what string) (Step, bool) {
	if _, ok := asked(f, what); ok {
		return Step{}, false
	}
	return Step{Op: Ask, For: what, Why: "asking who holds the binary log: " + what}, true
}

// confirmed lists those of the given nodes whose present receiver start covers the checkpoint asked for this.
func confirmed(f Facts, what string, of []Inc) []Inc {
	var out []Inc
	c, ok := asked(f, what)
	if !ok {
		return nil
	}
	for _, i := range of {
		if n := f.View.Nodes[i]; follows(f, n) && n.Receiver != "" && n.Confirmed(c.Seq) {
			out = append(out, i)
		}
	}
	return out
}

// steady is the reason shown when there is nothing to do.
func steady(f Facts) string {
	sync := f.View.Sync
	switch {
	case len(sync.Ackers()) == 0:
		return "open for writes; nobody else holds them yet"
	case sync.Acks == 0:
		return "open for writes; waiting until an acker holds everything"
	case len(streaming(f)) < f.MySQL.K:
		return fmt.Sprintf("open, but commits wait: %d of the %d ackers needed are connected", len(streaming(f)), f.MySQL.K)
	}
	return fmt.Sprintf("open for writes; each is on %d more before it is acknowledged", sync.Acks)
}
