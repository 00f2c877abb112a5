package snapshot

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Target is the point a recovery goes to. The zero value is the end of what was
// archived.
type Target struct {
	// GTIDs, if set, is exactly what the database shall hold.
	GTIDs *gtid.Set
	// Time, if set, is the instant before whose first later commit the recovery
	// stops: everything that was committed up to it, and nothing behind the first
	// transaction that was committed after it, in the order of the cluster's
	// history.
	Time time.Time
}

// ErrGap says that the archive lacks transactions on the way to the target.
var ErrGap = errors.New("the archive has a gap")

// GapError says what is missing. It wraps ErrGap.
type GapError struct {
	// Missing are the transactions that are in no usable chunk.
	Missing gtid.Set
	// Chunk is the key of what could be applied next if they were there.
	Chunk string
	// Reach is what the database can hold without them.
	Reach gtid.Set
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%s before %s: %s is in no usable archived binary log", ErrGap, e.Chunk, e.Missing)
}

// Unwrap implements errors.Unwrap's interface.
func (e *GapError) Unwrap() error { return ErrGap }

// Step is one chunk of a plan.
type Step struct {
	Chunk Chunk
	// Apply are the transactions of the chunk to apply. The others are there
	// already, were given up by the cluster, or are not wanted.
	Apply gtid.Set
}

// LogPlan is the way from a snapshot to a target.
type LogPlan struct {
	From   gtid.Set // what the snapshot holds
	Target Target
	Steps  []Step
	// Reach is what the database holds after all steps; less, if the time of the
	// target comes first.
	Reach gtid.Set
	// Gap is why the steps end before the target. Nil if they do not.
	Gap *GapError
	// Lost are pieces behind the last step that cannot be used: nobody can tell
	// what they held.
	Lost []BadPiece
	// Unread are openings behind a step that cannot be used: what the cluster gave
	// up when those terms began cannot be told from the rest.
	Unread []BadPiece
}

// limits tells for each line and term what of its chunks is still part of the
// history that ends with line last: the intersection of all later openings.
type limits struct {
	openings []Opening
	after    []gtid.Set // after[i]: the intersection of openings[i:]
}

// limitsUpTo prepares limits for the lines up to and including the last one.
func (l *Log) limitsUpTo(last int) limits {
	var lim limits
	for _, o := range l.Openings {
		if last < 0 || o.dir() <= l.Lines[last].dir() {
			lim.openings = append(lim.openings, o)
		}
	}
	lim.after = make([]gtid.Set, len(lim.openings))
	for i := len(lim.openings) - 1; i >= 0; i-- {
		lim.after[i] = lim.openings[i].GTIDs
		if i+1 < len(lim.openings) {
			lim.after[i] = lim.after[i].Intersect(lim.after[i+1])
		}
	}
	return lim
}

// of is what of set is left, if it belongs to the chunk's term.
func (lim limits) of(c Chunk, set gtid.Set) gtid.Set {
	for i, o := range lim.openings {
		if o.termDir(o.Term) > c.termDir(c.Term) {
			return set.Intersect(lim.after[i])
		}
	}
	return set
}

// lastLine is the line a target lies in: for a time the newest that existed
// then, else the newest there is. -1 without any.
func (l *Log) lastLine(t Target) int {
	last := len(l.Lines) - 1
	if !t.Time.IsZero() {
		for last > 0 && l.Lines[last].CreatedAt.After(t.Time) {
			last--
		}
	}
	return last
}

// Plan finds the way from snapshot m, of which from is known to be restored, to
// the target. A way that ends early has a Gap, which is no error: for a target
// in time it may lie behind the target.
func (l *Log) Plan(m Manifest, from gtid.Set, t Target) LogPlan {
	if t.GTIDs == nil {
		return l.planIn(l.lastLine(t), m, from, t)
	}
	// The set may belong to a line that later ones did not continue: try the newest first.
	best := LogPlan{From: from, Target: t, Reach: from}
	for last := len(l.Lines) - 1; last >= 0; last-- {
		p := l.planIn(last, m, from, t)
		if p.Gap == nil && p.Reach.Contains(*t.GTIDs) {
			return p
		}
		if last == len(l.Lines)-1 {
			best = p
		}
	}
	return best
}

