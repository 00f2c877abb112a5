package guard

import (
	"fmt"
	"io"
	"time"
)

// lines prints the guard's own messages from a goroutine of its own: a full pipe behind stderr must not
// hold up the loop. When nobody reads, lines are dropped.
type lines struct {
	queue chan string
	done  chan struct{}
}

// newLines starts the writer.
func newLines(w io.Writer) *lines {
	l := &lines{queue: make(chan string, 64), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for s := range l.queue {
			_, _ = io.WriteString(w, s) // there is nobody to tell
		}
	}()
	return l
}

// printf queues one line.
func (l *lines) printf(format string, args ...any) {
	select {
	case l.queue <- "autopilot-mysql: " + fmt.Sprintf(format, args...) + "\n":
	default:
	}
}

// flush waits a moment for the last lines. No printf may follow.
func (l *lines) flush() {
	close(l.queue)
	select {
	case <-l.done:
	case <-time.After(time.Second):
	}
}
