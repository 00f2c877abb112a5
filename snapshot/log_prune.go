package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// logRemovers is how many chunks are removed at a time.
const logRemovers = 8

// PruneLog removes chunks that no restore needs any more: those whose
// transactions are all in the oldest snapshot that is kept, which was made of
// the same line or of a later one. It goes from the oldest on and stops at the
// first chunk that is still needed. Without a snapshot nothing is removed, nor
// while somebody reads one that is not kept any more (see Hold). A record that is damaged goes with the chunk behind it. Objects that belong to
// no chunk go when they are a day old. There may be 100,000 chunks: their
// records are read one by one, and only as far as they go.
func PruneLog(ctx context.Context, store Store, cluster string, kept []Manifest) (removed int, err error) {
	if len(kept) == 0 {
		return 0, nil
	}
	if held, err := readUnlisted(ctx, store, cluster, kept); err != nil || held {
		return 0, err
	}
	p := &logPruner{store: store, log: &Log{Cluster: cluster}, oldest: kept[0], before: time.Now().Add(-DefaultOrphanAge)}
	for _, m := range kept {
		if m.CreatedAt.Before(p.oldest.CreatedAt) {
			p.oldest = m
		}
	}
	if err := p.run(ctx); err != nil {
		return int(p.removed.Load()), fmt.Errorf("prune archived binary logs: %w", err)
	}
	return int(p.removed.Load()), nil
}

type logPruner struct {
	store   Store
	log     *Log // its openings and lines only
	lim     limits
	oldest  Manifest  // of the snapshots that are kept
	before  time.Time // what is older and belongs to no chunk may go
	damaged []string  // records in front of the walk
	work    *errgroup.Group
	removed atomic.Int64
}

func (p *logPruner) run(ctx context.Context) error {
	if err := checkName("cluster", p.log.Cluster); err != nil {
		return err
	}
	objects, err := p.store.List(ctx, logPrefix(p.log.Cluster))
	if err != nil {
		return err
	}
	var openings []string
	for _, o := range objects {
		if path.Base(o.Key) == openingName {
			openings = append(openings, o.Key)
		}
	}
	if err := p.log.read(ctx, p.store, openings, nil, 0); err != nil { // a damaged one lets less go, never more
		return err
	}
	p.log.sort()
	p.lim = p.log.limitsUpTo(-1)
	p.work, ctx = errgroup.WithContext(ctx)
	p.work.SetLimit(logRemovers)
	err = p.walk(ctx, objects)
	if e := p.work.Wait(); e != nil {
		return e // what the walk met then followed from it
	}
	return err
}

func (p *logPruner) walk(ctx context.Context, objects []Object) (err error) {
	going := true
	for x := range piles(objects) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if x.record == "" {
			p.removeOrphans(ctx, x, nil)
			continue
		}
		if going {
			if going, err = p.retire(ctx, x.record); err != nil {
				return err
			}
		}
		if !going && x.attempts() > 1 {
			if err := p.strays(ctx, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// retire removes a chunk that is not needed any more; false: it is.
func (p *logPruner) retire(ctx context.Context, record string) (bool, error) {
	c, err := readChunk(ctx, p.store, p.log.Cluster, record)
	switch {
	case errors.Is(err, ErrNotFound): // somebody else removes it
		return true, nil
	case errors.Is(err, ErrCorrupt): // of no use to anybody; one behind it tells whether what it held is needed
		p.damaged = append(p.damaged, record)
		return true, nil
	case err != nil:
		return false, err
	}
	abandoned := p.log.abandonedBefore(c, p.oldest)
	if !abandoned && !p.oldest.GTIDLower.Contains(p.lim.of(c, c.GTIDs)) {
		return false, nil
	}
	if abandoned || p.oldest.GTIDLower.Contains(p.lim.of(c, c.After())) {
		for _, key := range p.damaged {
			p.remove(ctx, key) // its data is nobody's then
		}
		p.damaged = nil
	}
	keys := []string{record} // first, so that nothing points to what is gone
	for _, part := range c.Parts {
		keys = append(keys, part.Key)
	}
	p.remove(ctx, keys...)
	return true, nil
}

// remove deletes a chunk's objects in this order, beside others.
func (p *logPruner) remove(ctx context.Context, keys ...string) {
	p.work.Go(func() error {
		for _, key := range keys {
			if err := p.store.Delete(ctx, key); err != nil {
				return err
			}
		}
		p.removed.Add(1)
		return nil
	})
}

// strays removes what was stored for a chunk by attempts that were not published.
func (p *logPruner) strays(ctx context.Context, x pile) error {
	c, err := readChunk(ctx, p.store, p.log.Cluster, x.record)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil // then nobody knows which they are
	}
	if err == nil {
		p.removeOrphans(ctx, x, c.Parts)
	}
	return err
}

// removeOrphans removes the old data of a pile that is not among the parts.
func (p *logPruner) removeOrphans(ctx context.Context, x pile, parts []Part) {
	known := map[string]bool{}
	for _, part := range parts {
		known[part.Key] = true
	}
	for _, o := range x.data {
		if !known[o.Key] && o.Modified.Before(p.before) {
			p.work.Go(func() error { return p.store.Delete(ctx, o.Key) })
		}
	}
}

// abandonedBefore reports whether the chunk belongs to a line that ended before
// the snapshot's own began: nothing that is kept can lead there.
func (l *Log) abandonedBefore(c Chunk, m Manifest) bool {
	for _, line := range l.Lines {
		if line.ClusterID == m.ClusterID {
			return c.dir() < line.dir()
		}
	}
	return false
}

// pile is what lies in the store of one chunk.
type pile struct {
	record string   // its key; empty without one
	data   []Object // of the attempt that was published, and of others
}

// piles goes through a listing. It is sorted, so a chunk's objects lie together
// and its record is the last of them.
func piles(objects []Object) iter.Seq[pile] {
	return func(yield func(pile) bool) {
		for rest := objects; len(rest) > 0; {
			id, n := pileOf(rest[0].Key), 1
			for n < len(rest) && pileOf(rest[n].Key) == id {
				n++
			}
			x := pile{data: rest[:n]}
			if last := rest[n-1].Key; path.Ext(last) == chunkSuffix {
				x.record, x.data = last, rest[:n-1]
			}
			rest = rest[n:]
			if id != "" && !yield(x) {
				return
			}
		}
	}
}

// pileOf is how the keys of all objects of a chunk begin, "" for what is no
// chunk's.
func pileOf(key string) string {
	dir, name := path.Split(key)
	digits, _, _ := strings.Cut(name, "-")
	digits = strings.TrimSuffix(digits, chunkSuffix)
	if _, ok := chunkSeq(digits + chunkSuffix); !ok {
		return ""
	}
	return dir + digits
}

// attempts is how often the chunk's data was begun to be stored.
func (x pile) attempts() int {
	stems := map[string]bool{}
	for _, o := range x.data {
		stem, _, _ := strings.Cut(path.Base(o.Key), ".")
		stems[stem] = true
	}
	return len(stems)
}