// planIn is Plan for the history that ends with one line.
func (l *Log) planIn(last int, m Manifest, from gtid.Set, t Target) (p LogPlan) {
	p = LogPlan{From: from, Target: t, Reach: from}
	lim := l.limitsUpTo(last)
	defer func() { p.Unread = l.unreadBehind(p.Steps, lim, last) }()
	wanted := func(set gtid.Set) gtid.Set {
		if t.GTIDs == nil {
			return set
		}
		return set.Intersect(*t.GTIDs)
	}
	for _, c := range l.Chunks {
		if last >= 0 && c.dir() > l.Lines[last].dir() || !l.follows(c, m) {
			continue
		}
		apply := wanted(lim.of(c, c.GTIDs)).Subtract(p.Reach)
		if apply.IsEmpty() {
			continue
		}
		if missing := wanted(lim.of(c, c.Before)).Subtract(p.Reach); !missing.IsEmpty() {
			p.Gap = &GapError{Missing: missing, Chunk: c.key(), Reach: p.Reach}
			return p
		}
		p.Steps = append(p.Steps, Step{Chunk: c, Apply: apply})
		p.Reach = p.Reach.Union(apply)
		if t.GTIDs != nil && p.Reach.Contains(*t.GTIDs) {
			return p
		}
	}
	p.Lost = l.badBehind(p.Steps, m)
	return p
}

// unreadBehind are the unusable openings, up to and including line last, of later
// terms than the first of the steps. One in front of an opening that can be used
// does no harm: what was given up before that is not in it either.
func (l *Log) unreadBehind(steps []Step, lim limits, last int) (out []BadPiece) {
	if len(steps) == 0 {
		return nil
	}
	behind := steps[0].Chunk.termDir(steps[0].Chunk.Term)
	if n := len(lim.openings); n > 0 {
		behind = max(behind, lim.openings[n-1].termDir(lim.openings[n-1].Term))
	}
	for _, b := range l.Bad {
		within := last < 0 || path.Dir(path.Dir(b.Key))+"/" <= l.Lines[last].dir()
		if path.Base(b.Key) == openingName && path.Dir(b.Key)+"/" > behind && within {
			out = append(out, b)
		}
	}
	return out
}

// badBehind are the unusable pieces of which no later chunk tells whether they
// are missed.
func (l *Log) badBehind(steps []Step, m Manifest) (out []BadPiece) {
	last := ""
	if n := len(steps); n > 0 {
		last = steps[n-1].Chunk.key()
	}
	for _, line := range l.Lines {
		if line.ClusterID == m.ClusterID {
			last = max(last, line.dir())
		}
	}
	for _, b := range l.Bad {
		if b.Key > last && path.Base(b.Key) != openingName { // for those see unreadBehind
			out = append(out, b)
		}
	}
	return out
}

// follows reports whether the chunk can lie behind the snapshot: it is of the
// snapshot's line or of a later one. A line that archived nothing is placed by
// the time of the snapshot.
func (l *Log) follows(c Chunk, m Manifest) bool {
	for _, line := range l.Lines {
		if line.ClusterID == m.ClusterID {
			return c.dir() >= line.dir()
		}
	}
	return c.CreatedAt.After(m.CreatedAt)
}

// Why tells whether the plan leads to its target: nil, or the sentence why not.
// For a target in time that a chunk's times cannot exclude it says nothing:
// then only the transactions themselves tell.
func (p LogPlan) Why() error {
	switch t := p.Target; {
	case t.GTIDs != nil && !t.GTIDs.Contains(p.From):
		return fmt.Errorf("the snapshot holds transactions that are not wanted: %s", p.From.Subtract(*t.GTIDs))
	case t.GTIDs != nil && p.Reach.Contains(*t.GTIDs):
		return nil
	case t.GTIDs == nil && len(p.Unread) > 0:
		return fmt.Errorf("what the cluster gave up cannot be told from the rest: %w; name exactly what the database shall hold, as a GTID set", p.Unread[0].Err)
	case p.Gap != nil && !p.mayStopBefore():
		return p.Gap
	case len(p.Lost) > 0 && !p.mayStopBefore():
		return fmt.Errorf("%w: what follows cannot be used: %w", ErrGap, p.Lost[0].Err)
	case t.GTIDs != nil:
		return fmt.Errorf("%w: %s is neither in the snapshot nor in the archive", ErrGap, t.GTIDs.Subtract(p.Reach))
	}
	return nil
}

// mayStopBefore reports whether a transaction of the steps was committed after
// the time of the target, so that the recovery ends before the gap.
func (p LogPlan) mayStopBefore() bool {
	if p.Target.Time.IsZero() {
		return false
	}
	for _, s := range p.Steps {
		if s.Chunk.LastAt.After(p.Target.Time) {
			return true
		}
	}
	return false
}
