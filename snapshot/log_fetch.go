package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/binlog"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

const (
	// logAhead is how many chunks are fetched at a time.
	logAhead = 4
	// logBatch is how many bytes of binary log are handed out together.
	logBatch = 512 << 20
)

// Mark is one transaction at the edge of a recovery.
type Mark struct {
	GTID gtid.Set
	At   time.Time // of its commit
}

// Fetched is what came of a plan.
type Fetched struct {
	// GTIDs are the transactions handed out.
	GTIDs        gtid.Set
	Transactions int
	// Last is the last of them, Next the first one that was left out because it
	// was committed after the target's time. Each may be empty.
	Last, Next Mark
}

// Fetch reads the plan's chunks in order, checks them, and writes what is to be
// applied into dir, as binary log files with whole transactions. Use gets the
// files, in order, batch by batch, with what they hold, and owns them; dir must
// exist. The plan's gap is an error only if the recovery gets there.
func (p LogPlan) Fetch(ctx context.Context, store Store, o LogOptions, dir string, use func(files []string, holds gtid.Set) error) (Fetched, error) {
	in := inlet{store: store, spoolDir: o.SpoolDir, rate: o.Rate, patience: o.Patience}
	f := &fetcher{plan: p, keys: o.Keys, in: in, dir: dir, use: use}
	err := f.run(ctx)
	if err == nil && f.done.Next.GTID.IsEmpty() && p.Gap != nil {
		err = p.Gap
	}
	if err != nil {
		return f.done, fmt.Errorf("read archived binary logs: %w", err)
	}
	return f.done, nil
}

type fetcher struct {
	plan  LogPlan
	keys  *Keys
	in    inlet
	dir   string
	count int // of files so far
	use   func([]string, gtid.Set) error
	done  Fetched
	files []string
	holds gtid.Set
	bytes int64
}

// errReached ends the reading at the target's time.
var errReached = errors.New("the target is reached")

func (f *fetcher) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	chunks := f.ahead(ctx)
	defer func() {
		cancel()
		for c := range chunks { // what is on its way ends, and its files go
			(<-c).Close()
		}
	}()
	for _, s := range f.plan.Steps {
		c, ok := <-chunks
		if !ok {
			return ctx.Err()
		}
		r := <-c
		err := f.step(r, s)
		r.Close()
		if errors.Is(err, errReached) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Chunk.key(), err)
		}
		if f.bytes >= logBatch {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	return f.flush()
}

// ahead opens the chunks in order, some of them before they are needed: opening
// one begins to fetch it.
func (f *fetcher) ahead(ctx context.Context) <-chan chan *partReader {
	out := make(chan chan *partReader, logAhead)
	go func() {
		defer close(out)
		for _, s := range f.plan.Steps {
			c := make(chan *partReader, 1)
			c <- newPartReader(ctx, f.in, s.Chunk.Parts)
			select {
			case out <- c:
			case <-ctx.Done():
				(<-c).Close()
				return
			}
		}
	}()
	return out
}

// step unpacks one chunk into a file with what the plan wants of it.
func (f *fetcher) step(r io.Reader, s Step) error {
	plain, err := f.keys.open(r, s.Chunk.Encryption)
	if err != nil {
		return err
	}
	dec, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow*8))
	if err != nil {
		return err
	}
	defer dec.Close()
	f.count++
	path := filepath.Join(f.dir, fmt.Sprintf("chunk-%08d", f.count))
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(out, copyBuffer)
	count := &byteCounter{w: buf}
	var seen gtid.Set
	written, err := binlog.Filter(count, dec, func(t binlog.Transaction) (bool, error) {
		seen = seen.Union(t.GTID)
		if !s.Apply.Contains(t.GTID) {
			return false, nil
		}
		if at := f.plan.Target.Time; !at.IsZero() && t.Committed.After(at) {
			f.done.Next = Mark{t.GTID, t.Committed}
			return false, errReached
		}
		f.holds = f.holds.Union(t.GTID)
		f.done.GTIDs = f.done.GTIDs.Union(t.GTID)
		f.done.Last = Mark{t.GTID, t.Committed}
		f.done.Transactions++
		return true, nil
	})
	reached := errors.Is(err, errReached)
	for _, damaged := range []error{binlog.ErrDamaged, binlog.ErrTorn, binlog.ErrNoGTID, binlog.ErrEncrypted} {
		if errors.Is(err, damaged) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
			break
		}
	}
	if e := errors.Join(buf.Flush(), out.Close()); e != nil {
		err, reached = errors.Join(err, e), false
	}
	switch {
	case err != nil && !reached:
		return errors.Join(err, os.Remove(path))
	case !reached && !seen.Equal(s.Chunk.GTIDs):
		return errors.Join(fmt.Errorf("%w: it holds %s, its record says %s", ErrCorrupt, seen, s.Chunk.GTIDs), os.Remove(path))
	case written == 0:
		return errors.Join(err, os.Remove(path))
	}
	f.files, f.bytes = append(f.files, path), f.bytes+count.n
	return err
}

// flush hands out what is there.
func (f *fetcher) flush() error {
	if len(f.files) == 0 {
		return nil
	}
	files, holds := f.files, f.holds
	f.files, f.holds, f.bytes = nil, gtid.Set{}, 0
	return f.use(files, holds)
}
