package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The journal of a restore tells the next process how far it came. Every line is
// JSON with its sum in front, and is written when everything it speaks of is
// durable. A line that is torn or garbled counts as not written, and so does all
// that follows it.

// journalFormat is the format of the journal. Another one is not gone on with.
const journalFormat = 1

// journalLimit bounds reading one, in bytes: maxParts lines with long names.
const journalLimit = 256 << 20

// journalHead is the first line: what is being restored.
type journalHead struct {
	Journal int    `json:"journal"` // journalFormat
	ID      string `json:"id"`      // of the snapshot
	// Manifest is the sum of its manifest.
	Manifest string `json:"manifest"`
}

// journalLine is each other line: how far it is.
type journalLine struct {
	Parts int `json:"parts"` // that are unpacked
	place
}

// journal is one that is being written.
type journal struct {
	file *os.File
	salt string
}

// identity is what a journal for m begins with.
func (m Manifest) identity() (journalHead, error) {
	data, err := sealJSON(m)
	return journalHead{journalFormat, m.ID, sumOf(data)}, err
}

// sumLength is how much of a line's sum is written: it guards against accidents.
const sumLength = 16

// seal is v as a line. The salt keeps lines of one journal out of another one.
func sealLine(salt string, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s\n", sumOf(append([]byte(salt), data...))[:sumLength], data), nil
}

// openLine is the opposite: v is what the first line of data holds, and rest
// what follows it. It fails for a line that is not whole.
func openLine(data []byte, salt string, v any) (rest []byte, err error) {
	line, rest, whole := bytes.Cut(data, []byte("\n"))
	sum, body, parted := bytes.Cut(line, []byte(" "))
	if !whole || !parted || string(sum) != sumOf(append([]byte(salt), body...))[:sumLength] {
		return nil, fmt.Errorf("%w: a line of the journal", ErrCorrupt)
	}
	return rest, json.Unmarshal(body, v)
}

// newJournal begins a journal for m. It is durable but for its name.
func newJournal(name string, m Manifest) (*journal, error) {
	head, err := m.identity()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f}
	if err := j.append(head); err != nil {
		_ = f.Close()
		return nil, err
	}
	j.salt = head.Manifest
	return j, nil
}

// append makes a line durable.
func (j *journal) append(v any) error {
	line, err := sealLine(j.salt, v)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(line); err != nil {
		return err
	}
	return j.file.Sync()
}

// reopenJournal goes on with the journal for m that an earlier process wrote,
// and returns its last good line. The error says in words why there is none that
// could be used.
func reopenJournal(name string, m Manifest) (*journal, journalLine, error) {
	var last journalLine
	head, err := m.identity()
	if err != nil {
		return nil, last, err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, last, errors.New("it has no journal")
	}
	if err != nil {
		return nil, last, err
	}
	last, size, err := lastLine(f, head, m)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, last, err
	}
	return &journal{f, head.Manifest}, last, nil
}

// lastLine reads a journal. size is how much of it is good.
func lastLine(f *os.File, want journalHead, m Manifest) (last journalLine, size int64, err error) {
	data, err := io.ReadAll(io.LimitReader(f, journalLimit))
	if err != nil {
		return last, 0, err
	}
	var head journalHead
	rest, err := openLine(data, "", &head)
	switch {
	case err != nil:
		return last, 0, errors.New("the beginning of its journal is damaged")
	case head.Journal != want.Journal:
		return last, 0, fmt.Errorf("its journal is of format %d, this version knows %d", head.Journal, want.Journal)
	case head.ID != want.ID:
		return last, 0, fmt.Errorf("it is of snapshot %s", head.ID)
	case head.Manifest != want.Manifest:
		return last, 0, errors.New("it is of another snapshot with the same id")
	}
	for {
		var line journalLine
		next, err := openLine(rest, want.Manifest, &line)
		if err != nil || !line.follows(last, m) {
			break
		}
		last, rest = line, next
	}
	if last.Parts == 0 {
		return last, 0, errors.New("no part of it is complete")
	}
	return last, int64(len(data) - len(rest)), nil
}

// follows tells whether a line can be the next one in a journal for m.
func (l journalLine) follows(last journalLine, m Manifest) bool {
	ok := l.Parts > last.Parts && l.Parts <= len(m.Parts) && l.Files >= last.Files && l.Bytes >= last.Bytes
	if f := l.File; f != nil {
		ok = ok && f.At >= 0 && f.At <= f.Size && l.Parts < len(m.Parts)
	}
	return ok
}

// Close closes the journal.
func (j *journal) Close() error { return j.file.Close() }
