package cluster

import (
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// leastArchiveAlarm is how late the archive may be before that is called a problem, whatever the interval.
const leastArchiveAlarm = time.Minute

// LastArchive is how far the archive of binary logs has come, as the primary says; the store decides.
type LastArchive struct {
	Node string `json:"node"`
	Term uint64 `json:"term"`
	// GTID is everything the archive reaches to, At when the newest transaction of it was committed.
	GTID string    `json:"gtid"`
	At   time.Time `json:"at"`
	// CompleteAt: everything that was committed before this instant is in the store.
	CompleteAt time.Time `json:"complete_at"`
	// Interval is the setting.
	Interval time.Duration `json:"interval"`
	// Error is why it does not go on, "" while it does.
	Error string `json:"error,omitempty"`
	// Gap are transactions that got into no archived log and will not any more; only a snapshot that holds them leads beyond.
	Gap string `json:"gap,omitempty"`
	// AtRisk: what is not archived yet begins in the oldest binary log, which mysqld removes next.
	AtRisk bool `json:"at_risk,omitempty"`
}

// ArchiveDoc is how far the archive of binary logs has come. Text is empty where nothing is known.
type ArchiveDoc struct {
	GTID string `json:"gtid"`
	// At is when the newest archived transaction was committed; CompleteAt the instant before which every commit is archived.
	At         string `json:"at"`          // RFC 3339
	CompleteAt string `json:"complete_at"` // RFC 3339
	// LagSeconds is the age of CompleteAt; -1 when unknown.
	LagSeconds float64 `json:"lag_seconds"`
	Error      string  `json:"error"`
	Gap        string  `json:"gap"`
}

func archiveDoc(a *LastArchive, now time.Time) *ArchiveDoc {
	if a == nil {
		return nil
	}
	d := &ArchiveDoc{GTID: a.GTID, LagSeconds: -1, Error: a.Error, Gap: a.Gap}
	if !a.At.IsZero() {
		d.At = a.At.UTC().Format(time.RFC3339Nano)
	}
	if !a.CompleteAt.IsZero() {
		d.CompleteAt = a.CompleteAt.UTC().Format(time.RFC3339Nano)
		d.LagSeconds = max(now.Sub(a.CompleteAt).Seconds(), 0)
	}
	return d
}

// archiveProblems are conditions under which clients are served and nothing is lost, unless every node is. They do not
// make the cluster any less well.
func archiveProblems(x Extra, now time.Time) (out []Problem) {
	a := x.Archive
	if a == nil || a.Interval == 0 {
		return nil
	}
	if a.CompleteAt.IsZero() {
		return []Problem{{What: "binary logs are not archived: " + orUnknown(a.Error), Next: "it is tried again by itself", Do: "look at the store"}}
	}
	if late := now.Sub(a.CompleteAt); late > max(6*a.Interval, leastArchiveAlarm) {
		p := Problem{What: fmt.Sprintf("the archive of binary logs is %s behind; what is newer is lost if every node is", late.Round(time.Second)),
			Next: "it catches up by itself when the store takes it again", Do: "look at the store"}
		if a.Error != "" {
			p.What += ": " + a.Error
		}
		if a.AtRisk {
			p.What += "; the binary log it has to read next is the oldest one, which mysqld removes next"
			p.Do = "look at the store, or raise binlog_expire_logs_seconds"
		}
		out = append(out, p)
	}
	if a.Gap != "" && !snapshotHolds(x.Snapshot, a.Gap) {
		out = append(out, Problem{What: "the archive of binary logs has a gap: " + a.Gap + " got into no archived log",
			Next: "recovery to a point behind it is possible from the next snapshot on", Do: "autopilot-mysql snapshot create"})
	}
	return out
}

// snapshotHolds tells whether a snapshot leads beyond a gap.
func snapshotHolds(s *LastSnapshot, gap string) bool {
	if s == nil {
		return false
	}
	have, err := gtid.Parse(s.GTID)
	want, werr := gtid.Parse(gap)
	return err == nil && werr == nil && have.Contains(want)
}
