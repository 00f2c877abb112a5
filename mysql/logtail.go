package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/binlog"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// LogState is what somebody who copies a server's binary logs has to know.
type LogState struct {
	ServerUUID string
	Version    string
	// Executed are the committed transactions, Purged those of them that are in no file. They were read before Files.
	Executed, Purged gtid.Set
	// Files are the paths of the binary logs, oldest first.
	Files []string
}

// LogState reads the binary logs' state.
func (s *Server) LogState(ctx context.Context) (LogState, error) {
	const op = "look at binary logs"
	sets, err := s.slow.query(ctx, op, "SELECT @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged, @@GLOBAL.version AS version; "+binlogPlaces)
	if err != nil {
		return LogState{}, err
	}
	executed, err := gtid.Parse(sets[0][0]["executed"])
	if err != nil {
		return LogState{}, fmt.Errorf("%s: %w", op, err)
	}
	purged, err := gtid.Parse(sets[0][0]["purged"])
	if err != nil {
		return LogState{}, fmt.Errorf("%s: %w", op, err)
	}
	at := sets[1][0]
	files, err := binlogFiles(at["binlog_index"], at["datadir"])
	if err != nil {
		return LogState{}, fmt.Errorf("%s: %w", op, err)
	}
	if len(files) == 0 {
		return LogState{}, fmt.Errorf("%s: the binary log is off or its index is empty", op)
	}
	return LogState{ServerUUID: at["uuid"], Version: sets[0][0]["version"], Executed: executed, Purged: purged, Files: files}, nil
}

// Tail walks through a server's binary logs, transaction by transaction and never beyond what is committed. The file it
// reads stays open, so that a purge does not take it away. It belongs to one goroutine; Close ends it.
type Tail struct {
	path   string
	file   *os.File
	log    *binlog.File
	at     int64
	before gtid.Set // everything in front of at
}

// Piece is a run of whole transactions in one file.
type Piece struct {
	File          string // base name
	Start, End    int64  // bytes
	Before, GTIDs gtid.Set
	Transactions  int
	FirstAt       time.Time // earliest commit, where it was committed first
	LastAt        time.Time // latest commit
}

// StartTail finds the place behind what is held already. If the logs do not reach back that far it is the oldest one
// there is.
func StartTail(st LogState, held gtid.Set) (*Tail, error) {
	t := &Tail{}
	for _, path := range slices.Backward(st.Files) {
		if err := t.open(path, st.Purged); err != nil {
			t.Close()
			return nil, err
		}
		if held.Contains(t.before) {
			break
		}
	}
	for scan := t.log.Scan(t.at); ; {
		next, err := scan.Next()
		if err != nil || !held.Contains(next.GTID) || !st.Executed.Contains(next.GTID) {
			return t, nil // an error comes again when it is asked for the next piece
		}
		t.at, t.before = next.End, t.before.Union(next.GTID)
	}
}

// open goes to the first transaction of a file. What a copy of another server brought along is in no file of this one,
// and so not among the previous GTIDs of any (measured): it counts as purged.
func (t *Tail) open(path string, purged gtid.Set) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open binary log: %w", err)
	}
	log, err := binlog.Open(f)
	if err != nil {
		_ = f.Close() // only read
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	t.Close()
	t.path, t.file, t.log, t.at, t.before = path, f, log, log.First, log.Previous.Union(purged)
	return nil
}

// Close gives the file up.
func (t *Tail) Close() {
	if t.file != nil {
		_ = t.file.Close() // only read
		t.file = nil
	}
}

// Before is everything in front of the place the tail is at.
func (t *Tail) Before() gtid.Set { return t.before }

// File is the base name of the file the tail is in.
func (t *Tail) File() string { return filepath.Base(t.path) }

// Next is the next piece: committed transactions of one file with about maxBytes together. None means that there is
// nothing more now. ErrPurged: the server removed the file that should come next; start again.
func (t *Tail) Next(st LogState, maxBytes int64) (p Piece, some bool, err error) {
	for {
		p = Piece{File: t.File(), Start: t.at, End: t.at, Before: t.before}
		ended := false
		scan := t.log.Scan(p.End) // it begins after the look that st is of
		for p.End-p.Start < maxBytes {
			next, err := scan.Next()
			if errors.Is(err, io.EOF) || errors.Is(err, binlog.ErrTorn) { // torn: the server is writing it, so it is not committed
				ended = true
				break
			}
			if err != nil {
				return p, false, fmt.Errorf("read %s: %w", t.File(), err)
			}
			if !st.Executed.Contains(next.GTID) {
				break
			}
			p.add(next)
		}
		if p.Transactions > 0 || !ended {
			return p, p.Transactions > 0, nil
		}
		more, err := t.advance(st)
		if err != nil || !more {
			return p, false, err
		}
	}
}

func (p *Piece) add(x binlog.Transaction) {
	p.End, p.GTIDs = x.End, p.GTIDs.Union(x.GTID)
	if p.Transactions == 0 || x.Committed.Before(p.FirstAt) {
		p.FirstAt = x.Committed
	}
	if x.Committed.After(p.LastAt) {
		p.LastAt = x.Committed
	}
	p.Transactions++
}

// advance goes on to the next file, if there is one.
func (t *Tail) advance(st LogState) (bool, error) {
	i := slices.Index(st.Files, t.path)
	if i < 0 {
		return false, fmt.Errorf("read %s: %w", t.File(), ErrPurged)
	}
	if i+1 == len(st.Files) {
		return false, nil
	}
	// It may have grown between the look at it and the look at the index: whoever begins a new file has ended this one.
	if _, err := t.log.Scan(t.at).Next(); !errors.Is(err, io.EOF) {
		return err == nil, err
	}
	err := t.open(st.Files[i+1], st.Purged)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrPurged, err)
	}
	if errors.Is(err, binlog.ErrTorn) { // just begun
		return false, nil
	}
	return err == nil, err
}

// Write writes the piece as a binary log file of its own. Every checksum is verified on the way.
func (t *Tail) Write(w io.Writer, p Piece) error {
	if p.File != t.File() || p.Start != t.at {
		return fmt.Errorf("write piece of %s: the tail is elsewhere", p.File)
	}
	if err := t.log.Copy(w, p.Start, p.End); err != nil {
		return fmt.Errorf("read %s: %w", p.File, err)
	}
	return nil
}

// Done moves behind a piece.
func (t *Tail) Done(p Piece) { t.at, t.before = p.End, t.before.Union(p.GTIDs) }
