// Package binlogtest writes binary logs as a server does, for tests that have none at hand. What the events look like was
// read off files of MySQL 9.7.
package binlogtest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// Sizes and event types of the format.
const (
	headerSize    = 19
	checksumSize  = 4
	formatEvent   = 15
	xidEvent      = 16
	writeRows     = 30
	gtidEvent     = 33
	previousGTIDs = 35
	flagsAt       = 17
)

// InUse is the flag of a file that a server has open.
const InUse = 0x1

// UUID is the server of all transactions.
var UUID = [16]byte{0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62}

// Server is UUID as text.
const Server = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// Maker writes one file.
type Maker struct {
	bytes.Buffer
	// Checksum: every event ends with a CRC32.
	Checksum bool
}

// Event writes one of any kind.
func (m *Maker) Event(kind byte, flags uint16, body []byte) {
	size := headerSize + len(body)
	if m.Checksum || kind == formatEvent {
		size += checksumSize
	}
	e := make([]byte, headerSize, size)
	binary.LittleEndian.PutUint32(e, 1795439253)
	e[4] = kind
	binary.LittleEndian.PutUint32(e[5:], 11)
	binary.LittleEndian.PutUint32(e[9:], uint32(size))
	binary.LittleEndian.PutUint32(e[13:], uint32(m.Len()+size))
	binary.LittleEndian.PutUint16(e[17:], flags)
	e = append(e, body...)
	if m.Checksum || kind == formatEvent {
		sum := e
		if kind == formatEvent { // computed as if the file were not in use
			sum = bytes.Clone(e)
			sum[flagsAt] &^= InUse
		}
		e = binary.LittleEndian.AppendUint32(e, crc32.ChecksumIEEE(sum))
	}
	m.Write(e)
}

// Begin writes what stands in front of the transactions.
func (m *Maker) Begin(flags uint16, previous []byte) {
	m.WriteString("\xfebin")
	body := make([]byte, 2+50+4+1+41+1) // the last byte says which checksum
	binary.LittleEndian.PutUint16(body, 4)
	copy(body[2:], "9.7.4-2")
	body[56] = headerSize
	if m.Checksum {
		body[len(body)-1] = 1
	}
	m.Event(formatEvent, flags, body)
	m.Event(previousGTIDs, 0x80, previous)
}

// GTIDBody is the event of an untagged GTID.
func GTIDBody(number, at, originally, length uint64) []byte {
	b := append([]byte{1}, UUID[:]...)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = append(b, 2)
	b = append(b, make([]byte, 16)...)
	seven := func(v uint64) { b = append(b, binary.LittleEndian.AppendUint64(nil, v)[:7]...) }
	if originally != 0 {
		seven(at | 1<<55)
		seven(originally)
	} else {
		seven(at)
	}
	switch {
	case length < 251:
		b = append(b, byte(length))
	case length < 1<<16:
		b = append(b, 0xfc, byte(length), byte(length>>8))
	default:
		b = append(b, 0xfd, byte(length), byte(length>>8), byte(length>>16))
	}
	return append(b, 0x50, 0x62, 0x01, 0x00)
}

// Transaction writes one of size bytes of rows.
func (m *Maker) Transaction(number int, at time.Time, size int) {
	sum := 0
	if m.Checksum {
		sum = checksumSize
	}
	rest := 2*(headerSize+sum) + size + 8
	lead := func(length int) int {
		return headerSize + sum + len(GTIDBody(uint64(number), uint64(at.UnixMicro()), 0, uint64(length)))
	}
	total := rest + lead(rest)
	for total != rest+lead(total) { // the length of the length depends on it
		total = rest + lead(total)
	}
	m.Event(gtidEvent, 0, GTIDBody(uint64(number), uint64(at.UnixMicro()), 0, uint64(total)))
	m.Event(writeRows, 0, bytes.Repeat([]byte{7}, size))
	m.Event(xidEvent, 0, make([]byte, 8))
}
