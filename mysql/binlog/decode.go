package binlog

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// cursor takes a body apart. After the first piece that is missing everything it gives is zero and bad is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.b) {
		c.bad = true
		return make([]byte, max(0, min(n, 16)))
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

// fixed reads a little-endian number of up to eight bytes.
func (c *cursor) fixed(n int) uint64 {
	var v uint64
	for i, b := range c.take(n) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// packed reads MySQL's length-encoded number.
func (c *cursor) packed() uint64 {
	switch first := c.fixed(1); first {
	case 0xfc:
		return c.fixed(2)
	case 0xfd:
		return c.fixed(3)
	case 0xfe:
		return c.fixed(8)
	default:
		return first
	}
}

// varint reads the variable-length number of MySQL's serialization library: as many further bytes follow as the first
// one has ones at its low end.
func (c *cursor) varint() uint64 {
	first := byte(c.fixed(1))
	extra := bits.TrailingZeros8(^first)
	if extra == 8 {
		return c.fixed(8)
	}
	return (uint64(first) | c.fixed(extra)<<8) >> (extra + 1)
}

// signed reads a variable-length number whose lowest bit is its sign.
func (c *cursor) signed() int64 {
	v := c.varint()
	n := int64(v >> 1)
	if v&1 != 0 {
		n = ^n
	}
	return n
}

// lead is what the event in front of a transaction says about it.
type lead struct {
	gtid      gtid.Set
	committed time.Time // on the server where it was committed first
	length    int64     // of all its events in this file, the leading one included
}

// parseLead reads a GTID event of either kind.
func parseLead(kind byte, body []byte) (lead, error) {
	var (
		l   lead
		bad bool
		err error
	)
	if kind == typeGTID {
		l, bad, err = parseGTID(body)
	} else {
		l, bad, err = parseTagged(body)
	}
	switch {
	case err != nil:
		return l, fmt.Errorf("%w: GTID event: %w", ErrDamaged, err)
	case bad:
		return l, fmt.Errorf("%w: GTID event too short", ErrDamaged)
	case l.length <= 0:
		return l, fmt.Errorf("%w: GTID event without the length of its transaction; servers write it since 8.0.2", ErrDamaged)
	}
	return l, nil
}

// parseGTID reads the event of an untagged GTID: flags, uuid, number, logical clock, commit times, length.
func parseGTID(body []byte) (l lead, bad bool, err error) {
	const hasMore = uint64(1) << 55 // in the time of this server's commit: the original one follows
	c := &cursor{b: body}
	c.take(1)
	var uuid [16]byte
	copy(uuid[:], c.take(16))
	number := int64(c.fixed(8))
	c.take(1 + 8 + 8)
	at := c.fixed(7)
	if at&hasMore != 0 {
		at = c.fixed(7)
	}
	l.committed = micros(at)
	l.length = int64(c.packed())
	if c.bad {
		return l, true, nil
	}
	l.gtid, err = gtid.One(uuid, "", number)
	return l, false, err
}

// Fields of the event of a tagged GTID.
const (
	fieldFlags = iota
	fieldUUID
	fieldNumber
	fieldTag
	fieldLastCommitted
	fieldSequence
	fieldCommitted
	fieldOriginallyCommitted
	fieldLength
	fieldServerVersion
	fieldOriginalVersion
	fieldTicket
)

// parseTagged reads the event of a tagged GTID: a list of numbered fields, of which those with a usual value are left out.
func parseTagged(body []byte) (l lead, bad bool, err error) {
	c := &cursor{b: body}
	if v := c.varint(); v != 1 && !c.bad {
		return l, false, fmt.Errorf("serialization version %d is not known", v)
	}
	size, required := c.varint(), c.varint()
	if size != uint64(len(body)) {
		return l, true, nil
	}
	if required > fieldTicket+1 {
		return l, false, fmt.Errorf("it needs a reader that knows field %d", required)
	}
	var uuid [16]byte
	var tag string
	var number int64
	var at, originally uint64
fields:
	for len(c.b) > 0 && !c.bad {
		switch id := c.varint(); id {
		case fieldUUID:
			for i := range uuid {
				uuid[i] = byte(c.varint())
			}
		case fieldTag:
			tag = string(c.take(int(min(c.varint(), 1<<10))))
		case fieldNumber:
			number = c.signed()
		case fieldCommitted:
			at = c.varint()
		case fieldOriginallyCommitted:
			originally = c.varint()
		case fieldLength:
			l.length = int64(c.varint())
		case fieldFlags, fieldLastCommitted, fieldSequence, fieldServerVersion, fieldOriginalVersion, fieldTicket:
			c.varint()
		default:
			break fields // from a newer server, and behind everything needed here
		}
	}
	if c.bad {
		return l, true, nil
	}
	if originally == 0 {
		originally = at
	}
	l.committed = micros(originally)
	l.gtid, err = gtid.One(uuid, tag, number)
	return l, false, err
}

// micros is a commit time: microseconds since 1970. Zero means that the server did not know.
func micros(v uint64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(v & (1<<55 - 1))).UTC()
}

// parsePrevious reads the set of all GTIDs in earlier files.
func parsePrevious(body []byte) (gtid.Set, error) {
	c := &cursor{b: body}
	count := c.fixed(8)
	tagged := count>>56 == 1 // the first and the last byte both say so then, and the number lies between them
	if tagged {
		count = count >> 8 & (1<<48 - 1)
	}
	var set gtid.Set
	for range count {
		var uuid [16]byte
		copy(uuid[:], c.take(16))
		tag := ""
		if tagged {
			tag = string(c.take(int(min(c.varint(), 1<<10))))
		}
		for n := c.fixed(8); n > 0 && !c.bad; n-- {
			first, end := int64(c.fixed(8)), int64(c.fixed(8))
			one, err := gtid.Range(uuid, tag, first, end-1)
			if err != nil {
				return gtid.Set{}, fmt.Errorf("%w: previous GTIDs: %w", ErrDamaged, err)
			}
			set = set.Union(one)
		}
		if c.bad {
			return gtid.Set{}, fmt.Errorf("%w: previous GTIDs too short", ErrDamaged)
		}
	}
	if c.bad || len(c.b) > 0 {
		return gtid.Set{}, fmt.Errorf("%w: previous GTIDs of the wrong length", ErrDamaged)
	}
	return set, nil
}
