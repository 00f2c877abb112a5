package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"
)

// logReaders is how many small objects are read at a time.
const logReaders = 16

// Log is what a cluster's archive of binary logs holds, all lines together.
type Log struct {
	Cluster  string
	Lines    []Line    // by creation
	Openings []Opening // by line and term
	Chunks   []Chunk   // by line, term and number
	// Bad are the pieces that cannot be used, by key. What they held is missing.
	Bad []BadPiece
}

// BadPiece is an object of the archive that cannot be used.
type BadPiece struct {
	Key string
	Err error // names the object
}

// ReadLog lists a cluster's archived binary logs. An archive without anything in
// it is no error. A record that cannot be read is tried again for patience; then
// it is an error: without an opening a plan would take what the cluster gave up.
// What is damaged is among the bad pieces.
func ReadLog(ctx context.Context, store Store, cluster string, patience time.Duration) (*Log, error) {
	l, err := readLog(ctx, store, cluster, patience)
	if err != nil {
		return nil, fmt.Errorf("list archived binary logs: %w", err)
	}
	return l, nil
}

func readLog(ctx context.Context, store Store, cluster string, patience time.Duration) (*Log, error) {
	if err := checkName("cluster", cluster); err != nil {
		return nil, err
	}
	var objects []Object
	err := persist(ctx, patience, func() (err error) {
		objects, err = store.List(ctx, logPrefix(cluster))
		return err
	})
	if err != nil {
		return nil, err
	}
	l := &Log{Cluster: cluster}
	sizes := make(map[string]int64, len(objects))
	var keys []string
	for _, o := range objects {
		sizes[o.Key] = o.Size
		if _, ok := chunkSeq(path.Base(o.Key)); ok || path.Base(o.Key) == openingName {
			keys = append(keys, o.Key)
		}
	}
	if err := l.read(ctx, store, keys, sizes, patience); err != nil {
		return nil, err
	}
	l.sort()
	return l, nil
}

// read reads the manifests, several at a time.
func (l *Log) read(ctx context.Context, store Store, keys []string, sizes map[string]int64, patience time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all sync.WaitGroup
	next := make(chan string)
	for range min(logReaders, len(keys)) {
		all.Go(func() {
			for key := range next {
				var data []byte
				err := persist(ctx, patience, func() (err error) {
					data, err = readAll(ctx, store, key, logManifestLimit)
					return err
				})
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
					cancel(fmt.Errorf("read %s: %w", key, err))
					continue
				}
				mu.Lock()
				l.add(key, data, err, sizes)
				mu.Unlock()
			}
		})
	}
	for _, k := range keys {
		if ctx.Err() != nil {
			break
		}
		next <- k
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

// add takes one manifest in, or the reason why not.
func (l *Log) add(key string, data []byte, err error, sizes map[string]int64) {
	switch {
	case errors.Is(err, ErrNotFound): // pruned since we listed
	case err != nil:
		l.Bad = append(l.Bad, BadPiece{key, err})
	case path.Base(key) == openingName:
		o, err := parseOpening(l.Cluster, key, data)
		if err != nil {
			l.Bad = append(l.Bad, BadPiece{key, err})
			return
		}
		l.Openings = append(l.Openings, o)
	default:
		c, err := parseChunk(l.Cluster, key, data)
		for _, p := range c.Parts {
			if n, ok := sizes[p.Key]; err == nil && (!ok || n != p.Size) {
				err = fmt.Errorf("archived binary log %s: %w: %s should have %d bytes and has %d", key, ErrIncomplete, p.Key, p.Size, n)
			}
		}
		if err != nil {
			l.Bad = append(l.Bad, BadPiece{key, err})
			return
		}
		l.Chunks = append(l.Chunks, c)
	}
}

func (l *Log) sort() {
	slices.SortFunc(l.Openings, func(a, b Opening) int { return cmp.Compare(a.key(), b.key()) })
	slices.SortFunc(l.Chunks, Chunk.compare)
	slices.SortFunc(l.Bad, func(a, b BadPiece) int { return cmp.Compare(a.Key, b.Key) })
	lines := map[string]Line{}
	for _, o := range l.Openings {
		lines[o.dir()] = o.Line
	}
	for _, c := range l.Chunks {
		lines[c.dir()] = c.Line
	}
	for _, line := range lines {
		l.Lines = append(l.Lines, line)
	}
	slices.SortFunc(l.Lines, func(a, b Line) int { return cmp.Compare(a.dir(), b.dir()) })
}
