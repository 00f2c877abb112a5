package roles

import (
	"fmt"
	"strings"
	"time"
)

// hangFactor is after how many leases a primary that does not commit, and does not say why, counts as useless. A disk that
// stalls for a moment is common; a failover for it would cost more than it saves.
const hangFactor = 2

// useless reports whether this primary answers and still commits nothing, for long enough and not for want of an
// acknowledgement. With a reason named (mysqld's error, a full or read-only volume) the lease's own patience is enough.
func useless(f Facts) bool {
	if f.MySQL.StuckWhy != "" || f.Disk.Unfit != "" {
		return f.MySQL.Stuck > f.Set.H
	}
	return f.MySQL.Stuck > hangFactor*f.Set.C
}

// stuckBecause is what is known about why nothing is committed.
func stuckBecause(f Facts) string {
	why := []string{}
	for _, s := range []string{f.Disk.Unfit, f.MySQL.StuckWhy} {
		if s != "" {
			why = append(why, s)
		}
	}
	if len(why) == 0 {
		why = append(why, "a commit hangs and it is not waiting for a standby; the disk, or InnoDB, does not answer")
	}
	return fmt.Sprintf("mysqld has not committed for %s: %s", f.MySQL.Stuck.Round(time.Second), strings.Join(why, "; "))
}

// decideUseless gives the lead away if somebody else can take it. If nobody can, a primary that still answers reads, and
// goes on by itself when its disk does, is better than none.
func decideUseless(f Facts) Decision {
	missing := whoCouldNot(f)
	if missing == "" {
		return fire(MysqldLost, stuckBecause(f))
	}
	d := decideAckSet(f)
	d.Why = stuckBecause(f) + "; nobody else could take over: " + missing
	return d
}

// whoCouldNot is why the others could not elect a primary without this node; "" when they could. It is a forecast: the
// election itself decides by the seals.
func whoCouldNot(f Facts) string {
	sync := f.View.Sync
	if f.View.Paused {
		return "automatic failover is paused" + f.View.Pause.Text() + "; end that with: autopilot-mysql resume"
	}
	if sync.Acks == 0 {
		return "no standby holds every acknowledged write"
	}
	if s := HeldBack(f); s != "" {
		return s
	}
	var able, unable []string
	for _, a := range sync.Ackers() {
		switch n := f.View.Nodes[a]; {
		case !n.Alive():
			unable = append(unable, a.Name()+" (not running)")
		case !follows(f, n) || !n.Healthy || !f.MySQL.Streams[a.Name()]:
			unable = append(unable, a.Name()+" (not following)")
		case n.Unfit != "":
			unable = append(unable, a.Name()+" ("+n.Unfit+")")
		case n.Void:
			unable = append(unable, a.Name()+" (its acknowledgements may not have survived its restart)")
		default:
			able = append(able, a.Name())
		}
	}
	if need := len(sync.Ackers()) - sync.Acks + 1; len(able) < need {
		return fmt.Sprintf("%d of %d standbys are needed, %d could; missing: %s", need, len(sync.Ackers()), len(able), strings.Join(unable, ", "))
	}
	return ""
}
