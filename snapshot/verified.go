package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// verifiedName is the object beside a manifest that tells of its verification.
const verifiedName = "verified.json"

// verificationLimit bounds reading one, in bytes.
const verificationLimit = 1 << 20

// Verification is what came out when a snapshot was restored and a server was
// started on it.
type Verification struct {
	ID      string    `json:"id"` // of the snapshot
	At      time.Time `json:"at"` // by the clock of who did it
	By      string    `json:"by"` // node or host
	OK      bool      `json:"ok"`
	Why     string    `json:"why,omitempty"` // what was wrong
	Tables  int       `json:"tables"`
	Rows    int64     `json:"rows"`
	Seconds float64   `json:"seconds"`
	// Version is the server that looked.
	Version string `json:"mysql_version"`
	// GTIDExecuted is the exact position of the snapshot.
	GTIDExecuted gtid.Set `json:"gtid_executed"`
}

// RecordVerification stores the outcome beside the snapshot, in place of an
// earlier one. It is meant for verdicts about the snapshot, not for a
// verification that could not be carried out.
func RecordVerification(ctx context.Context, store Store, m Manifest, v Verification) error {
	v.ID = m.ID
	data, err := sealJSON(v)
	if err == nil {
		err = store.Put(ctx, m.dir()+verifiedName, bytes.NewReader(data))
	}
	if err != nil {
		return fmt.Errorf("record verification of snapshot %s: %w", m.ID, err)
	}
	return nil
}

// readVerifications adds to the manifests what is known about them. A damaged
// record is one that is not there. One that cannot be read is remembered: it may
// say that its snapshot is of no use.
func (inv *inventory) readVerifications(ctx context.Context, store Store) error {
	for i := range inv.manifests {
		m := &inv.manifests[i]
		for _, o := range inv.objects[m.ID] {
			if !strings.HasSuffix(o.Key, "/"+verifiedName) {
				continue
			}
			data, err := readAll(ctx, store, o.Key, verificationLimit)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
				inv.unknown = errors.Join(inv.unknown, fmt.Errorf("look whether snapshot %s was verified: %w", m.ID, err))
			}
			var v Verification
			if err == nil {
				err = errors.Join(checkSealed(data), json.Unmarshal(data, &v))
			}
			if err == nil && v.ID == m.ID {
				m.Verified = &v
			}
		}
	}
	return nil
}

// bad tells whether a verification found the snapshot unusable.
func (m Manifest) bad() bool { return m.Verified != nil && !m.Verified.OK }
