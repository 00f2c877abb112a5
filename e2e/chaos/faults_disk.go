package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func diskFaults() []fault {
	return []fault{
		{name: "disk-full", targets: onlyPrimary, hold: seconds(4, 12), needs: volumes, bound: 4 * time.Minute,
			cost: "writes may stop while it lasts, and for the minute mysqld waits before it tries again", strike: diskFull},
		{name: "disk-full-standbys", hold: seconds(4, 12), needs: volumes, bound: 4 * time.Minute,
			cost: "writes may stop until the primary goes on alone", strike: diskFullStandbys},
		{name: "torn-relay-log", targets: onlyStandby, hold: seconds(1, 6), cost: "the standby's acknowledgements do not count until it holds them again", strike: tornRelay},
		{name: "disk-lost", targets: onlyStandby, hold: seconds(1, 4), takes: ofNode, cost: "the standby gets a new copy", strike: diskLost},
		{name: "primary-disk-lost", targets: onlyPrimary, hold: seconds(1, 4), solo: true, cost: "writes may stop for a lease", strike: primaryDiskLost},
		{name: "store-killed", hold: seconds(3, 20), cost: "nothing but snapshots", strike: storeKilled},
		{name: "store-frozen", hold: seconds(3, 20), cost: "nothing but snapshots", strike: storeFrozen},
		{name: "store-slow", hold: seconds(5, 20), needs: namespaces, cost: "nothing but snapshots", strike: storeSlow},
		{name: "disk-lost-store-down", targets: onlyStandby, hold: seconds(5, 15), takes: ofNode, cost: "the standby gets a new copy once it can", strike: diskLostStoreDown},
	}
}

func diskFull(s *strike) (func() error, error) { return s.target.space, s.target.fill() }

func diskFullStandbys(s *strike) (func() error, error) {
	_, standbys := s.c.roles()
	var undo []func() error
	for _, n := range standbys {
		undo = append(undo, n.space)
		if err := n.fill(); err != nil {
			return each(undo...), err
		}
	}
	return each(undo...), nil
}

// tornRelay cuts the end off a dead standby's relay log, as a power cut does with what was not written out.
func tornRelay(s *strike) (func() error, error) {
	s.target.hold()
	if err := s.target.kill(); err != nil {
		return s.target.free, err
	}
	logs, err := filepath.Glob(filepath.Join(s.target.dir, "data", "*relay*.[0-9]*"))
	if err != nil || len(logs) == 0 {
		return s.target.free, fmt.Errorf("%s has no relay log: %w", s.target.name, errNotNow)
	}
	slices.SortFunc(logs, func(a, b string) int { return strings.Compare(filepath.Ext(a), filepath.Ext(b)) })
	last := logs[len(logs)-1]
	info, err := os.Stat(last)
	if err != nil {
		return s.target.free, fmt.Errorf("tear relay log: %w", err)
	}
	cut := int64(7 + s.rng.IntN(4000))
	size := max(info.Size()-cut, 4) // the file's first four bytes say what it is
	s.note("%s loses %d bytes at the end of %s", s.target.name, info.Size()-size, filepath.Base(last))
	return s.target.free, os.Truncate(last, size)
}

func diskLost(s *strike) (func() error, error) {
	s.target.hold()
	if err := s.target.kill(); err != nil {
		return s.target.free, err
	}
	return s.target.free, s.target.wipe()
}

// primaryDiskLost is survived as long as every write is promised to be on a standby.
func primaryDiskLost(s *strike) (func() error, error) {
	now := s.c.watch.now()
	if now.Acks < 1 {
		return nil, fmt.Errorf("writes are on the primary only: %w", errNotNow)
	}
	return diskLost(s)
}

func storeKilled(s *strike) (func() error, error) {
	s.c.cluster.store.hold()
	return s.c.cluster.store.free, s.c.cluster.store.kill()
}

func storeFrozen(s *strike) (func() error, error) {
	list := pids(s.c.cluster.store.all())
	return s.c.cluster.store.thaw(list...), signal(unix.SIGSTOP, list...)
}

func storeSlow(s *strike) (func() error, error) {
	how, err := s.c.cluster.store.host.Slow()
	s.note("%s", how)
	return s.c.cluster.store.host.Fast, err
}

func diskLostStoreDown(s *strike) (func() error, error) {
	store, err := storeKilled(s)
	if err != nil {
		return store, err
	}
	heal, err := diskLost(s)
	if err != nil {
		return each(store, heal), err
	}
	if err := heal(); err != nil { // the empty node starts while the store is still down
		return store, err
	}
	return store, nil
}
