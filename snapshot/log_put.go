package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LogOptions are where and how chunks are made and read.
type LogOptions struct {
	// SpoolDir is where a chunk waits, in a file without a name, to be sent or
	// unpacked.
	SpoolDir string
	// Keys encrypt and decrypt; nil does not.
	Keys *Keys
	// Rate and Patience are for reading, as in RestoreOptions.
	Rate     *Limiter
	Patience time.Duration
}

// OpenTerm records what a term began with. If it was recorded already nothing
// changes: the first record is the stricter one.
func OpenTerm(ctx context.Context, store Store, o Opening) error {
	o.Format = LogFormatVersion
	if err := o.check(); err != nil {
		return fmt.Errorf("record opening of term %d: %w", o.Term, err)
	}
	data, err := sealJSON(o)
	if err == nil {
		err = store.PutNew(ctx, o.key(), data)
	}
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("record opening of term %d: %w", o.Term, err)
	}
	return nil
}

// PutChunk stores what write gives, a binary log file with whole transactions,
// as the chunk c describes, and then publishes c, create-only. ErrExists: there
// is a chunk of that number already. After any error the archive may or may not
// have the chunk; ask LogEnd where it ends.
func PutChunk(ctx context.Context, store Store, c Chunk, o LogOptions, write func(io.Writer) error) (Chunk, error) {
	err := putChunk(ctx, store, &c, o, write)
	if err != nil {
		return c, fmt.Errorf("archive %s from byte %d to %d: %w", c.File, c.Start, c.End, err)
	}
	return c, nil
}

func putChunk(ctx context.Context, store Store, c *Chunk, o LogOptions, write func(io.Writer) error) error {
	var b [4]byte
	rand.Read(b[:]) // never fails, as documented
	c.Format, c.Compression, c.Encryption = LogFormatVersion, CompressionZstd, o.Keys.Says()
	stem := fmt.Sprintf("%s%010d-%s%s", c.termDir(c.Term), c.Seq, hex.EncodeToString(b[:]), c.suffix())
	var err error
	if c.Bytes, c.Parts, err = packLog(ctx, store, o, stem, write); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	data, err := sealJSON(c)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	return store.PutNew(ctx, c.key(), data)
}

// packLog compresses and encrypts what write gives into one object, or several
// if it is larger than a part.
func packLog(ctx context.Context, store Store, o LogOptions, stem string, write func(io.Writer) error) (int64, []Part, error) {
	out := outlet{store: store, spoolDir: o.SpoolDir, keys: o.Keys, key: func(n int) string {
		if n == 1 {
			return stem
		}
		return fmt.Sprintf("%s.%05d", stem, n)
	}}
	t, parts, err := packParts(ctx, out, func(w io.Writer) (totals, error) {
		count := &byteCounter{w: w}
		err := write(count)
		return totals{bytes: count.n}, err
	})
	return t.bytes, parts, err
}

// byteCounter counts what passes.
type byteCounter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *byteCounter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// LogEnd is where a cluster's archive ends.
type LogEnd struct {
	// Opened says that the opening of the asked term is recorded.
	Opened bool
	// Seq is the number of the term's last chunk, 0 without one.
	Seq uint64
	// Last is the newest chunk whose record can be used: of the term if it has
	// one, else of the newest term before. Nil when there is none.
	Last *Chunk
	// Bad are newer records that are damaged or gone, newest first.
	Bad []BadPiece
}

// FindLogEnd looks where the archive ends, for the primary of a term.
func FindLogEnd(ctx context.Context, store Store, line Line, term uint64) (LogEnd, error) {
	end, err := findLogEnd(ctx, store, line, term)
	if err != nil {
		return LogEnd{}, fmt.Errorf("look where the archive ends: %w", err)
	}
	return end, nil
}

func findLogEnd(ctx context.Context, store Store, line Line, term uint64) (end LogEnd, err error) {
	if err := line.check(); err != nil {
		return end, err
	}
	objects, err := store.List(ctx, line.termDir(term))
	if err != nil {
		return end, err
	}
	var keys []string
	for _, o := range objects {
		name := path.Base(o.Key)
		if name == openingName {
			end.Opened = true
		} else if seq, ok := chunkSeq(name); ok {
			end.Seq, keys = max(end.Seq, seq), append(keys, o.Key)
		}
	}
	err = end.findLast(ctx, store, line.Cluster, keys)
	for _, prefix := range []string{line.dir(), logPrefix(line.Cluster)} { // the first is usually enough
		if err != nil || end.Last != nil {
			break
		}
		if keys, err = chunksBefore(ctx, store, prefix, line.termDir(term)); err == nil {
			err = end.findLast(ctx, store, line.Cluster, keys)
		}
	}
	return end, err
}

// findLast looks for the newest of the records, which are sorted, that can be
// used. One that is damaged or gone must not end the archive for ever: what it
// told of may still be in the binary logs, and is archived again.
func (e *LogEnd) findLast(ctx context.Context, store Store, cluster string, keys []string) error {
	for _, key := range slices.Backward(keys) {
		if slices.ContainsFunc(e.Bad, func(b BadPiece) bool { return b.Key == key }) {
			continue // met below a longer prefix
		}
		c, err := readChunk(ctx, store, cluster, key)
		switch {
		case err == nil:
			e.Last = &c
			return nil
		case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound):
			return err
		}
		e.Bad = append(e.Bad, BadPiece{key, err})
	}
	return nil
}

// chunksBefore are the keys of the chunks below prefix and in front of a term's.
func chunksBefore(ctx context.Context, store Store, prefix, term string) (keys []string, err error) {
	objects, err := store.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for _, o := range objects { // sorted, and so are lines, terms and numbers
		if _, ok := chunkSeq(path.Base(o.Key)); ok && o.Key < term {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// chunkSeq reads the number out of the name of a chunk's JSON.
func chunkSeq(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, chunkSuffix)
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil
}
