package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Limits of archiving.
const (
	// archiveChunk is about how many bytes of binary log a chunk has at most; a larger transaction is a chunk of its own.
	archiveChunk = 16 << 20
	// archiveLook is how often a node that is not the primary looks whether it is now.
	archiveLook = 500 * time.Millisecond
	// archiveRetryMax is the longest pause after a failure; they grow up to it.
	archiveRetryMax = 30 * time.Second
	// archivePrune is how often the primary removes chunks that no snapshot needs any more.
	archivePrune = time.Hour
	// archiveQuery bounds the look at mysqld.
	archiveQuery = 10 * time.Second
)

// archiver copies the committed transactions of the primary's binary log to the store, all the time. Whatever happens
// here, the database's health does not depend on it. It has its own goroutine, which owns everything but what mu guards,
// and now and then one more that removes what is not needed any more.
type archiver struct {
	a *Agent

	mu   sync.Mutex
	lead leadership
	last *cluster.LastArchive // as read from Consul
	of   roles.Cluster
	stop context.CancelFunc // ends the removing; nil when there is none

	term    uint64 // whose end in the store is known; 0: it has to be looked for
	line    snapshot.Line
	seq     uint64    // of the last chunk of the term
	held    gtid.Set  // what the archive reaches to
	missing gtid.Set  // what of it is in no chunk, and belongs into the next one's record
	at      time.Time // of the newest archived commit
	gap     gtid.Set
	tail    *mysql.Tail
	pruned  time.Time
	pruning chan struct{} // closed when the last removing is over; nil before the first
	told    cluster.LastArchive
	toldAt  time.Time
}

// leadership is what this node is the primary of; zero when it is not.
type leadership struct {
	term    uint64
	cluster roles.Cluster
	session string
}

func newArchiver(a *Agent) *archiver { return &archiver{a: a, pruned: time.Now()} }

// tell hands over what the loop has just seen.
func (r *archiver) tell(f roles.Facts, x cluster.Extra) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.View.OK { // while Consul is silent, a primary that its quorum keeps goes on archiving under what it knows
		r.last = x.Archive
		if f.View.Cluster != nil {
			r.of = *f.View.Cluster
		}
	}
	lead := leadership{}
	if a := r.a; a.machine.State() == roles.Primary && a.openTerm != 0 && f.Lease.Held && f.MySQL.Ready && r.of.ID != "" {
		lead = leadership{a.openTerm, r.of, f.Lease.Session}
	}
	r.leads(lead)
}

// leads notes what this node is the primary of. What it removes as the primary of something ends with that. The caller
// holds mu.
func (r *archiver) leads(lead leadership) {
	if lead != r.lead && r.stop != nil {
		r.stop()
	}
	r.lead = lead
}

func (r *archiver) leading() leadership {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lead
}

// run archives while this node is the primary: twice in every interval, so that what is committed right after a look is
// in the store before the interval is over.
func (r *archiver) run(ctx context.Context) {
	every := r.a.Settings.ArchiveInterval / 2
	if r.a.Snapshots == nil || every == 0 {
		return
	}
	defer func() {
		r.drop()
		if r.pruning != nil {
			<-r.pruning // its context has ended
		}
	}()
	retry := every
	for ctx.Err() == nil {
		lead := r.leading()
		if lead.term == 0 {
			r.drop()
			pause(ctx, min(archiveLook, every))
			continue
		}
		began := time.Now()
		err := r.round(ctx, lead)
		if err == nil {
			retry = every
			r.prune(ctx, lead)
			pause(ctx, every-time.Since(began))
			continue
		}
		if ctx.Err() != nil || r.leading().term != lead.term {
			continue
		}
		r.a.Log.Warn("archive binary logs; the database is not affected, it will be tried again", "err", err, "in", retry)
		r.term = 0 // what got into the store has to be looked for
		r.publish(ctx, lead, err)
		pause(ctx, retry)
		retry = min(2*retry, max(archiveRetryMax, every))
	}
}

// drop forgets everything: another node may be the primary meanwhile.
func (r *archiver) drop() {
	if r.tail != nil {
		r.tail.Close()
		r.tail = nil
	}
	r.term, r.gap = 0, gtid.Set{}
}

