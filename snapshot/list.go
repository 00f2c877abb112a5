package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// inventory is everything that lies under a cluster's snapshots.
type inventory struct {
	manifests  []Manifest          // newest first, with what verifications found
	unreadable []error             // each names the object
	unknown    error               // why a verification could not be read; nil: all were, or are not there
	objects    map[string][]Object // snapshot id → everything below it
}

// List returns a cluster's snapshots, newest first. Manifests that cannot be
// used, or whose parts are not all there, are returned as errors of their own
// and never hide the others; the last error is for a store that cannot be
// listed at all.
func List(ctx context.Context, store Store, cluster string) ([]Manifest, []error, error) {
	inv, err := takeInventory(ctx, store, cluster)
	if err != nil {
		return nil, nil, fmt.Errorf("list snapshots: %w", err)
	}
	var whole []Manifest
	for _, m := range inv.manifests {
		if err := m.present(inv.objects[m.ID]); err != nil {
			inv.unreadable = append(inv.unreadable, fmt.Errorf("snapshot %s: %w", m.ID, err))
			continue
		}
		whole = append(whole, m)
	}
	return whole, inv.unreadable, nil
}

// Find returns one snapshot, if its manifest can be used and its parts are all
// there; ErrNotFound if it has no manifest. Without an id it only asks whether
// the store can be listed, and returns ErrNotFound.
func Find(ctx context.Context, store Store, cluster, id string) (Manifest, error) {
	m := Manifest{Cluster: cluster, ID: id}
	if err := checkName("cluster", cluster); err != nil {
		return Manifest{}, fmt.Errorf("find snapshot: %w", err)
	}
	prefix := snapshotsPrefix(cluster)
	if id != "" {
		prefix = m.dir()
	}
	objects, err := store.List(ctx, prefix)
	if err == nil && id == "" {
		err = ErrNotFound
	}
	var data []byte
	if err == nil {
		data, err = readAll(ctx, store, m.key(), manifestLimit)
	}
	if err == nil {
		m, err = parseManifest(cluster, m.key(), data)
	}
	if err == nil {
		err = m.present(objects)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("find snapshot %s: %w", id, err)
	}
	return m, nil
}

// takeInventory lists the objects and reads the manifests among them.
func takeInventory(ctx context.Context, store Store, cluster string) (*inventory, error) {
	if err := checkName("cluster", cluster); err != nil {
		return nil, err
	}
	prefix := snapshotsPrefix(cluster)
	objects, err := store.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	inv := &inventory{objects: map[string][]Object{}}
	for _, o := range objects {
		id, name, ok := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
		if !ok {
			continue // not ours: snapshots have directories
		}
		inv.objects[id] = append(inv.objects[id], o)
		if name != manifestName {
			continue
		}
		if err := inv.read(ctx, store, cluster, o.Key); err != nil {
			return nil, err
		}
	}
	if err := inv.readVerifications(ctx, store); err != nil {
		return nil, err
	}
	sort.Slice(inv.manifests, func(i, j int) bool {
		a, b := inv.manifests[i], inv.manifests[j]
		if !a.CreatedAt.Equal(b.CreatedAt) {
			return a.CreatedAt.After(b.CreatedAt)
		}
		return a.ID > b.ID
	})
	return inv, nil
}

// read adds one manifest. An error is returned only if nothing more can be read.
func (inv *inventory) read(ctx context.Context, store Store, cluster, key string) error {
	data, err := readAll(ctx, store, key, manifestLimit)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrNotFound):
		return nil // pruned by another node since we listed
	case err != nil:
		inv.unreadable = append(inv.unreadable, err)
		return nil
	}
	m, err := parseManifest(cluster, key, data)
	if err != nil {
		inv.unreadable = append(inv.unreadable, err)
		return nil
	}
	inv.manifests = append(inv.manifests, m)
	return nil
}
