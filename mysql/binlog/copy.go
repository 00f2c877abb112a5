package binlog

import (
	"bufio"
	"encoding/binary"
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
	p := &pipe{r: bufio.NewReaderSize(io.NewSectionReader(f.r, start, end-start), 64<<10), f: f.f}
	for at := start; at < end; {
		h, b, err := p.header()
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, torn(err))
		}
		if at+h.size > end {
			return fmt.Errorf("%w: at byte %d an event reaches beyond the transactions", ErrDamaged, at)
		}
		if err := p.pass(w, h, b); err != nil {
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
	p := &pipe{r: bufio.NewReaderSize(r, 64<<10)}
	at, err := p.begin(w)
	if err != nil {
		return 0, err
	}
	for {
		h, b, err := p.header()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, fmt.Errorf("at byte %d: %w", at, torn(err))
		}
		switch h.kind {
		case typePreviousGTIDs:
			if err := p.pass(w, h, b); err != nil {
				return written, fmt.Errorf("at byte %d: %w", at, err)
			}
			at += h.size
		case typeRotate, typeStop:
			if err := p.pass(io.Discard, h, b); err != nil {
				return written, fmt.Errorf("at byte %d: %w", at, err)
			}
			at += h.size
		case typeGTID, typeTaggedGTID:
			t, yes, err := p.transaction(w, at, h, b, keep)
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
	h, b, err := p.header()
	if err != nil {
		return 0, torn(err)
	}
	raw, err := h.whole(b, p.r)
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

// transaction passes one on, or over, from its first event, whose header has been read.
func (p *pipe) transaction(w io.Writer, at int64, h header, b []byte, keep func(Transaction) (bool, error)) (t Transaction, yes bool, err error) {
	raw, err := h.whole(b, p.r)
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
		if h, b, err = p.header(); err != nil {
			return t, yes, torn(err)
		}
		if left -= h.size; left < 0 {
			return t, yes, fmt.Errorf("%w: an event reaches beyond its transaction", ErrDamaged)
		}
		if err := p.pass(w, h, b); err != nil {
			return t, yes, err
		}
	}
	return t, yes, nil
}

// header reads the next header; io.EOF if there is none.
func (p *pipe) header() (header, []byte, error) {
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(b)
	return h, b, err
}

// pass moves one event, whatever its size, without holding it in memory.
func (p *pipe) pass(w io.Writer, h header, b []byte) error {
	if !p.f.checksum {
		if _, err := w.Write(b); err != nil {
			return err
		}
		_, err := io.CopyN(w, p.r, h.size-headerSize)
		return torn(err)
	}
	if h.size < headerSize+checksumSize {
		return fmt.Errorf("%w: no room for a checksum", ErrDamaged)
	}
	sum := crc32.NewIEEE()
	both := io.MultiWriter(w, sum)
	if _, err := both.Write(b); err != nil {
		return err
	}
	if _, err := io.CopyN(both, p.r, h.size-headerSize-checksumSize); err != nil {
		return torn(err)
	}
	tail := make([]byte, checksumSize)
	if _, err := io.ReadFull(p.r, tail); err != nil {
		return torn(err)
	}
	if got, want := sum.Sum32(), binary.LittleEndian.Uint32(tail); got != want {
		return fmt.Errorf("%w: checksum %08x, the event says %08x", ErrDamaged, got, want)
	}
	_, err := w.Write(tail)
	return err
}