// round brings the archive up to what is committed now.
func (r *archiver) round(ctx context.Context, lead leadership) error {
	srv := r.a.marker.Load()
	if srv == nil {
		return nil
	}
	began := time.Now()
	qctx, cancel := context.WithTimeout(ctx, archiveQuery)
	st, err := srv.LogState(qctx)
	cancel()
	if err != nil {
		return err
	}
	// What a server says is committed counts only if it was the primary of this very term all the while: after a crash it
	// also "commits" what nobody has acknowledged.
	if r.leading() != lead || r.a.marker.Load() != srv {
		return nil
	}
	if r.term != lead.term {
		if err := r.begin(ctx, lead, st); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		p, some, err := r.tail.Next(st, archiveChunk)
		if errors.Is(err, mysql.ErrPurged) {
			r.tail.Close()
			r.tail = nil // it begins anew, and finds out what is missing
			return err
		}
		if err != nil {
			return err
		}
		if !some {
			break
		}
		if err := r.put(ctx, lead, st, p); err != nil {
			return err
		}
	}
	if left := st.Executed.Subtract(r.tail.Before()); !left.IsEmpty() && ctx.Err() == nil {
		return fmt.Errorf("committed, and in no binary log file: %s", left)
	}
	r.told.CompleteAt = began
	r.publish(ctx, lead, nil)
	return nil
}

// begin finds out where the archive ends, records what this term began with, and goes to that place in this server's log.
func (r *archiver) begin(ctx context.Context, lead leadership, st mysql.LogState) error {
	c := lead.cluster
	r.line = snapshot.Line{Cluster: r.a.Settings.Cluster, ClusterID: c.ID, CreatedAt: c.CreatedAt}
	end, err := snapshot.FindLogEnd(ctx, r.a.Snapshots, r.line, lead.term)
	if err != nil {
		return err
	}
	for _, b := range end.Bad {
		r.a.Log.Warn("the record of an archived binary log cannot be used; what the binary logs still have of it is archived again", "key", b.Key, "err", b.Err)
	}
	r.seq, r.held = end.Seq, gtid.Set{}
	if end.Last != nil {
		// A deposed primary may have archived what is no longer part of the history.
		r.held, r.at = end.Last.After().Intersect(st.Executed), end.Last.LastAt
	}
	if !end.Opened {
		o := snapshot.Opening{Line: r.line, Term: lead.term, Node: r.a.Settings.Name, At: time.Now().UTC(), GTIDs: st.Executed}
		if err := snapshot.OpenTerm(ctx, r.a.Snapshots, o); err != nil {
			return err
		}
	}
	if r.tail != nil && !r.tail.Before().Equal(r.held) {
		r.tail.Close()
		r.tail = nil
	}
	if r.tail == nil {
		if r.tail, err = mysql.StartTail(st, r.held); err != nil {
			return err
		}
	}
	// What lies in front of that place and is not archived never will be: those logs are gone. What an archive lacks that
	// has only just begun is no gap, but its beginning.
	r.missing = r.tail.Before().Subtract(r.held)
	if !r.missing.IsEmpty() && (end.Last != nil || len(end.Bad) > 0) {
		r.gap = r.missing
		r.a.Log.Warn("the archive of binary logs has a gap; only a snapshot that holds these transactions leads beyond it", "gtids", r.gap.String())
	}
	r.held, r.term = r.held.Union(r.tail.Before()), lead.term
	r.a.Log.Info("archiving binary logs", "term", lead.term, "from", r.tail.File(), "held", r.held.String(), "every", r.a.Settings.ArchiveInterval)
	return nil
}

