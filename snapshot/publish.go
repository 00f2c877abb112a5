package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// publishTimeout bounds one attempt to write the manifest, which a cancelled context
	// does not interrupt: its outcome would be unknown.
	publishTimeout = 30 * time.Second
	// cleanupTimeout bounds removing what a failed snapshot left in the store,
	// hastyTimeout when the caller wants to end: Prune removes the rest.
	cleanupTimeout = 30 * time.Second
	hastyTimeout   = 3 * time.Second
)

// afterwards is a context for cleaning up after ctx, whether that has ended or not.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := cleanupTimeout
	if ctx.Err() != nil {
		limit = hastyTimeout
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// publish writes the manifest, after a look at what the store says it has.
func (m *Manifest) publish(ctx context.Context, store Store, patience time.Duration) error {
	if err := m.check(); err != nil {
		return err
	}
	var objects []Object
	err := persist(ctx, patience, func() (err error) {
		objects, err = store.List(ctx, m.dir())
		return err
	})
	if err != nil {
		return err
	}
	if err := m.present(objects); err != nil {
		return err
	}
	data, err := sealJSON(m)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err = persist(ctx, patience, func() error {
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
		defer cancel()
		return m.putNew(attempt, store, data)
	})
	if err != nil {
		return &publishError{err}
	}
	return nil
}

// putNew writes the manifest once. That there is one already is a success if it
// is ours: the answer to an attempt before was lost.
func (m *Manifest) putNew(ctx context.Context, store Store, data []byte) error {
	err := store.PutNew(ctx, m.key(), data)
	if !errors.Is(err, ErrExists) {
		return err
	}
	got, e := readAll(ctx, store, m.key(), manifestLimit)
	if e == nil && bytes.Equal(got, data) {
		return nil
	}
	return errors.Join(err, e)
}

// publishError: the manifest may or may not have been written.
type publishError struct{ error }

// Unwrap implements errors.Unwrap's interface.
func (e *publishError) Unwrap() error { return e.error }

// present tells whether every part is among the objects, with its size.
func (m Manifest) present(objects []Object) error {
	size := make(map[string]int64, len(objects))
	for _, o := range objects {
		size[o.Key] = o.Size
	}
	for _, p := range m.Parts {
		n, ok := size[p.Key]
		if !ok {
			return fmt.Errorf("%w: %s is missing", ErrIncomplete, p.Key)
		}
		if n != p.Size {
			return fmt.Errorf("%w: %s has %d bytes instead of %d", ErrIncomplete, p.Key, n, p.Size)
		}
	}
	return nil
}

// discard removes what a failed snapshot stored. A manifest that was perhaps
// written is withdrawn, but the parts stay then: should the write still arrive,
// it must not describe something that is gone.
func (m Manifest) discard(ctx context.Context, store Store, why error) {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if unknown := new(publishError); errors.As(why, &unknown) {
		_ = store.Delete(ctx, m.key()) // Prune and the sums guard against what is left
		return
	}
	objects, err := store.List(ctx, m.dir())
	if err == nil {
		_ = removeAll(ctx, store, objects) // what is left are orphans, for Prune
	}
}
