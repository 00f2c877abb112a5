// Package proof proves a snapshot: it restores it into a directory of its own, starts a scratch mysqld on it and reads
// every table. A snapshot nobody has ever restored is a hope.
package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Options say how to do it.
type Options struct {
	// Dir is made, used and removed; what was there before is removed first. Its path must be short: it holds a socket.
	Dir string
	// Mysqld, RunAs and Extra are the server's binary, its system user ("" for our own) and options that the data needs.
	Mysqld, RunAs string
	Extra         []string
	// By is who does it: a node's or a host's name.
	By string
	// Restore says how the snapshot is read; its Progress is not used.
	Restore snapshot.RestoreOptions
	// Progress, if set, gets what is being done and how far it is.
	Progress func(doing string, done, total int64)
	// Log gets what the server says; nil drops it.
	Log func(line string)
}

// Verify returns the verdict on m and stores it beside the snapshot. An error means that there is no verdict: the
// snapshot could not be looked at, which says nothing about it.
func Verify(ctx context.Context, store snapshot.Store, m snapshot.Manifest, o Options) (v snapshot.Verification, err error) {
	c := mysql.Config{Dir: o.Dir, Mysqld: o.Mysqld, User: o.RunAs, Extra: o.Extra, Log: o.Log}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	if err := mysql.ScratchDir(c); err != nil {
		return v, fmt.Errorf("verify snapshot %s: %w", m.ID, err)
	}
	began := time.Now()
	v, err = look(ctx, store, m, c, o)
	if err != nil {
		return v, fmt.Errorf("verify snapshot %s: %w", m.ID, err)
	}
	v.At, v.By, v.Seconds = time.Now().UTC().Truncate(time.Millisecond), o.By, time.Since(began).Round(time.Millisecond).Seconds()
	return v, snapshot.RecordVerification(ctx, store, m, v)
}

// look restores and reads.
func look(ctx context.Context, store snapshot.Store, m snapshot.Manifest, c mysql.Config, o Options) (snapshot.Verification, error) {
	v := snapshot.Verification{ID: m.ID}
	say := o.Progress
	if say == nil {
		say = func(string, int64, int64) {}
	}
	data := filepath.Join(c.Dir, "data")
	r := o.Restore
	r.Progress = func(done, total int64) { say("restoring "+m.ID, done, total) }
	if err := snapshot.Restore(ctx, store, m, data, r); err != nil {
		return verdict(v, err, damaged(err))
	}
	found, err := mysql.CheckData(ctx, c, data, func(done, total int) { say("checking tables of "+m.ID, int64(done), int64(total)) })
	v.Version, v.Tables, v.Rows, v.GTIDExecuted = found.Version, found.Tables, found.Rows, found.Executed
	if err != nil {
		return verdict(v, err, errors.Is(err, mysql.ErrNoStart) && sameServer(ctx, o.Mysqld, m))
	}
	if !v.GTIDExecuted.Contains(m.GTIDLower) {
		found.Problems = append(found.Problems, fmt.Sprintf("the server holds %s, the manifest promises %s", v.GTIDExecuted, m.GTIDLower))
	}
	v.OK, v.Why = len(found.Problems) == 0, strings.Join(found.Problems, "; ")
	return v, nil
}

// verdict makes a finding of an error that is about the snapshot.
func verdict(v snapshot.Verification, err error, about bool) (snapshot.Verification, error) {
	if !about {
		return v, err
	}
	v.Why = err.Error()
	return v, nil
}

// damaged tells errors about what is stored from those of reading it.
func damaged(err error) bool {
	return errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrIncomplete) || errors.Is(err, io.ErrUnexpectedEOF)
}

// sameServer tells whether the binary is of the version that made the snapshot: another one may refuse good data.
func sameServer(ctx context.Context, mysqld string, m snapshot.Manifest) bool {
	_, version, err := mysql.FindMysqld(ctx, mysqld)
	return err == nil && m.MySQLVersion != "" && strings.HasPrefix(m.MySQLVersion, version)
}
