package chaos

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

// acked enters a write that its client was told is committed.
func (w *writers) acked(a history.Write, stubborn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if stubborn {
		w.stubborn = append(w.stubborn, a)
	} else {
		w.acks = append(w.acks, a)
	}
}

func (w *writers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	w.last = err
}

// books are the records so far.
type books struct {
	acks, stubborn []history.Write
	txns           []history.Txn
	failures       int
	last           error
}

func (b books) all() []history.Write { return append(b.acks[:len(b.acks):len(b.acks)], b.stubborn...) }

func (w *writers) books() books {
	w.mu.Lock()
	defer w.mu.Unlock()
	return books{append([]history.Write(nil), w.acks...), append([]history.Write(nil), w.stubborn...), append([]history.Txn(nil), w.txns...), w.failures, w.last}
}

// since counts the acknowledgements after a moment, and says what failed last.
func (w *writers) since(from time.Time) (count int, last error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i >= 0 && w.acks[i].Acked.After(from); i-- {
		count++
	}
	return count, w.last
}
