package binlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// Transaction is one transaction at its place in a file.
type Transaction struct {
	// GTID is a set of one.
	GTID gtid.Set
	// Committed is when it was committed on the server where it was written first, by that server's clock; zero if
	// that is not known.
	Committed time.Time
	// Start and End are byte offsets in the file: its events are those from Start up to, not including, End.
	Start, End int64
}

// File finds transactions in one binary log file, which a server may still be appending to.
type File struct {
	r    io.ReaderAt
	f    format
	lead []byte // everything in front of the first transaction
	// Previous are the GTIDs in all earlier files of this server.
	Previous gtid.Set
	// First is where the first transaction begins, or will begin.
	First int64
}

// Open reads the beginning of a file. ErrTorn means that the server has not written all of it yet.
func Open(r io.ReaderAt) (*File, error) {
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(magic))), magic); err != nil {
		return nil, torn(err)
	}
	if err := checkMagic(magic); err != nil {
		return nil, err
	}
	file := &File{r: r, First: int64(len(Magic))}
	from := file.from(file.First)
	raw, err := event(from)
	if err != nil {
		return nil, err
	}
	if file.f, err = parseFormat(raw); err != nil {
		return nil, err
	}
	file.First += int64(len(raw))
	file.lead = slices.Concat(magic, file.f.raw)
	if raw, err = event(from); err != nil {
		return nil, err
	}
	if raw[4] != typePreviousGTIDs {
		return nil, fmt.Errorf("%w: the GTIDs of earlier files are not where they should be", ErrDamaged)
	}
	body, err := file.f.body(raw)
	if err != nil {
		return nil, err
	}
	if file.Previous, err = parsePrevious(body); err != nil {
		return nil, err
	}
	file.First += int64(len(raw))
	file.lead = append(file.lead, raw...)
	return file, nil
}

// event reads the next event, one of the kinds that are looked into.
func event(r *bufio.Reader) ([]byte, error) {
	h, err := peekHeader(r)
	if err != nil {
		return nil, torn(err)
	}
	return h.take(r)
}

// from reads the file from an offset on.
func (f *File) from(at int64) *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(f.r, at, math.MaxInt64-at), largestKnown)
}

// Scan walks through a file, transaction by transaction. It belongs to one goroutine.
type Scan struct {
	f  *File
	r  *bufio.Reader
	at int64
}

// Scan begins with the transaction at an offset: First, or the End of another one. It reads ahead: of what was being written
// when it began it may give something that the file does not say any more when it ends. Whoever believes only in transactions
// that were committed before it began is right about them.
func (f *File) Scan(at int64) *Scan { return &Scan{f: f, r: f.from(at), at: at} }

// Next returns the next transaction. It is io.EOF when there is none, because the file ends there, for now or for good.
// Only its first event is read; nothing is said about whether the rest is there already. A scan ends with its first error.
func (s *Scan) Next() (Transaction, error) {
	h, err := peekHeader(s.r)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = torn(err)
		}
		return Transaction{}, err
	}
	switch h.kind {
	case typeRotate, typeStop:
		return Transaction{}, io.EOF
	case typeGTID, typeTaggedGTID:
	case typeAnonymousGTID:
		return Transaction{}, fmt.Errorf("at byte %d: %w", s.at, ErrNoGTID)
	default:
		return Transaction{}, fmt.Errorf("%w: at byte %d an event of type %d instead of a transaction", ErrDamaged, s.at, h.kind)
	}
	raw, err := h.take(s.r)
	if err != nil {
		return Transaction{}, err
	}
	body, err := s.f.f.body(raw)
	if err != nil {
		return Transaction{}, fmt.Errorf("at byte %d: %w", s.at, err)
	}
	l, err := parseLead(h.kind, body)
	if err != nil {
		return Transaction{}, fmt.Errorf("at byte %d: %w", s.at, err)
	}
	if l.length < h.size || l.length > 1<<62 {
		return Transaction{}, fmt.Errorf("%w: at byte %d a transaction of %d bytes", ErrDamaged, s.at, l.length)
	}
	t := Transaction{GTID: l.gtid, Committed: l.committed, Start: s.at, End: s.at + l.length}
	return t, s.skip(t.End, l.length-h.size)
}

// skip goes to an offset so many bytes ahead, without reading what lies between.
func (s *Scan) skip(to, by int64) error {
	s.at = to
	if by > int64(s.r.Buffered()) {
		s.r.Reset(io.NewSectionReader(s.f.r, to, math.MaxInt64-to))
		return nil
	}
	_, err := s.r.Discard(int(by))
	return err
}
