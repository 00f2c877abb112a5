package harness

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	stallPause = 10 * time.Millisecond // between two looks
	stallLeast = 20 * time.Millisecond // what takes less is ordinary: a flush takes about a millisecond
)

// Stalls is what a machine does by itself to whoever wants to store something on its disk.
type Stalls struct {
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	seen []span
}

type span struct{ from, to time.Time }

// WatchStalls stores a block in dir again and again, and remembers when that took long, until the test ends. It is no part of
// what is tested: whatever holds it up would hold up any server.
func WatchStalls(t testing.TB, dir string) *Stalls {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "stalls"))
	require.NoError(t, err)
	s := &Stalls{stop: make(chan struct{})}
	s.done.Go(func() { s.watch(f) })
	t.Cleanup(func() {
		close(s.stop)
		s.done.Wait()
		f.Close()
	})
	return s
}

func (s *Stalls) watch(f *os.File) {
	block := make([]byte, 4<<10)
	for {
		from := time.Now()
		select {
		case <-s.stop:
			return
		case <-time.After(stallPause):
		}
		_, err := f.WriteAt(block, 0)
		if err == nil {
			err = f.Sync()
		}
		if to := time.Now(); err == nil && to.Sub(from) > stallPause+stallLeast {
			s.mu.Lock()
			s.seen = append(s.seen, span{from, to})
			s.mu.Unlock()
		}
	}
}

// Within is for how long, of a span of time, storing something was held up.
func (s *Stalls) Within(from, to time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum time.Duration
	for _, x := range s.seen {
		begin, end := x.from, x.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}
