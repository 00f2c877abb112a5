package mysql

import (
	"context"
	"errors"
	"fmt"
)

// SetSource switches the semi-synchronous source side and says how many ACKs a commit needs.
//
// Switching on sets the count first, so that no commit is ever asked for fewer. Switching off, and
// lowering k, releases every waiting commit to its client as if it were acknowledged: the caller may
// do it only when the ack set in Consul already allows it (SELF, LOWER) or when nobody waits.
// MySQL's own fall-back to asynchronous is ruled out each time: endless time-out, waiting also
// without replicas, AFTER_SYNC.
func (s *Server) SetSource(ctx context.Context, enabled bool, k int) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "set semi-sync source side"
	if !enabled {
		return s.set(ctx, op, "rpl_semi_sync_source_enabled=OFF")
	}
	if k < 1 {
		return fmt.Errorf("%s: %d ACKs: on needs at least 1", op, k)
	}
	// Set and read back in one round trip: every opening waits for it.
	sets, err := s.control.query(ctx, op, fmt.Sprintf(`SET GLOBAL rpl_semi_sync_source_timeout=%d, GLOBAL rpl_semi_sync_source_wait_no_replica=ON,
 GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC, GLOBAL rpl_semi_sync_source_wait_for_replica_count=%d, GLOBAL rpl_semi_sync_source_enabled=ON;
`, uint64(semiSyncTimeout), k)+checkSourceQuery)
	if err != nil {
		return err
	}
	return checkSource(sets[len(sets)-2:], k)
}

const checkSourceQuery = `SELECT @@GLOBAL.rpl_semi_sync_source_enabled AS enabled,
 @@GLOBAL.rpl_semi_sync_source_timeout AS timeout, @@GLOBAL.rpl_semi_sync_source_wait_no_replica AS no_replica,
 @@GLOBAL.rpl_semi_sync_source_wait_point AS point, @@GLOBAL.rpl_semi_sync_source_wait_for_replica_count AS k;
` + statusOf + `'Rpl_semi_sync_source_status')`

// checkSource looks at what a commit really waits for.
func checkSource(sets [][]row, k int) error {
	const op = "check semi-sync source side"
	v := sets[0][0]
	switch {
	case !v.on("enabled") || !v.on("no_replica") || v["point"] != "AFTER_SYNC" || v.unsigned("timeout") < semiSyncTimeout:
		return fmt.Errorf("%s: mysqld did not take it: %v", op, v)
	case v.number("k") != int64(k):
		return fmt.Errorf("%s: waits for %s ACKs instead of %d", op, v["k"], k)
	case len(sets[1]) != 1 || !sets[1][0].on("Value"):
		return fmt.Errorf("%s: %w", op, errors.New("it is enabled but not active"))
	}
	return nil
}

// markerRows is how many rows of the marker table are used in turn. A marker that waits for its ACK
// keeps its row locked, and the next one must commit all the same: it is what frees the first (trap 17).
const markerRows = 4096

// EnsureMarkerTable creates the schema autopilot with the tables of Marker and NoteDisabledEvents when
// they are missing: logged statements, which wait for their ACK like any commit.
func (s *Server) EnsureMarkerTable(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "create autopilot tables"
	sets, err := s.marker.query(ctx, op, "SELECT COUNT(*) AS n FROM information_schema.tables "+
		"WHERE table_schema = 'autopilot' AND table_name IN ('marker', 'disabled_events')")
	if err != nil {
		return err
	}
	if sets[0][0].number("n") == 2 {
		return nil
	}
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS autopilot",
		"CREATE TABLE IF NOT EXISTS autopilot.marker (" +
			"slot INT UNSIGNED PRIMARY KEY, n BIGINT UNSIGNED NOT NULL, at TIMESTAMP(6) NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE IF NOT EXISTS autopilot.disabled_events (event_schema VARCHAR(64) NOT NULL, " +
			"event_name VARCHAR(64) NOT NULL, PRIMARY KEY (event_schema, event_name)) ENGINE=InnoDB CHARSET=utf8mb3 COLLATE=utf8mb3_bin",
	} {
		if err := s.marker.exec(ctx, op, statement); err != nil {
			return err
		}
	}
	return nil
}

// Marker commits one tiny logged transaction and returns once it is acknowledged. It is the proof
// that the quorum still acknowledges, and the cure for waiters whose ACK was lost with its link. At
// the deadline it ends in *UnknownError; the marker may well be in the binary log by then. Markers
// never wait for each other's rows.
func (s *Server) Marker(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s.mu.Lock()
	s.slot++
	slot := s.slot % markerRows
	s.mu.Unlock()
	write := func() error {
		return s.marker.exec(ctx, "commit marker", "INSERT INTO autopilot.marker (slot, n, at) VALUES (?, 1, NOW(6)) "+
			"ON DUPLICATE KEY UPDATE n = n + 1, at = NOW(6)", int64(slot))
	}
	err := write()
	if hasErrno(err, errnoNoSuchTable, errnoNoSuchDatabase) {
		if err := s.EnsureMarkerTable(ctx); err != nil {
			return err
		}
		return write()
	}
	return err
}
