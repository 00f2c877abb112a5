package snapshot

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"
)

// Prune removes all but the newest keep complete snapshots and the protected
// ones, and leftovers of abandoned writes. See Retire.
func Prune(ctx context.Context, store Store, cluster string, keep int, protect map[string]bool) ([]string, error) {
	return Retire(ctx, store, cluster, Retention{Keep: keep, Protect: protect})
}

// Retire removes the snapshots a retention lets go, and what was abandoned
// before it was complete, and returns the ids, also with an error. The manifest
// is deleted first: what is half deleted is not listed any more. A snapshot with
// missing parts, or one that failed its verification, does not count as one to
// keep, and as long as no usable one of its cluster exists none is removed at
// all. What a restore reads stays. Unreadable manifests, and what belongs to
// them, are left alone. As long as a verification cannot be read nothing goes.
func Retire(ctx context.Context, store Store, cluster string, r Retention) (removed []string, err error) {
	started := time.Now()
	inv, err := takeInventory(ctx, store, cluster)
	if err == nil {
		err = inv.unknown // a bad one would count, and push out a good one
	}
	if err != nil {
		return nil, fmt.Errorf("prune snapshots: %w", err)
	}
	for _, m := range inv.surplus(r, started) {
		gone, err := m.remove(ctx, store)
		if gone {
			removed = append(removed, m.ID)
		}
		if err != nil {
			return removed, fmt.Errorf("prune snapshot %s: %w", m.ID, err)
		}
	}
	before := started.Add(-r.orphanAge())
	for _, id := range inv.orphans(before) {
		if err := removeAll(ctx, store, inv.objects[id]); err != nil {
			return removed, fmt.Errorf("prune leftovers of %s: %w", id, err)
		}
		removed = append(removed, id)
	}
	if s, ok := store.(sweeper); ok {
		if err := s.sweep(ctx, cluster+"/", before); err != nil {
			return removed, fmt.Errorf("prune interrupted writes: %w", err)
		}
	}
	return removed, nil
}

// remove deletes the manifest and then, unless a reader came meanwhile, the
// rest. What stays because of a reader is an orphan, and goes with those. gone
// tells, also with an error, that the snapshot is not listed any more.
func (m Manifest) remove(ctx context.Context, store Store) (gone bool, err error) {
	if err := store.Delete(ctx, m.key()); err != nil {
		return false, err
	}
	objects, err := store.List(ctx, m.dir())
	if err != nil || read(objects, time.Now()) {
		return true, err
	}
	return true, removeAll(ctx, store, objects)
}

// orphans returns the ids without any manifest whose newest object is older
// than the instant.
func (inv *inventory) orphans(before time.Time) (ids []string) {
	for id, objects := range inv.objects {
		abandoned := true
		for _, o := range objects {
			abandoned = abandoned && o.Modified.Before(before) && !strings.HasSuffix(o.Key, "/"+manifestName)
		}
		if abandoned {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids
}

// removeAll deletes objects one by one.
func removeAll(ctx context.Context, store Store, objects []Object) error {
	for _, o := range objects {
		if err := store.Delete(ctx, o.Key); err != nil {
			return err
		}
	}
	return nil
}
