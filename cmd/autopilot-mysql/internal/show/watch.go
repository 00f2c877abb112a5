package show

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
)

// JSON writes the document, indented.
func JSON(w io.Writer, d cluster.Doc) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("print status: %w", err)
	}
	return nil
}

// Screen shows one document after another: in place on a terminal, one below the other when it is piped, and as one JSON
// document for each line when JSON is wanted.
type Screen struct {
	W io.Writer
	// Terminal says that W is one; Color that it may be coloured; JSON that documents are wanted.
	Terminal, Color, JSON bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	last  string
	shown bool
}

// Show draws d. What only counts on, such as the lease, is no reason to print it once more where it cannot be redrawn.
func (s *Screen) Show(d cluster.Doc) error {
	if !s.Terminal || s.JSON {
		key := essence(d)
		if s.shown && key == s.last {
			return nil
		}
		s.last = key
	}
	return s.draw(func(w io.Writer) error {
		if s.JSON {
			return s.encode(w, d)
		}
		return Table(w, d, Options{Color: s.Color, Width: s.width(), Now: s.now()})
	})
}

// Trouble shows that the document cannot be had at the moment, each time anew: whoever reads along must not take silence for
// a cluster that does not change. On a terminal it replaces the picture, which is not known to be true any more; as a
// document it is the last one, which says so.
func (s *Screen) Trouble(last cluster.Doc, err error) error {
	s.last = "" // the next document is news, whatever it says
	return s.draw(func(w io.Writer) error {
		if s.JSON {
			return s.encode(w, last.Unread(clean(err.Error())))
		}
		_, err := fmt.Fprintln(w, "cannot tell at the moment: "+clean(err.Error()))
		return err
	})
}

// encode writes one document in one line.
func (s *Screen) encode(w io.Writer, d cluster.Doc) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

func (s *Screen) draw(paint func(io.Writer) error) error {
	var b strings.Builder
	if err := paint(&b); err != nil {
		return err
	}
	text := b.String()
	switch {
	case s.JSON:
	case s.Terminal: // home, each line to its end, then everything below: nothing flickers
		if !s.shown {
			text = "\x1b[2J" + "\x1b[H" + text
		} else {
			text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
		}
	case s.shown:
		text = "\n" + s.now().Format(time.TimeOnly) + "\n" + text
	}
	s.shown = true
	_, err := io.WriteString(s.W, text)
	return err
}

func (s *Screen) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// essence is what of d makes it worth printing again. Numbers inside sentences (attempts, ages) are not.
func essence(d cluster.Doc) string {
	d.Lease.ExpiresInMS = 0
	d.Problems = slices.Clone(d.Problems)
	for i := range d.Problems {
		d.Problems[i].What = withoutNumbers(d.Problems[i].What)
	}
	nodes := make([]cluster.NodeDoc, len(d.Nodes))
	for i, n := range d.Nodes {
		n.GTIDExecuted, n.LagSeconds, n.Reason = "", 0, withoutNumbers(n.Reason)
		nodes[i] = n
	}
	d.Nodes = nodes
	b, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// withoutNumbers drops the digits.
func withoutNumbers(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, s)
}

func (s *Screen) width() int {
	if !s.Terminal {
		return 0
	}
	return Width(s.W)
}

// IsTerminal says whether w is one.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Width is the number of columns of a terminal, 0 when w is none.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
