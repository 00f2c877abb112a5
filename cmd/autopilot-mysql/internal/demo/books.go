package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

// books hold every write that was acknowledged. Safe for concurrent use.
type books struct {
	mu     sync.Mutex
	acked  map[int64]time.Time // id → when the acknowledgement came
	times  []time.Time         // in the order of their coming
	failed int
}

func newBooks() *books { return &books{acked: map[int64]time.Time{}} }

// note enters an acknowledged write.
func (b *books) note(id int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.acked[id] = now
	b.times = append(b.times, now)
}

func (b *books) noteFailure() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed++
}

func (b *books) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acked)
}

func (b *books) failures() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// copy is the set of ids acknowledged until now.
func (b *books) copy() map[int64]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make(map[int64]bool, len(b.acked))
	for id := range b.acked {
		ids[id] = true
	}
	return ids
}

// resumed is the length of a series of writes that shows that writing goes on again: an acknowledgement that was on its
// way when the primary died does not.
const resumed = 10

// waitWrites waits for a number of acknowledged writes.
func (b *books) waitWrites(count int) func(context.Context) error {
	return waitUntil(func() bool { return b.count() >= count })
}

// waitSince waits until writes go on after t.
func (b *books) waitSince(t time.Time) func(context.Context) error {
	return waitUntil(func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		i := len(b.times) - resumed
		return i >= 0 && b.times[i].After(t.Add(100*time.Millisecond))
	})
}

// gapAround is the longest time without an acknowledgement that ended after t.
func (b *books) gapAround(t time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	longest := time.Duration(0)
	for i := len(b.times) - 1; i > 0 && b.times[i].After(t); i-- {
		longest = max(longest, b.times[i].Sub(b.times[i-1]))
	}
	return longest
}

func waitUntil(ok func() bool) func(context.Context) error {
	return func(ctx context.Context) error {
		for !ok() {
			if err := sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	}
}

// loss is the outcome of one comparison.
type loss struct{ missing, acknowledged int }

// lostOn compares the node's table with the books as they are now. A replica gets time to execute what it has received;
// what is missing when the time is over, or at a primary at once, is lost.
func (d *demo) lostOn(ctx context.Context, name string) (loss, error) {
	want := d.books.copy()
	doc := d.pg.Document()
	node, ok := doc.Node(name)
	if !ok {
		return loss{}, fmt.Errorf("find %s: there is no such node", name)
	}
	db, err := mysql.OpenClient(node.MySQL, doc.MySQLUser, doc.MySQLPassword, doc.MySQLDatabase)
	if err != nil {
		return loss{}, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("not within %v", checkTimeout))
	defer cancel()
	result := loss{missing: -1, acknowledged: len(want)}
	for {
		missing, err := missingIn(ctx, db, want)
		if err == nil {
			result.missing = missing
		}
		if missing == 0 && err == nil {
			return result, nil
		}
		if sleepErr := sleep(ctx, 200*time.Millisecond); sleepErr != nil {
			if result.missing >= 0 {
				return result, nil
			}
			return loss{}, fmt.Errorf("compare %s: %w", name, errors.Join(sleepErr, err))
		}
	}
}

// missingIn counts the ids that the table lacks.
func missingIn(ctx context.Context, db *sql.DB, want map[int64]bool) (int, error) {
	rows, err := db.QueryContext(ctx, "SELECT id FROM "+table)
	if err != nil {
		return 0, fmt.Errorf("read table: %w", err)
	}
	defer rows.Close()
	found := 0
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return 0, fmt.Errorf("read table: %w", err)
		}
		if want[id] {
			found++
		}
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read table: %w", err)
	}
	return len(want) - found, nil
}