// put stores one piece.
func (r *archiver) put(ctx context.Context, lead leadership, st mysql.LogState, p mysql.Piece) error {
	c := snapshot.Chunk{
		Line: r.line, Term: lead.term, Seq: r.seq + 1, Node: r.a.Settings.Name, ServerUUID: st.ServerUUID, MySQLVersion: st.Version,
		File: p.File, Start: p.Start, End: p.End, Before: p.Before, GTIDs: p.GTIDs, Missing: r.missing,
		Transactions: p.Transactions, FirstAt: p.FirstAt, LastAt: p.LastAt,
	}
	o := snapshot.LogOptions{SpoolDir: r.a.mycfg.Dir, Keys: r.a.SnapshotKeys}
	c, err := snapshot.PutChunk(ctx, r.a.Snapshots, c, o, func(w io.Writer) error { return r.tail.Write(w, p) })
	if err != nil {
		return err
	}
	r.tail.Done(p)
	r.missing = gtid.Set{}
	r.seq, r.held = c.Seq, r.held.Union(c.After())
	if p.LastAt.After(r.at) {
		r.at = p.LastAt
	}
	r.told.AtRisk = false
	r.a.Log.Debug("archived", "file", p.File, "from", p.Start, "to", p.End, "transactions", p.Transactions)
	return nil
}

// publish tells the others how far the archive is. A failure to do so is told by the watch of Consul already.
func (r *archiver) publish(ctx context.Context, lead leadership, failed error) {
	now := r.told
	now.Node, now.Term, now.Interval, now.GTID, now.At, now.Gap, now.Error = r.a.Settings.Name, lead.term, r.a.Settings.ArchiveInterval, r.held.String(), r.at, r.gap.String(), ""
	if failed != nil {
		r.mu.Lock()
		before := r.last
		r.mu.Unlock()
		if now.CompleteAt.IsZero() && before != nil { // nothing has been archived in this term yet
			now.CompleteAt, now.GTID, now.At, now.Gap = before.CompleteAt, before.GTID, before.At, before.Gap
		}
		now.Error, now.AtRisk = failed.Error(), r.atRisk(ctx)
	} else {
		now.AtRisk = false
	}
	if now == r.told && time.Since(r.toldAt) < r.a.Settings.ArchiveInterval {
		return
	}
	pctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	ok, why, err := r.a.Store.Txn(pctx, election.CheckSession(r.a.keys.Leader(), lead.session), election.Set(r.a.keys.ArchiveLast(), cluster.Encode(now)))
	if err != nil || !ok {
		r.a.Log.Debug("tell how far the archive is", "why", why, "err", err)
		return
	}
	r.told, r.toldAt = now, time.Now()
}

// atRisk tells whether what is not archived yet begins in the oldest binary log, while there are newer ones.
func (r *archiver) atRisk(ctx context.Context) bool {
	srv := r.a.marker.Load()
	if srv == nil || r.tail == nil {
		return false
	}
	qctx, cancel := context.WithTimeout(ctx, archiveQuery)
	defer cancel()
	st, err := srv.LogState(qctx)
	return err == nil && len(st.Files) > 1 && filepath.Base(st.Files[0]) == r.tail.File()
}

// prune begins, now and then, to remove what no snapshot needs any more: beside the archiving, which must not wait for
// that, and one at a time.
func (r *archiver) prune(ctx context.Context, lead leadership) {
	if time.Since(r.pruned) < archivePrune {
		return
	}
	if r.pruning != nil {
		select {
		case <-r.pruning:
		default:
			return
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lead != lead {
		cancel()
		return
	}
	over := make(chan struct{})
	r.pruned, r.pruning, r.stop = time.Now(), over, cancel
	go func() {
		defer close(over)
		defer cancel()
		r.retire(ctx)
	}()
}

// retire removes what no snapshot needs any more.
func (r *archiver) retire(ctx context.Context) {
	kept, bad, err := snapshot.List(ctx, r.a.Snapshots, r.a.Settings.Cluster)
	removed := 0
	for _, e := range bad {
		if !errors.Is(e, snapshot.ErrCorrupt) && !errors.Is(e, snapshot.ErrIncomplete) {
			err = e // one that could only not be read, now or by this version, may be the oldest, and need what would go
		}
	}
	if err == nil {
		removed, err = snapshot.PruneLog(ctx, r.a.Snapshots, r.a.Settings.Cluster, kept)
	}
	if err != nil && ctx.Err() == nil {
		r.a.Log.Warn("retire archived binary logs", "err", err)
	}
	if removed > 0 {
		r.a.Log.Info("retired archived binary logs", "chunks", removed)
	}
}
