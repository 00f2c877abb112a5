package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrEncrypted: the server encrypts its binary log; only it can read it.
	ErrEncrypted = errors.New("the binary log is encrypted")
	// ErrDamaged: the bytes are not what a server writes.
	ErrDamaged = errors.New("damaged binary log")
	// ErrNoGTID: a transaction without a GTID cannot be found again.
	ErrNoGTID = errors.New("a transaction without GTID")
	// ErrTorn: the file ends in the middle of an event, perhaps one that is being written just now.
	ErrTorn = errors.New("the file ends inside an event")
)

// Magic is what a binary log file begins with.
const Magic = "\xfebin"

// encryptedMagic is what an encrypted one begins with.
const encryptedMagic = "\xfdbin"

// Event types this package knows by name; all others belong to a transaction.
const (
	typeStop          = 3
	typeRotate        = 4
	typeFormat        = 15
	typeGTID          = 33
	typeAnonymousGTID = 34
	typePreviousGTIDs = 35
	typeTaggedGTID    = 42
)

const (
	headerSize   = 19
	checksumSize = 4
	// largestKnown bounds the events that are read into memory, largestPrevious those with the GTIDs of many servers. As much as
	// the first is read at a time.
	largestKnown    = 64 << 10
	largestPrevious = 64 << 20
	// largestEvent is the most a server writes: max_allowed_packet is at most 1 GiB, and headers come on top.
	largestEvent = 1<<30 + 1<<20
	// inUse is the header flag of a format description while the server appends to the file. It is not part of the
	// checksum.
	inUse = 0x1
	// flagsAt is the offset of the flags in a header.
	flagsAt = 17
)

// header is the beginning of every event.
type header struct {
	kind byte
	size int64 // of the whole event, header and checksum included
}

func parseHeader(b []byte) (header, error) {
	h := header{kind: b[4], size: int64(binary.LittleEndian.Uint32(b[9:13]))}
	if h.size < headerSize || h.size > largestEvent || h.kind == 0 {
		return h, fmt.Errorf("%w: an event of type %d with %d bytes", ErrDamaged, h.kind, h.size)
	}
	return h, nil
}

// format is what the format description event says.
type format struct {
	raw      []byte // the whole event, as it stands in a file that is not in use
	checksum bool   // every event ends with a CRC32
}

// checkMagic reads the first bytes of a file.
func checkMagic(b []byte) error {
	switch string(b) {
	case Magic:
		return nil
	case encryptedMagic:
		return ErrEncrypted
	}
	return fmt.Errorf("%w: it does not begin like a binary log", ErrDamaged)
}

// parseFormat checks a format description event.
func parseFormat(raw []byte) (format, error) {
	const (
		versionAt, serverSize, headerLengthAt = 0, 50, 2 + 50 + 4
		shortest                              = headerSize + headerLengthAt + 1 + 1 + checksumSize
	)
	if len(raw) < shortest || raw[4] != typeFormat {
		return format{}, fmt.Errorf("%w: it does not begin with a format description", ErrDamaged)
	}
	body := raw[headerSize:]
	if v := binary.LittleEndian.Uint16(body[versionAt:]); v != 4 {
		return format{}, fmt.Errorf("%w: binary log version %d is not known", ErrDamaged, v)
	}
	if body[headerLengthAt] != headerSize {
		return format{}, fmt.Errorf("%w: event headers of %d bytes are not known", ErrDamaged, body[headerLengthAt])
	}
	clean := append([]byte(nil), raw...)
	clean[flagsAt] &^= inUse
	if err := verify(clean); err != nil {
		return format{}, fmt.Errorf("format description: %w", err)
	}
	switch alg := raw[len(raw)-checksumSize-1]; alg {
	case 0:
		return format{raw: clean}, nil
	case 1:
		return format{raw: clean, checksum: true}, nil
	default:
		return format{}, fmt.Errorf("%w: checksum algorithm %d is not known", ErrDamaged, alg)
	}
}

// verify checks the CRC32 at the end of an event.
func verify(event []byte) error {
	at := len(event) - checksumSize
	if at < headerSize {
		return fmt.Errorf("%w: no room for a checksum", ErrDamaged)
	}
	return check(crc32.ChecksumIEEE(event[:at]), event[at:])
}

// check compares a checksum with the one an event ends with.
func check(got uint32, tail []byte) error {
	if want := binary.LittleEndian.Uint32(tail); got != want {
		return fmt.Errorf("%w: checksum %08x, the event says %08x", ErrDamaged, got, want)
	}
	return nil
}

// body is the event without header and checksum, after the checksum was verified.
func (f format) body(event []byte) ([]byte, error) {
	if !f.checksum {
		return event[headerSize:], nil
	}
	if err := verify(event); err != nil {
		return nil, err
	}
	return event[headerSize : len(event)-checksumSize], nil
}

// limit is how large an event that is looked into may be.
func (h header) limit() error {
	limit := int64(largestKnown)
	if h.kind == typePreviousGTIDs {
		limit = largestPrevious
	}
	if h.size > limit {
		return fmt.Errorf("%w: an event of type %d with %d bytes", ErrDamaged, h.kind, h.size)
	}
	return nil
}

// peekHeader reads the next header and leaves it where it is; io.EOF if there is none.
func peekHeader(r *bufio.Reader) (header, error) {
	b, err := r.Peek(headerSize)
	if err != nil {
		if len(b) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return header{}, err
	}
	return parseHeader(b)
}

// take reads a whole event that is looked into, whose header was peeked at. What it returns is overwritten with the next read.
func (h header) take(r *bufio.Reader) ([]byte, error) {
	if err := h.limit(); err != nil {
		return nil, err
	}
	if h.size > int64(r.Size()) {
		var b bytes.Buffer // grows with what is there, not with what the header says
		if _, err := io.CopyN(&b, r, h.size); err != nil {
			return nil, torn(err)
		}
		return b.Bytes(), nil
	}
	b, err := r.Peek(int(h.size))
	if err != nil {
		return nil, torn(err)
	}
	_, err = r.Discard(len(b))
	return b, err
}

// torn turns an early end into ErrTorn.
func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTorn
	}
	return err
}
