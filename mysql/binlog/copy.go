package binlog

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Copy writes the whole transactions between two offsets, as File gave them, as a binary log file of their own, and
// verifies every checksum on the way.
func (f *File) Copy(w io.Writer, start, end int64) error {
	// A server wants the previous GTIDs even in a relay log; here they are those of the file the transactions come from.
	if _, err := w.Write(f.lead); err != nil {
		return err
	}
	p := &pipe{r: bufio.NewReaderSize(io.NewSectionReader(f.r, start, end-start), largestKnown), f: f.f}
	for at := start; at < end; {
		h, err := peekHeader(p.r)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, torn(err))
		}
		if at+h.size > end {
			return fmt.Errorf("%w: at byte %d an event reaches beyond the transactions", ErrDamaged, at)
		}
		if err := p.pass(w, h); err != nil {
			return fmt.Errorf("at byte %d: %w", at, err)
		}
		at += h.size
	}
	return nil
}

// Filter reads a file as Copy writes it, or a server, and writes one with those transactions only that keep wants. Keep
// is asked about each of them in order; an error of it ends the work. Offsets of the transactions are those in r. Every
// checksum is verified, also of what is left out. It returns how many transactions were written.
func Filter(w io.Writer, r io.Reader, keep func(Transaction) (bool, error)) (written int, err error) {
	p := &pipe{r: bufio.NewReaderSize(r, largestKnown)}
	at, err := p.begin(w)
	if err != nil {
		return 0, err
	}
	for {
		h, err := peekHeader(p.r)
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, fmt.Errorf("at byte %d: %w", at, torn(err))
		}
		switch h.kind {
		case typePreviousGTIDs:
			if err := p.pass(w, h); err != nil {
				return written, fmt.Errorf("at byte %d: %w", at, err)
			}
			at += h.size
		case typeRotate, typeStop:
			if err := p.pass(io.Discard, h); err != nil {
				return written, fmt.Errorf("at byte %d: %w", at, err)
			}
			at += h.size
		case typeGTID, typeTaggedGTID:
			t, yes, err := p.transaction(w, at, h, keep)
			if err != nil {
				return written, fmt.Errorf("at byte %d: %w", at, err)
			}
			if yes {
				written++
			}
			at = t.End
		case typeAnonymousGTID:
			return written, fmt.Errorf("at byte %d: %w", at, ErrNoGTID)
		default:
			return written, fmt.Errorf("%w: at byte %d an event of type %d outside of a transaction", ErrDamaged, at, h.kind)
		}
	}
}

// pipe moves events from a reader to a writer.
type pipe struct {
	r *bufio.Reader
	f format
}

// begin takes over what stands in front of the events.
func (p *pipe) begin(w io.Writer) (at int64, err error) {
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(p.r, magic); err != nil {
		return 0, torn(err)
	}
	if err := checkMagic(magic); err != nil {
		return 0, err
	}
	raw, err := event(p.r)
	if err != nil {
		return 0, err
	}
	if p.f, err = parseFormat(raw); err != nil {
		return 0, err
	}
	if _, err := w.Write(slices.Concat(magic, p.f.raw)); err != nil {
		return 0, err
	}
	return int64(len(magic) + len(raw)), nil
}

// transaction passes one on, or over, from its first event, whose header has been peeked at.
func (p *pipe) transaction(w io.Writer, at int64, h header, keep func(Transaction) (bool, error)) (t Transaction, yes bool, err error) {
	raw, err := h.take(p.r)
	if err != nil {
		return t, false, err
	}
	body, err := p.f.body(raw)
	if err != nil {
		return t, false, err
	}
	l, err := parseLead(h.kind, body)
	if err != nil {
		return t, false, err
	}
	t = Transaction{GTID: l.gtid, Committed: l.committed, Start: at, End: at + l.length}
	if yes, err = keep(t); err != nil {
		return t, false, err
	}
	if !yes {
		w = io.Discard
	}
	if _, err := w.Write(raw); err != nil {
		return t, yes, err
	}
	for left := l.length - h.size; left > 0; {
		if h, err = peekHeader(p.r); err != nil {
			return t, yes, torn(err)
		}
		if left -= h.size; left < 0 {
			return t, yes, fmt.Errorf("%w: an event reaches beyond its transaction", ErrDamaged)
		}
		if err := p.pass(w, h); err != nil {
			return t, yes, err
		}
	}
	return t, yes, nil
}

// pass moves one event, whatever its size: a large one is not held in memory.
func (p *pipe) pass(w io.Writer, h header) error {
	if p.f.checksum && h.size < headerSize+checksumSize {
		return fmt.Errorf("%w: no room for a checksum", ErrDamaged)
	}
	if h.size > int64(p.r.Size()) {
		return p.stream(w, h)
	}
	b, err := p.r.Peek(int(h.size))
	if err != nil {
		return torn(err)
	}
	if p.f.checksum {
		if err := verify(b); err != nil {
			return err
		}
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err = p.r.Discard(len(b))
	return err
}

// stream moves an event that is larger than what is read at a time.
func (p *pipe) stream(w io.Writer, h header) error {
	if !p.f.checksum {
		_, err := io.CopyN(w, p.r, h.size)
		return torn(err)
	}
	sum := crc32.NewIEEE()
	if _, err := io.CopyN(io.MultiWriter(w, sum), p.r, h.size-checksumSize); err != nil {
		return torn(err)
	}
	tail := make([]byte, checksumSize)
	if _, err := io.ReadFull(p.r, tail); err != nil {
		return torn(err)
	}
	if err := check(sum.Sum32(), tail); err != nil {
		return err
	}
	_, err := w.Write(tail)
	return err
}
