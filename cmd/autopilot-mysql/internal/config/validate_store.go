package config

import (
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// checkSchedule checks when a node takes, keeps and verifies snapshots.
func (r *resolver) checkSchedule(s *Settings) {
	for _, name := range []string{"snapshot-interval", "snapshot-verify"} {
		d := time.Duration(r.byName[name].value.Int())
		r.require(d == 0 || d >= time.Minute, "use 1m or more, or 0 for none by the clock", "%s is too short", name)
	}
	r.require(s.SnapshotAfter == 0 || s.SnapshotAfter >= MiB, "use 1M or more, or auto", "%s is too small", "snapshot-after-binlog")
	r.require(s.SnapshotScratch == "" || filepath.IsAbs(s.SnapshotScratch), "give an absolute path", "%s is no absolute path", "snapshot-scratch")
	r.checkRetention(&s.SnapshotRetention)
}

// checkRetention is for nodes and for the command that prunes.
func (r *resolver) checkRetention(k *SnapshotRetention) {
	r.require(k.SnapshotKeep >= 1, "keep at least 1, a new node starts from it", "%s is out of range", "snapshot-keep")
	r.require(k.SnapshotKeepDaily >= 0, "use 0 or more", "%s is negative", "snapshot-keep-daily")
	r.require(k.SnapshotKeepWeekly >= 0, "use 0 or more", "%s is negative", "snapshot-keep-weekly")
}

// checkStoreAccess checks what a store needs beside its URL; whether keys are keys is seen when they are parsed.
func (r *resolver) checkStoreAccess(c *Common) {
	c.SnapshotRecipients = splitList(strings.Join(c.SnapshotRecipients, ","))
	if c.SnapshotPassphrase != "" && len(c.SnapshotRecipients) > 0 {
		r.problems.add("keep one of the two", "%s and %s contradict each other", r.cite("snapshot-passphrase"), r.cite("snapshot-recipient"))
	}
	r.require(c.SnapshotRate == 0 || c.SnapshotRate >= 64*KiB, "use 64K or more, or auto", "%s is too small", "snapshot-rate")
	u, err := url.Parse(c.Store)
	if err != nil || u.Scheme != "manta" {
		return
	}
	r.require(r.failed("manta-key") || c.MantaKey != "", "set MANTA_PRIVATE_KEY or MANTA_PRIVATE_KEY_FILE", "%s needs a private key to sign with", "store")
	m, err := url.Parse(c.MantaURL)
	r.require(err == nil && (m.Scheme == "https" || m.Scheme == "http") && m.Host != "" && m.User == nil, "write https://host", "%s is not a URL", "manta-url")
}
