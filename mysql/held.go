package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Held is what a server holds of the cluster's history, asked for in a fraction of the time that Status takes. It is a
// value.
type Held struct {
	Executed gtid.Set
	// Received is what is known to have been received: only a suffix, never a position by itself (trap 5).
	Received gtid.Set
	// Receiver is Off without a replication channel.
	Receiver ThreadState
	// Half is as in ReplicaStatus, whether the applier runs or not; always empty while the receiver runs.
	Half gtid.Set
}

// begunQuery are the transactions that the applier is at.
const begunQuery = `SELECT PROCESSING_TRANSACTION AS begun FROM performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = ''
 UNION ALL SELECT APPLYING_TRANSACTION FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = ''`

// heldQuery asks in this order, so that what is executed in between counts as left to execute, and what has become whole in
// between not as half.
const heldQuery = `SELECT @@GLOBAL.gtid_executed AS executed;
SELECT SERVICE_STATE AS receiver, RECEIVED_TRANSACTION_SET AS received FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = '';
` + begunQuery

// Held asks what the server holds. It never waits behind a commit that waits for its ACK.
func (s *Server) Held(ctx context.Context) (Held, error) {
	const op = "read what is held"
	sets, err := s.status.query(ctx, op, heldQuery)
	if err != nil {
		return Held{}, err
	}
	h, err := heldFrom(sets)
	if err != nil {
		return Held{}, fmt.Errorf("%s: %w", op, err)
	}
	return h, nil
}

func heldFrom(sets [][]row) (h Held, err error) {
	if len(sets) < 3 || len(sets[0]) != 1 {
		return Held{}, fmt.Errorf("mysqld gave %d results", len(sets))
	}
	h.Receiver = Off
	if h.Executed, err = gtid.Parse(sets[0][0]["executed"]); err != nil {
		return Held{}, err
	}
	for _, channel := range sets[1] {
		h.Receiver = ThreadState(channel["receiver"])
		if h.Received, err = gtid.Parse(channel["received"]); err != nil {
			return Held{}, err
		}
	}
	if h.Receiver == Off {
		h.Half, err = begunOnly(sets[2], h.Position())
	}
	return h, err
}

// Position is everything this server holds: received or executed.
func (h Held) Position() gtid.Set { return h.Received.Union(h.Executed) }

// Undrained is what was received and is not executed yet.
func (h Held) Undrained() gtid.Set { return h.Received.Subtract(h.Executed) }

// Exactly reports why a server that holds this has not executed set and nothing else; nil when it has.
func (h Held) Exactly(set gtid.Set) error {
	switch {
	case !h.Position().Equal(set):
		return fmt.Errorf("this server holds %s, not %s", h.Position(), set)
	case !h.Undrained().IsEmpty():
		return fmt.Errorf("%s is not executed yet", h.Undrained())
	case !h.Half.IsEmpty():
		return errors.New("the beginning of " + h.Half.String() + " was received, and not the rest")
	}
	return nil
}
