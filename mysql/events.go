package mysql

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// event is one scheduled event with everything ALTER EVENT would otherwise take from the session.
type event struct {
	schema, name, definer              string
	sqlMode, timeZone, client, collate string
}

// Statuses of events in information_schema.
const (
	eventEnabled  = "ENABLED"
	eventDisabled = "DISABLED"
	eventHereNot  = "REPLICA_SIDE_DISABLED"
)

// eventAttempts: DISABLE ON REPLICA left an event enabled once in 11 (measured), so it is verified
// and repeated.
const eventAttempts = 4

// closeLimit bounds putting super_read_only back.
const closeLimit = 2 * time.Second

// EnableEvents makes the events run that replication switched off at this server, and starts the
// scheduler: for a new primary, after ReadOnlyOff. Unlogged, verified. Events that a user disabled
// become DISABLED again, as far as a primary noted them (NoteDisabledEvents).
func (s *Server) EnableEvents(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "enable events"
	none, err := s.NoEventsWait(ctx)
	if err != nil {
		return err
	}
	if none {
		return s.StartEvents(ctx)
	}
	off, err := s.notedDisabled(ctx, op)
	if err != nil {
		return err
	}
	err = s.alterEvents(ctx, op, eventHereNot, func(e event) string {
		if off[[2]string{e.schema, e.name}] {
			return "DISABLE"
		}
		return "ENABLE"
	})
	if err != nil {
		return err
	}
	return s.StartEvents(ctx)
}

// NoEventsWait reports whether there is no event that replication switched off at this server: then StartEvents does all
// that EnableEvents would.
func (s *Server) NoEventsWait(ctx context.Context) (bool, error) {
	waiting, err := s.events(ctx, "look for events", eventHereNot)
	return err == nil && len(waiting) == 0, err
}

// StartEvents starts the scheduler.
func (s *Server) StartEvents(ctx context.Context) error {
	return s.set(ctx, "start event scheduler", "event_scheduler=ON")
}

// NoteDisabledEvents writes down, in a replicated table, which events a user disabled; nothing is
// logged when nothing changed. For a serving primary, now and then: on a replica a disabled event
// looks exactly like an enabled one (both REPLICA_SIDE_DISABLED, measured), so without the note the
// next primary would run it. Waits for its ACK like any commit.
func (s *Server) NoteDisabledEvents(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "note disabled events"
	if err := s.EnsureMarkerTable(ctx); err != nil {
		return err
	}
	// An event that waits for EnableEvents is neither: its note must stay.
	err := s.marker.exec(ctx, op, "DELETE FROM autopilot.disabled_events AS o WHERE NOT EXISTS (SELECT 1 FROM information_schema.events e "+
		"WHERE e.EVENT_SCHEMA = o.event_schema AND e.EVENT_NAME = o.event_name AND e.STATUS <> ?)", eventEnabled)
	if err != nil {
		return err
	}
	return s.marker.exec(ctx, op, "INSERT IGNORE INTO autopilot.disabled_events "+
		"SELECT EVENT_SCHEMA, EVENT_NAME FROM information_schema.events WHERE STATUS = ?", eventDisabled)
}

func (s *Server) notedDisabled(ctx context.Context, op string) (map[[2]string]bool, error) {
	sets, err := s.control.query(ctx, op, "SELECT event_schema, event_name FROM autopilot.disabled_events")
	if hasErrno(err, errnoNoSuchTable, errnoNoSuchDatabase) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	off := map[[2]string]bool{}
	for _, r := range sets[0] {
		off[[2]string{r["event_schema"], r["event_name"]}] = true
	}
	return off, nil
}

// DisableEvents stops the scheduler and makes enabled events wait for a promotion: for a node that
// begins to follow; a Throttle from its time as the primary would slow down its applier, and ends.
// Altering an event needs super_read_only off for a moment, so with events to alter
// it refuses unless clients are cut (offline_mode); read_only stays on throughout.
func (s *Server) DisableEvents(ctx context.Context) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "disable events"
	if err := s.set(ctx, "stop event scheduler", "event_scheduler=OFF", s.cfg.throttle(0)); err != nil {
		return err
	}
	events, err := s.events(ctx, op, eventEnabled)
	if err != nil || len(events) == 0 {
		return err
	}
	sets, err := s.control.query(ctx, op, "SELECT @@GLOBAL.offline_mode AS offline, @@GLOBAL.super_read_only AS sro")
	if err != nil {
		return err
	}
	v := sets[0][0]
	if !v.on("offline") {
		return fmt.Errorf("%s: %d events to alter need offline_mode first", op, len(events))
	}
	if v.on("sro") {
		if err := s.set(ctx, op, "super_read_only=OFF"); err != nil {
			return err
		}
		defer func() { // also when ctx is over by then
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
			defer cancel()
			if again := s.set(ctx, op, "super_read_only=ON"); err == nil {
				err = again
			}
		}()
	}
	return s.alterEvents(ctx, op, eventEnabled, func(event) string { return "DISABLE ON REPLICA" })
}

// alterEvents alters every event of one status until none is left.
func (s *Server) alterEvents(ctx context.Context, op, status string, change func(event) string) error {
	var left []event
	for range eventAttempts {
		var err error
		if left, err = s.events(ctx, op, status); err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		for _, e := range left {
			if err := s.alterEvent(ctx, op, e, change(e)); err != nil {
				return err
			}
		}
	}
	left, err := s.events(ctx, op, status)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%s: %s.%s is still %s", op, left[0].schema, left[0].name, status)
	}
	return err
}

func (s *Server) events(ctx context.Context, op, status string) ([]event, error) {
	sets, err := s.control.query(ctx, op, "SELECT * FROM information_schema.events WHERE STATUS = ?", status)
	if err != nil {
		return nil, err
	}
	var all []event
	for _, r := range sets[0] {
		all = append(all, event{
			schema: r["EVENT_SCHEMA"], name: r["EVENT_NAME"], definer: r["DEFINER"],
			sqlMode: r["SQL_MODE"], timeZone: r["TIME_ZONE"],
			client: r["CHARACTER_SET_CLIENT"], collate: r["COLLATION_CONNECTION"],
		})
	}
	return all, nil
}

// alterEvent works on a connection of its own lane that gets the event's own session settings: ALTER
// EVENT stores the session's, and makes the one who alters the definer.
func (s *Server) alterEvent(ctx context.Context, op string, e event, change string) error {
	at := strings.LastIndexByte(e.definer, '@')
	if at < 0 {
		return fmt.Errorf("%s: event %s.%s has definer %q", op, e.schema, e.name, e.definer)
	}
	statement := fmt.Sprintf("ALTER DEFINER=%s@%s EVENT %s.%s %s",
		sqlName(e.definer[:at]), sqlName(e.definer[at+1:]), sqlName(e.schema), sqlName(e.name), change)
	return s.control.with(ctx, op, func(ctx context.Context, c *session) error {
		err := c.exec(ctx, "SET SESSION sql_mode=?, time_zone=?, character_set_client=?, collation_connection=?",
			e.sqlMode, e.timeZone, e.client, e.collate)
		if err == nil {
			err = c.exec(ctx, statement)
		}
		if back := c.exec(ctx, "SET NAMES utf8mb4; "+sessionSetup+"; "+unloggedSetup); err == nil {
			err = back
		}
		return err
	})
}
