package binlog

import (
	"errors"
	"fmt"
	"io"
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
	raw, err := file.event(file.First)
	if err != nil {
		return nil, err
	}
	if file.f, err = parseFormat(raw); err != nil {
		return nil, err
	}
	file.First += int64(len(raw))
	file.lead = slices.Concat(magic, file.f.raw)
	if raw, err = file.event(file.First); err != nil {
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

// header reads the header at an offset; io.EOF if the file ends exactly there.
func (f *File) header(at int64) (header, []byte, error) {
	b := make([]byte, headerSize)
	n, err := f.r.ReadAt(b, at)
	if n == 0 && errors.Is(err, io.EOF) {
		return header{}, nil, io.EOF
	}
	if n < len(b) {
		return header{}, nil, torn(err)
	}
	h, err := parseHeader(b)
	return h, b, err
}

// event reads a whole event of one of the kinds that are looked into.
func (f *File) event(at int64) ([]byte, error) {
	h, head, err := f.header(at)
	if err != nil {
		return nil, torn(err)
	}
	return h.whole(head, io.NewSectionReader(f.r, at+headerSize, h.size-headerSize))
}

// Next returns the transaction that begins at an offset: First, or the End of another one. It is io.EOF when there is
// none, because the file ends there, for now or for good. Only its first event is read; nothing is said about whether the
// rest is there already.
func (f *File) Next(at int64) (Transaction, error) {
	h, _, err := f.header(at)
	if err != nil {
		return Transaction{}, err
	}
	switch h.kind {
	case typeRotate, typeStop:
		return Transaction{}, io.EOF
	case typeGTID, typeTaggedGTID:
	case typeAnonymousGTID:
		return Transaction{}, fmt.Errorf("at byte %d: %w", at, ErrNoGTID)
	default:
		return Transaction{}, fmt.Errorf("%w: at byte %d an event of type %d instead of a transaction", ErrDamaged, at, h.kind)
	}
	raw, err := f.event(at)
	if err != nil {
		return Transaction{}, err
	}
	body, err := f.f.body(raw)
	if err != nil {
		return Transaction{}, fmt.Errorf("at byte %d: %w", at, err)
	}
	l, err := parseLead(h.kind, body)
	if err != nil {
		return Transaction{}, fmt.Errorf("at byte %d: %w", at, err)
	}
	if l.length < int64(len(raw)) || l.length > 1<<62 {
		return Transaction{}, fmt.Errorf("%w: at byte %d a transaction of %d bytes", ErrDamaged, at, l.length)
	}
	return Transaction{GTID: l.gtid, Committed: l.committed, Start: at, End: at + l.length}, nil
}
