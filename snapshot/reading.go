package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A restore says in the store that it reads a snapshot, and Retire leaves what
// is being read alone. Both look again after they have spoken: the reader
// whether the manifest is still there, the remover, who deletes the manifest
// first, whether a reader came meanwhile. One of the two always sees the other.

const (
	// readingPrefix begins the names of the objects that say so.
	readingPrefix = "reading-"
	// readingRefresh is how often a reader repeats it.
	readingRefresh = 10 * time.Minute
	// readingStale is when a reader that has not repeated it counts as gone. It
	// leaves room for clocks that differ.
	readingStale = time.Hour
	// holdTimeout bounds one such request.
	holdTimeout = 30 * time.Second
)

// Hold announces a reader of m until release is called: m stays, and with it the
// archived binary logs behind it. ErrIncomplete: it was removed before. A store
// that takes no writes from us is read all the same: then only the sums protect
// the reader.
func Hold(ctx context.Context, store Store, m Manifest) (release func(), err error) {
	var b [6]byte
	rand.Read(b[:]) // never fails, as documented
	key := m.dir() + readingPrefix + hex.EncodeToString(b[:]) + ".json"
	announced := announce(ctx, store, key) == nil
	if _, err := readAll(ctx, store, m.key(), manifestLimit); errors.Is(err, ErrNotFound) {
		if announced {
			withdraw(ctx, store, key)
		}
		return nil, fmt.Errorf("%w: its manifest was removed", ErrIncomplete)
	}
	if !announced {
		return func() {}, nil
	}
	repeat, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for t := time.NewTicker(readingRefresh); ; {
			select {
			case <-repeat.Done():
				t.Stop()
				return
			case <-t.C:
				_ = announce(repeat, store, key) // six of them have to fail in a row to matter
			}
		}
	})
	return func() {
		stop()
		wg.Wait()
		withdraw(ctx, store, key)
	}, nil
}

func announce(ctx context.Context, store Store, key string) error {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	return store.Put(ctx, key, strings.NewReader(fmt.Sprintf("{\"reading_since\": %q}\n", time.Now().UTC().Format(time.RFC3339))))
}

// withdraw is tried once: what stays behind counts for an hour, and goes with
// the snapshot.
func withdraw(ctx context.Context, store Store, key string) {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	_ = store.Delete(ctx, key)
}

// readUnlisted tells whether somebody reads a snapshot that is not among these:
// he announced himself in the moment it was removed.
func readUnlisted(ctx context.Context, store Store, cluster string, listed []Manifest) (bool, error) {
	prefix := snapshotsPrefix(cluster)
	objects, err := store.List(ctx, prefix)
	if err != nil {
		return false, err
	}
	known := map[string]bool{}
	for _, m := range listed {
		known[m.ID] = true
	}
	others := slices.DeleteFunc(objects, func(o Object) bool {
		id, _, _ := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
		return known[id]
	})
	return read(others, time.Now()), nil
}

// read tells whether somebody reads the snapshot these objects belong to.
func read(objects []Object, now time.Time) bool {
	for _, o := range objects {
		name := o.Key[strings.LastIndexByte(o.Key, '/')+1:]
		if strings.HasPrefix(name, readingPrefix) && now.Sub(o.Modified) < readingStale {
			return true
		}
	}
	return false
}
